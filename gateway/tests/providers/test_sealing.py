"""Secrets of others, encrypted: they open for whom they are meant, and keys can be exchanged."""

from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sealing import NONCE_BYTES, CannotOpen, Sealed, Sealer, SealingKey, read_keys

OLD, NEW = SealingKey("old", b"o" * 32), SealingKey("new", b"n" * 32)


def sealer(*keys: SealingKey) -> Sealer:
    numbers = itertools.count()
    return Sealer(keys, new_nonce=lambda: next(numbers).to_bytes(NONCE_BYTES, "big"))


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=300), st.text(max_size=50))
def test_what_was_sealed_opens_again_and_looks_like_nothing(secret: str, purpose: str) -> None:
    ours = sealer(NEW)
    sealed, again = ours.seal(secret, bound_to=purpose), ours.seal(secret, bound_to=purpose)
    assert ours.open(sealed, bound_to=purpose) == secret
    assert sealed.text != again.text
    assert len(secret) < 4 or secret.encode() not in sealed.text


def test_the_first_key_encrypts_and_all_of_them_decrypt() -> None:
    before = sealer(OLD).seal("secret", bound_to="x")
    during = sealer(NEW, OLD)
    assert during.open(before, bound_to="x") == "secret"
    assert during.seal("secret", bound_to="x").key_id == "new"
    with pytest.raises(CannotOpen):
        sealer(NEW).open(before, bound_to="x")


def test_what_was_meddled_with_does_not_open() -> None:
    ours = sealer(NEW, OLD)
    sealed = ours.seal("secret", bound_to="x")
    flipped = bytes([sealed.text[-1] ^ 1])
    for changed in (
        Sealed("new", sealed.text[:-1] + flipped),
        Sealed("new", bytes([sealed.text[0] ^ 1]) + sealed.text[1:]),
        Sealed("new", sealed.text[:20]),
        Sealed("new", b""),
        Sealed("old", sealed.text),
        Sealed("gone", sealed.text),
    ):
        with pytest.raises(CannotOpen):
            ours.open(changed, bound_to="x")
    with pytest.raises(CannotOpen):
        ours.open(sealed, bound_to="somewhere else")


def encoded(length: int) -> str:
    return base64.b64encode(b"k" * length).decode()


def test_keys_are_read_as_the_setting_spells_them() -> None:
    keys = read_keys([f"2026-b:{encoded(32)}", f"a:{encoded(32)}"])
    assert [key.key_id for key in keys] == ["2026-b", "a"]
    assert keys[0].key == b"k" * 32
    assert "kkkk" not in repr(keys)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [encoded(32)],
        [f":{encoded(32)}"],
        [f"a:{encoded(16)}"],
        [f"a:{encoded(33)}"],
        ["a:not base64!"],
        [f"a b:{encoded(32)}"],
        [f"a:{encoded(32)}", f"a:{encoded(32)}"],
    ],
    ids=str,
)
def test_keys_of_another_shape_are_refused_without_quoting_them(values: list[str]) -> None:
    with pytest.raises(ValueError, match=r"there should be|each should be|not in base64") as caught:
        read_keys(values)
    assert encoded(16)[:8] not in str(caught.value)
