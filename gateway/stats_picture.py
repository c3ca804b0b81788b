"""The picture of a backlog as SVG: a document that holds no script, loads nothing, and escapes every text."""

from pathlib import Path
from typing import Final

import jinja2

from gateway.stats_chart import Picture

CONTENT_TYPE: Final = "image/svg+xml"

_TEMPLATE: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("stats_chart.svg.j2")


def svg(picture: Picture) -> bytes:
    """Return the picture as an SVG document in UTF-8."""
    return _TEMPLATE.render(picture=picture).encode()
