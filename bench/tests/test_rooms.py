"""How few swipes rooms of people with tastes need: the figures that the order of the cards must not lose."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from bench import orders, tastes
from bench.catalogue import film
from bench.distributions import Curve, Panel, drawn
from bench.orders import Dealer
from bench.rooms import OTHERS
from bench.tastes import Room

ROOMS = 150


@pytest.fixture(scope="module", params=[2, 4, 6])
def rooms(request: pytest.FixtureRequest) -> list[Room]:
    return tastes.rooms_with_a_match(ROOMS, players=request.param, seed=20_000, others=OTHERS)


def turns(rooms: Sequence[Room], order: str, play: Callable[[Room, Dealer], int]) -> list[int]:
    rng = random.Random(0)
    return sorted(play(room, orders.ORDERS[order](room, rng)) for room in rooms)


def test_taking_turns_few_swipes_are_enough(rooms: list[Room]) -> None:
    """Within what chance does to `ROOMS` rooms of what thousands of rooms need: 2 (7), 4 (13) and 4 (11)."""
    ours = turns(rooms, "ours", orders.in_turns)
    median, ninetieth = {2: (2, 8), 4: (4, 14), 6: (4, 12)}[len(rooms[0].likes)]
    assert statistics.median(ours) <= median
    assert ours[int(0.9 * ROOMS)] <= ninetieth
    for other in ("best rated first", "one shuffle for all", "own shuffle"):
        assert statistics.mean(ours) < statistics.mean(turns(rooms, other, orders.in_turns))


def test_what_others_have_swiped_before_saves_swipes(rooms: list[Room]) -> None:
    """Within what chance does of what thousands of rooms need: 2 (6), 3 (10) and 3 (9)."""
    later = turns(rooms, "ours, on a later evening", orders.in_turns)
    median, ninetieth = {2: (2, 7), 4: (3, 12), 6: (4, 10)}[len(rooms[0].likes)]
    assert statistics.median(later) <= median
    assert later[int(0.9 * ROOMS)] <= ninetieth
    assert statistics.mean(later) < 0.95 * statistics.mean(turns(rooms, "ours", orders.in_turns))


def test_swiping_at_the_same_time_few_more_are_enough(rooms: list[Room]) -> None:
    ours, best = (turns(rooms, order, orders.at_once) for order in ("ours", "best rated first"))
    assert statistics.mean(ours) < statistics.mean(best)
    assert ours[int(0.9 * ROOMS)] <= {2: 9, 4: 18, 6: 19}[len(rooms[0].likes)]


def test_being_told_everybodys_tastes_would_hardly_help(rooms: list[Room]) -> None:
    ours = turns(rooms, "ours", orders.in_turns)
    knowing = [orders.knowing_tastes(room, random.Random(0)) for room in rooms]
    assert statistics.mean(ours) < 1.1 * statistics.mean(knowing)


def test_a_room_is_the_same_for_the_same_number() -> None:
    assert tastes.room(7, players=3) == tastes.room(7, players=3) != tastes.room(8, players=3)


def test_who_is_not_in_a_room_changes_nothing_in_it() -> None:
    alone, known = tastes.room(7, players=3), tastes.room(7, players=3, others=2)
    assert replace(known, others=()) == alone
    assert [len(answers) for answers in known.others] == [tastes.FILMS] * 2


def test_films_are_rated_by_the_public_in_the_order_of_the_model() -> None:
    room = tastes.room(1, players=2)
    public = orders.public(room)
    by_model = sorted(range(tastes.FILMS), key=lambda number: room.ratings[number])
    assert len({one.movie_id for one in public}) == tastes.FILMS
    assert [public[number].rating for number in by_model] == sorted(one.rating for one in public)
    elsewhere = orders.public(room, world=1)
    assert not {one.movie_id for one in elsewhere} & {one.movie_id for one in public}
    assert [one.rating for one in elsewhere] == [one.rating for one in public]
    for one in public:
        assert film(one.movie_id).vote_average == one.rating


def test_a_picture_names_each_order_and_its_figures() -> None:
    curve = Curve("ours & <theirs>", [1, 2, 2, 30], played=[1, 2])
    picture = drawn([Panel("2 friends", [curve])])
    assert "ours &amp; &lt;theirs&gt;" in picture
    assert ">2 (30)<" in picture
