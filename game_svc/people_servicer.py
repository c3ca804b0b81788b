"""PeopleService: what the rest of the mesh asks about a person's part in the rooms."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from game_svc import messages
from game_svc.people import People, Stay
from mesh.checks import Checks
from popcorn.game.v1 import people_pb2, people_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class PeopleServicer(people_pb2_grpc.PeopleServiceServicer):
    """For callers that have made sure that they speak for the person they name."""

    def __init__(self, people: People) -> None:
        self._people = people

    async def EraseUser(
        self, request: people_pb2.EraseUserRequest, _context: Context
    ) -> people_pb2.EraseUserResponse:
        """Erases a person from all rooms."""
        return people_pb2.EraseUserResponse(erased_rooms=await self._people.erase(_user_id(request.user_id)))

    async def ExportUser(
        self, request: people_pb2.ExportUserRequest, _context: Context
    ) -> people_pb2.ExportUserResponse:
        """Gives everything that is held about a person."""
        user_id = _user_id(request.user_id)
        stays, taste = await self._people.stays(user_id), await self._people.taste(user_id)
        held = {
            "rooms": [_exported(stay) for stay in stays],
            "taste": [
                {"genreId": genre, "swipes": tally.swiped, "likes": tally.likes}
                for genre, tally in sorted(taste.items())
            ],
        }
        data = json_format.ParseDict(held, Struct())
        return people_pb2.ExportUserResponse(data=data)


def _user_id(text: str) -> str:
    checks = Checks()
    user_id = checks.text("user_id", text, shortest=1, longest=64)
    checks.done()
    return user_id


def _exported(stay: Stay) -> dict[str, object]:
    """Return somebody's own part in a room, in the JSON of the contract's messages."""
    own = messages.snapshot(stay.room, stay.player, connected=())
    return {
        "code": stay.room.code,
        "name": stay.room.name,
        "playerId": stay.player.player_id,
        "displayName": stay.player.name,
        "joinTime": stay.player.joined.isoformat(),
        "picks": list(stay.player.picks),
        "swipes": [json_format.MessageToDict(swipe) for swipe in own.own_swipes],
    }
