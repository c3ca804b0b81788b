"""Cells that a spreadsheet would run as a formula, made harmless and back.

A cell that begins with one of = + - @, their full-width twins, a tab or a line break runs as a formula in one
spreadsheet or another (OWASP, "CSV Injection"). An apostrophe in front makes it text. A cell that has
apostrophes of its own in front of such a character gets one more, so taking one away gives back what it was.
"""

import re
from typing import Final

_RUNS: Final = re.compile("'*[=+\\-@\uff0b\uff0d\uff1d\uff20\t\r\n]")


def guarded(cell: str) -> str:
    """Return a cell as it may stand in a CSV file."""
    return f"'{cell}" if _RUNS.match(cell) else cell


def unguarded(cell: str) -> str:
    """Return a cell as it was before `guarded`."""
    return cell[1:] if cell.startswith("'") and _RUNS.match(cell, 1) else cell
