"""Codes survive being read out, typed in and guessed at."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from game_svc.codes import ALPHABET, LENGTH, new_code, read_code


def test_a_new_code_is_its_own_one_spelling() -> None:
    code = new_code(secrets.choice)
    assert len(code) == LENGTH
    assert read_code(code) == code


@given(st.text(ALPHABET, min_size=LENGTH, max_size=LENGTH), st.integers(0, LENGTH))
def test_case_and_hyphens_do_not_count(code: str, hyphen: int) -> None:
    assert read_code(f" {code[:hyphen]}-{code[hyphen:]}".lower()) == code


@given(st.text(max_size=12))
def test_what_is_read_is_a_code_or_nothing(text: str) -> None:
    read = read_code(text)
    assert read is None or (len(read) == LENGTH and set(read) <= set(ALPHABET))


@pytest.mark.parametrize(("typed", "read"), [("oO0iIlL1", "00011111"), ("UUUUUUUU", None), ("7K3MXQ2", None)])
def test_look_alikes_are_digits_and_u_is_nothing(typed: str, read: str | None) -> None:
    assert read_code(typed) == read
