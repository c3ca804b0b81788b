"""Comments of the contract, as somebody reads them who speaks JSON: names in lowerCamelCase."""

from __future__ import annotations

import re
from collections.abc import Set

_SNAKE = re.compile(r"(?<![\w.-])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w-])")
_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z`])")


def camel(name: str) -> str:
    """Returns protobuf's JSON name of a field: `page_size` is `pageSize`."""
    first, *others = name.split("_")
    return first + "".join(other[:1].upper() + other[1:] for other in others)


def in_json(comment: str, field_names: Set[str]) -> str:
    """Returns a comment with the contract's field names as they are spelled in JSON."""
    return _SNAKE.sub(lambda found: camel(found[0]) if found[0] in field_names else found[0], comment)


def first_sentence(comment: str) -> str:
    """Returns what a comment begins with, for a list of many things."""
    return _SENTENCE.split(comment.split("\n\n", 1)[0], maxsplit=1)[0]
