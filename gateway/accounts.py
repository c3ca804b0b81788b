"""Accounts: who somebody is to us, and what they are called."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from gateway.graphemes import graphemes
from gateway.identity_tokens import Provider

LONGEST_DISPLAY_NAME = 50
"""Characters, as readers count them (graphemes), that a display name may have."""

MOST_CODE_POINTS = 400
"""Code points that those may be made of: fifty families of emoji fit, a tower of accents does not."""

NAME_OF_THE_NAMELESS = "Film Fan"
"""What people are called who told no name, and whose provider told none."""

_BLANKS = re.compile(r"\s+")
# Would turn around what stands beside the name; a name in Arabic or Hebrew needs none of them.
_TURNS_TEXT = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class AccountGone(Exception):
    """The token is genuine, and its account is not there (any more)."""

    status = "UNAUTHENTICATED"
    reason = "ACCOUNT_GONE"
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__("This account does not exist any more. Please sign in again.")


@dataclass(frozen=True, slots=True)
class LinkedIdentity:
    """One way to sign in to an account."""

    provider: Provider
    """Who vouches."""
    email: str
    """The verified address that the provider told last, for its owner's eyes only. May be empty."""
    link_time: datetime
    """When it was added."""
    private_email: bool
    """Whether the address is one that Apple forwards from."""
    email_disabled: bool
    """Whether Apple does not forward at the moment, as the person wants it."""


@dataclass(frozen=True, slots=True)
class Account:
    """A person, as we know them."""

    user_id: UUID
    """Our id of the person."""
    display_name: str
    """What others see."""
    language: str
    """BCP 47, or empty."""
    region: str
    """ISO 3166-1 alpha-2, or empty."""
    guest: bool
    """Whether it is a guest's."""
    create_time: datetime
    """When it was made."""
    identities: tuple[LinkedIdentity, ...]
    """The ways to sign in, the oldest first."""


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What an account begins with, should this sign-in turn out to be the first."""

    user_id: UUID
    """The id that the account would get."""
    display_name: str
    """What others would see."""
    language: str
    """The language of the first sign-in, BCP 47, or empty."""
    region: str
    """The region of the first sign-in, ISO 3166-1 alpha-2, or empty."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """What an account would like where a call says nothing."""

    language: str
    """BCP 47, or empty."""
    region: str
    """ISO 3166-1 alpha-2, or empty."""


@dataclass(frozen=True, slots=True)
class AccountChanges:
    """New values of an account's fields; None leaves one as it is."""

    display_name: str | None = None
    """What others see."""
    language: str | None = None
    """BCP 47, or empty for none."""
    region: str | None = None
    """ISO 3166-1 alpha-2, or empty for none."""


def first_display_name(*, asked_for: str, told: str) -> str:
    """Return what a new account is called: what the person asked for, else what the provider told.

    Args:
        asked_for: The app's `display_name`, already checked. May be empty.
        told: The provider's name, as foreign as any input. May be empty.
    """
    return showable_name(asked_for) or showable_name(told) or NAME_OF_THE_NAMELESS


def showable_name(name: str) -> str:
    """Return a name in one line of NFC, cut after 50 graphemes; empty when nothing of it can be seen."""
    shown = "".join(
        character
        for character in unicodedata.normalize("NFC", _BLANKS.sub(" ", name))
        if unicodedata.category(character) not in ("Cc", "Cs") and character not in _TURNS_TEXT
    )
    # The first cut is only there so that nobody makes us count for long.
    shown = "".join(graphemes(shown[: MOST_CODE_POINTS + 1])[:LONGEST_DISPLAY_NAME])
    if len(shown) > MOST_CODE_POINTS:
        shown = shown[:LONGEST_DISPLAY_NAME]
    shown = shown.strip()
    return shown if any(character.isprintable() and not character.isspace() for character in shown) else ""
