"""Messages as JSON Schema 2020-12, after protobuf's JSON mapping as Envoy's transcoder prints and reads it.

A message that both comes in and goes out has two schemas: the one that comes in (`...Input`) has the bounds
of requests, the one that goes out says which fields are always there. (The edge prints what is empty, so
that is every field but messages, those in a `oneof`, and those the contract calls `optional`.)

Reference: https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from typing import Any, Final

from dev.contract import Contract, Field, Message, is_list, type_of
from dev.openapi import bounds
from dev.openapi.words import camel, in_json

Schema = dict[str, Any]

STATUS: Final = "google.rpc.Status"
HTTP_BODY: Final = "google.api.HttpBody"
DETAILS: Final = ("google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.RetryInfo")
"""What an error's details may be."""

_WELL_KNOWN: Final[dict[str, Schema]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Value": {},
}
_MASK: Final = "Names in lowerCamelCase with commas between them, dots for what is inside."

_SIGNED: Final = {"type": "string", "format": "int64", "pattern": r"^-?\d{1,19}$"}
_SCALARS: Final[dict[int, Schema]] = {
    Field.TYPE_BOOL: {"type": "boolean"},
    Field.TYPE_STRING: {"type": "string"},
    Field.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    Field.TYPE_DOUBLE: {"type": "number", "format": "double"},
    Field.TYPE_FLOAT: {"type": "number", "format": "float"},
    Field.TYPE_INT32: {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    Field.TYPE_UINT32: {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**32 - 1},
    Field.TYPE_INT64: _SIGNED,
    Field.TYPE_UINT64: {"type": "string", "format": "uint64", "pattern": r"^\d{1,20}$"},
}


class Schemas:
    """The components of a document, made as they are asked for."""

    def __init__(self, contract: Contract, *, incoming: Iterable[str], outgoing: Iterable[str]) -> None:
        """Looks at what there is to name.

        Args:
            contract: Everything.
            incoming: Messages that clients send.
            outgoing: Messages that they get.
        """
        self.components: dict[str, Schema] = {}
        self._contract = contract
        self._incoming = {name for message in incoming for name in contract.reach(message)}
        self._outgoing = {
            name for message in (*outgoing, STATUS, *DETAILS) for name in contract.reach(message)
        }
        messages = self._incoming | self._outgoing
        enums = {
            type_of(field)
            for message in messages
            for field in contract.messages[message].field
            if field.type == Field.TYPE_ENUM
        }
        self._short = Counter(_short(name) for name in messages | enums)

    def incoming(self, message: str, *, without: Set[str] = frozenset()) -> Schema:
        """Returns the schema of what a client sends.

        Args:
            message: Its full name.
            without: Fields that stand elsewhere in the request, in the path.
        """
        return self._known(message) or self._component(
            message,
            f"{self._name(message)}{'Input' if message in self._outgoing else ''}",
            without,
            sent=True,
        )

    def outgoing(self, message: str) -> Schema:
        """Returns the schema of what a client gets."""
        return self._known(message) or self._component(message, self._name(message), frozenset(), sent=False)

    def field(self, message: str, field: Field, *, sent: bool) -> Schema:
        """Returns a field's schema, with what its comment says."""
        comment = self._contract.comments[f"{message}.{field.name}"]
        text = in_json(comment, self._contract.field_names)
        if entry := self._contract.map_entry(field):
            values = self._value(entry.field[1], "", sent=sent)
            return _described({"type": "object", "additionalProperties": values}, text)
        value = self._value(field, comment, sent=sent)
        if is_list(field):
            whole = bounds.of_list(comment) if sent else {}
            return _described({"type": "array", "items": value, **whole}, text)
        if type_of(field) == "google.protobuf.FieldMask":
            text = f"{text} {_MASK}"
        return _described(value, text)

    def enum(self, name: str) -> Schema:
        """Returns an enum's schema: the names of its values."""
        short = self._name(name)
        if short not in self.components:
            values = [value.name for value in self._contract.enums[name].value]
            comments = self._contract.comments
            told = [f"- `{value}`: {comments[f'{name}.{value}']}" for value in values]
            text = "\n".join([comments[name], "", *told])
            self.components[short] = {
                "type": "string",
                "enum": values,
                "description": in_json(text, self._contract.field_names),
            }
        return _to(short)

    def status(self) -> Schema:
        """Returns the schema of every error: google.rpc.Status with exactly one ErrorInfo."""
        if "Status" in self.components:
            return _to("Status")
        details = []
        for message in DETAILS:
            plain = self._object(message, frozenset(), sent=True)
            kind = f"type.googleapis.com/{message}"
            required = ["@type", "reason", "domain"] if message.endswith("ErrorInfo") else ["@type"]
            self.components[_short(message)] = {
                **plain,
                "properties": {"@type": {"type": "string", "const": kind}, **plain["properties"]},
                "required": required,
            }
            details.append(_to(_short(message)))
        self.components["Status"] = {
            "type": "object",
            "description": "Why a call was refused.",
            "properties": {
                "code": {
                    "type": "integer",
                    "format": "int32",
                    "description": "google.rpc.Code: 3 is INVALID_ARGUMENT, 5 NOT_FOUND, ...",
                },
                "message": {
                    "type": "string",
                    "description": "A sentence for developers. Show people your own, by `reason`.",
                },
                "details": {
                    "type": "array",
                    "description": "Exactly one ErrorInfo; a BadRequest names every bad field.",
                    "items": {
                        "oneOf": details,
                        "discriminator": {
                            "propertyName": "@type",
                            "mapping": {
                                f"type.googleapis.com/{message}": f"#/components/schemas/{_short(message)}"
                                for message in DETAILS
                            },
                        },
                    },
                    "contains": _to("ErrorInfo"),
                    "maxContains": 1,
                },
            },
            "required": ["code", "message", "details"],
        }
        return _to("Status")

    def _known(self, message: str) -> Schema | None:
        """The schema of a message that JSON prints in a way of its own."""
        if message == STATUS:
            return self.status()
        if message in _WELL_KNOWN:
            return dict(_WELL_KNOWN[message])
        if message.startswith("google.protobuf."):
            raise ValueError(f"{message} has a JSON form of its own, which is not written down here yet.")
        return None

    def _component(self, message: str, name: str, without: Set[str], *, sent: bool) -> Schema:
        if name not in self.components:
            self.components[name] = {}  # a message may have itself inside
            self.components[name] = self._object(message, without, sent=sent)
        return _to(name)

    def _object(self, message: str, without: Set[str], *, sent: bool) -> Schema:
        descriptor = self._contract.messages[message]
        fields = [field for field in descriptor.field if field.name not in without]
        text = in_json(self._contract.comments[message], self._contract.field_names)
        schema: Schema = {
            "type": "object",
            "description": "\n\n".join([text, *_alternatives(descriptor)]).strip(),
            "properties": {camel(field.name): self.field(message, field, sent=sent) for field in fields},
        }
        always = [] if sent else [camel(field.name) for field in fields if _always_printed(field)]
        if always:
            schema["required"] = always
        return schema

    def _value(self, field: Field, comment: str, *, sent: bool) -> Schema:
        if field.type == Field.TYPE_MESSAGE:
            return self.incoming(type_of(field)) if sent else self.outgoing(type_of(field))
        if field.type == Field.TYPE_ENUM:
            return self.enum(type_of(field))
        return {**_SCALARS[field.type], **(bounds.of_value(field, comment) if sent else {})}

    def _name(self, full_name: str) -> str:
        """The shortest name that no other message or enum of the contract has."""
        short = _short(full_name)
        if self._short[short] == 1:
            return short
        package = full_name.removeprefix("popcorn.").partition(".")[0]
        return package.capitalize() + short


def _short(full_name: str) -> str:
    """`popcorn.gateway.v1.ImportBacklogResponse.Unsettled` is `ImportBacklogResponseUnsettled`."""
    return "".join(part for part in full_name.split(".") if part[:1].isupper())


def _to(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _described(schema: Schema, text: str) -> Schema:
    return {**schema, "description": text} if text else schema


def _always_printed(field: Field) -> bool:
    if is_list(field):
        return True
    return field.type != Field.TYPE_MESSAGE and not field.HasField("oneof_index")


def _alternatives(message: Message) -> list[str]:
    """A sentence for each `oneof`; but `optional` fields have one each, which says nothing."""
    sentences = []
    for index, _ in enumerate(message.oneof_decl):
        names = [
            f"`{camel(field.name)}`"
            for field in message.field
            if field.HasField("oneof_index") and field.oneof_index == index and not field.proto3_optional
        ]
        if names:
            sentences.append(f"At most one of {', '.join(names)} is set.")
    return sentences
