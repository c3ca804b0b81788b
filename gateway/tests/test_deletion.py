"""The end of an account: at once for everybody, complete soon, and whatever happens on the way."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest

from dev.processes import Process, free_port
from gateway import keys
from gateway.__main__ import build_deletions
from gateway.deletion import LEASE, PLAN, Cause, Deletions, Step, pause_after
from gateway.deletion_store import DeletionStore
from gateway.migrate import FOLDER, SCHEMA
from gateway.tests.conftest import (
    QUICK,
    Refused,
    ScriptedBacklogs,
    ScriptedPeople,
    World,
    as_caller,
    make_settings,
)
from gateway.tests.refusals import refusal
from gateway.tests.test_process import BASE, environment
from mesh.background import running_in_background
from mesh.channels import open_channel
from mesh.migrations import migrate
from mesh.postgres import Database
from mesh.server import Server, Service
from popcorn.backlog.v1 import backlog_pb2, backlog_pb2_grpc
from popcorn.game.v1 import people_pb2, people_pb2_grpc
from popcorn.gateway.v1 import account_pb2, account_pb2_grpc, auth_pb2, auth_pb2_grpc

Subject = Callable[[], str]
SignedIn = auth_pb2.SignInResponse
DELETE = account_pb2.DeleteAccountRequest()


async def dump(database: Any) -> str:
    """Every row of every table of ours, as text."""
    tables = await database.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    rows = []
    for table in tables:
        rows += await database.fetch(f"SELECT mine::text AS row FROM {table['name']} AS mine")
    return "\n".join(row["row"] for row in rows)


async def eventually(holds: Callable[[], Awaitable[bool]], *, seconds: float = 30.0) -> None:
    """Wait for what another process writes into the database, which tells nobody."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - see the docstring
            await asyncio.sleep(0.02)


async def gone(database: Any, user_id: str) -> None:
    """Wait until there is no account of this id, tombstone or not."""

    async def is_gone() -> bool:
        found = await database.fetchval("SELECT 1 FROM gateway.accounts WHERE user_id = $1", UUID(user_id))
        return found is None

    await eventually(is_gone)


def asked_about(user_id: str, asked: list[Any]) -> list[str]:
    return [type(request).__name__ for request in asked if getattr(request, "user_id", None) == user_id]


# ---- as the app sees it ----


async def test_nothing_of_a_deleted_person_is_left(world: World, somebody: Subject) -> None:
    subject, name = somebody(), f"Unmistakable {uuid4().hex[:8]}"
    await world.sign_in(subject, display_name=name)
    phone = await world.sign_in(subject)
    await world.auth.RefreshSession(auth_pb2.RefreshSessionRequest(refresh_token=phone.tokens.refresh_token))
    before = await dump(world.database)
    traces = (phone.account.user_id, f"{subject}@example.com", name)
    assert all(trace in before for trace in traces)

    await world.accounts.DeleteAccount(DELETE, metadata=as_caller(phone))
    await gone(world.database, phone.account.user_id)

    after = await dump(world.database)
    assert not [trace for trace in (*traces, subject) if trace in after]
    assert asked_about(phone.account.user_id, world.people.script.asked) == ["EraseUserRequest"]
    assert asked_about(phone.account.user_id, world.backlogs.script.asked) == ["EraseUserRequest"]


async def test_a_deleted_account_is_of_no_use_from_the_first_moment_on(
    world: World, somebody: Subject
) -> None:
    subject = somebody()
    world.people.script.failure = Refused("UNAVAILABLE", "AWAY")  # so that the tombstone stays for a while
    phone, tablet = await world.sign_in(subject, display_name="Ada"), await world.sign_in(subject)
    await world.accounts.DeleteAccount(DELETE, metadata=as_caller(phone))

    row = await world.database.fetchrow(
        "SELECT account::text AS text FROM gateway.accounts AS account WHERE user_id = $1",
        UUID(phone.account.user_id),
    )
    assert row is not None
    assert "Ada" not in row["text"]
    for session in (phone, tablet):
        refresh = auth_pb2.RefreshSessionRequest(refresh_token=session.tokens.refresh_token)
        assert (await refusal(world.auth.RefreshSession(refresh))).reason == "SESSION_REVOKED"
        seen = await refusal(
            world.accounts.GetAccount(account_pb2.GetAccountRequest(), metadata=as_caller(session))
        )
        assert seen.code == "UNAUTHENTICATED"
    again = await world.sign_in(subject)
    assert again.new_account
    assert again.account.user_id != phone.account.user_id
    assert again.account.display_name != "Ada"


async def test_the_access_token_is_refused_by_everybody_soon_and_for_good(
    world: World, somebody: Subject
) -> None:
    me = await world.sign_in(somebody())
    session_id = str(json.loads(base64.urlsafe_b64decode(me.tokens.access_token.split(".")[1] + "=="))["sid"])
    await world.accounts.DeleteAccount(DELETE, metadata=as_caller(me))
    await gone(world.database, me.account.user_id)
    # The list that all services read has it still, though nothing else knows this session any more.
    listed = await world.database.fetchrow(
        "SELECT forget_time FROM gateway.revocations WHERE session_id = $1", UUID(session_id)
    )
    assert listed["forget_time"] > datetime.now(UTC) + timedelta(days=29)

    async def is_refused() -> bool:
        try:
            await world.accounts.DeleteAccount(DELETE, metadata=as_caller(me))
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAUTHENTICATED
        return False

    await eventually(is_refused, seconds=5)


async def test_deleting_twice_at_once_is_deleting_once(world: World, somebody: Subject) -> None:
    me = await world.sign_in(somebody())
    metadata = as_caller(me)
    await asyncio.gather(*(world.accounts.DeleteAccount(DELETE, metadata=metadata) for _ in range(5)))
    await gone(world.database, me.account.user_id)
    assert asked_about(me.account.user_id, world.people.script.asked) == ["EraseUserRequest"]


async def test_a_guest_can_be_deleted_too(world: World) -> None:
    guest = await world.auth.SignInAsGuest(auth_pb2.SignInAsGuestRequest(display_name="Passing By"))
    token = SignedIn(tokens=guest.tokens)
    await world.accounts.DeleteAccount(DELETE, metadata=as_caller(token))
    await gone(world.database, guest.account.user_id)
    assert guest.account.user_id not in await dump(world.database)


async def test_what_apple_gave_is_given_back_without_a_name(world: World, somebody: Subject) -> None:
    me = await world.sign_in(somebody())
    sealed = uuid4().bytes
    await world.database.execute(
        "INSERT INTO gateway.apple_grants (user_id, client_id, key_id, sealed, create_time)"
        " VALUES ($1, 'app', 'k1', $2, now())",
        UUID(me.account.user_id),
        sealed,
    )
    await world.accounts.DeleteAccount(DELETE, metadata=as_caller(me))
    await gone(world.database, me.account.user_id)
    assert me.account.user_id not in await dump(world.database)
    waiting = await world.database.fetch("SELECT sealed FROM gateway.apple_revocations")
    assert sealed in {row["sealed"] for row in waiting}


async def test_nobody_elses_account_is_touched(world: World, somebody: Subject) -> None:
    ada, bob = await world.sign_in(somebody()), await world.sign_in(somebody())
    await world.accounts.DeleteAccount(DELETE, metadata=as_caller(ada))
    await gone(world.database, ada.account.user_id)
    answer = await world.accounts.GetAccount(account_pb2.GetAccountRequest(), metadata=as_caller(bob))
    assert answer.account == bob.account


async def test_a_sign_in_at_the_same_moment_opens_no_session_of_a_tombstone(
    world: World, somebody: Subject
) -> None:
    for _ in range(5):
        subject = somebody()
        me = await world.sign_in(subject)
        answers = await asyncio.gather(
            world.accounts.DeleteAccount(DELETE, metadata=as_caller(me)),
            *(world.sign_in(subject) for _ in range(6)),
        )
        open_sessions = await world.database.fetchval(
            "SELECT count(*) FROM gateway.sessions WHERE user_id = $1 AND end_time IS NULL",
            UUID(me.account.user_id),
        )
        assert open_sessions == 0
        others = {answer.account.user_id for answer in answers if isinstance(answer, SignedIn)} - {
            me.account.user_id
        }
        assert len(others) <= 1


async def test_rooms_come_before_backlogs_and_what_fails_is_tried_again(
    world: World, somebody: Subject
) -> None:
    me = await world.sign_in(somebody())
    world.people.script.failure = Refused("UNAVAILABLE", "AWAY")
    await world.accounts.DeleteAccount(DELETE, metadata=as_caller(me))
    async with asyncio.timeout(60):
        await world.people.script.was_asked.wait()
    assert not asked_about(me.account.user_id, world.backlogs.script.asked)
    # backlog_svc is away when its turn comes.
    world.backlogs.script.failure = Refused("UNAVAILABLE", "AWAY")
    world.people.script.failure = None
    async with asyncio.timeout(60):
        await world.backlogs.script.was_asked.wait()
    assert UUID(me.account.user_id) in {
        row["user_id"] for row in await world.database.fetch("SELECT user_id FROM gateway.accounts")
    }
    world.backlogs.script.failure = None
    await gone(world.database, me.account.user_id)


# ---- the list of steps ----


def test_pauses_double_up_to_fifteen_seconds() -> None:
    pauses = [pause_after(attempts).total_seconds() for attempts in (1, 2, 3, 4, 5, 6, 1_000_000)]
    assert pauses == [1, 2, 4, 8, 15, 15, 15]


@pytest.fixture
async def own_database(new_database: Callable[[], str]) -> AsyncIterator[Database]:
    url = new_database()
    await migrate(url, schema=SCHEMA, folder=FOLDER)
    database = Database(url, application="tests")
    await database.start()
    yield database
    await database.close()


async def people(database: Database, count: int) -> list[UUID]:
    user_ids = [uuid4() for _ in range(count)]
    for user_id in user_ids:
        await database.execute(
            "INSERT INTO gateway.accounts (user_id, display_name, create_time) VALUES ($1, 'Ada', now())",
            user_id,
        )
    return user_ids


async def test_two_replicas_at_once_erase_everybody_once(own_database: Database) -> None:
    erased: Counter[tuple[Step, UUID]] = Counter()

    def eraser(step: Step) -> Callable[[UUID], Awaitable[None]]:
        async def erase(user_id: UUID) -> None:
            erased[step, user_id] += 1
            await asyncio.sleep(0)

        return erase

    replicas = [
        Deletions(
            DeletionStore(own_database),
            erasers={step: eraser(step) for step in (Step.GAME, Step.BACKLOG)},
            settle=timedelta(),
            clock=lambda: datetime.now(UTC),
        )
        for _ in range(2)
    ]
    user_ids = await people(own_database, 40)
    tasks = [asyncio.create_task(replica.run()) for replica in replicas]
    try:
        await asyncio.gather(*(replicas[0].start(user_id, cause=Cause.APPLE) for user_id in user_ids))

        async def all_gone() -> bool:
            count: int = await own_database.fetchval("SELECT count(*) FROM gateway.accounts")
            return count == 0

        await eventually(all_gone)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(erased) == 2 * len(user_ids)
    assert set(erased.values()) == {1}


async def test_a_step_belongs_to_one_replica_until_its_lease_ends(own_database: Database) -> None:
    store = DeletionStore(own_database)
    [user_id] = await people(own_database, 1)
    now = datetime.now(UTC)
    assert await store.start(user_id, plan=PLAN, now=now, due_time=now + timedelta(seconds=10)) is not None
    assert await store.start(user_id, plan=PLAN, now=now, due_time=now) is None

    async def take(at: datetime) -> list[Step]:
        return [taken.step for taken in await store.take(now=at, lease_until=at + LEASE, most=10)]

    assert await take(now) == []
    later = now + timedelta(seconds=10)
    assert await take(later) == [Step.GAME]
    assert await take(later + LEASE / 2) == []
    [again] = await store.take(now=later + LEASE, lease_until=later + 2 * LEASE, most=10)
    assert (again.step, again.attempts) == (Step.GAME, 2)
    await store.done(again)
    assert await take(later + LEASE) == [Step.BACKLOG]


async def test_what_cannot_even_be_understood_stops_nobody_elses_deletion(own_database: Database) -> None:
    broken, fine = await people(own_database, 2)

    async def erase(user_id: UUID) -> None:
        if user_id == broken:
            raise RuntimeError("a mistake of ours")

    deletions = Deletions(
        DeletionStore(own_database),
        erasers={Step.GAME: erase, Step.BACKLOG: erase},
        settle=timedelta(),
        clock=lambda: datetime.now(UTC),
    )
    task = asyncio.create_task(deletions.run())
    try:
        await deletions.start(broken, cause=Cause.REQUEST)
        await deletions.start(fine, cause=Cause.REQUEST)
        await gone(own_database, str(fine))
        assert await own_database.fetchval("SELECT count(*) FROM gateway.accounts") == 1
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# ---- SIGKILL, at every step ----


@dataclass
class Scene:
    """A gateway process, its database, and the services behind it, which do as they are told."""

    url: str
    watcher: Any
    people: ScriptedPeople
    backlogs: ScriptedBacklogs
    variables: dict[str, str]
    folder: Path
    gateway: Process | None = None
    me: SignedIn = field(default_factory=SignedIn)

    @asynccontextmanager
    async def gateway_running(self) -> AsyncIterator[grpc.aio.Channel]:
        port = free_port()
        self.gateway = Process(
            "gateway",
            [sys.executable, "-m", "gateway"],
            log=self.folder / "gateway.log",
            environment=BASE | environment(self.folder, GATEWAY_LISTEN=f"127.0.0.1:{port}", **self.variables),
        )
        self.gateway.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                async with asyncio.timeout(30):
                    await channel.channel_ready()
                yield channel
        finally:
            self.gateway.kill()

    def kill(self) -> None:
        assert self.gateway is not None
        self.gateway.kill()

    async def blocked(self) -> None:
        """Wait until somebody waits for a lock that the watcher holds."""

        async def somebody_waits() -> bool:
            found = await self.watcher.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock'"
            )
            return bool(found)

        await eventually(somebody_waits)


Act = Callable[[Scene, Callable[[], Awaitable[object]]], Awaitable[None]]


async def before_any_step(scene: Scene, delete: Callable[[], Awaitable[object]]) -> None:
    await delete()
    scene.kill()


async def in_the_transaction_that_begins_it(scene: Scene, delete: Callable[[], Awaitable[object]]) -> None:
    async with scene.watcher.transaction():
        await scene.watcher.execute("SELECT 1 FROM gateway.sessions FOR UPDATE")
        asking = asyncio.ensure_future(delete())
        await scene.blocked()
        scene.kill()
        with suppress(grpc.aio.AioRpcError):
            await asking
    rows = await scene.watcher.fetch("SELECT delete_time FROM gateway.accounts")
    steps = await scene.watcher.fetchval("SELECT count(*) FROM gateway.deletion_steps")
    assert ([row["delete_time"] for row in rows], steps) == ([None], 0)


async def while_rooms_are_erased(scene: Scene, delete: Callable[[], Awaitable[object]]) -> None:
    scene.people.script.hanging = True
    await delete()
    await scene.people.script.was_asked.wait()
    scene.kill()
    scene.people.script.hanging = False


async def after_rooms_were_erased_and_before_that_is_written_down(
    scene: Scene, delete: Callable[[], Awaitable[object]]
) -> None:
    scene.people.script.hanging = True
    await delete()
    await scene.people.script.was_asked.wait()
    async with scene.watcher.transaction():
        await scene.watcher.execute("SELECT 1 FROM gateway.deletion_steps WHERE step = 'game_svc' FOR UPDATE")
        scene.people.script.let_go()
        await scene.blocked()
        scene.kill()


async def while_backlogs_are_erased(scene: Scene, delete: Callable[[], Awaitable[object]]) -> None:
    scene.backlogs.script.hanging = True
    await delete()
    await scene.backlogs.script.was_asked.wait()
    scene.kill()
    scene.backlogs.script.hanging = False


async def while_our_own_rows_are_erased(scene: Scene, delete: Callable[[], Awaitable[object]]) -> None:
    scene.backlogs.script.hanging = True
    await delete()
    await scene.backlogs.script.was_asked.wait()
    async with scene.watcher.transaction():
        await scene.watcher.execute("SELECT 1 FROM gateway.sessions FOR UPDATE")
        scene.backlogs.script.let_go()
        await scene.blocked()
        scene.kill()


ACTS: list[Act] = [
    before_any_step,
    in_the_transaction_that_begins_it,
    while_rooms_are_erased,
    after_rooms_were_erased_and_before_that_is_written_down,
    while_backlogs_are_erased,
    while_our_own_rows_are_erased,
]


async def play(act: Act, world: World, url: str, folder: Path) -> None:
    """Delete an account of one gateway, kill that at a moment of the act's choice, and let another go on."""
    people_behind, backlogs = ScriptedPeople(), ScriptedBacklogs()  # type: ignore[abstract]  # rest not asked
    await migrate(url, schema=SCHEMA, folder=FOLDER)
    await asyncio.to_thread(folder.mkdir)
    keys.create(folder / "signing.json", now=datetime.now(UTC))
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(
            Server(
                [
                    Service(
                        descriptor=backlog_pb2.DESCRIPTOR.services_by_name["BacklogService"],
                        add=backlog_pb2_grpc.add_BacklogServiceServicer_to_server,
                        servicer=backlogs,
                    ),
                    Service(
                        descriptor=people_pb2.DESCRIPTOR.services_by_name["PeopleService"],
                        add=people_pb2_grpc.add_PeopleServiceServicer_to_server,
                        servicer=people_behind,
                    ),
                ],
                listen="127.0.0.1:0",
                options=QUICK,
            )
        )
        watcher = await asyncpg.connect(url)
        stack.push_async_callback(watcher.close)
        target = f"127.0.0.1:{behind.port}"
        scene = Scene(
            url=url,
            watcher=watcher,
            people=people_behind,
            backlogs=backlogs,
            folder=folder,
            variables={
                "DATABASE_URL": url,
                "GOOGLE_CERTS_URL": world.google_server.url,
                "BACKLOG_TARGET": target,
                "GAME_TARGET": target,
                "ERASURE_DELAY_SECONDS": "0",
            },
        )
        subject = f"subject-of-{folder.name}"
        sign_in = auth_pb2.SignInRequest(
            provider=account_pb2.PROVIDER_GOOGLE,
            id_token=world.google.sign(world.google_claims(subject)),
            display_name="Unmistakable Ada",
        )

        def deletion(channel: grpc.aio.Channel) -> Callable[[], Awaitable[object]]:
            stub: Any = account_pb2_grpc.AccountServiceStub(channel)
            return lambda: stub.DeleteAccount(DELETE, metadata=as_caller(scene.me), timeout=10)

        async with scene.gateway_running() as channel:
            auth: Any = auth_pb2_grpc.AuthServiceStub(channel)
            scene.me = await auth.SignIn(sign_in, timeout=10)
            await act(scene, deletion(channel))
        other_replica = await stack.enter_async_context(deletions_of_another_replica(url, target))
        if act is in_the_transaction_that_begins_it:  # nobody was told that it had begun
            await other_replica.start(UUID(scene.me.account.user_id), cause=Cause.REQUEST)
        await gone(watcher, scene.me.account.user_id)
        left = await dump(watcher)
        for trace in (scene.me.account.user_id, subject, "Unmistakable"):
            assert trace not in left, act.__name__
        for script in (people_behind.script, backlogs.script):
            assert asked_about(scene.me.account.user_id, script.asked), act.__name__
        log = await asyncio.to_thread((folder / "gateway.log").read_text)
        begun = 0 if act is in_the_transaction_that_begins_it else 1
        assert log.count('"account.deletion_started"') == begun, act.__name__


@asynccontextmanager
async def deletions_of_another_replica(url: str, target: str) -> AsyncIterator[Deletions]:
    """What every other gateway upon the same database does in its background, in this process."""
    database = Database(url, application="another replica")
    await database.start()
    try:
        async with open_channel(target, services=[]) as behind:
            deletions = build_deletions(
                make_settings(erasure_delay_seconds=0), database=database, backlogs=behind, games=behind
            )
            async with running_in_background(deletions.run(), name="another replica"):
                yield deletions
    finally:
        await database.close()


async def test_a_gateway_killed_at_any_step_leaves_a_deletion_that_completes(
    world: World, new_database: Callable[[], str], tmp_path: Path
) -> None:
    urls = [await asyncio.to_thread(new_database) for _ in ACTS]
    async with asyncio.TaskGroup() as acts:  # at once, as each of them waits for a lease to end
        for act, url in zip(ACTS, urls, strict=True):
            acts.create_task(play(act, world, url, tmp_path / act.__name__))
