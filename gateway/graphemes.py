"""What a reader takes for one character: a letter with its accents, a flag, a family of emoji.

Unicode's extended grapheme clusters (UAX #29, section 3.1.1), by the properties that Python's own tables
have. What stands outside of them is written down below; a character that a later Unicode adds counts as one
of its own.
"""

import unicodedata
from typing import Final

_JOINER: Final = "\u200d"

# Extended_Pictographic, where emoji are joined. Skin tones and the letters of flags are not.
_PICTOGRAPHS: Final = (
    *((0xA9, 0xA9), (0xAE, 0xAE), (0x203C, 0x203C), (0x2049, 0x2049), (0x2122, 0x2122), (0x2139, 0x2139)),
    *((0x2194, 0x21AA), (0x2300, 0x23FF), (0x24C2, 0x24C2), (0x25AA, 0x25FE), (0x2600, 0x27BF)),
    *((0x2934, 0x2935), (0x2B00, 0x2BFF), (0x3030, 0x3030), (0x303D, 0x303D), (0x3297, 0x3297)),
    *((0x3299, 0x3299), (0x1F000, 0x1F1E5), (0x1F200, 0x1F3FA), (0x1F400, 0x1FAFF)),
)
# Extend, beyond the combining marks: the non-joiner, half-width sound marks, skin tones, and tags (the flag
# of Wales). Then the two vowels that are SpacingMark and letters.
_TRAILING: Final = (
    *((0x200C, 0x200C), (0xFF9E, 0xFF9F), (0x1F3FB, 0x1F3FF), (0xE0020, 0xE007F)),
    *((0xE33, 0xE33), (0xEB3, 0xEB3)),
)
_LEADING: Final = ((0x600, 0x605), (0x6DD, 0x6DD), (0x70F, 0x70F), (0x8E2, 0x8E2), (0x110BD, 0x110BD))
_FLAG_LETTERS: Final = ((0x1F1E6, 0x1F1FF),)
# The signs that join two consonants into one (Indic_Conjunct_Break=Linker).
_LINKERS: Final = frozenset("\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d")

_HANGUL_L: Final = ((0x1100, 0x115F), (0xA960, 0xA97C))
_HANGUL_V: Final = ((0x1160, 0x11A7), (0xD7B0, 0xD7C6))
_HANGUL_T: Final = ((0x11A8, 0x11FF), (0xD7CB, 0xD7FB))
_FIRST_SYLLABLE: Final = 0xAC00
_LAST_SYLLABLE: Final = 0xD7A3
_SYLLABLES_A_PAIR: Final = 28

_Ranges = tuple[tuple[int, int], ...]


def graphemes(text: str) -> list[str]:
    """Split a text into what readers call characters; joined they are the text again."""
    clusters: list[str] = []
    for character in text:
        if clusters and _belongs_to(clusters[-1], character):
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters


def _belongs_to(cluster: str, character: str) -> bool:
    """Whether there is no boundary between a cluster and the character that follows it (GB3 to GB13)."""
    last = cluster[-1]
    if last == "\r" and character == "\n":
        return True
    if _is_control(last) or _is_control(character):
        return False
    if _is_trailing(character) or _is_in(last, _LEADING):
        return True
    if last == _JOINER:
        return _is_in(character, _PICTOGRAPHS) and _is_in(cluster.rstrip(_JOINER)[:1], _PICTOGRAPHS)
    if _is_in(character, _FLAG_LETTERS):
        return len(cluster) == 1 and _is_in(cluster, _FLAG_LETTERS)
    return _joins_hangul(last, character) or _joins_consonants(cluster, character)


def _is_control(character: str) -> bool:
    category = unicodedata.category(character)
    return category in ("Cc", "Zl", "Zp", "Cs") or (
        category == "Cf" and not _is_trailing(character) and not _is_in(character, _LEADING)
    )


def _is_trailing(character: str) -> bool:
    return (
        character == _JOINER
        or unicodedata.category(character) in ("Mn", "Me", "Mc")
        or _is_in(character, _TRAILING)
    )


def _joins_hangul(left: str, right: str) -> bool:
    code = ord(left)
    is_syllable = _FIRST_SYLLABLE <= code <= _LAST_SYLLABLE
    is_open = is_syllable and (code - _FIRST_SYLLABLE) % _SYLLABLES_A_PAIR == 0
    right_is_syllable = _FIRST_SYLLABLE <= ord(right) <= _LAST_SYLLABLE
    if _is_in(left, _HANGUL_L):
        return right_is_syllable or _is_in(right, _HANGUL_L) or _is_in(right, _HANGUL_V)
    if is_open or _is_in(left, _HANGUL_V):
        return _is_in(right, _HANGUL_V) or _is_in(right, _HANGUL_T)
    return (is_syllable or _is_in(left, _HANGUL_T)) and _is_in(right, _HANGUL_T)


def _joins_consonants(cluster: str, character: str) -> bool:
    base = cluster.rstrip("".join(_LINKERS) + _JOINER)
    tail = cluster[len(base) :]
    return (
        unicodedata.category(character) == "Lo"
        and any(sign in _LINKERS for sign in tail)
        and ord(character) >> 7 == ord(cluster[0]) >> 7  # one script's block
    )


def _is_in(character: str, ranges: _Ranges) -> bool:
    return bool(character) and any(first <= ord(character) <= last for first, last in ranges)
