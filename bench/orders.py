"""Orders of cards, each played to the first match: ours, by the very code of game_svc, and what others do.

A turn is one swipe of everybody. What is counted are the turns until the first film that everybody likes.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Final, Protocol

from bench.tastes import Room, chance_of_like, place, popularity_of
from game_svc.deck import next_cards
from game_svc.events import DeckSource, Film, Numbered, Settings, Verdict
from game_svc.rules import Command, GiveVerdict, Join, Open, Start, decide
from game_svc.state import EMPTY, Tally, fold
from game_svc.taste import NOTHING, Known, appeals

_NORMAL: Final = NormalDist()
_WHEN: Final = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)


class Dealer(Protocol):
    """Deals the cards of one room. Films and players are numbered from 0."""

    def next_film(self, player: int) -> int:
        """Return the film to show to a player: one that they have not swiped."""

    def swiped(self, player: int, film: int, *, liked: bool) -> None:
        """Hear what a player said."""


class Ours:
    """The rules and the deck of game_svc."""

    def __init__(self, films: Sequence[Film], players: int, known: Known = NOTHING) -> None:
        self._films = {film.movie_id: number for number, film in enumerate(films)}
        self._ids = [film.movie_id for film in films]
        self._state = EMPTY
        self._do(Open("game", "ROOM", "0", "0", "", Settings(deck_sources=(DeckSource.TRENDING,))))
        for player in range(1, players):
            self._do(Join(str(player), str(player)))
        self._do(Start("0", {DeckSource.TRENDING: films}, appeals=appeals(films, known)))

    def next_film(self, player: int) -> int:
        """Return the first card of their deck."""
        member = self._state.member(str(player))
        assert member is not None, "everybody stays"
        return self._films[next_cards(self._state, member, limit=1)[0].movie_id]

    def swiped(self, player: int, film: int, *, liked: bool) -> None:
        """Take the verdict to the rules."""
        verdict = Verdict.LIKE if liked else Verdict.PASS
        self._do(GiveVerdict(str(player), f"{player}-{film}", self._ids[film], verdict))

    def _do(self, command: Command) -> None:
        events = decide(self._state, command)
        first = self._state.seq + 1
        self._state = fold(self._state, [Numbered(first + n, _WHEN, event) for n, event in enumerate(events)])


class Listed:
    """An order that stands before the first swipe, for each player or for all."""

    def __init__(self, films: Sequence[Sequence[int]]) -> None:
        self._left = [iter(own) for own in films]

    def next_film(self, player: int) -> int:
        """Return the next of their list."""
        return next(self._left[player])

    def swiped(self, player: int, film: int, *, liked: bool) -> None:
        """Nothing is learnt."""


def own_shuffle(room: Room, rng: random.Random) -> Dealer:
    """Everybody gets a shuffle of their own."""
    films = range(len(room.ratings))
    return Listed([rng.sample(films, len(films)) for _ in room.likes])


def one_shuffle(room: Room, rng: random.Random) -> Dealer:
    """All get the same shuffle."""
    films = range(len(room.ratings))
    return Listed([rng.sample(films, len(films))] * len(room.likes))


def best_rated(room: Room, _rng: random.Random) -> Dealer:
    """All get the best rated film first."""
    return Listed([sorted(range(len(room.ratings)), key=lambda film: -room.ratings[film])] * len(room.likes))


def ours(room: Room, _rng: random.Random) -> Dealer:
    """The order of game_svc on the first evening: nobody has swiped the films before."""
    return Ours(public(room), len(room.likes))


def ours_later(room: Room, _rng: random.Random) -> Dealer:
    """The order of game_svc once the room's others have swiped all of its films, in games that are over."""
    films = public(room)
    verdicts = [Tally(len(answers), sum(answers)) for answers in zip(*room.others, strict=True)]
    counted = {film.movie_id: tally for film, tally in zip(films, verdicts, strict=True)}
    return Ours(films, len(room.likes), Known(films=counted))


ORDERS: Final[Mapping[str, Callable[[Room, random.Random], Dealer]]] = {
    "ours": ours,
    "ours, on a later evening": ours_later,
    "best rated first": best_rated,
    "one shuffle for all": one_shuffle,
    "own shuffle": own_shuffle,
}

STEPS: Final = 1_000


def public(room: Room, *, world: int = 0) -> list[Film]:
    """Return a room's films as a world knows them: ids of its catalogue, and ratings from 0 to 10.

    A catalogue has `STEPS` films, rated as a room's films are drawn; each film of a room is the one of the
    catalogue that is rated next to it. So rooms share films, as they do in life. But how popular those are is
    drawn for each room: what one teaches is true in a world of its own only.
    """
    taken: dict[int, int] = {}
    lowest_left = STEPS
    by_rating = sorted(range(len(room.ratings)), key=lambda film: -room.ratings[film])
    for worse, film in zip(range(len(by_rating) - 1, -1, -1), by_rating, strict=True):
        step = int(STEPS * _NORMAL.cdf(room.ratings[film]))
        # Each film gets a step of its own, and those that are rated worse still find one below.
        lowest_left = taken[film] = max(min(step, lowest_left - 1), worse)
    ids = (world * STEPS + taken[film] + 1 for film in range(len(room.ratings)))
    return [Film(movie_id, catalogue_rating(movie_id)) for movie_id in ids]


def catalogue_rating(movie_id: int) -> float:
    """Return the rating of a film, 0 to 10: in each catalogue they stand from the worst to the best."""
    return round(6.5 + 0.8 * _NORMAL.inv_cdf(((movie_id - 1) % STEPS + 0.5) / STEPS), 3)


def in_turns(room: Room, dealer: Dealer) -> int:
    """Return how many turns it takes when each sees what the one before has swiped."""
    likes = [0] * len(room.ratings)
    for turn in range(1, len(room.ratings) + 1):
        for player in range(len(room.likes)):
            if _swipe(room, dealer, player, dealer.next_film(player), likes):
                return turn
    raise ValueError("there is no match in this room")


def at_once(room: Room, dealer: Dealer) -> int:
    """Return how many turns it takes when all look at their cards at the same time."""
    likes = [0] * len(room.ratings)
    for turn in range(1, len(room.ratings) + 1):
        cards = [dealer.next_film(player) for player in range(len(room.likes))]
        for player, film in enumerate(cards):
            if _swipe(room, dealer, player, film, likes):
                return turn
    raise ValueError("there is no match in this room")


def _swipe(room: Room, dealer: Dealer, player: int, film: int, likes: list[int]) -> bool:
    """Swipe a card; return whether that makes a match."""
    liked = room.likes[player][film]
    dealer.swiped(player, film, liked=liked)
    likes[film] += liked
    return likes[film] == len(room.likes)


GUESSES: Final = 100
"""How many films of a rating are imagined to tell how people with known tastes will answer."""


def knowing_tastes(room: Room, rng: random.Random) -> int:
    """Return how many turns somebody needs who is told everybody's tastes and may ask whom they want next.

    No order of cards can know as much, so this is about as good as any can be. Films lie anywhere, whatever
    their rating, so even then the best rated one is the next to try; tastes tell who is likeliest to pass,
    and so is asked first. A turn is as many answers as there are people, whoever gives them.
    """
    imagined = [(rng.gauss(0, 1), place(rng)) for _ in range(GUESSES)]
    asked = 0
    for film in sorted(range(len(room.ratings)), key=lambda film: -room.ratings[film]):
        shown = [(popularity_of(room.ratings[film], rest), where) for rest, where in imagined]
        chances = [[chance_of_like(*one, taste) for one in shown] for taste in room.tastes]
        weights = [1.0] * GUESSES
        left = set(range(len(room.tastes)))
        while left:
            player = min(left, key=lambda player: sum(map(operator.mul, weights, chances[player])))
            asked += 1
            if not room.likes[player][film]:
                break
            left.remove(player)
            weights = list(map(operator.mul, weights, chances[player]))
        else:
            return math.ceil(asked / len(room.tastes))
    raise ValueError("there is no match in this room")
