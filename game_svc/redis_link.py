"""The way to Redis, one server or a cluster: the only file that knows the driver.

Whatever the process asks at the same moment travels together. Each server has a lane: one connection that
sends all questions that have gathered, reads all answers, and sends those that have gathered meanwhile. It
draws breath while the process is busy: no exchange follows another within 5 ms then, so that more questions
share one. So a thousand rooms need no thousand connections, all share the driver's work, and the
server syncs its append-only file once for all of them.

Which keys a question is about decides its lane, so all keys of one question must share a hash slot.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import redis.asyncio as redis
import structlog
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.maint_notifications import MaintNotificationsConfig

from mesh import tracing
from mesh.errors import Unavailable

MOST_TOGETHER: Final = 512
"""How many questions travel together."""

MOST_WAITING: Final = 20_000
"""How many questions may wait for a server; more are answered UNAVAILABLE."""

_PATIENCE_SECONDS: Final = 2.0
_BREATH_SECONDS: Final = 0.005
_DISK_PATIENCE_MS: Final = 1000
_LISTEN_SECONDS: Final = 5.0
_RECONNECT_SECONDS: Final = 0.2
_FENCE_LIFE: Final = timedelta(hours=1)
_CLUSTER: Final = "+cluster"

# Redis is not there. The driver's exception for a cluster that cannot be found is none of its RedisErrors.
_NOT_THERE: Final = (RedisError, RedisClusterException, OSError, TimeoutError)

# What a server says while it cannot do its work: not our mistake, and over one day.
_NOT_NOW: Final = (
    *(ClusterDownError, TryAgainError, MovedError, AskError),
    *(ReadOnlyError, MasterDownError, OutOfMemoryError),
)
_NOT_NOW_WORDS: Final = ("MISCONF", "NOREPLICAS", "BUSY")

_log = structlog.get_logger("game_svc.redis")


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that runs on the server, all of it or nothing."""

    text: str
    sha: str = field(init=False)
    """What the server knows it by."""

    def __post_init__(self) -> None:
        """Name it."""
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode()).hexdigest())  # noqa: S324 - Redis' own name


@dataclass(frozen=True, slots=True)
class Call:
    """A script, with what it is run on."""

    script: Script
    keys: Sequence[str]
    """They share a hash slot."""
    arguments: Sequence[str | bytes | float]


_Question = tuple[str | bytes | int | float, ...]
_Waiting = tuple[_Question, "asyncio.Future[Any]"]
_Client = redis.Redis | redis.RedisCluster


class RedisLink:
    """Redis. Every method raises `Unavailable` when it does not answer, or cannot do its work right now."""

    def __init__(self, url: str) -> None:
        """Describe it; nothing is opened yet.

        Args:
            url: `redis://host:6379/0` or `rediss://...` for one server; `redis+cluster://host:6379` or
                `rediss+cluster://...` for a cluster that this host belongs to.
        """
        parts = urlsplit(url)
        self._url = parts._replace(scheme=parts.scheme.removesuffix(_CLUSTER))
        self._cluster: redis.RedisCluster | None = None
        self._servers: list[redis.Redis] = []
        # No retries by the driver: an append whose answer was lost may have been made; only the rules can
        # tell.
        how: dict[str, Any] = {
            "socket_timeout": _PATIENCE_SECONDS,
            "socket_connect_timeout": _PATIENCE_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 15,
            "retry": Retry(NoBackoff(), 0),
            # With them, which only one vendor's servers send, the driver does not look whether the server has
            # closed a connection before it is used again.
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        if parts.scheme.endswith(_CLUSTER):
            self._cluster = redis.RedisCluster.from_url(urlunsplit(self._url), **how)
        self._how = how
        self._lanes: dict[tuple[str, bool], _Lane] = {}
        self._ears: dict[str, redis.Redis] = {}
        self._ready = self._cluster is None
        self._connecting: asyncio.Lock = asyncio.Lock()
        self._has_file = True
        self.busy: Callable[[], bool] = _never
        """Tells whether questions rather wait a little for others to share an exchange with."""
        self.failures = 0
        """How many questions were not answered in time, since the start."""

    async def close(self) -> None:
        """Let go of all connections."""
        for lane in self._lanes.values():
            await lane.close()
        for client in (self._cluster, *self._servers):
            if client is not None:
                await client.aclose()

    async def ping(self) -> None:
        """Return when Redis answers: of a cluster, any server that holds rooms."""
        if self._cluster is None:
            await self._lane("").ask(("PING",))
            return
        await self._connect()
        cluster = self._cluster
        async with asyncio.timeout(_PATIENCE_SECONDS):
            answers = await asyncio.gather(
                *(cluster.ping(target_nodes=[node]) for node in cluster.get_primaries()),
                return_exceptions=True,
            )
        if all(isinstance(answer, BaseException) for answer in answers):
            raise Unavailable("redis")

    async def ask(self, key: str, command: str, *arguments: str | bytes | float) -> Any:
        """Return the answer to a command about a key, which stands first among its arguments."""
        if not self._ready:
            await self._connect()
        with tracing.span("redis", command):
            return await self._lane(key).ask((command, key, *arguments))

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | float]) -> Any:
        """Return what a script returns."""
        if not self._ready:
            await self._connect()
        lane = self._lane(keys[0])
        question = (len(keys), *keys, *arguments)
        with tracing.span("redis", "EVALSHA"):
            try:
                return await lane.ask(("EVALSHA", script.sha, *question))
            except NoScriptError:
                return await lane.ask(("EVAL", script.text, *question))

    async def run_in_turn(self, calls: Sequence[Call], *, on_disk: bool = False) -> Any:
        """Run scripts, each after those before it, and return what the last one returns.

        Those that one server runs travel together.

        Args:
            calls: What to run, one at least; each may be about keys of another slot.
            on_disk: Whether to return only when all they wrote is on disk. Others' questions do not wait for
                that, except those that do the same.
        """
        last = calls[-1]
        if len(calls) == 1 and not on_disk:
            return await self.run(last.script, last.keys, last.arguments)
        if not self._ready:
            await self._connect()
        home = self.home_of(last.keys[0])
        together = [call for call in calls if self.home_of(call.keys[0]) == home]
        for call in calls:
            if call not in together:
                await self.run(call.script, call.keys, call.arguments)
        # By their text: one that the server does not know by name would be left out, and the others run.
        return await self._exchange(
            home,
            [("EVAL", call.script.text, len(call.keys), *call.keys, *call.arguments) for call in together],
            on_disk=on_disk,
        )

    async def settle(self, key: str) -> None:
        """Return when everything that was ever written beside a key is on disk.

        The append-only file is one sequence: once a write of our own is on disk, all before it are. Who asks
        while another's answer is on its way shares the next one.

        Args:
            key: A key that may be overwritten.
        """
        if not self._has_file:
            return
        if not self._ready:
            await self._connect()
        fence = ("SET", key, "1", "EX", round(_FENCE_LIFE.total_seconds()))
        await self._exchange(self.home_of(key), [fence], on_disk=True)

    async def _exchange(self, home: str, questions: Sequence[_Question], *, on_disk: bool) -> Any:
        """Ask a server one question after the other, and return the last one's answer.

        To wait for the disk is one more, after the writes and on the same connection: WAITAOF. That a server
        has no append-only file is logged once.
        """
        waits = on_disk and self._has_file
        lane = self._lane_of(home, waits=waits)
        asked = [lane.ask(question) for question in questions]
        if waits:
            asked.append(lane.ask(("WAITAOF", 1, 0, _DISK_PATIENCE_MS)))
        with tracing.span("redis", "WAITAOF" if waits else str(questions[-1][0])):
            answers = [await _outcome(answer) for answer in asked]
        synced = answers.pop() if waits else [1]
        for answer in answers:
            if isinstance(answer, BaseException):
                if isinstance(answer.__cause__, MovedError):
                    self._ready = False  # the slot has gone to another server: look where before the next one
                raise answer
        if isinstance(synced, ResponseError):
            self._has_file = False
            _log.warning("redis.no_append_only_file", why=str(synced))
        elif isinstance(synced, BaseException):
            raise synced
        elif int(synced[0]) < 1:
            raise Unavailable("redis")
        return answers[-1]

    def wakeups(self, heard: Callable[[str, str], None]) -> Wakeups:
        """Return what hears of messages; `heard` is called with the channel and the message."""
        return Wakeups(self, heard)

    def home_of(self, key: str) -> str:
        """Return the name of the server that holds a key; "" where there is only one.

        Raises:
            Unavailable: The cluster has not been reached yet, or nobody in it has the key's slot.
        """
        if self._cluster is None:
            return ""
        try:
            return str(self._node(key).name)
        except (*_NOT_THERE, AttributeError, KeyError, IndexError) as error:
            raise Unavailable("redis") from error

    def ears(self, home: str) -> PubSub:
        """Return a subscriber to one server."""
        client = self._ears.get(home)
        if client is None:
            # The driver's own subscriber to a cluster asks one server after the other, each with a wait.
            client = self._ears[home] = self._server(home)
        return client.pubsub()

    async def look_around(self) -> None:
        """Find out which server of the cluster holds what now."""
        if self._cluster is not None:
            async with self._connecting:
                self._ready = False
            await self._connect()

    async def _connect(self) -> None:
        assert self._cluster is not None, "one server needs no looking for"
        async with self._connecting:
            if self._ready:
                return
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._cluster.nodes_manager.initialize()
                    await self._cluster.initialize()
            except _NOT_THERE as error:
                _log.warning("redis.unavailable", error=type(error).__name__)
                raise Unavailable("redis") from error
            self._ready = True

    def _node(self, key: str) -> ClusterNode:
        assert self._cluster is not None, "one server has no nodes"
        return self._cluster.nodes_manager.get_node_from_slot(key_slot(key.encode()))

    def _lane(self, key: str) -> _Lane:
        return self._lane_of(self.home_of(key), waits=False)

    def _lane_of(self, home: str, *, waits: bool) -> _Lane:
        """Return the lane to a server; questions that wait for its disk have one of their own."""
        lane = self._lanes.get((home, waits))
        if lane is None:
            # No connection is shared: one that another lane used may have been cut without anybody noticing.
            # Who waits for the disk does so on the connection that has written: one server's, and no other.
            client = self._server(home) if waits or self._cluster is None else self._cluster
            # What waits for the disk, like a match, waits for nothing else.
            busy = _never if waits else lambda: self.busy()
            lane = self._lanes[home, waits] = _Lane(client, self._note_failures, busy)
        return lane

    def _server(self, home: str) -> redis.Redis:
        """Return a client of one server, by its name in `home_of`."""
        user, at, address = self._url.netloc.rpartition("@")
        url = self._url._replace(netloc=user + at + (home or address))
        client = redis.Redis.from_url(urlunsplit(url), **self._how)
        self._servers.append(client)
        return client

    def _note_failures(self, number: int) -> None:
        self.failures += number


def _never() -> bool:
    return False


class _Lane:
    """The questions to one server, in the order in which they were asked."""

    def __init__(self, client: _Client, failed: Callable[[int], None], busy: Callable[[], bool]) -> None:
        self._client = client
        self._failed = failed
        self._busy = busy
        self._waiting: deque[_Waiting] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._answers = True
        self._last_at = 0.0

    def ask(self, question: _Question) -> asyncio.Future[Any]:
        """Return the answer, once it comes."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= MOST_WAITING:
            answer.set_exception(Unavailable("redis"))
            return answer
        self._waiting.append((question, answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="redis lane")
        return answer

    async def close(self) -> None:
        """Answer nothing more."""
        if self._sending is not None:
            self._sending.cancel()
            with suppress(asyncio.CancelledError):
                await self._sending

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        together: list[_Waiting] = []
        try:
            while self._waiting:
                breath = self._last_at + _BREATH_SECONDS - loop.time()
                if breath > 0 and self._busy():
                    await asyncio.sleep(breath)
                self._last_at = loop.time()
                together = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_TOGETHER))]
                await self._exchange(together)
        finally:
            self._sending = None
            for _, answer in together:
                if not answer.done():
                    answer.cancel()

    async def _exchange(self, together: Sequence[_Waiting]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for question, _ in together:
            pipeline.execute_command(*question)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answers = await pipeline.execute(raise_on_error=False)
        except Exception as error:  # mostly _NOT_THERE; whatever it is, those who wait have to hear of it
            if self._answers:  # said once, however many ask until it answers again: health says when
                _log.warning("redis.unavailable", error=type(error).__name__, questions=len(together))
            self._answers = False
            self._failed(len(together))
            answers = [error] * len(together)
        else:
            self._answers = True
        for (_, future), answer in zip(together, answers, strict=True):
            if future.done():
                continue  # whoever asked has gone
            if isinstance(answer, BaseException):
                future.set_exception(_as_refusal(answer))
            else:
                future.set_result(answer)


class Wakeups:
    """Hears what is published on channels, over one connection a server, and connects again when it breaks.

    A sharded channel where the server has those (Redis 7), so that in a cluster only the servers hear of it
    that need to; else a plain one. `heard` may be called without need, with an empty message: after each
    break, for every followed channel. What was published in between would otherwise go unnoticed.
    """

    def __init__(self, link: RedisLink, heard: Callable[[str, str], None]) -> None:
        self._link = link
        self._heard = heard
        self._channels: set[str] = set()
        self._homeless: set[str] = set()
        self._listeners: dict[str, _Listener] = {}

    async def follow(self, channel: str) -> None:
        """Hear of a channel's messages from now on."""
        self._channels.add(channel)
        try:
            listener = self._listener(channel)
        except Unavailable:
            self._homeless.add(channel)  # `run` finds it a home as soon as there is one
        else:
            await listener.add(channel)

    async def unfollow(self, channel: str) -> None:
        """Hear no more of a channel."""
        self._channels.discard(channel)
        self._homeless.discard(channel)
        for listener in tuple(self._listeners.values()):
            await listener.remove(channel)

    async def run(self) -> None:
        """Listen until cancelled."""
        try:
            while True:
                await asyncio.sleep(_RECONNECT_SECONDS)
                if self._homeless or any(listener.lost for listener in self._listeners.values()):
                    try:
                        await self._find_homes()
                    except Unavailable:
                        pass  # logged where it was found out
                    except Exception as error:  # a mistake of ours must not make the replica deaf
                        _log.error("redis.no_homes_found", exc_info=error)
        finally:
            for listener in self._listeners.values():
                await listener.stop()

    async def _find_homes(self) -> None:
        """Have each channel listened to where it is published now."""
        await self._link.look_around()
        for listener in self._listeners.values():
            listener.lost = False
        for channel in tuple(self._channels):
            home = self._listener(channel)
            for listener in tuple(self._listeners.values()):
                if listener is not home:
                    await listener.remove(channel)
            if channel not in home.channels and channel in self._channels:
                await home.add(channel)
        self._homeless.clear()

    def _listener(self, channel: str) -> _Listener:
        home = self._link.home_of(channel)
        listener = self._listeners.get(home)
        if listener is None:
            listener = self._listeners[home] = _Listener(self._link, home, self._heard)
        return listener


class _Listener:
    """Listens to one server."""

    def __init__(self, link: RedisLink, home: str, heard: Callable[[str, str], None]) -> None:
        self._link = link
        self._home = home
        self._heard = heard
        self.channels: set[str] = set()
        self.lost = False
        """Whether a channel may have moved to another server."""
        self._sharded = True
        self._subscriber: PubSub | None = None
        self._listening = asyncio.create_task(self._run(), name="room wakeups")

    async def add(self, channel: str) -> None:
        self.channels.add(channel)
        await self._tell(channel, subscribe=True)

    async def remove(self, channel: str) -> None:
        if channel in self.channels:
            self.channels.discard(channel)
            await self._tell(channel, subscribe=False)

    async def stop(self) -> None:
        while not self._listening.done():  # once may not do: a timeout of the driver can swallow it
            self._listening.cancel()
            await asyncio.wait({self._listening}, timeout=_RECONNECT_SECONDS)

    async def _run(self) -> None:
        interrupted = False
        while True:
            try:
                async with self._link.ears(self._home) as subscriber:
                    # There is always one channel: the driver does not listen without any.
                    await subscriber.subscribe("rooms")
                    self._subscriber = subscriber  # from here on `add` and `remove` tell it themselves
                    for channel in tuple(self.channels):
                        if channel in self.channels:
                            await self._subscribe(subscriber, channel)
                    while True:
                        message = await subscriber.get_message(timeout=_LISTEN_SECONDS)
                        interrupted = False
                        if message is not None:
                            self._hear(message)
            except ResponseError as error:
                if self._sharded and "unknown command" in str(error):
                    self._sharded = False
                    _log.info("redis.no_sharded_channels")
                else:  # MOVED: the channel's slot has gone elsewhere
                    self.lost = True
            except (*_NOT_THERE, Unavailable) as error:
                if not interrupted:  # said once, however often it is tried again
                    _log.warning("redis.wakeups_interrupted", error=type(error).__name__)
                interrupted = self.lost = True
            finally:
                self._subscriber = None
            await asyncio.sleep(_RECONNECT_SECONDS)

    def _hear(self, message: dict[str, Any]) -> None:
        channel = _text(message["channel"])
        if channel not in self.channels:
            return
        match message["type"]:
            case "message" | "smessage":
                self._heard(channel, _text(message["data"]))
            case "subscribe" | "ssubscribe":
                # What was published before the confirmation is not published again.
                self._heard(channel, "")
            case "sunsubscribe":
                # Not by our wish: its slot has gone to another server.
                self.channels.discard(channel)
                self.lost = True

    async def _subscribe(self, subscriber: PubSub, channel: str) -> None:
        if self._sharded:
            await subscriber.ssubscribe(channel)
        else:
            await subscriber.subscribe(channel)

    async def _tell(self, channel: str, *, subscribe: bool) -> None:
        subscriber = self._subscriber
        if subscriber is None:
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                if subscribe:
                    await self._subscribe(subscriber, channel)
                elif self._sharded:
                    await subscriber.sunsubscribe(channel)
                else:
                    await subscriber.unsubscribe(channel)
        except _NOT_THERE as error:
            # `_run` finds the connection broken as well, and subscribes to everything on the next one.
            _log.warning("redis.wakeups_interrupted", error=type(error).__name__)


async def _outcome(answer: asyncio.Future[Any]) -> Any:
    """Return what a question was answered, or the error it met."""
    try:
        return await answer
    except Exception as error:  # whatever it is belongs to that question
        return error


def _as_refusal(error: BaseException) -> BaseException:
    if isinstance(error, NoScriptError):
        return error
    passing = isinstance(error, _NOT_NOW) or str(error).startswith(_NOT_NOW_WORDS)
    if isinstance(error, ResponseError) and not passing:
        return error  # a question that makes no sense: ours to repair
    refusal = Unavailable("redis")
    refusal.__cause__ = error
    return refusal


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
