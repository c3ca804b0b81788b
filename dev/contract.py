"""The contract as its descriptor set tells it: services, messages and enums, each with its comment.

What documents are generated from: nothing here knows what they look like.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

from popcorn.options.v1 import options_pb2

Message = descriptor_pb2.DescriptorProto
Field = descriptor_pb2.FieldDescriptorProto
Enum = descriptor_pb2.EnumDescriptorProto

OURS: Final = "popcorn."
"""What the names of our own packages begin with."""

# Numbers of fields in descriptor.proto, of which the paths of source locations are made.
_SYNTAX: Final = (12,)
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED_MESSAGES, _NESTED_ENUMS, _VALUES, _METHODS = 2, 3, 4, 2, 2


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method."""

    service: str
    """Its service's full name: `popcorn.game.v1.GameService`."""
    name: str
    comment: str
    request: str
    """The request message's full name."""
    response: str
    """The response message's full name."""
    streams_up: bool
    streams_down: bool
    access: options_pb2.Access.ValueType
    """Who may call it."""
    repeatable: bool
    """Whether calling it twice does what calling it once does."""
    http: http_pb2.HttpRule | None
    """Its REST form, if it has one."""

    @property
    def path(self) -> str:
        """`package.Service/Method`."""
        return f"{self.service}/{self.name}"


@dataclass(frozen=True, slots=True)
class Service:
    """One service."""

    name: str
    """Its full name."""
    comment: str
    file_comment: str
    """What its file says at its top."""
    rpcs: tuple[Rpc, ...]

    @property
    def short_name(self) -> str:
        """Its name without the package."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Contract:
    """Everything that a descriptor set has."""

    services: Sequence[Service]
    """Our services, in the contract's order."""
    messages: Mapping[str, Message]
    """Messages by full name."""
    enums: Mapping[str, Enum]
    """Enums by full name."""
    comments: Mapping[str, str]
    """Comments by the full name of what they stand at; a field's is `message.field`."""
    field_names: frozenset[str]
    """Every name that a field of ours has."""

    def reach(self, message: str) -> Iterator[str]:
        """Yields a message and all messages inside it, by full name, each once."""
        seen: set[str] = set()
        waiting = [message]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            yield name
            waiting += [
                type_of(field) for field in self.messages[name].field if field.type == Field.TYPE_MESSAGE
            ]

    def map_entry(self, field: Field) -> Message | None:
        """Returns the entry that a map field is made of, None for any other field."""
        if field.type != Field.TYPE_MESSAGE:
            return None
        entry = self.messages[type_of(field)]
        return entry if entry.options.map_entry else None


def type_of(field: Field) -> str:
    """Returns the full name of a field's message or enum."""
    return field.type_name.removeprefix(".")


def is_list(field: Field) -> bool:
    """Returns whether a field is repeated."""
    return field.label == Field.LABEL_REPEATED


def read(descriptor_set: bytes) -> Contract:
    """Reads a serialised google.protobuf.FileDescriptorSet that has its imports and source locations."""
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file
    messages: dict[str, Message] = {}
    enums: dict[str, Enum] = {}
    comments: dict[str, str] = {}
    services: list[Service] = []
    for file in files:
        located = {
            tuple(location.path): _text(location.leading_comments)
            for location in file.source_code_info.location
        }
        top = located.get(_SYNTAX, "")
        _collect(file.package, (), file.message_type, file.enum_type, located, messages, enums, comments)
        if file.package.startswith(OURS):
            services += [_service(file, number, located, top) for number in range(len(file.service))]
    return Contract(
        services=services,
        messages=messages,
        enums=enums,
        comments=comments,
        field_names=frozenset(
            field.name
            for name, message in messages.items()
            if name.startswith(OURS)
            for field in message.field
        ),
    )


def _service(
    file: descriptor_pb2.FileDescriptorProto, number: int, located: Mapping[tuple[int, ...], str], top: str
) -> Service:
    service = file.service[number]
    name = f"{file.package}.{service.name}"
    idempotent = descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN
    rpcs = tuple(
        Rpc(
            service=name,
            name=method.name,
            comment=located.get((_SERVICES, number, _METHODS, index), ""),
            request=method.input_type.removeprefix("."),
            response=method.output_type.removeprefix("."),
            streams_up=method.client_streaming,
            streams_down=method.server_streaming,
            access=method.options.Extensions[options_pb2.access],
            repeatable=method.options.idempotency_level != idempotent,
            http=method.options.Extensions[annotations_pb2.http]
            if method.options.HasExtension(annotations_pb2.http)
            else None,
        )
        for index, method in enumerate(service.method)
    )
    return Service(name=name, comment=located.get((_SERVICES, number), ""), file_comment=top, rpcs=rpcs)


def _collect(
    scope: str,
    path: tuple[int, ...],
    found: Iterable[Message],
    found_enums: Iterable[Enum],
    located: Mapping[tuple[int, ...], str],
    messages: dict[str, Message],
    enums: dict[str, Enum],
    comments: dict[str, str],
) -> None:
    for index, enum in enumerate(found_enums):
        place = (*path, _NESTED_ENUMS if path else _ENUMS, index)
        name = f"{scope}.{enum.name}"
        enums[name] = enum
        comments[name] = located.get(place, "")
        for number, value in enumerate(enum.value):
            comments[f"{name}.{value.name}"] = located.get((*place, _VALUES, number), "")
    for index, message in enumerate(found):
        place = (*path, _NESTED_MESSAGES if path else _MESSAGES, index)
        name = f"{scope}.{message.name}"
        messages[name] = message
        comments[name] = located.get(place, "")
        for number, field in enumerate(message.field):
            comments[f"{name}.{field.name}"] = located.get((*place, _FIELDS, number), "")
        _collect(name, place, message.nested_type, message.enum_type, located, messages, enums, comments)


def _text(comment: str) -> str:
    """A comment's paragraphs, each on one line, with an empty line between them."""
    told = "\n".join(line for line in comment.splitlines() if not line.strip().startswith("buf:lint:"))
    paragraphs = told.strip().split("\n\n")
    lines = [" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs]
    return "\n\n".join(line for line in lines if line)
