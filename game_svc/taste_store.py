"""Verdicts of finished games, counted in Redis: all that is remembered of what people like.

    taste:film:{ID}      a hash: `n`, how many verdicts on a film there were, and `k`, how many of them likes
    taste:genres         a hash: `{GENRE}:n` and `{GENRE}:k`, the same by genre; `0:n` and `0:k` for all films
    taste:person:{USER}  a hash as `taste:genres`: one person's own verdicts
    taste:learnt:{GAME}  that a game has been counted

Nothing says what somebody thinks of a film: those verdicts go with the room. What is not added to for `LIFE`
is forgotten, and a person's own counts with the person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from game_svc.redis_link import RedisLink, Script
from game_svc.state import Tally
from game_svc.taste import Known, Lessons

LIFE: Final = timedelta(days=180)
"""How long counts outlive the last verdict that was added to them."""

LEARNT_LIFE: Final = timedelta(days=7)
"""How long it is known which games have been counted: much longer than a room lives."""

_GENRES: Final = "taste:genres"

# KEYS: counts. ARGV: seconds to live, field, by how much, field, by how much, ...
_ADD: Final = Script("""
for i = 2, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return nil
""")


class TasteStore:
    """The counts. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def known(self, movie_ids: Iterable[int], user_ids: Iterable[str]) -> Known:
        """Return what is remembered of some films, of all genres and of some people."""
        wanted = tuple(movie_ids)
        genres, people, films = await asyncio.gather(
            self._by_genre(_GENRES),
            asyncio.gather(*(self.of_person(user_id) for user_id in user_ids)),
            asyncio.gather(*(self._link.ask(_film(movie_id), "HMGET", "n", "k") for movie_id in wanted)),
        )
        counted = {
            movie_id: Tally(swiped=int(swiped), likes=int(likes or 0))
            for movie_id, (swiped, likes) in zip(wanted, films, strict=True)
            if swiped
        }
        return Known(films=counted, genres=genres, people=people)

    async def of_person(self, user_id: str) -> Mapping[int, Tally]:
        """Return somebody's own verdicts, by genre."""
        return await self._by_genre(_person(user_id))

    async def learn(self, game_id: str, lessons: Lessons) -> bool:
        """Count a finished game, unless it has been.

        What fails half way is not made up for: a lesson may be lost, and is never counted twice.

        Returns:
            Whether it was counted now.
        """
        first = await self._link.ask(
            f"taste:learnt:{game_id}", "SET", "1", "NX", "EX", int(LEARNT_LIFE.total_seconds())
        )
        if not first:
            return False
        additions: dict[str, list[str | int]] = {_GENRES: _fields(lessons.genres)}
        for movie_id, tally in lessons.films.items():
            additions[_film(movie_id)] = ["n", tally.swiped, "k", tally.likes]
        for user_id, own in lessons.people.items():
            additions[_person(user_id)] = _fields(own)
        life = int(LIFE.total_seconds())
        await asyncio.gather(
            *(self._link.run(_ADD, [key], [life, *fields]) for key, fields in additions.items() if fields)
        )
        return True

    async def forget(self, user_id: str) -> None:
        """Forget somebody's own counts."""
        await self._link.ask(_person(user_id), "DEL")

    async def _by_genre(self, key: str) -> dict[int, Tally]:
        # Field after value: a list from one server, and from its newest protocol a mapping.
        answer = await self._link.ask(key, "HGETALL")
        pairs = answer.items() if isinstance(answer, Mapping) else zip(answer[::2], answer[1::2], strict=True)
        counts = {name.decode(): int(value) for name, value in pairs}
        swiped = {name.removesuffix(":n"): value for name, value in counts.items() if name.endswith(":n")}
        return {int(genre): Tally(value, counts.get(f"{genre}:k", 0)) for genre, value in swiped.items()}


def _fields(tallies: Mapping[int, Tally]) -> list[str | int]:
    pairs = [(f"{genre}:n", tally.swiped, f"{genre}:k", tally.likes) for genre, tally in tallies.items()]
    return [part for pair in pairs for part in pair]


def _film(movie_id: int) -> str:
    return f"taste:film:{movie_id}"


def _person(user_id: str) -> str:
    return f"taste:person:{user_id}"
