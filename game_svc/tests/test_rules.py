"""The rules, without anything around them: random evenings against a plain model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from game_svc.events import (
    SEATS,
    AfterMatch,
    CardSwiped,
    DeckSource,
    EndCause,
    Event,
    Film,
    GameEnded,
    HostChanged,
    MatchFound,
    MatchRule,
    MatchWithdrawn,
    Numbered,
    PlayerErased,
    PlayerLeft,
    Settings,
    SwipingStarted,
    Verdict,
)
from game_svc.refusals import GameRefusal, GameStarted, NotEnoughPlayers, NotHost, RoomFull, SwipeIdReused
from game_svc.rules import AddPick, Command, Erase, GiveVerdict, Join, Leave, Open, RemovePick, Start, decide
from game_svc.state import EMPTY, Phase, State, counted_anew, fold

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


def like(who: str, movie_id: int, verdict: Verdict = Verdict.LIKE) -> GiveVerdict:
    return GiveVerdict(who, f"{who}-{movie_id}", movie_id, verdict)


def playing(*people: str, **how: Any) -> State:
    joins = [Join(person, person.title()) for person in people if person != "ada"]
    picks = [AddPick("ada", Film(movie_id, movie_id)) for movie_id in FILMS]
    return evening(*joins, *picks, Start("ada", ()), **how)


commands = st.one_of(
    st.builds(Join, st.sampled_from(PEOPLE), st.just("Somebody")),
    st.builds(Leave, st.sampled_from(PEOPLE)),
    st.builds(Erase, st.sampled_from(PEOPLE)),
    st.builds(AddPick, st.sampled_from(PEOPLE), st.builds(Film, st.sampled_from(FILMS), st.just(5.0))),
    st.builds(RemovePick, st.sampled_from(PEOPLE), st.sampled_from(FILMS)),
    st.builds(Start, st.sampled_from(PEOPLE), st.just((Film(3, 1.0), Film(4, 2.0)))),
    st.builds(
        GiveVerdict,
        st.sampled_from(PEOPLE),
        st.sampled_from(["a", "b", "c", "d", "e", "f"]),
        st.sampled_from([*FILMS, 4, 9]),
        st.sampled_from(Verdict),
    ),
)
rooms = st.builds(
    Settings,
    match_rule=st.sampled_from(MatchRule),
    likes_needed=st.integers(1, 4),
    after_match=st.sampled_from(AfterMatch),
    deck_sources=st.sampled_from([(DeckSource.PICKS,), (DeckSource.TRENDING,), tuple(DeckSource)]),
    max_movies=st.integers(1, 5),
)


verdicts = st.builds(
    lambda who, movie_id, verdict: GiveVerdict(who, f"{who}-{movie_id}", movie_id, verdict),
    st.sampled_from(PEOPLE),
    st.sampled_from(FILMS[:2]),
    st.sampled_from([Verdict.LIKE, Verdict.LIKE, Verdict.SUPERLIKE, Verdict.PASS]),
)
swiping = st.one_of(
    *[verdicts] * 6,
    st.builds(Join, st.sampled_from(PEOPLE), st.just("Somebody")),
    st.builds(Leave, st.sampled_from(PEOPLE)),
    st.builds(Erase, st.sampled_from(PEOPLE)),
)
GATHERED: list[Command] = [
    *(Join(person, person.title()) for person in PEOPLE[1:]),
    *(AddPick("grace", Film(movie_id, 5.0)) for movie_id in FILMS),
    Start("ada", (Film(1, 1.0),)),
]
# Anything in any order seldom gets as far as a match: half of the evenings begin with everybody at the start.
histories = st.lists(commands, max_size=60) | st.lists(swiping, min_size=12, max_size=60).map(
    lambda more: GATHERED + more
)


class Model:
    """The same evening, kept the plain way: sets and dictionaries, everything looked at again each time."""

    def __init__(self) -> None:
        self.present: set[str] = {"ada"}
        self.verdicts: dict[str, dict[int, Verdict]] = {person: {} for person in PEOPLE}
        self.matches: set[int] = set()

    def follow(self, command: Command, room: Settings, deck: set[int], *, started: bool) -> None:
        match command:
            case Join(user_id=who):
                self.present.add(who)
            case Leave(user_id=who):
                self.present.discard(who)
            case Erase(user_id=who):
                self.present.discard(who)
                self.verdicts[who] = {}
            case GiveVerdict(user_id=who, movie_id=movie_id, verdict=verdict):
                self.verdicts[who].setdefault(movie_id, verdict)
        if started and len(self.present) >= 2:
            self.matches = {movie_id for movie_id in deck if self._matches(movie_id, room)}

    def _matches(self, movie_id: int, room: Settings) -> bool:
        likes = sum(
            self.verdicts[person].get(movie_id) in (Verdict.LIKE, Verdict.SUPERLIKE)
            for person in self.present
        )
        everybody = len(self.present)
        needed = {
            MatchRule.EVERYBODY: everybody,
            MatchRule.MAJORITY: everybody // 2 + 1,
            MatchRule.COUNT: min(room.likes_needed, everybody),
        }[room.match_rule]
        return likes >= max(2, needed)


@settings(max_examples=400, deadline=None)
@given(room=rooms, history=histories)
def test_a_match_stands_exactly_when_the_rule_holds_for_those_present(
    room: Settings, history: list[Command]
) -> None:
    state, opened = after(EMPTY, Open("game", "7K3MXQ2A", "ada", "Ada", "Friday", room))
    model = Model()
    log: list[Event] = list(opened)
    for command in history:
        before = state
        try:
            state, events = after(state, command)
        except GameRefusal:
            continue
        log += events
        was_running = before.phase is not Phase.ENDED
        if was_running:
            model.follow(command, room, set(state.cards), started=state.deck != ())
            assert set(state.matches) == model.matches
        assert {player.user_id for player in state.present} == model.present or not was_running

    assert counted_anew(state) == state, "the tallies that are kept are those of everybody present"
    assert fold(EMPTY, [Numbered(n, NOW, event) for n, event in enumerate(log, start=1)]) == state
    assert len([event for event in log if isinstance(event, GameEnded)]) <= 1
    swipes = [(event.player_id, event.movie_id) for event in log if isinstance(event, CardSwiped)]
    assert len(swipes) == len(set(swipes)), "one verdict a player and film"
    if state.present and state.phase is not Phase.ENDED:
        assert state.players[state.host_id].present, "a room has a host who is there"
    matched: set[int] = set()
    for event in log:
        match event:
            case MatchFound(movie_id=movie_id):
                assert movie_id not in matched, "a match is announced once"
                matched.add(movie_id)
            case MatchWithdrawn(movie_id=movie_id):
                assert movie_id in matched, "only what was announced is withdrawn"
                matched.remove(movie_id)


@settings(max_examples=200, deadline=None)
@given(room=rooms, history=histories, last=commands)
def test_doing_a_thing_twice_is_doing_it_once(room: Settings, history: list[Command], last: Command) -> None:
    state, _ = after(EMPTY, Open("game", "7K3MXQ2A", "ada", "Ada", "Friday", room))
    for command in [*history, last]:
        try:
            state, _ = after(state, command)
        except GameRefusal:
            continue
        if isinstance(command, Leave):
            continue  # who has left is outside, and hears nothing of the room
        again, events = after(state, command) if _repeatable(state, command) else (state, ())
        assert events == ()
        assert again is state


def _repeatable(state: State, command: Command) -> bool:
    # A game that the command itself has ended refuses the lobby's commands from then on.
    return not (isinstance(command, (AddPick, RemovePick, Start)) and state.phase is Phase.ENDED)


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
    assert events == (PlayerLeft("p3", 3), MatchFound(1), PlayerErased("p3"))
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
    assert decide(state, like("grace", 2))[1:] == (MatchFound(2), GameEnded(EndCause.MATCH))


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
        decide(evening(AddPick("ada", Film(1, 1.0))), Start("ada", ()))
    with pytest.raises(NotHost):
        decide(evening(Join("grace", "Grace")), Start("grace", (Film(1, 1.0),)))


def test_picks_fill_the_deck_before_what_is_trending_and_up_to_its_size() -> None:
    state = evening(
        Join("grace", "Grace"),
        AddPick("ada", Film(1, 1.0)),
        AddPick("grace", Film(1, 1.0)),
        AddPick("grace", Film(2, 1.0)),
        deck_sources=(DeckSource.TRENDING, DeckSource.PICKS),
        max_movies=3,
    )
    (started,) = decide(state, Start("ada", (Film(2, 1.0), Film(7, 9.0), Film(8, 9.0))))
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
    (started,) = decide(state, Start("ada", ()))
    assert isinstance(started, SwipingStarted)
    assert [film.movie_id for film in started.deck] == [1]


def test_a_swipe_id_stands_for_one_swipe() -> None:
    state, _ = after(playing("ada", "grace"), like("ada", 1))
    assert decide(state, like("ada", 1)) == ()
    with pytest.raises(SwipeIdReused):
        decide(state, replace(like("ada", 1), verdict=Verdict.PASS))
