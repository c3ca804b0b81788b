"""A list in a JSON file, read item by item: a file of any length takes the memory of its longest item."""

import json
import re
from collections.abc import Iterator
from typing import Final, TextIO

LONGEST_ITEM: Final = 256 * 1024
"""Characters; a list with a longer one is not read on."""

_PIECE: Final = 64 * 1024
_BETWEEN: Final = re.compile(r"[\s,]*")


class BrokenJson(Exception):
    """The list stops being JSON; what came before has been given."""


def beginning_of(text: TextIO) -> str:
    """Return the first 64 Ki characters."""
    return text.read(_PIECE)


def items(text: TextIO, buffer: str) -> Iterator[object]:
    """Give the items of a list.

    Args:
        text: The file, from where `buffer` ends.
        buffer: What has been read, from behind the list's opening bracket.

    Raises:
        BrokenJson: It does not go on as a list of JSON values.
    """
    decoder = json.JSONDecoder()
    at = 0
    while True:
        at = _BETWEEN.match(buffer, at).end()  # type: ignore[union-attr]  # it matches the empty text
        if buffer.startswith("]", at):
            return
        try:
            if at == len(buffer):
                raise ValueError("nothing there")
            item, after = decoder.raw_decode(buffer, at)
            if after == len(buffer) and buffer[-1] not in '}]"':
                raise ValueError("a number may go on")
        except (ValueError, RecursionError) as error:
            piece = text.read(_PIECE)
            if not piece or len(buffer) - at > LONGEST_ITEM or isinstance(error, RecursionError):
                raise BrokenJson from None
            buffer, at = buffer[at:] + piece, 0
            continue
        yield item
        at = after
