"""What somebody wants changed about their account, read out of a request."""

from collections.abc import Callable, Mapping
from typing import Final

from gateway.accounts import AccountChanges
from gateway.names import read_display_name
from mesh.checks import Checks
from mesh.locale import parse_language, parse_region
from popcorn.gateway.v1 import account_pb2

_CODES: Final = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT
    BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH
    ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT
    HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS
    LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI
    NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG
    SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG
    UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW XK
"""
REGIONS: Final = frozenset(_CODES.split())
"""ISO 3166-1 alpha-2, and XK: Kosovo has no code of its own there, and phones send this one."""

_LONGEST_TAG: Final = 35  # what BCP 47 asks everybody to have room for
_EVERY_FIELD: Final = "*"


def read_changes(checks: Checks, request: account_pb2.UpdateAccountRequest) -> AccountChanges:
    """Return what a request changes: the fields of its mask, or without one those that are set.

    Args:
        checks: Notes what is wrong: a path that cannot be changed, a value that cannot be kept.
        request: The request.
    """
    account = request.account
    masked = list(request.update_mask.paths)
    for path in masked:
        checks.require(
            path in _READERS or path == _EVERY_FIELD,
            "update_mask",
            "UNKNOWN_FIELD",
            f"Must name fields that can be changed: {', '.join(_READERS)}, or * for all of them.",
        )
    if _EVERY_FIELD in masked:
        masked = list(_READERS)
    fields = masked or [path for path in _READERS if getattr(account, path)]
    return AccountChanges(
        **{
            path: read(checks, f"account.{path}", getattr(account, path))
            for path, read in _READERS.items()
            if path in fields
        }
    )


def _display_name(checks: Checks, field: str, value: str) -> str:
    return read_display_name(checks, field, value, required=True)


def _language(checks: Checks, field: str, value: str) -> str:
    language = parse_language(value) if len(value) <= _LONGEST_TAG else None
    checks.require(
        not value or language is not None,
        field,
        "INVALID_LANGUAGE",
        "Must be a BCP 47 language tag such as de or pt-BR, or empty for none.",
    )
    return language or ""


def _region(checks: Checks, field: str, value: str) -> str:
    region = parse_region(value)
    checks.require(
        not value or region in REGIONS,
        field,
        "INVALID_REGION",
        "Must be a region's ISO 3166-1 code such as GB, or empty for none.",
    )
    return region or ""


_READERS: Final[Mapping[str, Callable[[Checks, str, str], str]]] = {
    "display_name": _display_name,
    "language": _language,
    "region": _region,
}
"""The fields that can be changed, and what reads their values."""
