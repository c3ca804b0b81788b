"""A little service with every kind of method and access, made without generated code."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.wrappers_pb2 import StringValue

from mesh.identity import IDENTITY_HEADER
from mesh.server import Service
from popcorn.options.v1 import options_pb2

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)

# name: (streams requests, streams answers, access, idempotency)
_METHODS: dict[str, tuple[bool, bool, int, Any]] = {
    "Ask": (False, False, options_pb2.ACCESS_PUBLIC, MethodOptions.NO_SIDE_EFFECTS),
    "Put": (False, False, options_pb2.ACCESS_PUBLIC, MethodOptions.IDEMPOTENT),
    "Tell": (False, False, options_pb2.ACCESS_PUBLIC, MethodOptions.IDEMPOTENCY_UNKNOWN),
    "Watch": (False, True, options_pb2.ACCESS_PUBLIC, MethodOptions.NO_SIDE_EFFECTS),
    "Collect": (True, False, options_pb2.ACCESS_PUBLIC, MethodOptions.IDEMPOTENCY_UNKNOWN),
    "Chat": (True, True, options_pb2.ACCESS_PUBLIC, MethodOptions.IDEMPOTENCY_UNKNOWN),
    "Members": (False, False, options_pb2.ACCESS_UNSPECIFIED, MethodOptions.IDEMPOTENCY_UNKNOWN),
    "MembersRead": (False, False, options_pb2.ACCESS_UNSPECIFIED, MethodOptions.NO_SIDE_EFFECTS),
    "Guests": (False, False, options_pb2.ACCESS_GUEST, MethodOptions.IDEMPOTENCY_UNKNOWN),
    "MembersWatch": (False, True, options_pb2.ACCESS_UNSPECIFIED, MethodOptions.IDEMPOTENCY_UNKNOWN),
    "Inside": (False, False, options_pb2.ACCESS_INTERNAL, MethodOptions.IDEMPOTENCY_UNKNOWN),
}


class EverybodyStays:
    """Sessions of which none has ended."""

    def check(self, session_id: str, *, reads: bool) -> None:
        pass

    async def probe(self) -> None:
        pass


def _describe() -> ServiceDescriptor:
    file = descriptor_pb2.FileDescriptorProto(
        name="mesh/tests/probing.proto",
        package="mesh.tests",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    service = file.service.add(name="ProbingService")
    for name, (streams_up, streams_down, access, idempotency) in _METHODS.items():
        method = service.method.add(
            name=name,
            input_type=".google.protobuf.StringValue",
            output_type=".google.protobuf.StringValue",
            client_streaming=streams_up,
            server_streaming=streams_down,
        )
        method.options.idempotency_level = idempotency
        extensions: Any = method.options.Extensions
        extensions[options_pb2.access] = access
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName("mesh.tests.ProbingService")


DESCRIPTOR = _describe()

_HANDLERS: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _not_implemented(_request: object, context: Any) -> None:
    context.set_code(grpc.StatusCode.UNIMPLEMENTED)
    context.set_details("Method not implemented!")
    raise NotImplementedError("Method not implemented!")


def add(servicer: Any, server: grpc.aio.Server) -> None:
    """What a generated `add_...` does; what the servicer lacks is as in a generated base class."""
    handlers = {
        name: _HANDLERS[streams_up, streams_down](
            getattr(servicer, name, _not_implemented),
            request_deserializer=StringValue.FromString,
            response_serializer=StringValue.SerializeToString,
        )
        for name, (streams_up, streams_down, _, _) in _METHODS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(DESCRIPTOR.full_name, handlers),))


def probing_service(servicer: object, **probes: Any) -> Service:
    return Service(descriptor=DESCRIPTOR, add=add, servicer=servicer, probes=probes)


def path_of(method: str) -> str:
    return f"/{DESCRIPTOR.full_name}/{method}"


class Stub:
    """What a generated stub does: one callable a method."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel: Any = channel

    def __getattr__(self, name: str) -> Any:
        streams_up, streams_down, _, _ = _METHODS[name]
        kind = f"{'stream' if streams_up else 'unary'}_{'stream' if streams_down else 'unary'}"
        return getattr(self.channel, kind)(
            path_of(name),
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )


def text(value: str) -> StringValue:
    return StringValue(value=value)


def claims(**changes: Any) -> dict[str, Any]:
    """The payload of an access token that is good at `NOW`; a claim changed to `...` is left out."""
    issued_at = int(NOW.timestamp()) - 60
    payload = {
        "iss": "https://eveningpopcorn.dev",
        "aud": "popcorn",
        "sub": "user-1",
        "sid": "session-1",
        "name": "Zoë",
        "iat": issued_at,
        "exp": issued_at + 3600,
        "jti": "token-1",
    } | changes
    return {name: value for name, value in payload.items() if value is not ...}


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def identity_metadata(**changes: Any) -> tuple[str, str]:
    return (IDENTITY_HEADER, encoded(claims(**changes)))


def bearer(**header: Any) -> tuple[str, str]:
    parts = encoded({"alg": "ES256", "kid": "k"} | header), encoded(claims()), "c2ln"
    return ("authorization", f"Bearer {'.'.join(parts)}")
