"""What a replica remembers that the archive has not heard: as much as counts, and no more than fits."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from game_svc.debts import Debts
from game_svc.events import EndCause, Event, GameEnded, MatchFound, MatchWithdrawn, Numbered
from game_svc.log import Head
from game_svc.state import State

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def numbered(seq: int, event: Event) -> Numbered:
    return Numbered(seq, NOW, event)


def room(code: str, seq: int) -> State:
    return State(seq=seq, game_id=f"game of {code}", code=code)


def seqs(debts: Debts, code: str) -> list[int]:
    debt = debts.of(code)
    return [] if debt is None else [one.seq for one in debt.events]


def test_only_the_last_word_about_a_film_is_owed_and_nothing_that_was_told() -> None:
    debts = Debts()
    debts.note([numbered(1, MatchFound(7)), numbered(2, MatchFound(8))], room("A", 2))
    debts.note([numbered(3, MatchWithdrawn(7))], room("A", 3))
    assert seqs(debts, "A") == [2, 3]
    debts.told("A", Head("another game", 9))
    debts.told("A", Head("game of A", 2))
    assert seqs(debts, "A") == [3]
    debts.told("A", Head("game of A", 3))
    assert debts.of("A") is None


def test_of_too_many_rooms_the_one_that_has_owed_longest_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("game_svc.debts.MOST_ROOMS", 2)
    debts = Debts()
    for code in "ABC":
        debts.note([numbered(1, GameEnded(EndCause.HOST))], room(code, 1))
    assert [debts.of(code) is not None for code in "ABC"] == [False, True, True]


def test_the_state_is_the_newest_that_was_seen_of_the_game() -> None:
    debts = Debts()
    debts.note([numbered(1, MatchFound(7))], room("A", 1))
    debts.look(room("A", 5))
    debts.look(room("A", 4))
    debts.look(State(code="A"))
    debt = debts.of("A")
    assert debt is not None
    assert debt.state.seq == 5
