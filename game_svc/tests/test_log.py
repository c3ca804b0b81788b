"""The store's contract, against a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from dev.valkey import Valkey
from game_svc.events import (
    AfterMatch,
    CardsRanOut,
    CardSwiped,
    DeckSource,
    DoorChanged,
    EndCause,
    Event,
    Film,
    Filter,
    GameEnded,
    HostChanged,
    MatchFound,
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
from game_svc.log import Head, RoomLogs, Seat
from game_svc.log_entries import from_entry, to_entry
from game_svc.redis_link import RedisLink
from mesh.errors import Unavailable

NOW = datetime(2026, 11, 20, 20, 15, 0, 123000, tzinfo=UTC)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
films = st.builds(Film, st.integers(1, 2**31 - 1), st.floats(0, 10))
numbers = st.lists(st.integers(1, 10_000), max_size=5).map(tuple)
filters = st.builds(
    Filter,
    numbers,
    st.integers(0, 2200),
    st.integers(0, 2200),
    st.integers(0, 500),
    st.floats(0, 10),
    numbers,
    names,
    names,
)
how = st.builds(
    Settings,
    st.sampled_from(MatchRule),
    st.integers(0, 20),
    st.sampled_from(AfterMatch),
    st.lists(st.sampled_from(DeckSource)).map(tuple),
    st.integers(1, 500),
    filters,
    st.booleans(),
)
any_event = st.one_of(
    st.builds(RoomOpened, names, names, names, how),
    st.builds(PlayerJoined, names, names, names, st.integers(0, 500), st.integers(0, 500), st.booleans()),
    st.builds(PlayerRemoved, names, st.integers(0, 500)),
    st.builds(RoomChanged, names, how),
    st.builds(DoorChanged, st.booleans()),
    st.builds(SwipeUndone, names, st.integers(1), names, st.integers(0)),
    st.just(CardsRanOut()),
    st.builds(RunOffStarted, st.lists(films).map(tuple), st.integers(2)),
    st.builds(WinnerDrawn, st.integers(1), names, numbers),
    st.builds(PlayerLeft, names, st.integers(0, 500)),
    st.builds(PlayerErased, names),
    st.builds(HostChanged, names),
    st.builds(PickAdded, names, films, st.integers(0, 500)),
    st.builds(PickRemoved, names, st.integers(1), st.integers(0, 500)),
    st.builds(SwipingStarted, st.lists(films).map(tuple), st.lists(st.sampled_from(DeckSource)).map(tuple)),
    st.builds(CardSwiped, names, st.integers(1), st.sampled_from(Verdict), names, st.integers(0)),
    st.builds(MatchFound, st.integers(1), st.lists(names).map(tuple)),
    st.builds(MatchWithdrawn, st.integers(1)),
    st.builds(GameEnded, st.sampled_from(EndCause)),
)


@given(any_event)
def test_an_event_comes_back_from_the_log_as_it_was(event: Event) -> None:
    assert from_entry(7, to_entry(event, NOW)) == Numbered(7, NOW, event)


@pytest.mark.parametrize(
    ("entry", "event"),
    [
        (
            b'{"is":"opened","at":0,"game_id":"g","code":"C","name":"N","settings":{"match_rule":"everybody",'
            b'"likes_needed":0,"after_match":"go_on","deck_sources":["picks"],"max_movies":100}}',
            RoomOpened("g", "C", "N", Settings()),
        ),
        (
            b'{"is":"joined","at":0,"player_id":"p1","user_id":"u","name":"Ada","swipes":0,"picked_movies":0}',
            PlayerJoined("p1", "u", "Ada", 0, 0),
        ),
        (
            b'{"is":"started","at":0,"deck":[{"movie_id":1,"rating":7.5}],"empty_sources":["picks"]}',
            SwipingStarted((Film(1, 7.5),), (DeckSource.PICKS,)),
        ),
        (b'{"is":"match","at":0,"movie_id":1}', MatchFound(1)),
    ],
)
def test_what_was_written_before_there_was_more_to_say_is_still_read(entry: bytes, event: Event) -> None:
    assert from_entry(1, entry).event == event


def test_fields_of_a_newer_version_are_left_aside() -> None:
    assert from_entry(1, b'{"is":"host","at":0,"player_id":"p1","mood":"good"}').event == HostChanged("p1")


@pytest.mark.parametrize("entry", [b"", b"[]", b"{}", b'{"is":"host","at":0}', b'{"is":"later","at":0}'])
def test_what_is_not_an_event_is_said_so(entry: bytes) -> None:
    with pytest.raises(ValueError, match=r"entry 3|Expecting value"):
        from_entry(3, entry)


@pytest_asyncio.fixture(loop_scope="session")
async def logs(redis_url: str) -> AsyncIterator[RoomLogs]:
    link = RedisLink(redis_url)
    yield RoomLogs(link)
    await link.close()


@pytest.fixture
def code(request: pytest.FixtureRequest) -> str:
    return request.node.name  # type: ignore[no-any-return]  # a room of this test's own


async def append(logs: RoomLogs, code: str, after: Head, *events: Event) -> tuple[bool, Head]:
    return await logs.append(code, after=after, epoch="epoch", events=events, at=NOW)


async def test_events_are_numbered_without_gaps_and_read_back_in_order(logs: RoomLogs, code: str) -> None:
    nothing = await logs.head(code)
    assert nothing == Head("", 0)
    appended, head = await append(logs, code, nothing, HostChanged("p1"), HostChanged("p2"))
    assert (appended, head) == (True, Head("epoch", 2))
    await append(logs, code, head, HostChanged("p3"))
    assert [(one.seq, one.event) for one in await logs.read(code, after=1)] == [
        (2, HostChanged("p2")),
        (3, HostChanged("p3")),
    ]


async def test_a_log_longer_than_a_page_is_read_whole(logs: RoomLogs, code: str) -> None:
    await append(logs, code, Head("", 0), *(MatchFound(number) for number in range(1, 2502)))
    assert [one.seq for one in await logs.read(code, after=0)] == list(range(1, 2502))


async def test_an_append_upon_an_old_state_writes_nothing(logs: RoomLogs, code: str) -> None:
    _, head = await append(logs, code, Head("", 0), HostChanged("p1"))
    appended, newest = await append(logs, code, Head("", 0), HostChanged("p2"), HostChanged("p3"))
    assert (appended, newest) == (False, head)
    assert len(await logs.read(code, after=0)) == 1


async def test_an_append_to_another_game_with_the_same_code_writes_nothing(logs: RoomLogs, code: str) -> None:
    _, head = await append(logs, code, Head("", 0), HostChanged("p1"))
    appended, newest = await logs.append(
        code, after=Head("another", 1), epoch="another", events=[HostChanged("p2")], at=NOW
    )
    assert (appended, newest) == (False, head)


async def test_of_many_appends_upon_one_state_one_is_made(logs: RoomLogs, code: str) -> None:
    outcomes = await asyncio.gather(
        *(append(logs, code, Head("", 0), HostChanged(f"p{number}")) for number in range(20))
    )
    assert sum(appended for appended, _ in outcomes) == 1
    assert len(await logs.read(code, after=0)) == 1


async def test_a_player_holds_one_seat(logs: RoomLogs, code: str) -> None:
    assert await logs.sit_down(code, "ROOM1", at=NOW) is None
    assert await logs.sit_down(code, "ROOM1", at=NOW) is None, "sitting down again is fine"
    held = await logs.sit_down(code, "ROOM2", at=NOW)
    assert held == Seat("ROOM1", round(NOW.timestamp() * 1000))
    assert await logs.sit_down(code, "ROOM2", at=NOW, instead_of=held) is None
    await logs.stand_up(code, "ROOM1", taken_by=NOW)
    assert await logs.sit_down(code, "ROOM3", at=NOW) is not None, "only the seat one holds can be freed"
    await logs.stand_up(code, "ROOM2", taken_by=NOW)
    assert await logs.sit_down(code, "ROOM3", at=NOW) is None


async def test_who_leaves_and_comes_back_at_the_same_time_keeps_the_seat(logs: RoomLogs, code: str) -> None:
    assert await logs.sit_down(code, "ROOM1", at=NOW) is None
    leaving = NOW + timedelta(seconds=1)
    assert await logs.sit_down(code, "ROOM1", at=leaving + timedelta(milliseconds=1)) is None
    await logs.stand_up(code, "ROOM1", taken_by=leaving)
    assert await logs.sit_down(code, "ROOM2", at=NOW) is not None


async def test_a_seat_that_changed_hands_is_not_replaced(logs: RoomLogs, code: str) -> None:
    await logs.sit_down(code, "ROOM1", at=NOW)
    old = Seat("ROOM1", round((NOW - timedelta(minutes=1)).timestamp() * 1000))
    assert await logs.sit_down(code, "ROOM2", at=NOW, instead_of=old) is not None


async def test_what_was_appended_settles_on_disk(logs: RoomLogs, code: str) -> None:
    await append(logs, code, Head("", 0), MatchFound(1))
    await logs.settle(code)


async def test_a_restart_of_redis_costs_no_call_that_comes_after_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = Valkey(tmp_path_factory.mktemp("restarts"))
    server.start()
    link = RedisLink(server.url)
    logs = RoomLogs(link)
    try:
        async with asyncio.timeout(20):
            _, head = await append(logs, "ROOM", Head("", 0), HostChanged("p1"))
            await logs.settle("ROOM")
            server.kill()
            server.start()
            await asyncio.sleep(0.05)  # until the loop has heard that its connections are gone
            assert (await append(logs, "ROOM", head, HostChanged("p2")))[0]
            await logs.settle("ROOM")
    finally:
        await link.close()
        server.stop()


async def test_appends_are_heard_and_those_missed_in_a_break_are_looked_for(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = Valkey(tmp_path_factory.mktemp("wakeups"))
    server.start()
    link = RedisLink(server.url)
    logs = RoomLogs(link)
    heard: asyncio.Queue[str] = asyncio.Queue()
    wakeups = logs.wakeups(
        appended=lambda code, _: heard.put_nowait(code), came_or_went=lambda _code, _replica: None
    )
    listening = asyncio.create_task(wakeups.run())
    try:
        async with asyncio.timeout(20):
            await wakeups.follow("ROOM")
            assert await heard.get() == "ROOM", "a subscription may have missed something"
            _, head = await append(logs, "ROOM", Head("", 0), HostChanged("p1"))
            assert await heard.get() == "ROOM"
            server.kill()
            with pytest.raises(Unavailable):
                await append(logs, "ROOM", head, HostChanged("p2"))
            server.start()
            assert await heard.get() == "ROOM", "after a break there is a look without an append"
            assert (await append(logs, "ROOM", head, HostChanged("p2")))[0]
    finally:
        listening.cancel()
        await link.close()
        server.stop()


async def test_rooms_that_are_followed_while_the_listener_connects_are_heard(
    logs: RoomLogs, code: str
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    wakeups = logs.wakeups(
        appended=lambda room, _: heard.put_nowait(room), came_or_went=lambda _code, _replica: None
    )
    listening = asyncio.create_task(wakeups.run())
    rooms = {f"{code}{number}" for number in range(300)}
    try:
        async with asyncio.timeout(20):
            for room in sorted(rooms):
                await wakeups.follow(room)
                await asyncio.sleep(0)
            while rooms:
                rooms.discard(await heard.get())
    finally:
        listening.cancel()
        await asyncio.wait({listening})
