"""The rooms' logs and seats in Redis. The only file that knows Redis.

A room has three keys, which share a hash tag so that a cluster keeps them together:

    room:{CODE}:log     a stream, one entry an event, ids `SEQ-0`
    room:{CODE}:head    a hash: `epoch`, which game the log belongs to, and `seq`, the number of its last
    event room:{CODE}:fence   written before a wait for the disk, see `settle`

`append` is one script: it compares the head with what the caller has decided upon, and writes all events or
none. Each append is published on the channel `room:{CODE}`; who misses that finds out at their next look.

A player has two keys:

    player:{USER}:seat  the room they sit in
    player:{USER}:rooms a set of the rooms they have sat in: where to look to export or erase them
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import redis.asyncio as redis
import structlog
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from game_svc.events import Event, Numbered
from game_svc.log_entries import from_entry, to_entry
from mesh import tracing
from mesh.errors import Unavailable

ROOM_LIFE: Final = timedelta(hours=24)
"""How long a room lives after its last event."""

SEAT_LIFE: Final = timedelta(days=30)
"""How long it is remembered where a player sits and sat. A seat in a room that is gone does not count."""

_PATIENCE_SECONDS: Final = 2.0
_DISK_PATIENCE_MS: Final = 1000
_PAGE: Final = 1000
_LISTEN_SECONDS: Final = 5.0
_RECONNECT_SECONDS: Final = 0.2
_IDLE_CHANNEL: Final = "rooms"

# KEYS: head, log. ARGV: epoch, expected seq, seconds to live, channel, entries...
# Returns the head's epoch and number as they are afterwards, and whether the entries were written.
_APPEND: Final = """
local epoch = redis.call('HGET', KEYS[1], 'epoch') or ''
local seq = tonumber(redis.call('HGET', KEYS[1], 'seq') or '0')
if seq ~= tonumber(ARGV[2]) or (seq > 0 and epoch ~= ARGV[1]) then
  return {epoch, seq, 0}
end
for i = 5, #ARGV do
  seq = seq + 1
  redis.call('XADD', KEYS[2], seq .. '-0', 'e', ARGV[i])
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'seq', seq)
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('PUBLISH', ARGV[4], seq)
return {ARGV[1], seq, 1}
"""

# KEYS: seat, rooms. ARGV: room, now in ms, seconds to live, the seat that may be replaced ('' for none).
# Returns the seat that is held otherwise, or nothing when it is the caller's now.
_SIT: Final = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[4] and string.match(held, '^[^|]*') ~= ARGV[1] then
  return held
end
redis.call('SET', KEYS[1], ARGV[1] .. '|' .. ARGV[2], 'EX', ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return nil
"""

# KEYS: log. ARGV: user id. Writes the log anew, its numbers as they were, with nobody where the user was.
_SCRUB: Final = """
local entries = redis.call('XRANGE', KEYS[1], '-', '+')
local found = false
for _, entry in ipairs(entries) do
  if string.find(entry[2][2], ARGV[1], 1, true) then
    local event = cjson.decode(entry[2][2])
    if event.user_id == ARGV[1] then
      event.user_id = ''
      event.name = ''
      entry[2][2] = cjson.encode(event)
      found = true
    end
  end
end
if not found then
  return 0
end
local life = redis.call('TTL', KEYS[1])
redis.call('DEL', KEYS[1])
for _, entry in ipairs(entries) do
  redis.call('XADD', KEYS[1], entry[1], 'e', entry[2][2])
end
redis.call('EXPIRE', KEYS[1], life)
return 1
"""

# KEYS: seat. ARGV: room.
_STAND_UP: Final = """
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^[^|]*') == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return nil
"""

_log = structlog.get_logger("game_svc.log")


@dataclass(frozen=True, slots=True)
class Head:
    """Where a log ends."""

    epoch: str
    """Which game it belongs to; "" when there is no log."""
    seq: int
    """The number of its last event; 0 when there is no log."""


@dataclass(frozen=True, slots=True)
class Seat:
    """The room that a player sits in."""

    code: str
    taken_ms: int
    """When they sat down, in milliseconds of Unix time."""

    @property
    def value(self) -> str:
        """The seat as Redis keeps it."""
        return f"{self.code}|{self.taken_ms}"


class RoomLogs:
    """All rooms' logs, and who sits where. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, url: str) -> None:
        # No retries by the driver: an append whose answer was lost may have been made; only the rules can
        # tell.
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=_PATIENCE_SECONDS,
            socket_connect_timeout=_PATIENCE_SECONDS,
            socket_keepalive=True,
            max_connections=64,
            health_check_interval=15,
            retry=Retry(NoBackoff(), 0),
        )
        self._append = self._redis.register_script(_APPEND)
        self._sit = self._redis.register_script(_SIT)
        self._stand_up = self._redis.register_script(_STAND_UP)
        self._scrub = self._redis.register_script(_SCRUB)
        self._settles = True
        self._answers = True
        self.failures = 0
        """How many questions Redis has not answered, since the start."""

    async def close(self) -> None:
        """Let go of all connections."""
        await self._redis.aclose()

    async def ping(self) -> None:
        """Return when Redis answers."""
        await self._ask(self._redis.ping)

    async def append(
        self, code: str, *, after: Head, epoch: str, events: Sequence[Event], at: datetime
    ) -> tuple[bool, Head]:
        """Append all events or, when the log does not end at `after` any more, none.

        Returns:
            Whether they were appended, and where the log ends now.
        """
        found, seq, appended = await self._ask(
            lambda: self._append(
                keys=[_head(code), _entries(code)],
                args=[
                    epoch,
                    after.seq,
                    int(ROOM_LIFE.total_seconds()),
                    _channel(code),
                    *(to_entry(event, at) for event in events),
                ],
            )
        )
        return bool(appended), Head(_text(found), int(seq))

    async def head(self, code: str) -> Head:
        """Return where a room's log ends."""
        epoch, seq = await self._ask(lambda: self._redis.hmget(_head(code), ["epoch", "seq"]))
        return Head(_text(epoch or b""), int(seq or 0))

    async def read(self, code: str, *, after: int) -> list[Numbered]:
        """Return the events after a number, in order."""
        events: list[Numbered] = []
        while True:
            page = await self._ask(partial(self._redis.xrange, _entries(code), f"{after + 1}-0", count=_PAGE))
            events += [from_entry(int(entry_id.partition(b"-")[0]), entry[b"e"]) for entry_id, entry in page]
            if len(page) < _PAGE:
                return events
            after = events[-1].seq

    async def settle(self, code: str) -> None:
        """Return when everything that was ever appended to a room is on disk.

        A write of our own followed by WAITAOF on the same connection: the append-only file is one sequence,
        so once this write is on disk, all before it are. That a server has no append-only file is logged
        once.
        """
        if not self._settles:
            return
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.set(_fence(code), "1", ex=ROOM_LIFE)
                pipeline.execute_command("WAITAOF", 1, 0, _DISK_PATIENCE_MS)
                _, on_disk = await self._ask(pipeline.execute)
        except ResponseError as error:
            self._settles = False
            _log.warning("log.no_append_only_file", why=str(error))
            return
        if int(on_disk[0]) < 1:
            raise Unavailable("redis")

    async def sit_down(
        self, user_id: str, code: str, *, at: datetime, instead_of: Seat | None = None
    ) -> Seat | None:
        """Give a player a seat in a room, unless they hold one in another.

        Args:
            user_id: Who.
            code: The room.
            at: Now.
            instead_of: A seat that the caller has found to be void.

        Returns:
            The seat they hold in another room, or None when they sit in this one now.
        """
        held = await self._ask(
            lambda: self._sit(
                keys=[_seat(user_id), _rooms(user_id)],
                args=[
                    code,
                    round(at.timestamp() * 1000),
                    int(SEAT_LIFE.total_seconds()),
                    instead_of.value if instead_of else "",
                ],
            )
        )
        if held is None:
            return None
        room, _, taken = _text(held).partition("|")
        return Seat(room, int(taken))

    async def stand_up(self, user_id: str, code: str) -> None:
        """Free the seat a player holds in a room, if they do."""
        await self._ask(lambda: self._stand_up(keys=[_seat(user_id)], args=[code]))

    async def rooms_of(self, user_id: str) -> list[str]:
        """Return the codes of all rooms that a player has sat in; some may be gone."""
        return sorted(_text(code) for code in await self._ask(lambda: self._redis.smembers(_rooms(user_id))))

    async def scrub(self, code: str, user_id: str) -> None:
        """Take a user's id and name out of a room's log; events and numbers stay as they are."""
        await self._ask(lambda: self._scrub(keys=[_entries(code)], args=[user_id]))

    async def forget_player(self, user_id: str) -> None:
        """Forget where a player sits and sat."""
        await self._ask(lambda: self._redis.delete(_seat(user_id), _rooms(user_id)))

    def wakeups(self, heard: Callable[[str], None]) -> Wakeups:
        """Return what hears of appends to rooms; `heard` is called with a room's code."""
        return Wakeups(self._redis, heard)

    async def _ask(self, question: Callable[[], Any]) -> Any:
        # What redis ships as types says neither what an answer is nor that it has to be awaited.
        try:
            with tracing.span("redis", "call"):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    answer = await question()
        except ResponseError:
            raise
        except (RedisError, OSError, TimeoutError) as error:
            self.failures += 1
            if self._answers:  # said once, however many ask until it answers again: health says when
                _log.warning("log.redis_unavailable", error=type(error).__name__)
            self._answers = False
            raise Unavailable("redis") from error
        self._answers = True
        return answer


class Wakeups:
    """Hears of appends, over one connection a process, and connects again when it breaks.

    `heard` may be called without need, and is called for every followed room after each break: an append in
    between would otherwise go unnoticed.
    """

    def __init__(self, client: redis.Redis, heard: Callable[[str], None]) -> None:
        self._redis = client
        self._heard = heard
        self._codes: set[str] = set()
        self._subscriber: PubSub | None = None

    async def follow(self, code: str) -> None:
        """Hear of a room's appends from now on."""
        self._codes.add(code)
        await self._tell(lambda subscriber: subscriber.subscribe(_channel(code)))

    async def unfollow(self, code: str) -> None:
        """Hear no more of a room."""
        self._codes.discard(code)
        await self._tell(lambda subscriber: subscriber.unsubscribe(_channel(code)))

    async def run(self) -> None:
        """Listen until cancelled."""
        interrupted = False
        while True:
            try:
                async with self._redis.pubsub() as subscriber:
                    # There is always one channel: the driver does not listen without any.
                    await subscriber.subscribe(_IDLE_CHANNEL, *map(_channel, self._codes))
                    self._subscriber = subscriber
                    while True:
                        message = await subscriber.get_message(timeout=_LISTEN_SECONDS)
                        interrupted = False
                        if message is not None:
                            self._hear(message)
            except (RedisError, OSError, TimeoutError) as error:
                if not interrupted:
                    _log.warning("log.wakeups_interrupted", error=type(error).__name__)
                interrupted = True
            finally:
                self._subscriber = None
            await asyncio.sleep(_RECONNECT_SECONDS)

    def _hear(self, message: Mapping[str, Any]) -> None:
        # The confirmation of a subscription counts as well: what was appended before it is not published
        # again.
        if message["type"] in ("message", "subscribe"):
            code = _text(message["channel"]).removeprefix("room:{").removesuffix("}")
            if code in self._codes:
                self._heard(code)

    async def _tell(self, order: Callable[[PubSub], Awaitable[Any]]) -> None:
        if self._subscriber is None:
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await order(self._subscriber)
        except (RedisError, OSError, TimeoutError) as error:
            # `run` finds the connection broken as well, and subscribes to everything on the next one.
            _log.warning("log.wakeups_interrupted", error=type(error).__name__)


def _head(code: str) -> str:
    return f"room:{{{code}}}:head"


def _entries(code: str) -> str:
    return f"room:{{{code}}}:log"


def _fence(code: str) -> str:
    return f"room:{{{code}}}:fence"


def _channel(code: str) -> str:
    return f"room:{{{code}}}"


def _seat(user_id: str) -> str:
    return f"player:{{{user_id}}}:seat"


def _rooms(user_id: str) -> str:
    return f"player:{{{user_id}}}:rooms"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
