"""A method of the contract as an operation: after google.api.http, as Envoy's transcoder reads it.

Reference: the comments of google/api/http.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.api import http_pb2

from dev import examples
from dev.contract import Contract, Field, Rpc, Service, is_list, type_of
from dev.openapi.schemas import HTTP_BODY, Schema, Schemas
from dev.openapi.words import camel, first_sentence, in_json
from popcorn.options.v1 import options_pb2

Operation = dict[str, Any]

BEARER: Final = "accessToken"
"""The security scheme's name."""

_VERBS: Final = ("get", "put", "post", "delete", "patch")
_PATH_FIELD = re.compile(r"\{([a-z0-9_.]+)\}")
_MEDIA_TYPE = re.compile(r"`([a-z]+/[a-z0-9.+-]+)`")
# What generators of clients take for bytes; 3.1 itself would do without a schema.
_FILE: Final = {"type": "string", "format": "binary"}
_EVENTS: Final = "text/event-stream"
_RESPONSE = re.compile(r"\b[A-Z]\w+Response\b")
_MOVIES: Final = "popcorn.movie.v1."


@dataclass(frozen=True, slots=True)
class Refused:
    """Answers with one HTTP status that is not 200."""

    name: str
    """The component's name."""
    status: str
    codes: tuple[str, ...]
    """The google.rpc.Codes that become it."""
    description: str


REFUSED: Final = (
    Refused(
        "Invalid",
        "400",
        ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"),
        "INVALID_ARGUMENT: the request itself is wrong; a BadRequest names every bad field. Or "
        "FAILED_PRECONDITION: it would be right at another time.",
    ),
    Refused("Unauthenticated", "401", ("UNAUTHENTICATED",), "UNAUTHENTICATED: nobody has proved who calls."),
    Refused("Denied", "403", ("PERMISSION_DENIED",), "PERMISSION_DENIED: the caller may not do this."),
    Refused(
        "NotFound",
        "404",
        ("NOT_FOUND",),
        "NOT_FOUND: there is no such thing, or none for the caller.",
    ),
    Refused(
        "Conflict",
        "409",
        ("ALREADY_EXISTS", "ABORTED"),
        "ALREADY_EXISTS: something else is there already. Or ABORTED: somebody else was faster.",
    ),
    Refused(
        "LimitReached",
        "429",
        ("RESOURCE_EXHAUSTED",),
        "RESOURCE_EXHAUSTED: too many of these calls. `Retry-After` or a RetryInfo says when to try again.",
    ),
    Refused("Unimplemented", "501", ("UNIMPLEMENTED",), "UNIMPLEMENTED: in the contract, and not built yet."),
    Refused(
        "Unavailable",
        "503",
        ("UNAVAILABLE",),
        "UNAVAILABLE: not just now. Please try again.",
    ),
)
"""Refusals that are told one by one; all others are the default answer."""

_CODES: Final[Mapping[str, Refused]] = {code: refused for refused in REFUSED for code in refused.codes}
_CODE = re.compile(r"\b(" + "|".join(_CODES) + r")\b")
_EVERYWHERE: Final = ("INVALID_ARGUMENT", "UNAVAILABLE")

_LANGUAGE: Final = {
    "name": "Accept-Language",
    "in": "header",
    "description": "The caller's languages, the best first. Without it the account's own, then English.",
    "schema": {"type": "string"},
    "example": "de",
}
_REGION: Final = {
    "name": "X-Region",
    "in": "header",
    "description": "Where the caller is, ISO 3166-1 alpha-2. Without it the account's own, then US.",
    "schema": {"type": "string", "pattern": "^[A-Za-z]{2}$"},
    "example": "DE",
}
_LAST_EVENT: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The `id:` of the last event seen: the stream goes on after it.",
    "schema": {"type": "string"},
}
_DEVICE: Final = {
    "name": "X-Device",
    "in": "header",
    "description": "What the device is called, up to 60 characters; beyond ASCII: UTF-8 with percent signs.",
    "schema": {"type": "string"},
    "example": "Ada's phone",
}


class Operations:
    """Makes operations; the schemas they need go to `schemas`."""

    def __init__(self, contract: Contract, schemas: Schemas) -> None:
        self._contract = contract
        self._schemas = schemas

    def of(self, service: Service, rpc: Rpc) -> Iterator[tuple[str, str, Operation]]:
        """Yields path, verb and operation of each REST form that a method has.

        Raises:
            ValueError: Its form cannot be told in OpenAPI.
        """
        if rpc.http is None:
            return
        for number, rule in enumerate((rpc.http, *rpc.http.additional_bindings)):
            verb, template = verb_and_path(rule)
            in_path = _PATH_FIELD.findall(template)
            path = _PATH_FIELD.sub(lambda found: f"{{{_camel_path(found[1])}}}", template)
            if "{" in _PATH_FIELD.sub("", template):
                raise ValueError(f"{rpc.path}: {template} has a path field that is more than one segment.")
            operation = self._operation(service, rpc, rule, in_path)
            if number:
                operation["operationId"] += str(number + 1)
            yield path, verb, operation

    def _operation(
        self, service: Service, rpc: Rpc, rule: http_pb2.HttpRule, in_path: list[str]
    ) -> Operation:
        text = in_json(rpc.comment, self._contract.field_names)
        operation: Operation = {
            "operationId": rpc.name[0].lower() + rpc.name[1:],
            "tags": [service.short_name],
            "summary": first_sentence(text).rstrip("."),
            "description": "\n\n".join([text, _who(rpc), *([_REPEATABLE] if rpc.repeatable else [])]),
            "x-grpc-method": rpc.path,
        }
        example = examples.of(self._contract, rpc)
        parameters = [
            *self._parameters_in_path(rpc, in_path, example),
            *self._parameters_in_query(rpc, rule, in_path, example),
            *self._headers(rpc),
        ]
        if parameters:
            operation["parameters"] = parameters
        if rule.body:
            operation["requestBody"] = self._body(rpc, rule.body, in_path, example)
        operation["responses"] = {"200": self._answer(rpc, rule), **self._refusals(service, rpc, in_path)}
        if rpc.access == options_pb2.ACCESS_PUBLIC:
            operation["security"] = []
        return operation

    # ---- what comes in ---------------------------------------------------------------------------------

    def _parameters_in_path(
        self, rpc: Rpc, in_path: list[str], example: Mapping[str, Any]
    ) -> Iterator[Schema]:
        for name in in_path:
            field = self._field(rpc.request, name)
            schema = self._schemas.field(rpc.request, field, sent=True)
            text = schema.pop("description", "")
            if field.type == Field.TYPE_STRING:
                # One segment: the edge refuses a slash, however it is written.
                schema |= {"minLength": max(1, schema.get("minLength", 1)), "pattern": r"^[^/\\]+$"}
            yield _parameter(name, "path", text, schema, example.get(camel(name)), required=True)

    def _parameters_in_query(
        self, rpc: Rpc, rule: http_pb2.HttpRule, in_path: list[str], example: Mapping[str, Any]
    ) -> Iterator[Schema]:
        if rule.body == "*":
            return
        for path, message, field in self._leaves(rpc.request, "", frozenset({*in_path, rule.body})):
            schema = self._schemas.field(message, field, sent=True)
            text = schema.pop("description", "")
            yield _parameter(path, "query", text, schema, _inside(example, path))

    def _leaves(
        self, message: str, prefix: str, elsewhere: frozenset[str]
    ) -> Iterator[tuple[str, str, Field]]:
        """Fields that a query can hold: no lists of messages, no maps; messages' fields after a dot."""
        for field in self._contract.messages[message].field:
            path = f"{prefix}{field.name}"
            if path in elsewhere:
                continue
            inside = type_of(field)
            if field.type != Field.TYPE_MESSAGE or inside in _WRITTEN_AS_TEXT:
                yield path, message, field
            elif not is_list(field):
                yield from self._leaves(inside, f"{path}.", elsewhere)

    def _headers(self, rpc: Rpc) -> Iterator[Schema]:
        tells_of_films = any(name.startswith(_MOVIES) for name in self._contract.reach(rpc.response))
        if tells_of_films or "caller's language" in rpc.comment:
            yield dict(_LANGUAGE)
            yield dict(_REGION)
        if "`Last-Event-ID`" in rpc.comment:
            yield dict(_LAST_EVENT)
        if rpc.name.startswith("SignIn"):
            yield dict(_DEVICE)

    def _body(self, rpc: Rpc, body: str, in_path: list[str], example: Mapping[str, Any]) -> Schema:
        if body == "*":
            schema = self._schemas.incoming(rpc.request, without=frozenset(in_path))
            fields = [
                field for field in self._contract.messages[rpc.request].field if field.name not in in_path
            ]
            shown: Any = {name: value for name, value in example.items() if name not in map(camel, in_path)}
            return {
                "required": bool(fields),
                "content": {"application/json": {"schema": schema, "example": shown}},
            }
        field = self._field(rpc.request, body)
        comment = self._contract.comments[f"{rpc.request}.{body}"]
        text = in_json(comment, self._contract.field_names)
        if type_of(field) == HTTP_BODY:
            kinds = _MEDIA_TYPE.findall(comment) or ["application/octet-stream"]
            content = {kind: {"schema": _FILE} for kind in kinds}
            return {"description": text, "required": True, "content": content}
        schema = self._schemas.incoming(type_of(field))
        content = {"schema": schema, "example": example.get(camel(body), {})}
        return {"description": text, "required": True, "content": {"application/json": content}}

    # ---- what goes out ---------------------------------------------------------------------------------

    def _answer(self, rpc: Rpc, rule: http_pb2.HttpRule) -> Schema:
        comment = self._contract.comments[rpc.response]
        message = rpc.response
        if rule.response_body:
            field = self._field(rpc.response, rule.response_body)
            comment, message = self._contract.comments[f"{rpc.response}.{field.name}"], type_of(field)
        elif message == HTTP_BODY:
            comment = rpc.comment
        text = in_json(comment, self._contract.field_names)
        kinds = _MEDIA_TYPE.findall(comment) if message == HTTP_BODY else []
        if _EVENTS in kinds or (rpc.streams_down and message != HTTP_BODY):
            event = event_of(self._contract, rpc)
            told = {} if event is None else {"x-event-schema": self._schemas.outgoing(event)}
            return {"description": f"{text}\n\nFor as long as the stream lasts.", "content": {_EVENTS: told}}
        if kinds:
            return {"description": text, "content": {kind: {"schema": _FILE} for kind in kinds}}
        if message == HTTP_BODY:
            return {"description": text, "content": {"*/*": {}}}
        schema = self._schemas.outgoing(message)
        return {"description": text, "content": {"application/json": {"schema": schema}}}

    def _refusals(self, service: Service, rpc: Rpc, in_path: list[str]) -> Schema:
        codes = {*_EVERYWHERE, *_CODE.findall(rpc.comment)}
        if in_path:
            codes |= {"NOT_FOUND", *_CODE.findall(service.comment)}
        if rpc.access != options_pb2.ACCESS_PUBLIC:
            codes.add("UNAUTHENTICATED")
        if rpc.access == options_pb2.ACCESS_UNSPECIFIED:
            codes.add("PERMISSION_DENIED")
        told = {_CODES[code].name for code in codes}
        answers: Schema = {
            refused.status: {"$ref": f"#/components/responses/{refused.name}"}
            for refused in REFUSED
            if refused.name in told
        }
        answers["default"] = {"$ref": "#/components/responses/Refused"}
        return answers

    def _field(self, message: str, name: str) -> Field:
        for field in self._contract.messages[message].field:
            if field.name == name:
                return field
        raise ValueError(f"{message} has no field {name}, which its REST form names.")


def event_of(contract: Contract, rpc: Rpc) -> str | None:
    """Returns what a method answers with; of a stream written as text, what its comment says it has."""
    if not rpc.streams_down or rpc.response != HTTP_BODY:
        return rpc.response
    package = rpc.service.rpartition(".")[0]
    named = (f"{package}.{word}" for word in _RESPONSE.findall(rpc.comment))
    return next((name for name in named if name in contract.messages), None)


_REPEATABLE: Final = "Doing it twice is doing it once."
_WRITTEN_AS_TEXT: Final = frozenset(
    {"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"}
)


def verb_and_path(rule: http_pb2.HttpRule) -> tuple[str, str]:
    """Returns a REST form's verb in lower case, and its path as the contract spells it.

    Raises:
        ValueError: It has a verb that OpenAPI does not know.
    """
    verb = rule.WhichOneof("pattern")
    if verb not in _VERBS:
        raise ValueError(f"OpenAPI has no verb {verb}.")
    return verb, getattr(rule, verb)


def _who(rpc: Rpc) -> str:
    match rpc.access:
        case options_pb2.ACCESS_PUBLIC:
            return "For anybody, without a token."
        case options_pb2.ACCESS_GUEST:
            return "For everybody with an access token, guests included."
        case _:
            return "For people with an account: guests are refused (GUEST_NOT_ALLOWED)."


def _parameter(
    name: str, place: str, text: str, schema: Schema, example: Any, *, required: bool = False
) -> Schema:
    parameter: Schema = {"name": _camel_path(name), "in": place, "description": text, "schema": schema}
    if required:
        parameter["required"] = True
    if example is not None:
        parameter["example"] = example
    return parameter


def _camel_path(path: str) -> str:
    return ".".join(camel(part) for part in path.split("."))


def _inside(example: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(example, Mapping):
            return None
        example = example.get(camel(part))
    return example
