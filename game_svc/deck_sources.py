"""Where the films of a deck come from: asking movie_svc and backlog_svc for what a room's settings want.

What is made of it, and in which order it is swiped, the rules decide (`rules.mixed`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar

import grpc
import structlog

from game_svc import taste
from game_svc.backlogs import Backlogs
from game_svc.events import LARGEST_DECK, DeckSource, Film, Settings
from game_svc.films import Films
from game_svc.rules import mixed
from game_svc.state import State
from game_svc.taste_store import TasteStore
from mesh.errors import Unavailable
from mesh.locale import Locale

_PATIENCE_SECONDS: Final = 6.0
_RETRY_AFTER: Final = timedelta(seconds=2)
_OF_THE_ROOM: Final = (DeckSource.PICKS, DeckSource.BACKLOGS)

_log = structlog.get_logger("game_svc.deck_sources")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """What a deck can be made of."""

    films: Mapping[DeckSource, Sequence[Film]]
    left_out: frozenset[int]
    """Picks and films of backlogs that somebody has watched, where the room does not want those."""
    appeals: Mapping[int, float]
    """What is known of their appeal to the room."""


class DeckSources:
    """All sources of films."""

    def __init__(self, films: Films, backlogs: Backlogs, tastes: TasteStore) -> None:
        self._films = films
        self._backlogs = backlogs
        self._tastes = tastes

    async def gather(self, state: State, locale: Locale) -> Found:
        """Return what the room's sources give, and what is trending where one of them gives nothing.

        Args:
            state: The room.
            locale: Who starts it: films are remembered in their language.

        Raises:
            Unavailable: No source answers, or nobody can tell what has been watched where the room asks.
        """
        settings = state.settings
        wanted: list[DeckSource] = [one for one in settings.deck_sources if one is not DeckSource.PICKS]
        on_backlogs = await self._on_backlogs(state) if DeckSource.BACKLOGS in wanted else None
        answers = await asyncio.gather(*(self._ask(source, state, locale, on_backlogs) for source in wanted))
        films: dict[DeckSource, Sequence[Film] | None] = dict(zip(wanted, answers, strict=True))
        films[DeckSource.PICKS] = tuple(state.picked.values())
        # Of what is discovered and what is trending nothing watched has come.
        left_out = await self._watched(
            state, [film for source in _OF_THE_ROOM for film in films.get(source) or ()]
        )
        _, empty = mixed(settings, _given(films), left_out)
        if empty and DeckSource.TRENDING not in films:
            films[DeckSource.TRENDING] = await self._ask(DeckSource.TRENDING, state, locale, None)
        deck, _ = mixed(settings, _given(films), left_out)
        if not deck and None in films.values():
            raise Unavailable("films", _RETRY_AFTER)
        del films[DeckSource.PICKS]  # the rules know those themselves, and better
        return Found(_given(films), left_out, await self._appeals(state, deck, on_backlogs or {}))

    async def _appeals(
        self, state: State, deck: Sequence[Film], on_backlogs: Mapping[int, int]
    ) -> Mapping[int, float]:
        movie_ids = [film.movie_id for film in deck]
        known = await self._tastes.known(movie_ids, [player.user_id for player in state.present])
        picked = Counter(movie_id for player in state.present for movie_id in player.picks)
        # Who has picked a film may well have it on their backlog, too: it is not known who wants it there.
        wanted = {movie_id: max(picked[movie_id], on_backlogs.get(movie_id, 0)) for movie_id in movie_ids}
        return taste.appeals(
            deck, known, wanted={one: count / len(state.present) for one, count in wanted.items()}
        )

    async def count(
        self, state: State, settings: Settings
    ) -> tuple[int, Sequence[tuple[DeckSource, int | None]]]:
        """Return how many cards the deck would have with these settings, from one call a source.

        Returns:
            How many at most, and how many films each source has; None for one that does not answer.

        Raises:
            Unavailable: Nobody can tell what has been watched, and the settings want to know.
        """
        room = tuple(state.picked)
        watched: frozenset[int] = frozenset()
        if settings.leave_out_watched and DeckSource.PICKS in settings.deck_sources:
            watched = await self._known_as_watched(state, room)
        picks = [movie_id for movie_id in room if movie_id not in watched]
        wanted = [source for source in DeckSource if source in settings.deck_sources]
        counts = await asyncio.gather(*(self._count(source, state, settings, picks) for source in wanted))
        if (0 in counts or None in counts) and DeckSource.TRENDING not in wanted:
            wanted.append(DeckSource.TRENDING)
            counts.append(await self._count(DeckSource.TRENDING, state, settings, picks))
        cards = min(sum(count or 0 for count in counts), settings.max_movies)
        return cards, list(zip(wanted, counts, strict=True))

    async def _ask(
        self, source: DeckSource, state: State, locale: Locale, on_backlogs: Mapping[int, int] | None
    ) -> Sequence[Film] | None:
        """Return the films of a source; None when it does not answer.

        A list of everybody's is read on for as long as what is on it has been watched.
        """
        settings = state.settings
        most = settings.max_movies
        unwatched = partial(self._unwatched, state)
        match source:
            case DeckSource.BACKLOGS:
                if on_backlogs is None:
                    return None
                return await _unless_away(source, self._films.films(tuple(on_backlogs), locale))
            case DeckSource.DISCOVER:
                return await _unless_away(source, self._films.discover(settings.discover, most, unwatched))
            case _:
                return await _unless_away(source, self._films.trending(most, unwatched))

    async def _on_backlogs(self, state: State) -> Mapping[int, int] | None:
        """Return by how many of those present films are wanted; None when nobody can tell."""
        settings = state.settings
        wanted = self._backlogs.wanted(
            _members(state), leave_out_watched=settings.leave_out_watched, most=settings.max_movies
        )
        return await _unless_away(DeckSource.BACKLOGS, wanted)

    async def _unwatched(self, state: State, films: Sequence[Film]) -> Sequence[Film]:
        watched = await self._watched(state, films)
        return [film for film in films if film.movie_id not in watched]

    async def _watched(self, state: State, films: Sequence[Film]) -> frozenset[int]:
        if not state.settings.leave_out_watched:
            return frozenset()
        return await self._known_as_watched(state, sorted({film.movie_id for film in films}))

    async def _known_as_watched(self, state: State, movie_ids: Sequence[int]) -> frozenset[int]:
        try:
            return await self._backlogs.watched(_members(state), movie_ids)
        except grpc.aio.AioRpcError as error:
            raise Unavailable("backlog_svc", _RETRY_AFTER) from error

    async def _count(
        self, source: DeckSource, state: State, settings: Settings, picks: Sequence[int]
    ) -> int | None:
        match source:
            case DeckSource.PICKS:
                return len(picks)
            case DeckSource.BACKLOGS:
                wanted = await _unless_away(
                    source,
                    self._backlogs.wanted(
                        _members(state), leave_out_watched=settings.leave_out_watched, most=LARGEST_DECK
                    ),
                )
                if wanted is None:
                    return None
                return len(set(wanted).difference(picks if DeckSource.PICKS in settings.deck_sources else ()))
            case DeckSource.DISCOVER:
                return await _unless_away(source, self._films.count_discovered(settings.discover))
            case DeckSource.TRENDING:
                return await _unless_away(source, self._films.count_trending())


def _members(state: State) -> Sequence[str]:
    """Return the user ids of those present who have a backlog."""
    return [player.user_id for player in state.present if not player.guest]


def _given(films: Mapping[DeckSource, Sequence[Film] | None]) -> Mapping[DeckSource, Sequence[Film]]:
    return {source: given or () for source, given in films.items()}


async def _unless_away(source: DeckSource, asking: Awaitable[T]) -> T | None:
    """Return the answer, or None when it does not come: a source that is away counts as one that is empty."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await asking
    except (grpc.aio.AioRpcError, TimeoutError) as error:
        _log.warning("deck_sources.unavailable", source=source.value, error=type(error).__name__)
        return None
