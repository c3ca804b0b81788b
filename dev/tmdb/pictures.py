"""Posters, backdrops and logos, drawn on demand: colours from the id, the title and the year in letters.

A picture's name says what it shows: `p603` is the poster of film 603, `b603` its backdrop, `l8` the logo of
provider 8. As `.svg` it carries the words; as `.png` only the colours, for clients that show no SVG.
"""

import colorsys
import re
import struct
import textwrap
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from xml.sax.saxutils import escape

from dev.tmdb.catalogue import Catalogue

NAME: Final = re.compile(r"([pbl])(\d{1,9})\.(svg|png)")
SIZE: Final = re.compile(r"w(\d{2,4})|h(\d{2,4})|original")

_SHAPES: Final = {"p": (1000, 1500), "b": (1280, 720), "l": (100, 100)}


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn picture and its media type."""

    content: bytes
    media_type: str


def draw(catalogue: Catalogue, *, size: str, name: str) -> Picture | None:
    """The picture `name` (`p603.svg`) in `size` (`w342`, `h632`, `original`), or None."""
    named, sized = NAME.fullmatch(name), SIZE.fullmatch(size)
    if named is None or sized is None:
        return None
    shape, number, kind = named[1], int(named[2]), named[3]
    words = _words(catalogue, shape, number)
    if words is None:
        return None
    full_width, full_height = _SHAPES[shape]
    width, height = full_width, full_height
    if sized[1]:
        width, height = int(sized[1]), round(int(sized[1]) * full_height / full_width)
    elif sized[2]:
        width, height = round(int(sized[2]) * full_width / full_height), int(sized[2])
    if kind == "png":
        return Picture(_png(number, width, height), "image/png")
    return Picture(_svg(shape, number, width, height, *words).encode(), "image/svg+xml")


def _words(catalogue: Catalogue, shape: str, number: int) -> tuple[str, str] | None:
    """The large and the small words of a picture."""
    if shape == "l":
        provider = catalogue.providers.get(number)
        return (provider.name, "") if provider else None
    film = catalogue.get(number)
    if film is None:
        return None
    by = ", ".join(film.directors[:2])
    return film.title, " \N{MIDDLE DOT} ".join(part for part in (film.released[:4], by) if part)


def _colours(number: int) -> tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]:
    """A dark, a middle and a bright colour of one family; ids side by side are far apart in hue."""
    hue = number * 0.6180339887 % 1
    shades = (
        colorsys.hls_to_rgb(hue, 0.16, 0.55),
        colorsys.hls_to_rgb((hue + 0.06) % 1, 0.36, 0.6),
        colorsys.hls_to_rgb((hue + 0.12) % 1, 0.72, 0.85),
    )
    dark, middle, bright = ((int(r * 255), int(g * 255), int(b * 255)) for r, g, b in shades)
    return dark, middle, bright


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


@lru_cache(maxsize=512)
def _svg(shape: str, number: int, width: int, height: int, large: str, small: str) -> str:
    """Draws in the full size's coordinates; the picture's width and height only scale it."""
    full_width, full_height = _SHAPES[shape]
    dark, middle, bright = (_hex(colour) for colour in _colours(number))
    if shape == "l":
        letters = "".join(word[0] for word in large.split() if word[0].isalnum())[:2].upper() or large[:1]
        inside = (
            f'<text x="50" y="66" font-size="46" text-anchor="middle" fill="#fff">{escape(letters)}</text>'
        )
    else:
        inside = _poster(shape, number, large, small, bright)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {full_width} {full_height}" font-family="Georgia, serif" font-weight="bold">'
        f"<title>{escape(large)}</title>"
        f'<defs><linearGradient id="g" x1="0" y1="0" x2="0.4" y2="1"><stop offset="0" stop-color="{middle}"/>'
        f'<stop offset="1" stop-color="{dark}"/></linearGradient></defs>'
        f'<rect width="{full_width}" height="{full_height}" fill="url(#g)"/>{inside}</svg>'
    )


def _poster(shape: str, number: int, large: str, small: str, bright: str) -> str:
    """Three discs of light, a strip of perforation, the title, a rule and the small words."""
    full_width, full_height = _SHAPES[shape]
    discs = "".join(
        f'<circle cx="{(number * step) % full_width}" cy="{(number * step * 7) % int(full_height * 0.6)}" '
        f'r="{full_width * part:.0f}" fill="{bright}" opacity="{opacity}"/>'
        for step, part, opacity in ((37, 0.34, 0.16), (61, 0.2, 0.22), (89, 0.09, 0.5))
    )
    holes = "".join(
        f'<rect x="{x}" y="18" width="34" height="26" rx="6" fill="#000" opacity="0.35"/>'
        for x in range(18, full_width - 34, 66)
    )
    lines = textwrap.wrap(large, 13 if shape == "p" else 24, max_lines=5, placeholder=" …") or [""]
    font = min(130 if shape == "p" else 96, int(full_width * 1.55 / max(len(line) for line in lines)))
    top = full_height * 0.82 - (len(lines) - 1) * font * 1.08
    title = "".join(
        f'<text x="70" y="{top + row * font * 1.08:.0f}" font-size="{font}" fill="#fff">{escape(line)}</text>'
        for row, line in enumerate(lines)
    )
    note = 46 if shape == "p" else 34
    return (
        f"{discs}{holes}{title}"
        f'<rect x="72" y="{full_height * 0.86:.0f}" width="180" height="8" fill="{bright}"/>'
        f'<text x="70" y="{full_height * 0.92:.0f}" font-size="{note}" font-weight="normal" '
        f'fill="{bright}">{escape(small)}</text>'
    )


@lru_cache(maxsize=128)
def _png(number: int, width: int, height: int) -> bytes:
    """The colours from top to bottom as a PNG: 8 bits of red, green and blue, every row one colour."""
    dark, middle, _ = _colours(number)
    rows = bytearray()
    for y in range(height):
        part = y / max(1, height - 1)
        rows.append(0)  # no filter
        rows += bytes(int(m + (d - m) * part) for m, d in zip(middle, dark, strict=True)) * width

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(bytes(rows), 1)),
            chunk(b"IEND", b""),
        )
    )
