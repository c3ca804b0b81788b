"""An OpenAPI document of ours as one page of HTML that needs no script and loads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup, escape

from dev import commands
from dev.openapi.schemas import Schema

_TEMPLATE: Final = Path(__file__).with_name("page.html.j2")
_CODE = re.compile(r"`([^`]+)`")
_STRONG = re.compile(r"\*\*([^*]+)\*\*")
_NAME = re.compile(r"#/components/[a-z]+/")
_BOUNDS: Final = (
    ("maxLength", "at most {} characters"),
    ("minimum", "from {}"),
    ("maximum", "to {}"),
    ("multipleOf", "in steps of {}"),
    ("maxItems", "at most {} of them"),
    ("default", "left out: {}"),
)
_EDGES_OF_INT32: Final = (-(2**31), 2**31 - 1)


@dataclass(frozen=True, slots=True)
class Row:
    """A parameter or a property, in a table."""

    name: str
    type: Markup
    text: Markup
    bounds: str
    always: str
    """What is said of one that is never left out."""


def page(document: Mapping[str, Any]) -> str:
    """Returns the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters |= {
        "prose": _prose,
        "line": _line,
        "type": _type,
        "rows": _rows,
        "referred": _referred,
    }
    operations = {
        tag["name"]: [
            {"path": path, "verb": verb, "curl": commands.curl(path, verb, operation), **operation}
            for path, item in document["paths"].items()
            for verb, operation in item.items()
            if operation["tags"] == [tag["name"]]
        ]
        for tag in document["tags"]
    }
    return environment.get_template(_TEMPLATE.name).render(
        info=document["info"],
        tags=document["tags"],
        operations=operations,
        responses=document["components"]["responses"],
        schemas=document["components"]["schemas"],
        parameters_of=lambda operation: list(_parameters(operation)),
    )


def _prose(text: str) -> Markup:
    """Paragraphs and lists as HTML. Of Markdown our comments know code, bold and items."""
    blocks = []
    for block in text.strip().split("\n\n"):
        lines = block.splitlines()
        if lines and all(line.startswith("- ") for line in lines):
            items = Markup().join(Markup("<li>{}</li>").format(_line(line[2:])) for line in lines)
            blocks.append(Markup("<ul>{}</ul>").format(items))
        elif block:
            blocks.append(Markup("<p>{}</p>").format(_line(block)))
    return Markup("\n").join(blocks)


def _line(text: str) -> Markup:
    coded = _CODE.sub(r"<code>\1</code>", str(escape(text)))
    return Markup(_STRONG.sub(r"<strong>\1</strong>", coded))  # noqa: S704 - escaped above


def _referred(schema: Mapping[str, Any]) -> str:
    """The name at the end of a reference, "" where there is none."""
    reference = str(schema.get("$ref", ""))
    return _NAME.sub("", reference)


def _type(schema: Schema) -> Markup:
    """A schema in a word or two, with a link where it has a name."""
    if name := _referred(schema):
        return Markup('<a href="#schema-{}">{}</a>').format(name, name)
    if "oneOf" in schema:
        return Markup(" or ").join(_type(one) for one in schema["oneOf"])
    if schema.get("type") == "array":
        return Markup("list of {}").format(_type(schema["items"]))
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return Markup("map of {}").format(_type(schema["additionalProperties"]))
    if schema.get("contentEncoding"):
        return Markup("base64")
    if "const" in schema:
        return Markup("<code>{}</code>").format(schema["const"])
    known = {"date-time": "time", "int64": "int64, as text", "int32": "int32", "double": "number"}
    return escape(known.get(str(schema.get("format")), schema.get("type", "anything")))


def _bounds(schema: Schema) -> str:
    items = schema.get("items", {}) if schema.get("type") == "array" else {}
    told = [
        text.format(f"{whole[key]:,}" if isinstance(whole[key], int) else whole[key])
        for whole in (schema, items)
        for key, text in _BOUNDS
        if key in whole and whole[key] not in _EDGES_OF_INT32
    ]
    return ", ".join(told)


def _rows(schema: Schema) -> list[Row]:
    """The properties of an object."""
    required = schema.get("required", [])
    return [
        _row(name, inner, inner.get("description", ""), "always there" if name in required else "")
        for name, inner in schema.get("properties", {}).items()
    ]


def _parameters(operation: Mapping[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    """Titles and rows of an operation's parameters, by where they stand."""
    for place, title in (("path", "In the path"), ("query", "In the query"), ("header", "Headers")):
        rows = [
            _row(
                one["name"],
                one["schema"],
                one.get("description", ""),
                "required" if one.get("required") else "",
            )
            for one in operation.get("parameters", [])
            if one["in"] == place
        ]
        if rows:
            yield title, rows


def _row(name: str, schema: Schema, text: str, always: str) -> Row:
    return Row(name=name, type=_type(schema), text=_line(text), bounds=_bounds(schema), always=always)
