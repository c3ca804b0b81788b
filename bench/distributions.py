"""Distributions side by side, as one SVG: how many rooms have matched after how many swipes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 300
HEIGHT: Final = 220
GAP: Final = 44
LEFT: Final = 52
TOP: Final = 86
SWIPES: Final = 60

COLOURS: Final = ("#c2185b", "#e8871e", "#1f77b4", "#7f7f7f", "#bdbdbd")
INK: Final = "#333333"
FAINT: Final = "#e4e4e4"


@dataclass(frozen=True, slots=True)
class Curve:
    """An order of cards."""

    name: str
    counts: Sequence[int]
    """Swipes to the first match, one number a room."""
    played: Sequence[int] = ()
    """The same of those rooms that were played through the API."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Rooms of one size."""

    title: str
    curves: Sequence[Curve]
    """At most as many as there are colours; the same names in each panel."""


def drawn(panels: Sequence[Panel]) -> str:
    """Return the picture."""
    rows = max(len(panel.curves) for panel in panels)
    width = LEFT + len(panels) * (WIDTH + GAP)
    height = TOP + HEIGHT + 62 + 18 * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="13" fill="{INK}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(LEFT, 24, "Swipes until everybody has liked the same film", size=17),
        _text(
            LEFT, 44, "share of rooms that have matched, by swipes of each player; circles: through the API"
        ),
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, LEFT + number * (WIDTH + GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: int) -> list[str]:
    bottom = TOP + HEIGHT
    parts = [_text(left + WIDTH, TOP - 8, panel.title, anchor="end", weight="bold")]
    for percent in (0, 25, 50, 75, 90, 100):
        y = _y(percent / 100)
        parts.append(f'<line x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>')
        parts.append(_text(left - 6, y + 4, f"{percent} %", anchor="end", size=11))
    parts += [
        _text(_x(left, swipes), bottom + 16, str(swipes), anchor="middle", size=11)
        for swipes in range(0, SWIPES + 1, 10)
    ]
    for curve, colour in reversed(list(zip(panel.curves, COLOURS, strict=False))):
        parts.append(_steps(curve.counts, left, colour))
    for curve, colour in zip(panel.curves, COLOURS, strict=False):
        for swipes, share in _shares(curve.played):
            at = f'cx="{_x(left, swipes):.1f}" cy="{_y(share):.1f}"'
            parts.append(f'<circle {at} r="2.6" fill="white" stroke="{colour}"/>')
    parts.append(_text(left + WIDTH, bottom + 40, "median (90 %)", anchor="end", size=11))
    for row, (curve, colour) in enumerate(zip(panel.curves, COLOURS, strict=False)):
        y = bottom + 58 + 18 * row
        at = f'x1="{left}" x2="{left + 22}" y1="{y - 4}" y2="{y - 4}"'
        parts.append(f'<line {at} stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(left + 30, y, curve.name))
        parts.append(_text(left + WIDTH, y, _figures(curve.counts), anchor="end"))
    return parts


def _steps(counts: Sequence[int], left: int, colour: str) -> str:
    path = [f"M{left},{_y(0):.1f}"]
    for swipes, share in _shares(counts):
        path.append(f"H{_x(left, swipes):.1f}V{_y(share):.1f}")
    path.append(f"H{_x(left, SWIPES):.1f}")
    return f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _shares(counts: Sequence[int]) -> list[tuple[int, float]]:
    """Return for each number of swipes that occurs the share of rooms that took no more."""
    return [(swipes, sum(one <= swipes for one in counts) / len(counts)) for swipes in sorted(set(counts))]


def _figures(counts: Sequence[int]) -> str:
    ordered = sorted(counts)
    return f"{statistics.median(ordered):g} ({ordered[int(0.9 * len(ordered))]})"


def _x(left: int, swipes: int) -> float:
    return left + WIDTH * swipes / SWIPES


def _y(share: float) -> float:
    return TOP + HEIGHT * (1 - share)


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )
