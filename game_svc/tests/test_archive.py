"""The archive hears of every match, whatever is away or dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from uuid import uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from dev.valkey import Valkey
from game_svc.events import DeckSource, Film, Settings, Verdict
from game_svc.log import RoomLogs
from game_svc.outbox import Due, Outbox
from game_svc.redis_link import RedisLink
from game_svc.rooms import Rooms
from game_svc.rules import Command, GiveVerdict, Join, Open, Start
from game_svc.tests.friends import (
    Friend,
    Replica,
    ScriptedBacklogs,
    replica,
    scripted_backlogs,
    scripted_movies,
)
from mesh.clock import utc_now
from popcorn.game.v1 import game_pb2, people_pb2

FILMS = range(801, 805)


@dataclass
class World:
    redis: Valkey
    movie_target: str
    backlogs: ScriptedBacklogs
    backlog_target: str

    def replica(self) -> AbstractAsyncContextManager[Replica]:
        return replica(self.redis.url, self.movie_target, backlog_target=self.backlog_target)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    server = Valkey(tmp_path_factory.mktemp("archive"))
    server.start()
    try:
        async with scripted_movies() as (_, movies), scripted_backlogs() as (backlogs, target):
            yield World(server, movies, backlogs, target)
    finally:
        server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def here(world: World) -> AsyncIterator[Replica]:
    async with world.replica() as running:
        yield running


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what is waited for is in another process' mind
            await asyncio.sleep(0.02)


async def playing(where: Replica, *, guest: bool = False) -> tuple[Friend, Friend, game_pb2.Game]:
    ada, grace = Friend("Ada", where.stub), Friend("Grace", where.stub, guest=guest)
    code = (await ada.create()).code
    await grace.join(code)
    await ada.pick(code, *FILMS)
    return ada, grace, await ada.start(code)


async def match_on_all(ada: Friend, grace: Friend, game: game_pb2.Game) -> None:
    for movie_id in FILMS:
        await ada.swipe(game.code, movie_id)
        await grace.swipe(game.code, movie_id)


async def test_a_match_reaches_the_archive_and_so_does_its_withdrawal(world: World, here: Replica) -> None:
    ada, grace, game = await playing(here, guest=True)
    await ada.swipe(game.code, 801)
    await grace.swipe(game.code, 801)
    await until(lambda: world.backlogs.matches_of(game.epoch) == [801])
    _, night = world.backlogs.nights[game.epoch, 801]
    assert night is not None
    assert night.game_name == "Friday"
    assert [(who.user_id, who.display_name, who.guest) for who in night.participants] == [
        (ada.user_id, "Ada", False),
        (grace.user_id, "Grace", True),
    ]
    await grace.undo(game.code, 801)
    await until(lambda: world.backlogs.matches_of(game.epoch) == [])


async def test_what_somebody_has_seen_is_watched_in_their_backlog_unless_they_are_a_guest(
    world: World, here: Replica
) -> None:
    ada, grace, game = await playing(here, guest=True)
    world.backlogs.wanted[ada.user_id] = [801]
    for movie_id in (801, 802, 803):
        await grace.swipe(game.code, movie_id, game_pb2.VERDICT_SEEN_IT)
        await ada.swipe(game.code, movie_id, game_pb2.VERDICT_SEEN_IT)
    await until(lambda: world.backlogs.watched.get(ada.user_id) == {801, 802, 803})
    assert grace.user_id not in world.backlogs.watched


async def test_a_finished_game_leaves_its_summary(world: World, here: Replica) -> None:
    ada, grace, game = await playing(here)
    for movie_id in FILMS:
        await ada.swipe(game.code, movie_id)
    await grace.swipe(game.code, 802)
    await grace.swipe(game.code, 803, game_pb2.VERDICT_PASS)
    await ada.end(game.code)
    await until(lambda: game.epoch in world.backlogs.games)
    summary = world.backlogs.games[game.epoch]
    assert list(summary.matched_movie_ids) == [802]
    assert {(miss.movie_id, miss.percent) for miss in summary.near_misses} == {
        (801, 50),
        (803, 50),
        (804, 50),
    }
    assert [(who.user_id, who.swipes) for who in summary.players] == [(ada.user_id, 4), (grace.user_id, 2)]
    assert summary.start_time.ToDatetime() <= summary.end_time.ToDatetime()


async def test_what_chance_decides_is_a_movie_night_too(world: World, here: Replica) -> None:
    ada, grace, game = await playing(here)
    for movie_id in FILMS:
        await ada.swipe(game.code, movie_id)
        await grace.swipe(game.code, movie_id, game_pb2.VERDICT_PASS)
    request = game_pb2.DrawWinnerRequest(code=game.code)
    drawn = (await ada.stub.DrawWinner(request, metadata=ada.metadata)).winner.movie_id
    await until(lambda: world.backlogs.matches_of(game.epoch) == [drawn])
    await until(lambda: game.epoch in world.backlogs.games)
    assert list(world.backlogs.games[game.epoch].matched_movie_ids) == [drawn]


async def test_nobody_waits_for_the_archive_and_it_hears_all_when_it_is_back(
    world: World, here: Replica
) -> None:
    ada, grace, game = await playing(here)
    world.backlogs.away = True
    try:
        await match_on_all(ada, grace, game)
        assert len((await ada.game(game.code)).matches) == len(FILMS)
    finally:
        world.backlogs.away = False
    await until(lambda: world.backlogs.matches_of(game.epoch) == list(FILMS))


async def test_matches_of_a_replica_that_died_are_told_by_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("game_svc.outbox.OVERDUE", timedelta(milliseconds=50))
    link = RedisLink(world.redis.url)
    rooms = Rooms(RoomLogs(link), Outbox(link), clock=utc_now)  # nobody hears what these rooms owe
    code, game_id = uuid4().hex, uuid4().hex
    commands: list[Command] = [
        Open(game_id, code, "ada", "Ada", "Friday", Settings()),
        Join("grace", "Grace"),
        Start("ada", {DeckSource.TRENDING: [Film(1, 7.0), Film(2, 7.0)]}),
        GiveVerdict("ada", "a", 1, Verdict.LIKE),
        GiveVerdict("grace", "g", 1, Verdict.LIKE),
    ]
    for command in commands:
        await rooms.room(code).submit(command)
    await link.close()
    assert not world.backlogs.matches_of(game_id)
    async with world.replica():
        await until(lambda: world.backlogs.matches_of(game_id) == [1])


async def test_the_list_of_rooms_that_owe_something_empties(
    world: World, here: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("game_svc.outbox.OVERDUE", timedelta(milliseconds=50))
    ada, grace, game = await playing(here)
    await ada.swipe(game.code, 801)
    await grace.swipe(game.code, 801)
    link = RedisLink(world.redis.url)
    async with asyncio.timeout(30):
        while await link.ask("archive:due", "ZCARD"):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.05)
    await link.close()


async def test_a_match_survives_redis_and_the_archive_going_away_together(
    world: World, here: Replica
) -> None:
    ada, grace, game = await playing(here)
    world.backlogs.away = True
    try:
        await ada.swipe(game.code, 801)
        await grace.swipe(game.code, 801)
        world.redis.kill()
        await asyncio.sleep(0.3)
        world.redis.start()
    finally:
        world.backlogs.away = False
    await until(lambda: world.backlogs.matches_of(game.epoch) == [801])


async def test_a_match_survives_that_redis_is_emptied_while_the_archive_is_away(
    world: World, here: Replica
) -> None:
    async with world.replica() as there:
        ada, grace, game = await playing(here)
        grace = grace.on(there)
        world.backlogs.away = True
        try:
            await ada.swipe(game.code, 801)
            await grace.swipe(game.code, 801)
            await ada.swipe(game.code, 802)
            await grace.swipe(game.code, 802)
            await ada.undo(game.code, 802)
            await _empty(world)
            await asyncio.sleep(2.5)  # whatever was on its way has failed
        finally:
            world.backlogs.away = False
        await until(lambda: world.backlogs.matches_of(game.epoch) == [801])
        _, night = world.backlogs.nights[game.epoch, 801]
        assert night is not None
        assert [who.user_id for who in night.participants] == [ada.user_id, grace.user_id]
        told = world.backlogs.recorded.count((game.epoch, 801))
        await asyncio.sleep(1.5)
        assert world.backlogs.recorded.count((game.epoch, 801)) == told == 1
        assert world.backlogs.matches_of(game.epoch) == [801], "what was withdrawn is not a match"


async def test_who_was_erased_after_redis_was_emptied_is_not_in_what_is_told_from_memory(
    world: World, here: Replica
) -> None:
    async with world.replica() as there:
        ada, grace, game = await playing(here)
        world.backlogs.away = True
        try:
            await ada.swipe(game.code, 801)
            await grace.swipe(game.code, 801)
            await _empty(world)
            await asyncio.sleep(2.5)  # whatever was on its way has failed
            await _erase(there, grace.user_id)
        finally:
            world.backlogs.away = False
        await until(lambda: world.backlogs.matches_of(game.epoch) == [801])
        _, night = world.backlogs.nights[game.epoch, 801]
        assert night is not None
        assert [(who.user_id, who.display_name) for who in night.participants] == [
            (ada.user_id, "Ada"),
            ("", ""),
        ]


async def test_a_mistake_in_a_sweep_does_not_end_the_archive(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def overdue(_outbox: Outbox, *, most: int) -> Sequence[Due]:
        raise RuntimeError(most)

    monkeypatch.setattr(Outbox, "overdue", overdue)
    async with world.replica() as here:
        ada, grace, game = await playing(here)
        await ada.swipe(game.code, 801)
        await grace.swipe(game.code, 801)
        await until(lambda: world.backlogs.matches_of(game.epoch) == [801])


async def test_whatever_fails_in_between_the_archive_ends_with_the_matches_that_stand(
    world: World, here: Replica
) -> None:
    random = Random(6)
    async with world.replica() as there:
        ada, grace, game = await playing(here)
        grace = grace.on(there)
        for _ in range(120):
            who, movie_id = random.choice([ada, grace]), random.choice(FILMS)
            world.backlogs.away = random.random() < 0.3
            deck = await who.stub.GetDeck(game_pb2.GetDeckRequest(code=game.code), metadata=who.metadata)
            if movie_id in [card.movie_id for card in deck.cards]:
                await who.swipe(game.code, movie_id)
            else:
                await who.undo(game.code, movie_id)
        world.backlogs.away = False
        standing = sorted(match.movie_id for match in (await ada.game(game.code)).matches)
        await until(lambda: world.backlogs.matches_of(game.epoch) == standing)


async def test_nothing_that_names_an_erased_person_is_on_its_way_when_they_are_erased(
    world: World, here: Replica
) -> None:
    ada, grace, game = await playing(here)
    world.backlogs.open.clear()
    await ada.swipe(game.code, 801)
    await grace.swipe(game.code, 801)
    await asyncio.sleep(0.1)  # the match is being told
    erasing = asyncio.create_task(_erase(here, grace.user_id))
    await asyncio.sleep(0.2)
    assert not erasing.done()
    world.backlogs.open.set()
    await erasing
    await until(lambda: world.backlogs.matches_of(game.epoch) == [801])


async def test_a_slow_archive_does_not_outlast_the_lease_that_an_erasure_waits_for(
    world: World, here: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("game_svc.outbox.LEASE", timedelta(seconds=0.6))
    ada, grace, game = await playing(here)
    world.backlogs.away = True
    try:
        await match_on_all(ada, grace, game)
        world.backlogs.seconds = 0.4
        world.backlogs.away = False
        await until(lambda: world.backlogs.matches_of(game.epoch))
        await _erase(here, grace.user_id)
        known = _nights_with(world, game.epoch, grace.user_id)
        await until(lambda: world.backlogs.matches_of(game.epoch) == list(FILMS))
        assert _nights_with(world, game.epoch, grace.user_id) == known, "none arrives behind the erasure"
    finally:
        world.backlogs.away, world.backlogs.seconds = False, 0.0


async def test_a_lease_that_was_lost_is_not_taken_anew_on_the_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("game_svc.outbox.LEASE", timedelta(milliseconds=600))
    link = RedisLink(world.redis.url)
    outbox, code = Outbox(link), uuid4().hex
    try:
        lease = await outbox.lease(code, "ours")
        assert lease is not None
        for _ in range(3):
            await asyncio.sleep(0.35)
            assert await lease.held()
        await asyncio.sleep(0.7)
        assert not await lease.held()
    finally:
        await link.close()


def _nights_with(world: World, game_id: str, user_id: str) -> list[int]:
    return sorted(
        movie_id
        for (game, movie_id), (_, night) in world.backlogs.nights.items()
        if game == game_id and night and user_id in [who.user_id for who in night.participants]
    )


async def _empty(world: World) -> None:
    async with Redis.from_url(world.redis.url) as operator:
        await operator.flushall()


async def _erase(where: Replica, user_id: str) -> None:
    await where.people.EraseUser(people_pb2.EraseUserRequest(user_id=user_id))
