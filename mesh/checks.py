"""Unpacking requests: every bad field is noted, and all are answered at once.

    checks = Checks()
    note = checks.text("note", request.note, longest=1024, multiline=True)
    movie_id = checks.movie_id("movie_id", request.movie_id)
    checks.done()

What a check returns for a bad value is of the right type and otherwise meaningless: use nothing before
`done()`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

from google.protobuf.descriptor import EnumDescriptor

from mesh.errors import InvalidInput, Violation
from mesh.page_tokens import PageTokens

# C0, DEL and C1 without tab and newline; PostgreSQL refuses the first of them. Lone surrogates are not text
# at all.
_CONTROL_IN_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_IN_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LARGEST_MOVIE_ID: Final = 2**31 - 1


class Enum(Protocol):
    """An enum of the generated code: `backlog_pb2.EntryStatus`."""

    @property
    def DESCRIPTOR(self) -> EnumDescriptor:
        """What it is made of."""


class Checks:
    """Collects what is wrong with one request."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def text(
        self, field: str, value: str, *, longest: int, shortest: int = 0, multiline: bool = False
    ) -> str:
        """Return a text without surrounding white space.

        Args:
            field: The field's path in the contract's spelling.
            value: What was sent.
            longest: The most code points it may have, once stripped.
            shortest: The fewest; 1 makes it required.
            multiline: Whether newlines and tabs may stand in it. Line ends become newlines.
        """
        text = value.strip(" \t\r\n")
        if multiline:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if (_CONTROL_IN_LINES if multiline else _CONTROL_IN_LINE).search(text):
            allowed = " other than line breaks and tabs" if multiline else ""
            self._add(field, "CONTROL_CHARACTER", f"Must not contain control characters{allowed}.")
            return ""
        text = text.strip()
        if len(text) > longest:
            self._add(field, "TOO_LONG", f"Must have at most {longest} characters; this has {len(text)}.")
        elif len(text) < shortest:
            if text:
                self._add(
                    field, "TOO_SHORT", f"Must have at least {shortest} characters; this has {len(text)}."
                )
            else:
                self._add(field, "REQUIRED", "Must not be empty.")
        return text

    def movie_id(self, field: str, value: int) -> int:
        """Return a film's id: TMDB's, 1 or more."""
        if not 1 <= value <= _LARGEST_MOVIE_ID:
            self._add(field, "INVALID_MOVIE_ID", "Must be the id of a film: a whole number from 1.")
        return value

    def page_size(self, field: str, value: int, *, default: int, most: int) -> int:
        """Return how many rows to give: `default` for 0, `most` for anything above it (AIP-158)."""
        if value < 0:
            self._add(field, "NEGATIVE_PAGE_SIZE", "Must be 0 or more.")
            return default
        return min(value or default, most)

    def page_token(
        self, field: str, token: str, *, tokens: PageTokens, kind: str, query: Mapping[str, object]
    ) -> list[Any]:
        """Return the position in a page token, empty for the first page. See `PageTokens.open`."""
        try:
            return tokens.open(kind, query, token)
        except InvalidInput as error:
            for violation in error.violations:
                self._add(field, violation.reason, violation.description)
            return []

    def choice(self, field: str, value: int, enum: Enum, *, default: int | None = None) -> int:
        """Return an enum's value.

        Args:
            field: The field's path.
            value: What was sent; proto3 enums are open, so it may be any number.
            enum: The generated enum.
            default: What 0 (UNSPECIFIED) stands for; None when the field must be set.
        """
        known = enum.DESCRIPTOR.values_by_number
        if value == 0:
            if default is None:
                self._add(field, "REQUIRED", f"Must be one of {_names(enum)}.")
                return value
            return default
        if value not in known:
            self._add(field, "UNKNOWN_VALUE", f"Must be one of {_names(enum)}.")
        return value

    def require(self, holds: bool, field: str, reason: str, description: str) -> None:
        """Note a violation unless `holds`."""
        if not holds:
            self._add(field, reason, description)

    def done(self) -> None:
        """End the checking.

        Raises:
            InvalidInput: With everything that was noted.
        """
        if self._violations:
            raise InvalidInput(self._violations)

    def _add(self, field: str, reason: str, description: str) -> None:
        self._violations.append(Violation(field=field, reason=reason, description=description))


def _names(enum: Enum) -> str:
    return ", ".join(value.name for value in enum.DESCRIPTOR.values if value.number != 0)
