"""The order of the cards."""

from __future__ import annotations

from game_svc.deck import next_cards, remaining
from game_svc.events import Film, MatchRule, Verdict
from game_svc.rules import AddPick
from game_svc.state import State
from game_svc.tests.test_rules import after, evening, like, playing


def order(state: State, who: str) -> list[int]:
    member = state.member(who)
    assert member is not None
    return [film.movie_id for film in next_cards(state, member, limit=10)]


def test_the_best_rated_come_first() -> None:
    assert order(playing("ada", "grace"), "ada") == [3, 2, 1]


def test_what_others_like_comes_earlier_and_what_they_love_earlier_still() -> None:
    state, _ = after(playing("ada", "grace", "linus"), like("ada", 1))
    assert order(state, "grace") == [1, 3, 2]
    state, _ = after(state, like("ada", 2, Verdict.SUPERLIKE))
    assert order(state, "grace") == [2, 1, 3]


def test_what_can_no_longer_match_goes_last() -> None:
    state, _ = after(playing("ada", "grace"), like("ada", 3, Verdict.PASS))
    assert order(state, "grace") == [2, 1, 3]


def test_one_pass_does_not_sink_a_film_where_a_majority_is_enough() -> None:
    state = playing("ada", "grace", "linus", match_rule=MatchRule.MAJORITY)
    state, _ = after(state, like("ada", 3, Verdict.PASS))
    assert order(state, "grace") == [3, 2, 1]


def test_ones_own_swipes_are_dealt_no_more() -> None:
    state, _ = after(playing("ada", "grace"), like("ada", 3))
    assert order(state, "ada") == [2, 1]
    member = state.member("ada")
    assert member is not None
    assert remaining(state, member) == 2


def test_there_are_no_cards_in_the_lobby() -> None:
    assert order(evening(AddPick("ada", Film(1, 1.0))), "ada") == []
