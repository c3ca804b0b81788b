"""The caller's language and region, as the request's metadata has them."""

import re
from dataclasses import dataclass
from typing import Any, Final

import grpc

LANGUAGE_HEADER: Final = "accept-language"
REGION_HEADER: Final = "x-region"

_LONGEST_HEADER: Final = 512
_MOST_LANGUAGES: Final = 10
_TAG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,4}")
_QUALITY = re.compile(r"[qQ]\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_REGION = re.compile(r"[A-Za-z]{2}")


@dataclass(frozen=True, slots=True)
class Locale:
    """What the caller would like to read, and where the caller is."""

    languages: tuple[str, ...] = ()
    """BCP 47 tags in their usual spelling ("pt-BR"), the best liked first; empty when none was said."""
    region: str | None = None
    """An ISO 3166-1 code in upper case ("DE"), or None when none was said."""


def requested_locale(context: "grpc.aio.ServicerContext[Any, Any]") -> Locale:
    """Return the language and region that a request's metadata asks for; malformed parts are as if unsaid."""
    languages: tuple[str, ...] = ()
    region: str | None = None
    for key, value in context.invocation_metadata() or ():
        if not isinstance(value, str):
            continue
        if key == LANGUAGE_HEADER and not languages:
            languages = parse_languages(value)
        elif key == REGION_HEADER and region is None:
            region = parse_region(value)
    return Locale(languages=languages, region=region)


def parse_region(value: str) -> str | None:
    """Return a region code in upper case, or None when it does not look like one."""
    stripped = value.strip()
    return stripped.upper() if _REGION.fullmatch(stripped) else None


def parse_language(value: str) -> str | None:
    """Return one BCP 47 tag in its usual spelling, or None when it does not look like one."""
    stripped = value.strip()
    return _usual_spelling(stripped) if _TAG.fullmatch(stripped) else None


def parse_languages(value: str) -> tuple[str, ...]:
    """Return the languages of an Accept-Language header, best liked first (RFC 9110 section 12.5.4).

    Equal weights keep their order; weight 0 and `*` are left out; what cannot be read is skipped.
    """
    if len(value) > _LONGEST_HEADER:
        return ()
    weighed: dict[str, float] = {}
    for part in value.split(","):
        tag, *parameters = (piece.strip() for piece in part.split(";"))
        if not _TAG.fullmatch(tag):
            continue
        quality = 1.0
        if parameters:
            weight = _QUALITY.fullmatch(parameters[0])
            if weight is None or len(parameters) > 1:
                continue
            quality = float(weight[1])
        weighed.setdefault(_usual_spelling(tag), quality)
    wanted = [tag for tag, quality in weighed.items() if quality > 0]
    wanted.sort(key=lambda tag: -weighed[tag])
    return tuple(wanted[:_MOST_LANGUAGES])


def _usual_spelling(tag: str) -> str:
    language, *subtags = tag.split("-")
    spelled = [language.lower()]
    in_extension = False
    for subtag in subtags:
        in_extension = in_extension or len(subtag) == 1
        if in_extension or not subtag.isalpha():
            spelled.append(subtag.lower())
        elif len(subtag) == 2:
            spelled.append(subtag.upper())
        elif len(subtag) == 4:
            spelled.append(subtag.title())
        else:
            spelled.append(subtag.lower())
    return "-".join(spelled)
