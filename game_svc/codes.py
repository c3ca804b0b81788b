"""A room's code: what one friend reads out to another.

Crockford's base 32 (https://www.crockford.com/base32.html): no I, L, O or U, read without regard to case,
with the look-alikes taken for the digits they look like. Eight symbols are 40 bits: nobody finds a room by
trying.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 8

_LOOK_ALIKES = str.maketrans({"O": "0", "I": "1", "L": "1"})


def new_code(choose: Callable[[Sequence[str]], str]) -> str:
    """Return a new code; `choose` picks one of the symbols and must not be predictable (`secrets.choice`)."""
    return "".join(choose(ALPHABET) for _ in range(LENGTH))


def read_code(text: str) -> str | None:
    """Return the code somebody typed, in its one spelling; None when it is not a code."""
    code = text.strip().upper().replace("-", "").translate(_LOOK_ALIKES)
    return code if len(code) == LENGTH and all(symbol in ALPHABET for symbol in code) else None
