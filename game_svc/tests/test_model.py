"""Thousands of random evenings: `decide` brings about what a room kept the plain way says must happen."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from game_svc.events import (
    AfterMatch,
    DeckSource,
    Event,
    Film,
    MatchFound,
    MatchRule,
    MatchWithdrawn,
    Numbered,
    Settings,
    Verdict,
)
from game_svc.refusals import GameRefusal
from game_svc.rules import (
    AddPick,
    Change,
    Command,
    Draw,
    End,
    Erase,
    GiveVerdict,
    Join,
    Leave,
    Lock,
    Open,
    Remove,
    RemovePick,
    Start,
    StartRunOff,
    TransferHost,
    Undo,
    decide,
)
from game_svc.state import EMPTY, Phase, State, counted_anew, fold
from game_svc.tests.plain_room import PlainRoom, Refused

NOW = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)
PEOPLE = ["ada", "grace", "linus", "barbara"]
FILMS = [Film(1, 7.0, (18,)), Film(2, 5.0), Film(3, 7.0)]
POPULAR = [Film(3, 7.0), Film(4, 6.0), Film(5, 2.0), Film(6, 6.0), Film(7, 8.0), Film(8, 1.0)]

people = st.sampled_from(PEOPLE)
players = st.sampled_from(["p1", "p2", "p3", "p4", "p9"])
swipe_ids = st.sampled_from(["a", "b", "c", "d", "e", "f"])
films = st.sampled_from([*FILMS, POPULAR[1]])
movie_ids = st.integers(1, 9)
found = st.dictionaries(
    st.sampled_from([DeckSource.BACKLOGS, DeckSource.DISCOVER, DeckSource.TRENDING]),
    st.lists(st.sampled_from(POPULAR), max_size=4),
)
settings_values = st.fixed_dictionaries(
    {},
    optional={
        "match_rule": st.sampled_from(MatchRule),
        "likes_needed": st.integers(1, 4),
        "after_match": st.sampled_from(AfterMatch),
        "deck_sources": st.lists(st.sampled_from(DeckSource), min_size=1, unique=True).map(tuple),
        "max_movies": st.integers(1, 6),
    },
)
rooms = settings_values.map(lambda values: Settings(**values))

verdicts = st.builds(GiveVerdict, people, swipe_ids, movie_ids, st.sampled_from(Verdict))
undos = st.builds(Undo, people, st.just(""), movie_ids) | st.builds(Undo, people, swipe_ids)
comings_and_goings = st.one_of(
    st.builds(Join, people, st.just("Somebody"), st.booleans()),
    st.builds(Leave, people),
    st.builds(Erase, people),
    st.builds(Remove, people, players),
    st.builds(TransferHost, people, players, st.sampled_from(["", "", "p1", "p2"])),
    st.builds(Lock, people, st.booleans()),
)
endings = st.one_of(
    st.builds(End, people), st.builds(StartRunOff, people), st.builds(Draw, people, st.text(max_size=3))
)
anything = st.one_of(
    comings_and_goings,
    endings,
    verdicts,
    undos,
    st.builds(AddPick, people, films),
    st.builds(RemovePick, people, movie_ids),
    st.builds(Change, people, st.none() | st.just("Saturday"), settings_values),
    st.builds(Start, people, found, st.frozensets(movie_ids, max_size=2)),
)
no = st.sampled_from([Verdict.PASS, Verdict.SEEN_IT])
taste = st.sampled_from([Verdict.LIKE, Verdict.LIKE, Verdict.SUPERLIKE, Verdict.PASS, Verdict.SEEN_IT])


@st.composite
def evenings(draw: st.DrawFn) -> tuple[Settings, list[Command]]:
    """A room where people come, pick and swipe through whole decks, and do other things in between."""
    how = {"after_match": AfterMatch.GO_ON, **draw(settings_values), "deck_sources": (DeckSource.PICKS,)}
    friends = PEOPLE[: draw(st.integers(2, 4))]
    history: list[Command] = [Join(person, person.title()) for person in friends[1:]]
    history += [AddPick("grace", film) for film in FILMS]
    history += [Start("ada", {})]
    for round_ in range(draw(st.integers(1, 3))):
        mood = draw(st.sampled_from([taste, taste, no]))
        opinions = {(who, film.movie_id): draw(mood) for who in friends for film in FILMS}
        some_undo = st.builds(
            lambda who, film: Undo(who, f"{who}-{film.movie_id}-{round_}"),  # noqa: B023 - built and drawn here
            st.sampled_from(friends),
            st.sampled_from(FILMS),
        )
        between = st.one_of(*[some_undo] * 3, undos, comings_and_goings, verdicts)
        for (who, movie_id), opinion in opinions.items():
            history += [GiveVerdict(who, f"{who}-{movie_id}-{round_}", movie_id, opinion)]
            if draw(st.integers(0, 4)) == 4:
                history += [draw(between)]
        history += draw(st.lists(between | endings, max_size=4))
        history += draw(
            st.sampled_from([[StartRunOff(who)] for who in friends] + [[Draw("ada", "seed")], []])
        )
    return Settings(**how), history


# Anything in any order seldom gets as far as a match, or to the end of the cards.
histories = st.tuples(rooms, st.lists(anything, max_size=40)) | evenings() | evenings()


def after(state: State, command: Command) -> tuple[State, tuple[Event, ...]]:
    events = decide(state, command)
    numbered = [Numbered(state.seq + n, NOW, event) for n, event in enumerate(events, start=1)]
    return fold(state, numbered), events


def outcome_of(state: State, command: Command) -> tuple[State, list[Event] | str]:
    """The room afterwards, and what happened or why not."""
    try:
        state, events = after(state, command)
    except GameRefusal as refusal:
        return state, refusal.reason
    return state, in_order(events)


def in_order(events: Iterable[Event]) -> list[Event]:
    """The events with matches that are found, or lost, together ordered by film."""
    ordered: list[Event] = []
    for kind, together in groupby(events, key=type):
        if kind in (MatchFound, MatchWithdrawn):
            ordered += sorted(together, key=lambda event: event.movie_id)  # type: ignore[union-attr]
        else:
            ordered += together
    return ordered


@settings(max_examples=2000, deadline=None)
@given(evening=histories)
def test_what_happens_is_what_the_rules_say(evening: tuple[Settings, list[Command]]) -> None:
    room, history = evening
    plain, state = PlainRoom(), EMPTY
    log: list[Event] = []
    for command in [Open("game", "7K3MXQ2A", "ada", "Ada", "Friday", room), *history]:
        try:
            expected: list[Event] | str = in_order(plain.expect(command))
        except Refused as refused:
            expected = str(refused)
        state, outcome = outcome_of(state, command)
        assert outcome == expected
        log += outcome if isinstance(outcome, list) else []

        assert counted_anew(state) == state, "the tallies that are kept are those of everybody present"
        if state.phase is Phase.PLAYING:
            assert state.players[state.host_id].present, "a room has a host who is there"
            assert state.out_of_cards == state.everybody_done, "there is no dead end that nobody hears of"
            assert set(state.matches) == plain.matches
            assert 0 < len(state.deck) <= room.max_movies or state.settings != room
    numbered = [Numbered(n, NOW, event) for n, event in enumerate(log, start=1)]
    assert fold(EMPTY, numbered) == state, "the log alone gives the same room"


@settings(max_examples=500, deadline=None)
@given(evening=histories)
def test_doing_a_thing_twice_is_doing_it_once(evening: tuple[Settings, list[Command]]) -> None:
    room, history = evening
    state, _ = after(EMPTY, Open("game", "7K3MXQ2A", "ada", "Ada", "Friday", room))
    for command in history:
        try:
            state, _ = after(state, command)
        except GameRefusal:
            continue
        if _repeatable(state, command):
            again, events = after(state, command)
            assert events == ()
            assert again is state


def _repeatable(state: State, command: Command) -> bool:
    """Whether the room still listens to the command: who has left is outside, and what is over is over."""
    match command:
        case Leave():
            return False
        case AddPick() | RemovePick() | Start() | Change() | Lock() | TransferHost() | Remove():
            return state.phase is not Phase.ENDED
        case _:
            return True
