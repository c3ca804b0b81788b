"""The rules, without anything around them: random evenings against a plain model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from game_svc import rules
from game_svc.events import (
    SEATS,
    AfterMatch,
    DeckSource,
    EndCause,
    Event,
    Film,
    GameEnded,
    HostChanged,
    MatchFound,
    MatchRule,
    Numbered,
    PlayerErased,
    PlayerLeft,
    Settings,
    SwipingStarted,
    Verdict,
)
from game_svc.refusals import (
    GameStarted,
    NotEnoughPlayers,
    NotHost,
    RoomFull,
    SwipeIdReused,
    TooManySwipes,
)
from game_svc.rules import AddPick, Command, Erase, GiveVerdict, Join, Leave, Open, Start, Undo, decide
from game_svc.state import EMPTY, State, fold

NOW = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)
PEOPLE = ["ada", "grace", "linus", "barbara"]
FILMS = [1, 2, 3]


def after(state: State, command: Command) -> tuple[State, tuple[Event, ...]]:
    events = decide(state, command)
    numbered = [Numbered(state.seq + n, NOW, event) for n, event in enumerate(events, start=1)]
    return fold(state, numbered), events


def evening(*commands: Command, **how: Any) -> State:
    state, _ = after(EMPTY, Open("game", "7K3MXQ2A", "ada", "Ada", "Friday", Settings(**how)))
    for command in commands:
        state, _ = after(state, command)
    return state


def trending(*films: Film) -> dict[DeckSource, tuple[Film, ...]]:
    return {DeckSource.TRENDING: films}


def like(who: str, movie_id: int, verdict: Verdict = Verdict.LIKE) -> GiveVerdict:
    return GiveVerdict(who, f"{who}-{movie_id}", movie_id, verdict)


def playing(*people: str, **how: Any) -> State:
    joins = [Join(person, person.title()) for person in people if person != "ada"]
    picks = [AddPick("ada", Film(movie_id, movie_id)) for movie_id in FILMS]
    return evening(*joins, *picks, Start("ada", {}), **how)


def test_the_room_seats_twenty() -> None:
    state = evening(*(Join(f"guest-{number}", "Guest") for number in range(SEATS - 1)))
    with pytest.raises(RoomFull):
        decide(state, Join("one-more", "One More"))


def test_a_stranger_does_not_come_in_after_the_start_and_a_player_comes_back() -> None:
    state = playing("ada", "grace", "linus")
    with pytest.raises(GameStarted):
        decide(state, Join("barbara", "Barbara"))
    state, _ = after(state, like("linus", 1))
    state, _ = after(state, Leave("linus"))
    state, _ = after(state, Join("linus", "Linus"))
    member = state.member("linus")
    assert member is not None
    assert (member.player_id, list(member.swipes)) == ("p3", [1])


def test_when_the_host_leaves_whoever_has_been_there_longest_is_host() -> None:
    state = playing("ada", "grace", "linus")
    assert decide(state, Leave("ada")) == (PlayerLeft("p1", 0), HostChanged("p2"))


def test_the_last_to_leave_ends_the_game() -> None:
    assert decide(evening(), Leave("ada")) == (PlayerLeft("p1", 0), GameEnded(EndCause.EMPTY))


def test_an_erased_player_leaves_swipes_of_nobody_and_cannot_come_back() -> None:
    state = playing("ada", "grace", "linus")
    for command in (like("ada", 1), like("grace", 1), like("linus", 2)):
        state, _ = after(state, command)
    state, events = after(state, Erase("linus"))
    assert events == (PlayerLeft("p3", 3), MatchFound(1, ("p1", "p2")), PlayerErased("p3"))
    assert state.player_of("linus") is None
    assert (state.players["p3"].name, list(state.players["p3"].swipes)) == ("", [2])
    assert decide(state, Erase("linus")) == ()
    with pytest.raises(GameStarted):
        decide(state, Join("linus", "Linus"))


def test_two_who_found_their_film_keep_it_when_one_puts_the_phone_away() -> None:
    state = playing("ada", "grace")
    for command in (like("ada", 1), like("grace", 1), like("ada", 2)):
        state, _ = after(state, command)
    state, events = after(state, Leave("grace"))
    assert events == (PlayerLeft("p2", 3),)
    assert list(state.matches) == [1]


def test_the_first_match_ends_the_game_where_the_room_says_so() -> None:
    state = playing("ada", "grace", after_match=AfterMatch.END)
    state, _ = after(state, like("ada", 2))
    assert decide(state, like("grace", 2))[1:] == (MatchFound(2, ("p1", "p2")), GameEnded(EndCause.MATCH))


@pytest.mark.parametrize(
    ("how", "likes_for_a_match"),
    [
        ({"match_rule": MatchRule.EVERYBODY}, 4),
        ({"match_rule": MatchRule.MAJORITY}, 3),
        ({"match_rule": MatchRule.COUNT, "likes_needed": 2}, 2),
        ({"match_rule": MatchRule.COUNT, "likes_needed": 1}, 2),
    ],
)
def test_how_many_likes_make_a_match(how: dict[str, Any], likes_for_a_match: int) -> None:
    state = playing(*PEOPLE, **how)
    for number, person in enumerate(PEOPLE, start=1):
        state, _ = after(state, like(person, 1))
        assert (1 in state.matches) == (number >= likes_for_a_match)


def test_only_the_host_starts_and_not_alone() -> None:
    with pytest.raises(NotEnoughPlayers):
        decide(evening(AddPick("ada", Film(1, 1.0))), Start("ada", {}))
    with pytest.raises(NotHost):
        decide(evening(Join("grace", "Grace")), Start("grace", trending(Film(1, 1.0))))


def test_picks_fill_the_deck_before_what_is_trending_and_up_to_its_size() -> None:
    state = evening(
        Join("grace", "Grace"),
        AddPick("ada", Film(1, 1.0)),
        AddPick("grace", Film(1, 1.0)),
        AddPick("grace", Film(2, 1.0)),
        deck_sources=(DeckSource.TRENDING, DeckSource.PICKS),
        max_movies=3,
    )
    (started,) = decide(state, Start("ada", trending(Film(2, 1.0), Film(7, 9.0), Film(8, 9.0))))
    assert isinstance(started, SwipingStarted)
    assert sorted(film.movie_id for film in started.deck) == [1, 2, 7]
    assert started.empty_sources == ()


def test_picks_of_somebody_who_left_are_not_in_the_deck() -> None:
    state = evening(
        Join("grace", "Grace"),
        Join("linus", "Linus"),
        AddPick("ada", Film(1, 1.0)),
        AddPick("linus", Film(2, 1.0)),
        Leave("linus"),
    )
    (started,) = decide(state, Start("ada", {}))
    assert isinstance(started, SwipingStarted)
    assert [film.movie_id for film in started.deck] == [1]


def test_a_swipe_id_stands_for_one_swipe() -> None:
    state, _ = after(playing("ada", "grace"), like("ada", 1))
    assert decide(state, like("ada", 1)) == ()
    with pytest.raises(SwipeIdReused):
        decide(state, replace(like("ada", 1), verdict=Verdict.PASS))


def test_whoever_swipes_and_takes_back_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "SWIPES_EACH", 3)
    state = playing("ada", "grace")
    for number in range(3):
        state, _ = after(state, GiveVerdict("ada", f"swipe-{number}", 1, Verdict.PASS))
        state, _ = after(state, Undo("ada", movie_id=1))
    with pytest.raises(TooManySwipes):
        decide(state, GiveVerdict("ada", "one more", 1, Verdict.PASS))
    assert decide(state, GiveVerdict("ada", "swipe-0", 1, Verdict.PASS)) == (), "a repeated one is answered"
    assert decide(state, like("grace", 1)), "the others go on"
