"""What the other services hold about a person: to be shown to them, and to be erased.

The only module that knows their RPCs for it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import grpc
from google.protobuf.struct_pb2 import Struct

from mesh.errors import Unavailable
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc
from popcorn.game.v1 import people_pb2, people_pb2_grpc


@dataclass(frozen=True, slots=True)
class Records:
    """One service's part."""

    service: str
    """The service's name: "backlog_svc"."""
    export: Callable[[UUID], Awaitable[Struct]]
    """Returns all that it holds about a person, in its own shape. Raises `Unavailable` naming the service."""
    erase: Callable[[UUID], Awaitable[object]]
    """Erases a person; twice is fine. Raises grpc.aio.AioRpcError."""


def backlog_records(stub: "backlog_pb2_grpc.BacklogServiceAsyncStub") -> Records:
    """Return backlog_svc's part, by a stub on a channel of the mesh: that brings deadlines and retries."""

    async def export(user_id: UUID) -> Struct:
        answer = await stub.ExportUser(backlog_pb2.ExportUserRequest(user_id=str(user_id)))
        return answer.data

    async def erase(user_id: UUID) -> None:
        await stub.EraseUser(backlog_pb2.EraseUserRequest(user_id=str(user_id)))

    return Records("backlog_svc", _or_unavailable("backlog_svc", export), erase)


def game_records(stub: "people_pb2_grpc.PeopleServiceAsyncStub") -> Records:
    """Return game_svc's part, by a stub as above."""

    async def export(user_id: UUID) -> Struct:
        answer = await stub.ExportUser(people_pb2.ExportUserRequest(user_id=str(user_id)))
        return answer.data

    async def erase(user_id: UUID) -> None:
        await stub.EraseUser(people_pb2.EraseUserRequest(user_id=str(user_id)))

    return Records("game_svc", _or_unavailable("game_svc", export), erase)


def _or_unavailable(
    service: str, export: Callable[[UUID], Awaitable[Struct]]
) -> Callable[[UUID], Awaitable[Struct]]:
    async def wrapped(user_id: UUID) -> Struct:
        try:
            return await export(user_id)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(service) from error

    return wrapped
