"""What became of an evening: near misses and statistics, as a function of the room's state.

Nobody learns from them who passed on what. Near misses name films that somebody likes, and how many do.
Numbers about a player are coarse (`coarse`), so that no single verdict can be worked out of them. What the
group likes is told by its likes alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from game_svc.events import Film
from game_svc.state import Phase, Player, State, Swipe

MOST_NEAR_MISSES: Final = 10
"""How many near misses are told."""

FEWEST: Final = 10
"""Numbers over fewer verdicts than this are not told."""

FEWEST_VOICES: Final = 3
"""How many must have swiped a film for it to have a majority: between two there is none."""


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A film that somebody likes, and not enough."""

    movie_id: int
    percent: int
    """How many of those who were there like it."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How a player swiped, over all rounds."""

    player: Player
    swipes: int
    liked_percent: int
    """See `coarse`."""
    with_majority_percent: int
    """See `coarse`. Of films that at least `FEWEST_VOICES` have swiped and that do not split them evenly."""


def ready(state: State) -> bool:
    """Return whether there are results to tell: it is over, or everybody has run out of cards."""
    return state.phase is Phase.ENDED or state.out_of_cards


def near_misses(state: State) -> Sequence[NearMiss]:
    """Return the films of this round that came nearest to a match, the nearest first."""
    judges = [player for player in state.players.values() if _counts(state, player)]
    likes = Counter(
        swipe.movie_id for judge in judges for swipe in judge.swipes.values() if swipe.verdict.likes
    )
    missed = [film for film in state.deck if likes[film.movie_id] and film.movie_id not in state.matches]
    missed.sort(key=lambda film: (-likes[film.movie_id], -film.rating))
    return [
        NearMiss(film.movie_id, round(100 * likes[film.movie_id] / len(judges)))
        for film in missed[:MOST_NEAR_MISSES]
    ]


def habits(state: State) -> Sequence[Habits]:
    """Return how everybody swiped whom the host has not taken out, in the order they joined."""
    own: dict[str, Counter[str]] = {player.player_id: Counter() for player in _players(state)}
    for _, swipes in _rounds(state):
        liked = {
            player_id: {movie_id for movie_id, swipe in given.items() if swipe.verdict.likes}
            for player_id, given in swipes.items()
        }
        voices = Counter(movie_id for given in swipes.values() for movie_id in given)
        likes = Counter(movie_id for given in liked.values() for movie_id in given)
        for player_id, given in swipes.items():
            for movie_id in given:
                likes_it = movie_id in liked[player_id]
                own[player_id].update(swiped=1, liked=likes_it)
                if voices[movie_id] >= FEWEST_VOICES and 2 * likes[movie_id] != voices[movie_id]:
                    most_like_it = 2 * likes[movie_id] > voices[movie_id]
                    own[player_id].update(judged=1, with_most=likes_it == most_like_it)
    return [
        Habits(
            player,
            counted["swiped"],
            coarse(counted["liked"], counted["swiped"]),
            coarse(counted["with_most"], counted["judged"]),
        )
        for player in _players(state)
        for counted in [own[player.player_id]]
    ]


def taste(state: State) -> Mapping[int, int]:
    """Return how many percent of all likes were for films of each genre, the most liked first.

    A film counts in each of its genres. Empty with fewer than `FEWEST` likes.
    """
    films = {film.movie_id: film for deck, _ in _rounds(state) for film in deck}
    liked = [
        films[movie_id]
        for _, swipes in _rounds(state)
        for given in swipes.values()
        for movie_id, swipe in given.items()
        if swipe.verdict.likes
    ]
    if len(liked) < FEWEST:
        return {}
    genres = Counter(genre for film in liked for genre in film.genres)
    ranked = sorted(genres, key=lambda genre: (-genres[genre], genre))
    return {genre: round(100 * genres[genre] / len(liked)) for genre in ranked}


def genre_counts(state: State) -> Mapping[int, tuple[int, int]]:
    """Return how often films of each genre were swiped and how often liked, the most liked first.

    Empty unless at least `FEWEST_VOICES` have swiped: between two, what is not one's own is the other's.
    """
    films = {film.movie_id: film for deck, _ in _rounds(state) for film in deck}
    given = [swipe for _, swipes in _rounds(state) for own in swipes.values() for swipe in own.values()]
    voices = {player for _, swipes in _rounds(state) for player, own in swipes.items() if own}
    if len(voices) < FEWEST_VOICES:
        return {}
    swiped = Counter(genre for swipe in given for genre in films[swipe.movie_id].genres)
    liked = Counter(genre for swipe in given if swipe.verdict.likes for genre in films[swipe.movie_id].genres)
    ranked = sorted(swiped, key=lambda genre: (-liked[genre], genre))
    return {genre: (swiped[genre], liked[genre]) for genre in ranked}


def coarse(part: int, whole: int) -> int:
    """Return about how many percent a part is: 10 to 90 in steps of 10; 0 for a whole below `FEWEST`.

    That it never is all or nothing, and says no single one of ten, is what keeps verdicts secret.
    """
    if whole < FEWEST:
        return 0
    return min(90, max(10, 10 * round(10 * part / whole)))


def _players(state: State) -> Sequence[Player]:
    return [player for player in state.players.values() if not player.removed]


def _counts(state: State, player: Player) -> bool:
    """Whether somebody's verdicts count: who is there or, once it is over, was there at the end."""
    return player.player_id in state.last_there if state.phase is Phase.ENDED else player.present


def _rounds(state: State) -> Iterator[tuple[Sequence[Film], Mapping[str, Mapping[int, Swipe]]]]:
    """All rounds, each with its deck and with the verdicts of those whom the host has not taken out."""
    players = _players(state)
    for before in state.earlier:
        yield before.deck, {player.player_id: before.swipes.get(player.player_id, {}) for player in players}
    yield state.deck, {player.player_id: player.swipes for player in players}
