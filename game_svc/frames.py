"""Parts of a stream's messages as bytes, made once and shared by all streams they go to.

A protobuf message is the sum of its parts: the bytes of two messages of one type, one behind the other, are
the bytes of both merged (protobuf's encoding guide, "Last One Wins": fields that repeat add up). So a message
to a player is joined from the room's events, their own acknowledgements and their cards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from google.protobuf import json_format

from game_svc import messages
from game_svc.events import CardSwiped, Numbered
from popcorn.game.v1 import game_pb2
from popcorn.movie.v1 import movie_pb2

MOST_KEPT: Final = 128
"""How many events of a room are kept as bytes; older ones are made again for whoever needs them."""

Render: TypeAlias = Callable[[Numbered], bytes]


def play_event(numbered: Numbered) -> bytes:
    """Return an event as part of a `PlayResponse`."""
    if isinstance(numbered.event, CardSwiped):
        return _swiped(numbered, numbered.event)
    return game_pb2.PlayResponse(events=[messages.event(numbered)]).SerializeToString()


def _swiped(numbered: Numbered, event: CardSwiped) -> bytes:
    # Nine events of ten: what `messages.event` gives, filled in in place, in a third of the time.
    response = game_pb2.PlayResponse()
    message = response.events.add()
    message.seq = numbered.seq
    messages.set_time(message.event_time, numbered.at)
    message.swiped.player_id, message.swiped.swipes = event.player_id, event.swipes
    return response.SerializeToString()


def watch_event(numbered: Numbered) -> bytes:
    """Return an event as part of a `WatchGameResponse`."""
    return game_pb2.WatchGameResponse(events=[messages.event(numbered)]).SerializeToString()


def sent_event(epoch: str, numbered: Numbered) -> bytes:
    """Return an event as a server-sent event."""
    message = game_pb2.WatchGameResponse(events=[messages.event(numbered)])
    return server_sent(message, event_id=event_id(numbered.seq, epoch))


def server_sent(message: game_pb2.WatchGameResponse, *, event_id: str = "") -> bytes:
    """Return a message as a server-sent event (HTML standard, 9.2): one `data:` line of JSON.

    The JSON is written as the edge writes that of other methods: what is empty is shown as `false`, `0`, "".
    """
    values = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    data = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    return (f"id: {event_id}\n" if event_id else "").encode() + f"data: {data}\n\n".encode()


def event_id(seq: int, epoch: str) -> str:
    """Return the id of a server-sent event, to resume after."""
    return f"{seq}-{epoch}"


def card(movie: movie_pb2.Movie) -> bytes:
    """Return a card with its film as part of a `PlayResponse`."""
    return game_pb2.PlayResponse(cards=[game_pb2.Card(movie_id=movie.id, movie=movie)]).SerializeToString()


@lru_cache(maxsize=10_000)
def bare_card(movie_id: int) -> bytes:
    """Return a card without its film as part of a `PlayResponse`."""
    return game_pb2.PlayResponse(cards=[game_pb2.Card(movie_id=movie_id)]).SerializeToString()


class Frames:
    """A room's latest events as bytes."""

    __slots__ = ("_joined", "_joined_between", "_kept", "_render")

    def __init__(self, render: Render) -> None:
        self._render = render
        self._kept: dict[int, bytes] = {}
        self._joined = b""
        self._joined_between = (0, 0)

    def of(self, events: Sequence[Numbered]) -> bytes:
        """Return consecutive events, one behind the other."""
        if not events:
            return b""
        # Streams that were woken together ask for the same ones.
        between = (events[0].seq, events[-1].seq)
        if between != self._joined_between:
            self._joined = b"".join(map(self._frame, events))
            self._joined_between = between
        return self._joined

    def _frame(self, numbered: Numbered) -> bytes:
        frame = self._kept.get(numbered.seq)
        if frame is None:
            frame = self._kept[numbered.seq] = self._render(numbered)
            if len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return frame
