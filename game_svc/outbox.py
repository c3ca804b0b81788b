"""What the rooms still owe to the archive, in Redis.

The log is the outbox: an event that concerns the archive is in it as soon as it has happened, and at no other
time. What is kept beside it is how far each room has been archived, and which rooms to look at:

    room:{CODE}:archived   a hash: `epoch` and `seq`, up to which event of which game the archive has heard
    room:{CODE}:archivist  who is archiving the room, for the length of a lease
    archive:due            a sorted set: rooms that owe something, by when that began, in milliseconds
    archive:erased:{HASH}  that somebody was erased whom a replica may still remember (`debts.py`); by SHA-256

A room is put on the list before the append: keys of a cluster's different slots cannot be written together,
and a room that owes nothing after all costs one look. It comes off the list when it has owed nothing for
longer than an append can take.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from game_svc.events import CardSwiped, Event, GameEnded, MatchFound, MatchWithdrawn, Verdict, WinnerDrawn
from game_svc.log import ROOM_LIFE, Head
from game_svc.redis_link import Call, RedisLink, Script

LEASE: Final = timedelta(seconds=10)
"""How long a room belongs to the archivist who took it."""

OVERDUE: Final = timedelta(seconds=6)
"""How long after an append began it is certain to have been made or not; longer than Redis is waited for."""

ERASED_LIFE: Final = timedelta(days=7)
"""For how long it is known who was erased: much longer than a room lives."""

_DUE: Final = "archive:due"

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: due. ARGV: room.
_OWE: Final = Script(_NOW + "redis.call('ZADD', KEYS[1], 'GT', now, ARGV[1])\nreturn nil")

# KEYS: due. ARGV: the least age in ms, how many at most. Returns room, since, room, since, ...
_OVERDUE: Final = Script(
    _NOW
    + "return redis.call('ZRANGE', KEYS[1], '-inf', now - ARGV[1], "
    + "'BYSCORE', 'LIMIT', 0, ARGV[2], 'WITHSCORES')"
)

# KEYS: due. ARGV: room, since. Strikes a room off unless it has owed something since.
_STRIKE: Final = Script("""
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return nil
""")

# KEYS: archived. ARGV: epoch, seq, seconds to live. Never goes back within a game.
_ADVANCE: Final = Script("""
local epoch = redis.call('HGET', KEYS[1], 'epoch')
local seq = tonumber(redis.call('HGET', KEYS[1], 'seq') or '0')
if epoch ~= ARGV[1] or seq < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'seq', ARGV[2])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return nil
""")

# KEYS: archivist. ARGV: who, how long in ms. Takes the lease or renews it; 1 when it is theirs.
_TAKE: Final = Script("""
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")

# KEYS: archivist. ARGV: who, how long in ms. Renews a lease that has not been lost; 1 when it was not.
_KEEP: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
""")

# KEYS: archivist. ARGV: who.
_GIVE_BACK: Final = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return nil
""")


@dataclass(frozen=True, slots=True)
class Due:
    """A room that owes something to the archive, or did."""

    code: str
    since: str
    """When it was last put on the list, as Redis writes it."""


def concerns_archive(event: Event) -> bool:
    """Return whether the archive has to hear of an event."""
    match event:
        case MatchFound() | MatchWithdrawn() | WinnerDrawn() | GameEnded():
            return True
        case CardSwiped(verdict=verdict):
            return verdict is Verdict.SEEN_IT
        case _:
            return False


class Lease:
    """A room that is somebody's to archive, for as long as they look after it."""

    def __init__(self, outbox: Outbox, code: str, who: str, *, since: float) -> None:
        self._outbox = outbox
        self._code = code
        self._who = who
        self._since = since

    async def held(self) -> bool:
        """Return whether it holds for another half of `LEASE`, at the least."""
        now = asyncio.get_running_loop().time()
        if now - self._since < LEASE.total_seconds() / 2:
            return True
        self._since = now  # not when the answer is there: it may begin earlier
        return await self._outbox.keep(self._code, self._who)

    async def give_back(self) -> None:
        """End it."""
        await self._outbox.give_back(self._code, self._who)


class Outbox:
    """What is owed to the archive. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, link: RedisLink) -> None:
        self._redis = link

    def owing(self, code: str) -> Call:
        """Return what puts a room on the list, to be run before what concerns the archive is appended."""
        return Call(_OWE, [_DUE], [code])

    async def overdue(self, *, most: int) -> Sequence[Due]:
        """Return rooms that have been on the list for `OVERDUE`, those longest there first."""
        found = await self._redis.run(_OVERDUE, [_DUE], [_milliseconds(OVERDUE), most])
        return [
            Due(code.decode(), since.decode()) for code, since in zip(found[::2], found[1::2], strict=True)
        ]

    async def strike_off(self, due: Due) -> None:
        """Take a room that owes nothing off the list."""
        await self._redis.run(_STRIKE, [_DUE], [due.code, due.since])

    async def archived(self, code: str) -> Head:
        """Return up to which event of which game the archive has heard."""
        epoch, seq = await self._redis.ask(_archived(code), "HMGET", "epoch", "seq")
        return Head((epoch or b"").decode(), int(seq or 0))

    async def advance(self, code: str, heard: Head) -> None:
        """Note up to which event the archive has heard."""
        await self._redis.run(
            _ADVANCE, [_archived(code)], [heard.epoch, heard.seq, int(ROOM_LIFE.total_seconds())]
        )

    async def take(self, code: str, who: str) -> bool:
        """Take a room for `LEASE`, or keep it for as long again. Returns whether it is theirs."""
        return bool(await self._redis.run(_TAKE, [_archivist(code)], [who, _milliseconds(LEASE)]))

    async def note_erased(self, user_id: str) -> None:
        """Have everybody know that a user was erased."""
        await self._redis.ask(_erased(user_id), "SET", "1", "EX", int(ERASED_LIFE.total_seconds()))

    async def erased(self, user_id: str) -> bool:
        """Return whether a user was erased."""
        return bool(await self._redis.ask(_erased(user_id), "EXISTS"))

    async def lease(self, code: str, who: str) -> Lease | None:
        """Take a room, and return what looks after the lease; None when it is another's."""
        since = asyncio.get_running_loop().time()
        return Lease(self, code, who, since=since) if await self.take(code, who) else None

    async def keep(self, code: str, who: str) -> bool:
        """Keep a room that was taken for another `LEASE`. Returns False when it was lost, free or not."""
        return bool(await self._redis.run(_KEEP, [_archivist(code)], [who, _milliseconds(LEASE)]))

    async def give_back(self, code: str, who: str) -> None:
        """Let others archive the room."""
        await self._redis.run(_GIVE_BACK, [_archivist(code)], [who])


def _archived(code: str) -> str:
    return f"room:{{{code}}}:archived"


def _archivist(code: str) -> str:
    return f"room:{{{code}}}:archivist"


def _erased(user_id: str) -> str:
    # Not the id itself: nothing that names them is left.
    return f"archive:erased:{hashlib.sha256(user_id.encode()).hexdigest()}"


def _milliseconds(time: timedelta) -> int:
    return round(time.total_seconds() * 1000)
