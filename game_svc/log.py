"""The rooms' logs and seats in Redis. The only file that knows what is kept there, under which keys.

A room has these keys, which share a hash tag so that a cluster keeps them together:

    room:{CODE}:log     a stream, one entry an event, ids `SEQ-0`
    room:{CODE}:head    a hash: `epoch`, which game the log belongs to, and `seq`, the number of its last
                        event
    room:{CODE}:state   a hash: the state that the events up to a number fold to, see `keep_snapshot`
    room:{CODE}:fence   written before a wait for the disk, see `settle`
    room:{CODE}:presence
                        a sorted set: who is connected through which replica, by the time when that is over

`append` is one script: it compares the head with what the caller has decided upon, and writes all events or
none. Each append is published on the channel `room:{CODE}`; who misses that finds out at their next look.

A player has two keys:

    player:{USER}:seat  the room they sit in
    player:{USER}:rooms a set of the rooms they have sat in: where to look to export or erase them
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from game_svc.events import Event, Numbered
from game_svc.log_entries import from_entry, to_entry
from game_svc.redis_link import Call, RedisLink, Script
from game_svc.snapshots import SCHEMA, from_snapshot, to_snapshot
from game_svc.state import State

ROOM_LIFE: Final = timedelta(hours=24)
"""How long a room lives after its last event."""

SEAT_LIFE: Final = timedelta(days=30)
"""How long it is remembered where a player sits and sat. A seat in a room that is gone does not count."""

PRESENCE_LIFE: Final = ROOM_LIFE
"""How long it is remembered who was connected to a room, and when; see `presence.py`."""

_PAGE: Final = 1000
_CAME_OR_WENT: Final = "presence:"

# KEYS: head, log. ARGV: epoch, expected seq, seconds to live, channel, entries...
# Returns the head's epoch and number as they are afterwards, and whether the entries were written.
_APPEND: Final = Script("""
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
local published = redis.pcall('SPUBLISH', ARGV[4], ARGV[1] .. ' ' .. seq)
if type(published) == 'table' and published.err then
  redis.call('PUBLISH', ARGV[4], ARGV[1] .. ' ' .. seq)
end
return {ARGV[1], seq, 1}
""")

# KEYS: head, state. ARGV: epoch, seq, schema, seconds to live, snapshot. The latest stays, and none of
# another game or of before a scrub is taken.
_KEEP_SNAPSHOT: Final = Script("""
local head = redis.call('HMGET', KEYS[1], 'epoch', 'scrubbed')
if head[1] ~= ARGV[1] or tonumber(ARGV[2]) < tonumber(head[2] or '0') then
  return 0
end
local kept = redis.call('HMGET', KEYS[2], 'epoch', 'seq', 'schema')
if kept[1] == ARGV[1] and kept[3] == ARGV[3] and tonumber(kept[2]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[2], 'epoch', ARGV[1], 'seq', ARGV[2], 'schema', ARGV[3], 'snapshot', ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
""")

# KEYS: seat, rooms. ARGV: room, now in ms, seconds to live, the seat that may be replaced ('' for none).
# Returns the seat that is held otherwise, or nothing when it is the caller's now.
_SIT: Final = Script("""
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[4] and string.match(held, '^[^|]*') ~= ARGV[1] then
  return held
end
redis.call('SET', KEYS[1], ARGV[1] .. '|' .. ARGV[2], 'EX', ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return nil
""")

# KEYS: log, head, state. ARGV: user id. Writes the log anew, its numbers as they were, with nobody where the
# user was. A snapshot may name them: it goes, and none of before is taken any more.
_SCRUB: Final = Script("""
redis.call('DEL', KEYS[3])
local last = redis.call('HGET', KEYS[2], 'seq')
if last then
  redis.call('HSET', KEYS[2], 'scrubbed', last)
end
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
""")

# KEYS: presence. ARGV: channel to tell ('' for nobody), what to say there, seconds for which it is remembered
# who was connected, then member and milliseconds each.
# Returns who is connected, each with the milliseconds that this is good for without hearing more.
_PRESENCE: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 4, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], now + ARGV[i + 1], ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3] * 1000)
redis.call('EXPIRE', KEYS[1], ARGV[3])
if ARGV[1] ~= '' then
  local published = redis.pcall('SPUBLISH', ARGV[1], ARGV[2])
  if type(published) == 'table' and published.err then
    redis.call('PUBLISH', ARGV[1], ARGV[2])
  end
end
local found = redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf', 'WITHSCORES')
for i = 2, #found, 2 do
  found[i] = found[i] - now
end
return found
""")

# KEYS: presence. ARGV: player. Returns how many milliseconds ago they were last connected (less than 0: they
# still count as connected), or nothing when that is not known.
_LAST_SEEN: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local last
for i = 1, #members, 2 do
  if string.match(members[i], '^[^|]*') == ARGV[1] then
    last = math.max(last or 0, tonumber(members[i + 1]))
  end
end
return last and now - last
""")

# KEYS: seat. ARGV: room, milliseconds of the time up to which it was taken.
_STAND_UP: Final = Script("""
local held = redis.call('GET', KEYS[1]) or ''
local room, taken = string.match(held, '^([^|]*)|(%d+)$')
if room == ARGV[1] and tonumber(taken) <= tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[1])
end
return nil
""")


# KEYS: seat, rooms. ARGV: rooms. A room that the player is about to open is their seat already, and stays.
_FORGET_ROOMS: Final = Script("""
local held = redis.call('GET', KEYS[1]) or ''
for i = 1, #ARGV do
  if string.match(held, '^[^|]*') ~= ARGV[i] then
    redis.call('SREM', KEYS[2], ARGV[i])
  end
end
return nil
""")


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

    def __init__(self, link: RedisLink) -> None:
        self._redis = link

    async def ping(self) -> None:
        """Return when Redis answers."""
        await self._redis.ping()

    async def append(
        self,
        code: str,
        *,
        after: Head,
        epoch: str,
        events: Sequence[Event],
        at: datetime,
        first: Call | None = None,
        on_disk: bool = False,
    ) -> tuple[bool, Head]:
        """Append all events or, when the log does not end at `after` any more, none.

        Args:
            code: The room.
            after: Where the log has to end.
            epoch: Which game the events belong to.
            events: What happened.
            at: When.
            first: What has to be written before them, whether they are appended or not.
            on_disk: Whether to return only when they are on disk.

        Returns:
            Whether they were appended, and where the log ends now.
        """
        append = Call(
            _APPEND,
            [_head(code), _entries(code)],
            [
                epoch,
                after.seq,
                int(ROOM_LIFE.total_seconds()),
                _channel(code),
                *(to_entry(event, at) for event in events),
            ],
        )
        calls = [append] if first is None else [first, append]
        found, seq, appended = await self._redis.run_in_turn(calls, on_disk=on_disk)
        return bool(appended), Head(_text(found), int(seq))

    async def head(self, code: str) -> Head:
        """Return where a room's log ends."""
        epoch, seq = await self._redis.ask(_head(code), "HMGET", "epoch", "seq")
        return Head(_text(epoch or b""), int(seq or 0))

    async def keep_snapshot(self, code: str, state: State) -> None:
        """Keep what the log up to `state.seq` folds to, so that who opens the room need not fold it again.

        Nobody has to: a snapshot that is missing, or of another version, costs time and nothing else.
        """
        snapshot = await asyncio.to_thread(to_snapshot, state)  # some ms for a long game
        life = int(ROOM_LIFE.total_seconds())
        await self._redis.run(
            _KEEP_SNAPSHOT, [_head(code), _state(code)], [state.game_id, state.seq, SCHEMA, life, snapshot]
        )

    async def snapshot(self, code: str, head: Head) -> State | None:
        """Return the latest snapshot of the log that ends at `head`, if there is one that we can read."""
        kept = await self._redis.ask(_state(code), "HMGET", "epoch", "seq", "schema", "snapshot")
        epoch, seq, schema, snapshot = kept
        if snapshot is None or _text(epoch) != head.epoch or _text(schema) != SCHEMA or int(seq) > head.seq:
            return None
        try:
            return from_snapshot(snapshot)
        except ValueError:
            _log.error("log.snapshot_unreadable", code=code, seq=int(seq))
            return None

    async def read(self, code: str, *, after: int, up_to: int | None = None) -> list[Numbered]:
        """Return the events after a number, in order, all or up to another number."""
        events: list[Numbered] = []
        end = "+" if up_to is None else f"{up_to}-0"
        while True:
            page = await self._redis.ask(_entries(code), "XRANGE", f"{after + 1}-0", end, "COUNT", _PAGE)
            events += [from_entry(int(entry_id.partition(b"-")[0]), entry[b"e"]) for entry_id, entry in page]
            if len(page) < _PAGE:
                return events
            after = events[-1].seq

    async def settle(self, code: str) -> None:
        """Return when everything that was ever appended to a room is on disk."""
        await self._redis.settle(_fence(code))

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
        held = await self._redis.run(
            _SIT,
            [_seat(user_id), _rooms(user_id)],
            [
                code,
                _epoch_ms(at),
                int(SEAT_LIFE.total_seconds()),
                instead_of.value if instead_of else "",
            ],
        )
        if held is None:
            return None
        room, _, taken = _text(held).partition("|")
        return Seat(room, int(taken))

    async def stand_up(self, user_id: str, code: str, *, taken_by: datetime) -> None:
        """Free the seat a player holds in a room, if they do.

        Args:
            user_id: Who.
            code: The room.
            taken_by: A seat that was taken after this time is another one: they have come back.
        """
        await self._redis.run(_STAND_UP, [_seat(user_id)], [code, _epoch_ms(taken_by)])

    async def rooms_of(self, user_id: str) -> list[str]:
        """Return the codes of all rooms that a player has sat in; some may be gone."""
        return sorted(map(_text, await self._redis.ask(_rooms(user_id), "SMEMBERS")))

    async def forget_rooms(self, user_id: str, codes: Sequence[str]) -> None:
        """Forget that a player has sat in rooms that are gone."""
        await self._redis.run(_FORGET_ROOMS, [_seat(user_id), _rooms(user_id)], codes)

    async def scrub(self, code: str, user_id: str) -> None:
        """Take a user's id and name out of a room's log; events and numbers stay as they are."""
        await self._redis.run(_SCRUB, [_entries(code), _head(code), _state(code)], [user_id])

    async def forget_player(self, user_id: str) -> None:
        """Forget where a player sits and sat."""
        await self._redis.ask(_seat(user_id), "DEL", _rooms(user_id))

    async def presence(
        self, code: str, renewed: Mapping[str, timedelta], *, tell_as: str | None = None
    ) -> Mapping[str, timedelta]:
        """Say who is connected to a room here, and return who is anywhere.

        Args:
            code: The room.
            renewed: Members, and for how long each counts as connected from now on without hearing more.
            tell_as: In whose name the other replicas are told to look at once; None when there is no need.

        Returns:
            All members who are connected, and for how long without hearing more.
        """
        found = await self._redis.run(
            _PRESENCE,
            [_presence(code)],
            [
                _channel(code) if tell_as else "",
                f"{_CAME_OR_WENT}{tell_as}",
                int(PRESENCE_LIFE.total_seconds()),
                *(part for member, life in renewed.items() for part in (member, _milliseconds(life))),
            ],
        )
        return {
            _text(member): timedelta(milliseconds=int(left))
            for member, left in zip(found[::2], found[1::2], strict=True)
        }

    async def last_seen(self, code: str, player_id: str) -> timedelta | None:
        """Return how long ago a player was last connected, below 0 for who is, None for who never was."""
        ago = await self._redis.run(_LAST_SEEN, [_presence(code)], [player_id])
        return None if ago is None else timedelta(milliseconds=int(ago))

    def wakeups(
        self, *, appended: Callable[[str, Head | None], None], came_or_went: Callable[[str, str], None]
    ) -> RoomWakeups:
        """Return what hears of rooms. See `redis_link.Wakeups`: it may call without need.

        Args:
            appended: Called with a room's code, and where its log ends now or None when nobody knows.
            came_or_went: Called when somebody's presence may have changed, with the room's code and the name
                in which that is told, or "" when nobody knows.
        """
        return RoomWakeups(self._redis, appended, came_or_went)


class RoomWakeups:
    """Hears of what happens to the rooms one follows."""

    def __init__(
        self,
        link: RedisLink,
        appended: Callable[[str, Head | None], None],
        came_or_went: Callable[[str, str], None],
    ) -> None:
        self._wakeups = link.wakeups(self._hear)
        self._appended = appended
        self._came_or_went = came_or_went

    async def follow(self, code: str) -> None:
        """Hear of a room's appends from now on."""
        await self._wakeups.follow(_channel(code))

    async def unfollow(self, code: str) -> None:
        """Hear no more of a room."""
        await self._wakeups.unfollow(_channel(code))

    async def run(self) -> None:
        """Listen until cancelled."""
        await self._wakeups.run()

    def _hear(self, channel: str, message: str) -> None:
        code = channel.removeprefix("room:{").removesuffix("}")
        epoch, _, seq = message.partition(" ")
        if seq.isdecimal():
            self._appended(code, Head(epoch, int(seq)))
            return
        if not message.startswith(_CAME_OR_WENT):
            self._appended(code, None)
        self._came_or_went(code, message.removeprefix(_CAME_OR_WENT))


def _head(code: str) -> str:
    return f"room:{{{code}}}:head"


def _entries(code: str) -> str:
    return f"room:{{{code}}}:log"


def _state(code: str) -> str:
    return f"room:{{{code}}}:state"


def _fence(code: str) -> str:
    return f"room:{{{code}}}:fence"


def _presence(code: str) -> str:
    return f"room:{{{code}}}:presence"


def _channel(code: str) -> str:
    return f"room:{{{code}}}"


def _seat(user_id: str) -> str:
    return f"player:{{{user_id}}}:seat"


def _rooms(user_id: str) -> str:
    return f"player:{{{user_id}}}:rooms"


def _epoch_ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
