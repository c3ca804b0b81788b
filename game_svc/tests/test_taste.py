"""What a group is likely to like."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from game_svc import taste
from game_svc.events import Film, Verdict
from game_svc.rules import Erase, Join, Start
from game_svc.state import EVERY_GENRE, State, Tally
from game_svc.tests.test_rules import after, evening, like, trending

HORROR, COMEDY = 27, 35
SCARY, FUNNY = Film(1, 7.0, (HORROR,)), Film(2, 7.0, (COMEDY,))

tallies = st.builds(
    lambda likes, passes: Tally(likes + passes, likes), st.integers(0, 10**6), st.integers(0, 10**6)
)
of_genres = st.dictionaries(st.sampled_from([EVERY_GENRE, HORROR, COMEDY, 18]), tallies)
known = st.builds(
    taste.Known, st.dictionaries(st.integers(1, 5), tallies), of_genres, st.lists(of_genres, max_size=4)
)
films = st.builds(
    Film,
    st.integers(1, 5),
    st.floats(0, 10),
    st.lists(st.sampled_from([HORROR, COMEDY, 18]), max_size=3).map(tuple),
)


def test_on_the_first_evening_the_rating_is_all_there_is() -> None:
    better, worse, unrated = Film(1, 8.0, (HORROR,)), Film(2, 5.0, (COMEDY,)), Film(3, 0.0)
    appeals = taste.appeals([better, worse, unrated])
    assert appeals[1] > appeals[3] > appeals[2]
    assert appeals[3] == pytest.approx(taste.log_odds(taste.USUAL_RATE), abs=1e-4)


@given(st.lists(films, max_size=5), known)
def test_whatever_is_known_an_appeal_is_a_number_within_bounds(films: list[Film], known: taste.Known) -> None:
    for odds in taste.appeals(films, known).values():
        assert math.isfinite(odds)
        assert abs(odds) <= 4


@given(tallies, st.floats(0.01, 0.99), st.floats(0.1, 100))
def test_a_rate_lies_between_what_was_counted_and_what_one_would_say_without(
    tally: Tally, mean: float, worth: float
) -> None:
    rate = taste.shrunk(tally, mean, worth)
    counted = tally.likes / tally.swiped if tally.swiped else mean
    assert min(counted, mean) - 1e-9 <= rate <= max(counted, mean) + 1e-9


@given(tallies)
def test_another_like_raises_a_rate_and_another_pass_lowers_it(tally: Tally) -> None:
    liked, passed = Tally(tally.swiped + 1, tally.likes + 1), Tally(tally.swiped + 1, tally.likes)
    before = taste.shrunk(tally, 0.35, 8.0)
    assert taste.shrunk(passed, 0.35, 8.0) < before < taste.shrunk(liked, 0.35, 8.0)


def test_what_everybody_makes_of_a_film_outweighs_its_rating_once_enough_have_swiped_it() -> None:
    praised, loved = Film(1, 9.0), Film(2, 6.0)
    few = taste.Known({1: Tally(2, 0), 2: Tally(2, 2)})
    many = taste.Known({1: Tally(200, 20), 2: Tally(200, 150)})
    appeals = taste.appeals([praised, loved], few)
    assert appeals[1] > appeals[2]
    appeals = taste.appeals([praised, loved], many)
    assert appeals[1] < appeals[2]


def test_a_group_that_liked_horror_is_shown_horror_and_one_person_counts_for_one() -> None:
    fan = {HORROR: Tally(30, 25), EVERY_GENRE: Tally(60, 30)}
    calm = {HORROR: Tally(30, 2), EVERY_GENRE: Tally(60, 20)}
    of_fans, of_both = (taste.Known(people=people) for people in ([fan, fan], [fan, calm]))
    appeals = taste.appeals([SCARY, FUNNY], of_fans)
    assert appeals[1] > appeals[2]
    assert taste.appeals([SCARY], of_both)[1] < appeals[1]
    stranger = taste.Known(people=[fan, {}])
    assert appeals[2] < taste.appeals([SCARY], stranger)[1] < appeals[1]


def test_who_likes_horror_no_more_than_everybody_does_is_no_fan() -> None:
    popular = {HORROR: Tally(10_000, 8_000), EVERY_GENRE: Tally(20_000, 10_000)}
    person = {HORROR: Tally(30, 24), EVERY_GENRE: Tally(60, 30)}
    of_person = taste.appeals([SCARY, FUNNY], taste.Known(genres=popular, people=[person]))
    of_stranger = taste.appeals([SCARY, FUNNY], taste.Known(genres=popular, people=[{}]))
    assert of_person[1] == pytest.approx(of_stranger[1], abs=0.01)
    assert of_stranger[1] > of_stranger[2], "everybody likes horror"


def test_genres_mean_nothing_to_a_room_that_likes_all_alike() -> None:
    all_alike = {EVERY_GENRE: Tally(20, 7), HORROR: Tally(20, 7), COMEDY: Tally(20, 7)}
    assert taste.leanings(all_alike) == {HORROR: 0.0, COMEDY: 0.0}
    assert taste.leanings({}) == {}


def played(*people: str) -> State:
    joins = [Join(person, person.title()) for person in people if person != "ada"]
    state = evening(*joins, Start("ada", trending(SCARY, FUNNY)))
    for command in (
        like("ada", 1),
        like("ada", 2, Verdict.SEEN_IT),
        like("grace", 1, Verdict.PASS),
        like("grace", 2, Verdict.SUPERLIKE),
    ):
        state, _ = after(state, command)
    return state


def test_a_game_teaches_what_was_liked_and_not_what_was_seen_before() -> None:
    lessons = taste.lessons(played("ada", "grace", "linus"))
    assert {film: (tally.swiped, tally.likes) for film, tally in lessons.films.items()} == {
        1: (2, 1),
        2: (1, 1),
    }
    assert lessons.genres[EVERY_GENRE].swiped == 3
    assert lessons.people.keys() == {"ada", "grace"}
    assert lessons.people["ada"] == {EVERY_GENRE: Tally(1, 1), HORROR: Tally(1, 1)}


def test_a_guest_teaches_about_films_and_keeps_nothing() -> None:
    state = evening(Join("grace", "Grace", guest=True), Start("ada", trending(SCARY, FUNNY)))
    state, _ = after(state, like("grace", 2))
    lessons = taste.lessons(state)
    assert lessons.people == {}
    assert lessons.films == {2: Tally(1, 1)}


def test_an_erased_player_teaches_about_films_and_nothing_about_themselves() -> None:
    state, _ = after(played("ada", "grace", "linus"), Erase("grace"))
    lessons = taste.lessons(state)
    assert lessons.people.keys() == {"ada"}
    assert lessons.films[2].likes == 1


def test_what_some_of_the_group_want_appeals_more_and_what_all_want_most() -> None:
    nobody, somebody, all_of_them = (
        taste.appeals([SCARY], wanted={1: share})[1] for share in (0.0, 0.25, 1.0)
    )
    assert nobody < somebody < all_of_them


def test_among_films_wanted_alike_the_rating_decides() -> None:
    appeals = taste.appeals([Film(1, 5.0), Film(2, 9.0)], wanted={1: 0.5, 2: 0.5})
    assert appeals[1] < appeals[2]
