"""What counts as one character of a name."""

from __future__ import annotations

import pytest

from gateway.accounts import LONGEST_DISPLAY_NAME, MOST_CODE_POINTS, showable_name
from gateway.graphemes import graphemes
from gateway.names import read_display_name
from mesh.checks import Checks
from mesh.errors import InvalidInput

ONE_CHARACTER = {
    "a letter": "a",
    "an accent of its own": "e\u0301",
    "a tower of accents": "o\u0302\u0323\u0308",
    "a flag": "🇩🇪",
    "the flag of Wales": "🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f",
    "a family": "👨\u200d👩\u200d👧\u200d👦",
    "a skin tone": "👍🏽",
    "a rainbow flag": "🏳\ufe0f\u200d🌈",
    "a red heart": "❤\ufe0f",
    "a key cap": "1\ufe0f\u20e3",
    "a syllable of jamo": "\u1112\u1161\u11ab",
    "a syllable and a final": "\uac00\u11a8",
    "a vowel sign": "नि",
    "a conjunct": "क्ष",
    "Thai with a vowel": "กำ",
    "a line end": "\r\n",
}


@pytest.mark.parametrize("character", ONE_CHARACTER.values(), ids=ONE_CHARACTER.keys())
def test_what_readers_take_for_one_character_counts_as_one(character: str) -> None:
    assert graphemes(character) == [character]
    assert graphemes(f"a{character}b") == ["a", character, "b"]
    two = graphemes(character * 2)
    assert two == [character, character]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("Ada", ["A", "d", "a"]),
        ("🇩🇪🇫🇷🇩", ["🇩🇪", "🇫🇷", "🇩"]),
        ("a\u200d👩", ["a\u200d", "👩"]),
        ("한국", ["한", "국"]),
        ("a\nb", ["a", "\n", "b"]),
        ("\u0301a", ["\u0301", "a"]),
        ("क\u094da", ["क\u094d", "a"]),
    ],
)
def test_what_readers_take_for_several_stays_apart(text: str, parts: list[str]) -> None:
    assert graphemes(text) == parts


def read(name: str, *, required: bool = True) -> str:
    checks = Checks()
    text = read_display_name(checks, "display_name", name, required=required)
    checks.done()
    return text


def refused(name: str) -> set[str]:
    with pytest.raises(InvalidInput) as caught:
        read(name)
    return {violation.reason for violation in caught.value.violations}


@pytest.mark.parametrize("character", ["n", "🍿", "👨\u200d👩\u200d👧\u200d👦", "🇩🇪"])
def test_a_name_has_fifty_characters_whatever_they_are_made_of(character: str) -> None:
    assert read(character * LONGEST_DISPLAY_NAME) == character * LONGEST_DISPLAY_NAME
    assert refused(character * (LONGEST_DISPLAY_NAME + 1)) == {"TOO_LONG"}


def test_a_name_has_something_to_see_and_no_tower_of_accents() -> None:
    assert refused("") == {"REQUIRED"}
    assert refused("\u200b\u2060") == {"INVISIBLE"}
    assert refused("Z" + "\u0301" * MOST_CODE_POINTS) == {"TOO_LONG"}
    assert refused("a\x00b") == {"CONTROL_CHARACTER"}
    assert read("", required=False) == ""


def test_a_name_that_a_provider_tells_is_cut_between_characters() -> None:
    family = "👨\u200d👩\u200d👧\u200d👦"
    assert showable_name(family * 60) == family * LONGEST_DISPLAY_NAME
    assert len(showable_name("Z" + "\u0301" * 100_000)) <= MOST_CODE_POINTS
