"""Titles as people type them: without accents, case and punctuation.

Every code point is folded by itself, so the folding of a beginning is the beginning of the folding, and what
somebody has typed so far can be looked up as it is:

    NFKD, casefold, NFKD     "É" -> "é" -> "e" and an accent; "ß" -> "ss"; "ﬁ" -> "fi"; "한" -> its letters
    accents dropped          combining marks, except those that make another letter (nukta, virama, kana's
                             voicing) and the vowel signs of scripts that write vowels as marks
    letters without a        ø -> o, ł -> l, đ -> d, ð -> d, þ -> th, æ -> ae, œ -> oe, ...
    decomposition
    what is left             letters and digits stay; white space parts words; punctuation does both: it parts
                             words ("spider man") and is ignored ("spiderman"), whichever was typed
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_NO_SIGNS: Final = frozenset({"Cc", "Cs", "Zs", "Zl", "Zp"})
_PUNCTUATION: Final = "\x00"
# Nukta, kana's voicing and virama: without them it is another letter, not the same one without its accent.
_KEPT_MARKS: Final = frozenset({0, 7, 8, 9})
_LETTERS: Final = {
    "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h",
    "ŧ": "t", "ŋ": "n", "ĸ": "k", "ƒ": "f",
}  # fmt: skip

# Scripts that are written without spaces: any of their letters may begin a word.
_UNSPACED: Final = (
    "\u0e01-\u0e30\u0e40-\u0e45"  # Thai: consonants, and the vowels that stand before them
    "\u0e81-\u0eb0\u0ec0-\u0ec4"  # Lao
    "\u1000-\u102a\u1780-\u17b3"  # Burmese, Khmer
    "\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"  # kana and Han
)
_WORD_START: Final = re.compile(rf"(?:^|(?<= ))\S|[{_UNSPACED}]")


def foldings(text: str) -> tuple[str, ...]:
    """Return the ways in which a title, or what was typed of one, is looked up.

    One, or two when there is punctuation inside words: "spider man" and "spiderman" of "Spider-Man". Words
    are parted by single spaces. A text without letters and digits ("!!!") is taken as it is; an empty one has
    none.
    """
    marked = "".join(map(_fold, text))
    parted = " ".join(marked.replace(_PUNCTUATION, " ").split())
    if not parted:
        signs = (" " if unicodedata.category(char) in _NO_SIGNS else char for char in text.casefold())
        symbols = " ".join("".join(signs).split())
        return (symbols,) if symbols else ()
    joined = " ".join(marked.replace(_PUNCTUATION, "").split())
    return (parted,) if joined == parted else (parted, joined)


def word_starts(folded: str) -> Iterator[int]:
    """Yield where the words of a folded title begin."""
    for match in _WORD_START.finditer(folded):
        yield match.start()


@lru_cache(maxsize=16_384)
def _fold(char: str) -> str:
    folded: list[str] = []
    for part in unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold()):
        category = unicodedata.category(part)
        if category == "Cf" or (category[0] == "M" and unicodedata.combining(part) not in _KEPT_MARKS):
            continue
        if category[0] in "LNM":
            folded.append(_LETTERS.get(part, part))
        elif category[0] == "Z" or category in ("Cc", "Cs"):
            folded.append(" ")
        else:
            folded.append(_PUNCTUATION)
    return "".join(folded)
