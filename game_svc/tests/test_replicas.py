"""Random evenings over two replicas and a real Valkey, with everything that bad Wi-Fi does to commands.

They come at the same moment, twice, in another order, to the other replica; answers get lost on the way to
the player or from Redis, and a replica forgets a room and reads it again. Whatever happens, the log has to be
one that a room kept the plain way would have brought about, and what was acknowledged is in it, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from game_svc.events import (
    AfterMatch,
    CardSwiped,
    DeckSource,
    DoorChanged,
    Event,
    Film,
    GameEnded,
    HostChanged,
    MatchRule,
    MatchWithdrawn,
    Numbered,
    PickAdded,
    PickRemoved,
    PlayerErased,
    PlayerJoined,
    PlayerLeft,
    PlayerRemoved,
    RoomChanged,
    RoomOpened,
    RunOffStarted,
    Settings,
    SwipeUndone,
    SwipingStarted,
    Verdict,
    WinnerDrawn,
)
from game_svc.log import Head, RoomLogs
from game_svc.outbox import Outbox
from game_svc.redis_link import RedisLink
from game_svc.refusals import GameRefusal
from game_svc.rooms import Rooms
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
)
from game_svc.state import EMPTY, State, fold
from game_svc.tests.plain_room import PlainRoom
from game_svc.tests.test_model import PEOPLE, in_order
from mesh.clock import utc_now
from mesh.errors import Unavailable

POPULAR = [Film(number, 5.0 + number) for number in range(1, 5)]
START = Start("ada", {DeckSource.TRENDING: POPULAR})


class FlakyLogs(RoomLogs):
    """Logs on a bad line: some appends do not arrive, and of some that do the answer does not."""

    def __init__(self, link: RedisLink) -> None:
        super().__init__(link)
        self.troubles: list[str] = []

    async def append(self, code: str, **how: Any) -> tuple[bool, Head]:
        trouble = self.troubles.pop() if self.troubles else "none"
        if trouble == "request lost":
            raise Unavailable("redis")
        answer = await super().append(code, **how)
        if trouble == "answer lost":
            raise Unavailable("redis")
        return answer


@dataclass
class Replica:
    logs: FlakyLogs
    rooms: Rooms

    def forget(self, code: str) -> None:
        """What a replica that starts anew knows of a room."""
        self.rooms._rooms.pop(code, None)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def replicas(redis_url: str) -> AsyncIterator[list[Replica]]:
    link = RedisLink(redis_url)
    both = []
    for logs in (FlakyLogs(link), FlakyLogs(link)):
        rooms = Rooms(logs, Outbox(link), clock=utc_now)
        await rooms.start()
        both.append(Replica(logs, rooms))
    yield both
    for replica in both:
        await replica.rooms.stop()
    await link.close()


@dataclass(frozen=True)
class Sent:
    """A command on its way: to which replica, and what becomes of it."""

    command: Command
    where: int
    fate: str


people = st.sampled_from(PEOPLE)
verdicts = st.builds(
    lambda who, movie_id, verdict: GiveVerdict(who, f"{movie_id}-{verdict}", movie_id, verdict),
    people,
    st.integers(1, 4),
    st.sampled_from([Verdict.LIKE, Verdict.LIKE, Verdict.LIKE, Verdict.SUPERLIKE, Verdict.PASS]),
)
others = st.one_of(
    st.builds(Undo, people, st.just(""), st.integers(1, 4)),
    st.builds(lambda who, movie_id: Undo(who, f"{movie_id}-like"), people, st.integers(1, 4)),
    st.builds(Join, people, st.just("Somebody")),
    st.builds(Leave, people),
    st.builds(Remove, st.just("ada"), st.sampled_from(["p2", "p3", "p4"])),
    st.builds(TransferHost, people, st.sampled_from(["p1", "p2", "p3"])),
    st.builds(Lock, people, st.booleans()),
    st.builds(StartRunOff, people),
    st.builds(Draw, people, st.just("seed")),
    st.builds(End, st.just("linus")),
    st.builds(Erase, st.just("barbara")),
)
sent = st.builds(
    Sent,
    st.one_of(*[verdicts] * 5, others),
    st.integers(0, 1),
    st.sampled_from(["answered", "answered", "sent twice", "answer lost", "forgotten"]),
)


@dataclass
class Evening:
    room: Settings
    bursts: list[list[Sent]]
    troubles: list[str] = field(default_factory=list)


evenings = st.builds(
    Evening,
    st.builds(
        Settings,
        match_rule=st.sampled_from(MatchRule),
        likes_needed=st.integers(2, 3),
        after_match=st.sampled_from([AfterMatch.GO_ON, AfterMatch.GO_ON, AfterMatch.END]),
    ),
    st.lists(st.lists(sent, min_size=1, max_size=6), min_size=4, max_size=12),
    st.lists(st.sampled_from(["none", "none", "none", "request lost", "answer lost"]), max_size=12),
)


@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(evening=evenings)
async def test_whatever_the_line_does_the_log_is_what_the_rules_say(
    replicas: list[Replica], evening: Evening
) -> None:
    code = uuid4().hex
    await replicas[0].rooms.room(code).submit(Open(code, code, "ada", "Ada", "Friday", evening.room))
    gathering: list[Command] = [*(Join(who, who.title()) for who in PEOPLE[1:]), START]
    for number, command in enumerate(gathering):
        await replicas[number % 2].rooms.room(code).submit(command)
    for replica, troubles in zip(replicas, (evening.troubles[::2], evening.troubles[1::2]), strict=True):
        replica.logs.troubles = list(troubles)
    acknowledged: list[tuple[GiveVerdict, int]] = []
    for burst in evening.bursts:
        for answers in await asyncio.gather(*(deliver(replicas, code, one) for one in burst)):
            acknowledged += answers
    for replica in replicas:
        replica.logs.troubles = []

    states = [await replica.rooms.room(code).refresh() for replica in replicas]
    log = await replicas[0].logs.read(code, after=0)
    assert [one.seq for one in log] == list(range(1, len(log) + 1)), "numbers have no gaps"
    assert states[0] == states[1] == fold(State(code=code), log), "everybody sees the same"
    check_against_the_rules(log)
    check_acknowledged(log, acknowledged)


async def deliver(replicas: Sequence[Replica], code: str, one: Sent) -> list[tuple[GiveVerdict, int]]:
    """Send a command the way its fate wants it. Returns the swipes that were acknowledged, with numbers."""
    here, there = replicas[one.where], replicas[1 - one.where]
    match one.fate:
        case "sent twice":
            twice = await asyncio.gather(attempt(here, code, one.command), attempt(there, code, one.command))
            return [answer for answers in twice for answer in answers]
        case "answer lost":
            here.rooms.room(code).submit(one.command).cancel()
            return await attempt(there, code, one.command)
        case "forgotten":
            here.forget(code)
    return await attempt(here, code, one.command)


async def attempt(replica: Replica, code: str, command: Command) -> list[tuple[GiveVerdict, int]]:
    """Send a command until there is an answer, as clients do."""
    while True:
        try:
            state = (await replica.rooms.room(code).submit(command)).state
        except Unavailable:
            continue
        except GameRefusal:
            return []
        if isinstance(command, GiveVerdict):
            player = state.player_of(command.user_id)
            assert player is not None
            return [(command, player.swipe_ids[command.swipe_id].seq)]
        return []


def check_acknowledged(log: Sequence[Numbered], acknowledged: Sequence[tuple[GiveVerdict, int]]) -> None:
    users = {one.event.player_id: one.event.user_id for one in log if isinstance(one.event, PlayerJoined)}
    swiped = {
        (users[one.event.player_id], one.event.swipe_id): one
        for one in log
        if isinstance(one.event, CardSwiped)
    }
    assert len(swiped) == sum(isinstance(one.event, CardSwiped) for one in log), "each swipe is there once"
    for command, seq in acknowledged:
        assert swiped[command.user_id, command.swipe_id].seq == seq, "and under the number it was told"


def check_against_the_rules(log: Sequence[Numbered]) -> None:
    """Find the command behind each event, and see that a plain room makes exactly these events of it."""
    events = [one.event for one in log]
    plain, place, state = PlainRoom(), 0, EMPTY
    while place < len(events):
        expected = plain.expect(command_behind(events[place:], state))
        happened = events[place : place + len(expected)]
        assert expected
        assert in_order(happened) == in_order(expected)
        state = fold(state, log[place : place + len(expected)])
        place += len(expected)


def command_behind(events: Sequence[Event], state: State) -> Command:
    """Return the command that must have brought about the first of these events."""
    user = {player.player_id: player.user_id for player in state.players.values()}
    host = user.get(state.host_id, "")
    match events[0]:
        case RoomOpened() as opened:
            first = events[1]
            assert isinstance(first, PlayerJoined)
            return Open(opened.game_id, opened.code, first.user_id, first.name, opened.name, opened.settings)
        case PlayerJoined() as joined:
            return Join(joined.user_id, joined.name, joined.guest)
        case PlayerLeft(player_id=player_id):
            return Leave(user[player_id])
        case PlayerRemoved(player_id=player_id):
            return Remove(host, player_id)
        case PlayerErased(player_id=player_id):
            return Erase(user[player_id])
        case HostChanged(player_id=player_id):
            return TransferHost(host, player_id)
        case RoomChanged(name=name, settings=how):
            return Change(host, name, asdict(how))
        case DoorChanged(locked=locked):
            return Lock(host, locked)
        case PickAdded(player_id=player_id, film=film):
            return AddPick(user[player_id], film)
        case PickRemoved(player_id=player_id, movie_id=movie_id):
            return RemovePick(user[player_id], movie_id)
        case SwipingStarted():
            return START
        case CardSwiped() as swiped:
            return GiveVerdict(user[swiped.player_id], swiped.swipe_id, swiped.movie_id, swiped.verdict)
        case SwipeUndone() as undone:
            return Undo(user[undone.player_id], undone.swipe_id)
        case MatchWithdrawn() | RunOffStarted():
            return StartRunOff(host)
        case WinnerDrawn(seed=seed):
            return Draw(host, seed)
        case GameEnded():
            return End(host)
        case other:
            raise AssertionError(f"nothing brings about {other} by itself")
