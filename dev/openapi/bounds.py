"""What a request's comments promise about its fields, as JSON Schema says it.

Only turns of phrase that mean the same wherever they stand are understood; what is said in any other way
stays in the description alone. A wrong bound would be worse than none, so these err on the wide side:

    up to 200 characters          maxLength 200
    1 to 60 characters            and minLength 1, unless an empty text means something ("Empty: ...")
    ... as readers count them     nothing: JSON Schema counts code points; "400 code points at most" is one
    at least 1                    minimum 1
    1 to 500                      minimum 1, maximum 500; from 0 where 0 is the same as leaving it out
    0.5 to 5 in steps of a half   and multipleOf 0.5
    0 means 20                    default 20
    At most 10. Up to 20 tags     maxItems

`tests/test_openapi.py` goes beyond each of them and expects the field to be refused by name.
"""

from __future__ import annotations

import re
from typing import Any, Final

from dev.contract import Field, is_list

_NUMBER: Final = r"(\d[\d,]*(?:\.\d+)?)"
_CHARACTERS = re.compile(rf"(?:{_NUMBER} to |[Uu]p to ){_NUMBER} (?:printable )?characters(?! as readers)")
_CODE_POINTS = re.compile(rf"{_NUMBER} code points at most")
_MEANS_SOMETHING_EMPTY = re.compile(r"\bEmpty\b|\bempty\b|; with ")
_AT_LEAST = re.compile(rf"\b[Aa]t least {_NUMBER}(?=[.,;]|$)")
_RANGE = re.compile(rf"(?<![\w.]){_NUMBER} to {_NUMBER}(?=[.,;]| in steps|$)")
_STEPS = re.compile(r"in steps of a half")
_ZERO_MEANS = re.compile(rf"\b0 means {_NUMBER}(?=[.;,]|$)")
_FROM_ZERO = re.compile(r"\b0 means\b")
_ITEMS = re.compile(rf"\b(?:At most {_NUMBER}\b(?! characters)|[Uu]p to {_NUMBER} (?!characters)[a-z]+)")

_TEXT: Final = Field.TYPE_STRING
_WHOLE: Final = frozenset({Field.TYPE_INT32, Field.TYPE_UINT32})
_BROKEN: Final = frozenset({Field.TYPE_DOUBLE, Field.TYPE_FLOAT})


def of_value(field: Field, comment: str) -> dict[str, Any]:
    """Returns what holds for one value of a request's field: of a list's items, where it is one."""
    if field.type == _TEXT:
        return _of_text(comment)
    if field.type in _WHOLE | _BROKEN and not is_list(field):
        return _of_number(field, comment)
    return {}


def of_list(comment: str) -> dict[str, Any]:
    """Returns what holds for a list as a whole."""
    found = _ITEMS.search(comment)
    return {} if found is None else {"maxItems": _number(found[1] or found[2])}


def _of_text(comment: str) -> dict[str, Any]:
    found = _CHARACTERS.search(comment)
    if found is None:
        points = _CODE_POINTS.search(comment)
        return {} if points is None else {"maxLength": _number(points[1])}
    bounds = {"maxLength": _number(found[2])}
    if found[1] and not _MEANS_SOMETHING_EMPTY.search(comment):
        bounds["minLength"] = _number(found[1])
    return bounds


def _of_number(field: Field, comment: str) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    if found := _RANGE.search(comment):
        # Leaving a field out and sending 0 are one and the same, unless the contract tells them apart.
        bounds["minimum"] = _number(found[1]) if field.proto3_optional else 0
        bounds["maximum"] = _number(found[2])
    elif found := _AT_LEAST.search(comment):
        bounds["minimum"] = _number(found[1])
    elif _FROM_ZERO.search(comment):
        bounds["minimum"] = 0
    if _STEPS.search(comment):
        bounds["multipleOf"] = 0.5
    if found := _ZERO_MEANS.search(comment):
        bounds["default"] = _number(found[1])
    return bounds


def _number(text: str) -> int | float:
    plain = text.replace(",", "")
    return float(plain) if "." in plain else int(plain)
