"""Reading what a person wants to be called out of a request."""

from gateway.accounts import LONGEST_DISPLAY_NAME, MOST_CODE_POINTS, showable_name
from gateway.graphemes import graphemes
from mesh.checks import Checks


def read_display_name(checks: Checks, field: str, value: str, *, required: bool) -> str:
    """Return a display name as it is kept: one line, 1 to 50 graphemes, or empty where none is required.

    Args:
        checks: Notes what is wrong.
        field: The field's path in the contract's spelling.
        value: What was sent.
        required: Whether there must be one.
    """
    text = checks.text(field, value, longest=MOST_CODE_POINTS, shortest=1 if required else 0)
    # Nothing that long is looked at further: counting is work.
    length = len(graphemes(text)) if len(text) <= MOST_CODE_POINTS else 0
    checks.require(
        length <= LONGEST_DISPLAY_NAME,
        field,
        "TOO_LONG",
        f"Must have at most {LONGEST_DISPLAY_NAME} characters; this has {length}.",
    )
    if not text or not 0 < length <= LONGEST_DISPLAY_NAME:
        return ""
    name = showable_name(text)
    checks.require(bool(name) or not required, field, "INVISIBLE", "Must have something that can be seen.")
    return name
