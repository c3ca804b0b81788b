import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidInput
from mesh.page_tokens import PageTokens

TOKENS = PageTokens(b"a key of more than thirty-two bytes")
SCALAR = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)
QUERY = st.dictionaries(st.text(max_size=10), SCALAR | st.lists(SCALAR, max_size=3), max_size=4)
POSITION = st.lists(SCALAR, max_size=4)


def refused(kind: str, query: dict[str, Any], token: str, tokens: PageTokens = TOKENS) -> bool:
    try:
        tokens.open(kind, query, token)
    except InvalidInput as error:
        return [violation.field for violation in error.violations] == ["page_token"]
    return False


@given(st.text(max_size=10), QUERY, POSITION)
def test_what_was_sealed_comes_back(kind: str, query: dict[str, Any], position: list[Any]) -> None:
    token = TOKENS.seal(kind, query, position)
    assert TOKENS.open(kind, query, token) == position
    assert TOKENS.open(kind, dict(reversed(query.items())), token) == position
    assert len(token) <= 1024
    assert token.isascii()


@given(QUERY, POSITION, st.data())
def test_a_token_with_any_character_changed_is_refused(
    query: dict[str, Any], position: list[Any], data: st.DataObject
) -> None:
    token = TOKENS.seal("list", query, position)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda character: character != token[at]))
    changed = token[:at] + other + token[at + 1 :]
    # The last character may carry bits that base64 does not use; then the bytes are the same ones.
    assert refused("list", query, changed) or _same_bytes(token, changed)


def _same_bytes(one: str, other: str) -> bool:
    return len({base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)) for token in (one, other)}) == 1


@given(QUERY, QUERY, POSITION)
def test_a_token_is_good_for_its_own_filters_only(
    query: dict[str, Any], other: dict[str, Any], position: list[Any]
) -> None:
    token = TOKENS.seal("list", query, position)
    assert refused("list", other, token) == (repr(sorted(query.items())) != repr(sorted(other.items())))


def test_a_token_is_good_for_its_own_list_and_key_only() -> None:
    token = TOKENS.seal("backlog", {"user": "u"}, [1])
    assert refused("backlo", {"user": "u"}, token)
    assert refused("matches", {"user": "u"}, token)
    assert refused("backlog", {"user": "u"}, token, PageTokens(b"another key of thirty-two bytes or so"))


@given(st.text(min_size=1, max_size=1500))
def test_nonsense_is_refused(token: str) -> None:
    assert refused("list", {}, token)


def test_a_longer_token_is_not_even_looked_at() -> None:
    assert refused("list", {}, "A" * 1025)


def test_no_token_is_the_first_page() -> None:
    assert TOKENS.open("list", {}, "") == []


def test_a_key_needs_thirty_two_bytes() -> None:
    PageTokens(b"k" * 32)
    with pytest.raises(ValueError, match="at least 32 bytes"):
        PageTokens(b"k" * 31)


def test_what_cannot_be_sealed_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="1024 is the most"):
        TOKENS.seal("list", {}, ["x" * 1024])
    with pytest.raises(ValueError, match="not JSON compliant"):
        TOKENS.seal("list", {}, [float("nan")])
    with pytest.raises(TypeError):
        TOKENS.seal("list", {"user": object()}, [1])
