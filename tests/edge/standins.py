"""What stands behind the edge in these tests: real gRPC servers that write down what reaches them.

They serve every service of the contract, health and reflection included, on every port. So whatever the edge
lets through is answered, and a call that is refused was refused by the edge.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mesh.identity import access_of
from popcorn.backlog.v1 import backlog_pb2
from popcorn.game.v1 import game_pb2, people_pb2
from popcorn.gateway.v1 import account_pb2, auth_pb2, library_pb2, revocations_pb2
from popcorn.movie.v1 import movie_pb2
from popcorn.options.v1 import options_pb2

ISSUER: Final = "https://popcorn.test"
AUDIENCE: Final = "popcorn-test"

_FILES: Final = (
    auth_pb2,
    account_pb2,
    library_pb2,
    revocations_pb2,
    game_pb2,
    people_pb2,
    backlog_pb2,
    movie_pb2,
)
SERVICES: Final[tuple[ServiceDescriptor, ...]] = tuple(
    service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
)
METHODS: Final[Mapping[str, MethodDescriptor]] = {
    f"/{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods
}
"""Every method of the contract by its path."""
INTERNAL: Final = tuple(
    path for path, method in METHODS.items() if access_of(method) == options_pb2.ACCESS_INTERNAL
)
PUBLIC: Final = tuple(
    path for path, method in METHODS.items() if access_of(method) == options_pb2.ACCESS_PUBLIC
)
PROTECTED: Final = tuple(path for path in METHODS if path not in INTERNAL and path not in PUBLIC)

Answer = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Message]]
Stream = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], AsyncIterator[Message]]


def request_class(path: str) -> type[Message]:
    return message_factory.GetMessageClass(METHODS[path].input_type)


def response_class(path: str) -> type[Message]:
    return message_factory.GetMessageClass(METHODS[path].output_type)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that reached a server."""

    path: str
    metadata: tuple[tuple[str, str | bytes], ...]
    replica: str
    request: Message | None = None

    def all(self, key: str) -> list[str | bytes]:
        return [value for name, value in self.metadata if name == key]


@dataclass
class Replica(grpc.GenericRpcHandler):
    """A server for everything."""

    name: str
    keys: list[dict[str, str]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    answers: dict[str, Answer | Stream] = field(default_factory=dict)
    port: int = 0
    _server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        self.health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        reflection.enable_server_reflection([service.full_name for service in SERVICES], self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.set_serving(*(service.full_name for service in SERVICES))
        await self._server.start()

    async def stop(self) -> None:
        """Ends it at once. Harmless when it does not run."""
        if self._server is not None:
            await self._server.stop(None)

    async def set_serving(self, *services: str, serving: bool = True) -> None:
        statuses = health_pb2.HealthCheckResponse
        for service in services:
            await self.health.set(service, statuses.SERVING if serving else statuses.NOT_SERVING)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = details.method
        method = METHODS.get(path)
        if method is None:
            return None
        metadata = tuple(details.invocation_metadata or ())

        async def unary(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            if method.client_streaming:
                request = await anext(request)
            self.calls.append(Call(path, metadata, self.name, request))
            answer = self.answers.get(path)
            if answer is not None:
                message: Message = await answer(request, context)  # type: ignore[misc]  # told apart by kind
                return message
            if path.endswith("/GetJwks"):
                return auth_pb2.GetJwksResponse(keys=[auth_pb2.JsonWebKey(**key) for key in self.keys])
            return response_class(path)()

        async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Message]:
            self.calls.append(Call(path, metadata, self.name, None if method.client_streaming else request))
            answer = self.answers.get(path)
            if answer is not None:
                async for message in answer(request, context):  # type: ignore[union-attr]  # see above
                    yield message
            elif method.client_streaming:
                async for _ in request:
                    yield response_class(path)()
            else:
                yield response_class(path)()

        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        return make(
            stream if method.server_streaming else unary,
            request_deserializer=request_class(path).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )


class Signer:
    """Signs access tokens as the gateway does, and wrongly in every way one can think of."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def jwk(self) -> dict[str, str]:
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key()))
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": public["x"],
            "y": public["y"],
            "kid": self.kid,
            "use": "sig",
            "alg": "ES256",
        }

    def token(self, *, without: tuple[str, ...] = (), **claims: Any) -> str:
        now = int(time.time())
        payload = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "user-1",
            "sid": "session-1",
            "name": "Ada",
            "iat": now,
            "exp": now + 3600,
            "jti": f"{time.monotonic_ns()}",
        } | claims
        return jwt.encode(
            {key: value for key, value in payload.items() if key not in without},
            self._key,
            algorithm="ES256",
            headers={"kid": self.kid, "typ": "at+jwt"},
        )


async def eventually(holds: Callable[[], Awaitable[bool]], *, seconds: float = 10.0) -> None:
    """Waits until something holds that no event tells of: Envoy's view of the world."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - see the docstring
            await asyncio.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Rest:
    """How a method is called over REST, with something in every place of its path."""

    verb: str
    path: str
    body: str | None


def rest(path: str) -> Rest | None:
    """Returns the REST form of a method, or None where the contract gives it none."""
    http: Any = descriptor_pool.Default().FindExtensionByName("google.api.http")
    rule = METHODS[path].GetOptions().Extensions[http]
    verb = rule.WhichOneof("pattern")
    if verb is None:
        return None
    return Rest(verb.upper(), re.sub(r"{\w+}", "1", getattr(rule, verb)), "{}" if rule.body else None)
