"""What a group is likely to like, from counts of verdicts: of everybody, of its people, and in this room.

Everything is a sum of log-odds, so that each part can be read by itself:

    appeal of a film, when the deck is fixed (`appeals`)
        what its public rating promises and its genres mean to everybody; once enough people have swiped it,
        what they made of it
      + how many of the room want it
      + what its genres mean to the people of the room, by what they liked on earlier evenings
    lift of a film, while the room swipes (`leanings`, `lift`)
      + what its genres mean to this room tonight

Counts are shrunk before they are believed: of n verdicts with k likes, (k + w * m) / (n + w) is taken for the
rate, where m is what one would say without them and w how many verdicts that is worth. This is the mean of
the posterior of a binomial rate under a Beta(w * m, w * (1 - m)) prior (Gelman et al., Bayesian Data
Analysis, 3rd edition, section 2.4). Without counts nothing but the rating is left: that is the first evening.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from game_svc.events import Film
from game_svc.state import EVERY_GENRE, NOBODY, State, Tally, count, taste_of

USUAL_RATE: Final = 0.35
"""How often somebody likes a card. A guess to begin with; counts correct it."""

USUAL_RATING: Final = 6.5
"""TMDB's ratings lie around it; a film without votes is taken for one of them."""

ODDS_A_POINT: Final = 0.4
"""By how much one point of rating raises the log-odds of a like. A guess to begin with, too."""

FILM_WORTH: Final = 20.0
"""How many verdicts on a film its rating is worth."""

GENRE_WORTH: Final = 8.0
"""How many verdicts of a person, or of a room, on a genre the usual rate is worth."""

VERDICT_WORTH: Final = 4.0
"""How many verdicts of the room on a film its appeal is worth."""

WANTED_RATE: Final = 0.9
"""How often somebody likes the card of a film that they have picked, or have on their backlog."""

_SURE: Final = 4.0
# No sum of guesses is surer than this, in log-odds: 98 %.


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of earlier games."""

    films: Mapping[int, Tally] = field(default_factory=dict)
    """Everybody's verdicts, by film."""
    genres: Mapping[int, Tally] = field(default_factory=dict)
    """Everybody's verdicts, by genre, and in all under `EVERY_GENRE`."""
    people: Sequence[Mapping[int, Tally]] = ()
    """For each person of the room their own verdicts, by genre."""


NOTHING: Final = Known()
NOBODY_WANTS: Final[Mapping[int, float]] = {}


def log_odds(chance: float) -> float:
    """Return a chance, more than 0 and less than 1, as log-odds."""
    return math.log(chance / (1 - chance))


def chance(odds: float) -> float:
    """Return log-odds as a chance, 0 to 1."""
    return 1 / (1 + math.exp(-odds))


def shrunk(tally: Tally, mean: float, worth: float) -> float:
    """Return the rate of likes in a tally, shrunk to a mean that is worth so many verdicts; see above."""
    return (tally.likes + worth * mean) / (tally.swiped + worth)


def promise(rating: float) -> float:
    """Return what a public rating (0 to 10; 0 for none) promises: the log-odds of a like."""
    return log_odds(USUAL_RATE) + ODDS_A_POINT * ((rating or USUAL_RATING) - USUAL_RATING)


def appeals(
    films: Iterable[Film], known: Known = NOTHING, *, wanted: Mapping[int, float] = NOBODY_WANTS
) -> dict[int, float]:
    """Return each film's appeal to a group: the log-odds that one of them likes it.

    Args:
        films: The films.
        known: What is remembered of them and of the group.
        wanted: By film, which share of the group is known to want it (picks, backlogs), 0 to 1.
    """
    of_everybody = leanings(known.genres)
    usual = log_odds(shrunk(known.genres.get(EVERY_GENRE, NOBODY), USUAL_RATE, GENRE_WORTH))
    of_group: dict[int, float] = {}
    for person in known.people:
        for genre, tally in person.items():
            mean = chance(usual + of_everybody.get(genre, 0.0))
            leaning = log_odds(shrunk(tally, mean, GENRE_WORTH)) - log_odds(mean)
            of_group[genre] = of_group.get(genre, 0.0) + leaning / len(known.people)
    found = {}
    for film in films:
        promised = chance(promise(film.rating) + lift(film, of_everybody))
        rate = shrunk(known.films.get(film.movie_id, NOBODY), promised, FILM_WORTH)
        odds = log_odds(rate) + lift(film, of_group)
        share = wanted.get(film.movie_id, 0.0)
        if share and odds < log_odds(WANTED_RATE):
            odds = log_odds(share * WANTED_RATE + (1 - share) * chance(odds))
        found[film.movie_id] = round(min(max(odds, -_SURE), _SURE), 4)
    return found


def in_order_of_appeal(films: Iterable[Film], known: Mapping[int, float]) -> tuple[Film, ...]:
    """Return films with their appeal, the most appealing first; films that appeal alike keep their order.

    Args:
        films: The films.
        known: Their appeals, by film; the rating stands in where there is none.
    """
    told = [replace(film, appeal=known.get(film.movie_id, promise(film.rating))) for film in films]
    return tuple(sorted(told, key=lambda film: -(film.appeal or 0.0)))


def leanings(genres: Mapping[int, Tally]) -> dict[int, float]:
    """Return what genres mean to some people: how much the log-odds of a like differ from those of all films.

    Args:
        genres: Their verdicts, by genre, and in all under `EVERY_GENRE`.
    """
    if len(genres) <= 1:
        return {}
    usual = shrunk(genres.get(EVERY_GENRE, NOBODY), USUAL_RATE, GENRE_WORTH)
    usual_odds = log_odds(usual)
    return {
        genre: log_odds(shrunk(tally, usual, GENRE_WORTH)) - usual_odds
        for genre, tally in genres.items()
        if genre != EVERY_GENRE
    }


def lift(film: Film, leanings: Mapping[int, float]) -> float:
    """Return what a film's genres add to its log-odds: the mean of what each of them means."""
    if not leanings or not film.genres:
        return 0.0
    return sum([leanings.get(genre, 0.0) for genre in film.genres]) / len(film.genres)


def appeal(film: Film) -> float:
    """Return a film's appeal as its deck tells it, or else what its rating promises."""
    return promise(film.rating) if film.appeal is None else film.appeal


def likelihood(odds: float, tally: Tally) -> float:
    """Return how likely the next one of a room is to like a film, 0 to 1.

    Args:
        odds: The log-odds before anybody has said anything: its appeal, and its lift for the room.
        tally: What those present who have swiped it think of it.
    """
    return shrunk(tally, chance(odds), VERDICT_WORTH)


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a game has taught: verdicts to be added to those that are remembered."""

    films: Mapping[int, Tally]
    genres: Mapping[int, Tally]
    """With `EVERY_GENRE`."""
    people: Mapping[str, Mapping[int, Tally]]
    """By user id, then as `genres`. Guests keep nothing."""


def lessons(state: State) -> Lessons:
    """Return what a game has taught: each player's first verdict on each film, unless they had seen it."""
    films: dict[int, Tally] = {}
    genres: dict[int, Tally] = {}
    people: dict[str, dict[int, Tally]] = {}
    cards = {**{film.movie_id: film for played in state.earlier for film in played.deck}, **state.cards}
    for player in state.players.values():
        earlier = [played.swipes.get(player.player_id, {}) for played in reversed(state.earlier)]
        own: dict[int, Tally] = {}
        for swipe in {k: v for swipes in (player.swipes, *earlier) for k, v in swipes.items()}.values():
            told = taste_of(cards[swipe.movie_id], swipe.verdict)
            count(films, [swipe.movie_id] if told else [], swipe.verdict)
            count(genres, told, swipe.verdict)
            count(own, told, swipe.verdict)
        if own and player.user_id and not player.guest:
            people[player.user_id] = own
    return Lessons(films, genres, people)
