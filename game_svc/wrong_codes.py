"""How often somebody may try a room's code: so many wrong ones a minute, over all replicas.

    player:{USER}:tries   a sorted set: tries that did not let them in, by when they were made, in ms

A try is counted before anything is looked at, and taken back when it was right: however many are made at the
same moment, no more than the allowed number of them is answered.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from game_svc.redis_link import RedisLink, Script
from game_svc.refusals import TooManyWrongCodes

MOST: Final = 5
"""How many wrong codes somebody may try within `WITHIN`."""

WITHIN: Final = timedelta(minutes=1)
"""How long a wrong code counts."""

# KEYS: tries. ARGV: the try's name, how many there may be, how long they count in ms.
# Returns 0 when the try is counted, and otherwise how many ms it is until one may try again.
_TRY: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return math.max(1, math.ceil(oldest[2] + ARGV[3] - now))
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 0
""")


class WrongCodes:
    """Counts tries. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, link: RedisLink) -> None:
        self._redis = link

    async def count(self, user_id: str, name: str) -> None:
        """Count a try.

        Args:
            user_id: Who tries.
            name: The try's own, new for each.

        Raises:
            TooManyWrongCodes: They have tried too often; this one does not count.
        """
        within_ms = round(WITHIN.total_seconds() * 1000)
        wait = await self._redis.run(_TRY, [_tries(user_id)], [name, MOST, within_ms])
        if wait:
            raise TooManyWrongCodes(retry_after=timedelta(milliseconds=int(wait)), most=str(MOST))

    async def was_right(self, user_id: str, name: str) -> None:
        """Take a try back: it was not wrong."""
        await self._redis.ask(_tries(user_id), "ZREM", name)

    async def forget(self, user_id: str) -> None:
        """Forget what somebody has tried."""
        await self._redis.ask(_tries(user_id), "DEL")


def _tries(user_id: str) -> str:
    return f"player:{{{user_id}}}:tries"
