"""People with tastes: who would like which film, and what a server may know of it.

A film is more or less popular and lies somewhere in four dimensions of taste, as a person does. Person i
likes film j with the chance

    1 / (1 + exp(0.8 - 0.7 * popularity_j - 1.2 * <taste_i, place_j> / 2))

where popularity and all coordinates are drawn from standard normal distributions. What the public gave a
film, its `rating`, correlates 0.6 with its popularity. The rating is all that a server is given.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Final

FILMS: Final = 60
DIMENSIONS: Final = 4
RATING_TELLS: Final = 0.6
"""How much a film's rating correlates with its popularity."""


@dataclass(frozen=True, slots=True)
class Room:
    """Some people and some films."""

    likes: tuple[tuple[bool, ...], ...]
    """What each person answers to each film: by person, then by film."""
    ratings: tuple[float, ...]
    """What the public gave each film: mean 0, deviation 1."""
    tastes: tuple[tuple[float, ...], ...]
    """Where each person lies. Nothing that deals cards may look at it."""
    others: tuple[tuple[bool, ...], ...] = ()
    """What each of some other people answers, who swipe the same films on earlier evenings: as `likes`."""

    @property
    def has_match(self) -> bool:
        """Whether there is a film that everybody likes."""
        return any(all(answers) for answers in zip(*self.likes, strict=True))


def chance_of_like(popularity: float, taste: Sequence[float], place: Sequence[float]) -> float:
    """Return how likely somebody with a taste is to like a film."""
    odds = -0.8 + 0.7 * popularity + 0.6 * math.fsum(a * b for a, b in zip(taste, place, strict=True))
    return 1 / (1 + math.exp(-odds))


def popularity_of(rating: float, rest: float) -> float:
    """Return a popularity that goes with a rating; `rest`, standard normal, is what that does not tell."""
    return RATING_TELLS * rating + math.sqrt(1 - RATING_TELLS**2) * rest


def place(rng: random.Random) -> tuple[float, ...]:
    """Draw a person's taste, or a film's place."""
    return tuple(rng.gauss(0, 1) for _ in range(DIMENSIONS))


def room(seed: int, *, players: int, others: int = 0, films: int = FILMS) -> Room:
    """Return a room, the same for the same seed; the others, who are not in it, change nothing in it."""
    rng = random.Random(f"room {seed} of {players} with {films}")
    ratings = tuple(rng.gauss(0, 1) for _ in range(films))
    shown = [(popularity_of(rating, rng.gauss(0, 1)), place(rng)) for rating in ratings]

    def answers(tastes: tuple[tuple[float, ...], ...]) -> tuple[tuple[bool, ...], ...]:
        return tuple(
            tuple(rng.random() < chance_of_like(popularity, taste, where) for popularity, where in shown)
            for taste in tastes
        )

    tastes = tuple(place(rng) for _ in range(players))
    likes = answers(tastes)
    return Room(likes, ratings, tastes, answers(tuple(place(rng) for _ in range(others))))


def rooms_with_a_match(number: int, *, players: int, seed: int, others: int = 0) -> list[Room]:
    """Return the first rooms from a seed on in which there is something to be found."""
    drawn = (room(one, players=players, others=others) for one in count(seed))
    return list(islice((one for one in drawn if one.has_match), number))
