"""Phones whose streams break at random: nobody misses or doubles an event, and no answer is given twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from game_svc.rooms import Pace
from game_svc.tests.friends import Friend, Playing, Replica, replica, scripted_movies
from popcorn.game.v1 import game_pb2

MOVIES = range(701, 707)
VERDICTS = [game_pb2.VERDICT_LIKE, game_pb2.VERDICT_SUPERLIKE, game_pb2.VERDICT_PASS]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def replicas(redis_url: str) -> AsyncIterator[list[Replica]]:
    async with (
        scripted_movies() as (_, target),
        replica(redis_url, target) as first,
        replica(redis_url, target) as second,
    ):
        yield [first, second]


@dataclass
class Phone:
    """Somebody's phone: it keeps what it has heard, and sends again what was not acknowledged."""

    friend: Friend
    code: str
    stream: Playing | None = None
    seq: int = 0
    epoch: str = ""
    heard: list[game_pb2.GameEvent] = field(default_factory=list)
    unanswered: dict[str, game_pb2.PlayRequest] = field(default_factory=dict)
    answers: dict[str, game_pb2.SwipeAck] = field(default_factory=dict)
    taken: int = 0

    async def connect(self, where: Replica) -> None:
        self.stream = await self.friend.on(where).play(self.code, after_seq=self.seq, epoch=self.epoch)
        self.taken = 0
        first = await self.stream.first()
        if not self.epoch:
            self.seq, self.epoch = first.snapshot.game.seq, first.snapshot.game.epoch
        else:
            assert first.resumed
        for request in self.unanswered.values():
            await self.stream.call.write(request)

    async def send(self, request: game_pb2.PlayRequest, name: str) -> None:
        assert self.stream is not None
        self.unanswered[name] = request
        await self.stream.call.write(request)

    async def swipe(self, movie_id: int, verdict: int) -> None:
        swipe_id = f"{self.friend.name}-{movie_id}-{uuid4().hex}"
        swipe = game_pb2.PlaySwipe(
            swipe_id=swipe_id, movie_id=movie_id, verdict=game_pb2.Verdict.ValueType(verdict)
        )
        await self.send(game_pb2.PlayRequest(swipe=swipe), swipe_id)

    async def undo_last(self) -> None:
        swiped = [name for name, ack in self.answers.items() if not name.startswith("undo ") and ack.seq]
        if swiped:
            undo = game_pb2.PlayUndo(swipe_id=swiped[-1])
            await self.send(game_pb2.PlayRequest(undo=undo), f"undo {swiped[-1]}")

    def lose(self) -> None:
        """The line is gone, with whatever was on its way."""
        assert self.stream is not None
        self.take()
        self.stream.close()

    def take(self) -> None:
        """Look at what the stream has brought."""
        assert self.stream is not None
        for message in self.stream.messages[self.taken :]:
            for event in message.events:
                assert event.seq == self.seq + 1, "nothing is missed, and nothing comes twice"
                self.seq = event.seq
                self.heard.append(event)
            for ack in message.acks:
                name = f"undo {ack.swipe_id}" if ack.undo else ack.swipe_id
                assert self.answers.setdefault(name, ack) == ack, "a repetition gives the same answer"
                self.unanswered.pop(name, None)
        self.taken = len(self.stream.messages)

    async def listen_to(self, seq: int) -> None:
        """Listen until everything up to an event was heard, and everything that was sent is answered."""
        assert self.stream is not None

        def enough() -> bool:
            self.take()
            return self.seq >= seq and not self.unanswered

        await self.stream.until(enough)


@pytest.fixture(params=["idle", "busy"])
def load(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How busy the replicas are: busy ones gather what can wait."""
    monkeypatch.setattr(Pace, "busy", request.param == "busy")
    monkeypatch.setattr(Pace, "BEAT", 0.02)


actions = st.one_of(
    *[st.tuples(st.just("swipe"), st.sampled_from(MOVIES), st.sampled_from(VERDICTS))] * 4,
    st.tuples(st.just("undo"), st.just(0), st.just(0)),
    *[st.tuples(st.just("lose"), st.integers(0, 1), st.integers(0, 1))] * 2,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(evening=st.lists(st.tuples(st.integers(0, 2), actions), min_size=10, max_size=40))
async def test_streams_that_break_anywhere_bring_everybody_the_same_events(
    replicas: list[Replica], load: None, evening: list[tuple[int, tuple[str, int, int]]]
) -> None:
    names = ["Ada", "Grace", "Linus"]
    friends = [Friend(name, replicas[number % 2].stub) for number, name in enumerate(names)]
    code = (await friends[0].create(max_movies=len(MOVIES))).code
    for friend in friends[1:]:
        await friend.join(code)
    await friends[0].pick(code, *MOVIES)
    await friends[0].start(code)
    phones = [Phone(friend, code) for friend in friends]
    for phone in phones:
        await phone.connect(replicas[0])

    for whose, (what, first, second) in evening:
        phone = phones[whose]
        match what:
            case "swipe":
                await phone.swipe(first, second)
            case "undo":
                await phone.listen_to(0)
                await phone.undo_last()
            case _:
                if first:  # some of what was on its way has arrived by now
                    await asyncio.sleep(0)
                phone.lose()
                await phone.connect(replicas[second])
    for phone in phones:
        await phone.listen_to(0)
    last = (await friends[0].game(code)).seq
    for phone in phones:
        await phone.listen_to(last)
        phone.lose()

    assert phones[0].heard == phones[1].heard == phones[2].heard
    by_number = {event.seq: event for event in phones[0].heard}
    for number, phone in enumerate(phones, start=1):
        for name, ack in phone.answers.items():
            if ack.seq:
                kind = "swipe_undone" if name.startswith("undo ") else "swiped"
                assert getattr(by_number[ack.seq], kind).player_id == f"p{number}"
    numbers = [ack.seq for phone in phones for ack in phone.answers.values() if ack.seq]
    assert len(numbers) == len(set(numbers))


async def test_two_last_likes_at_the_same_instant_make_one_match_a_thousand_times(
    replicas: list[Replica],
) -> None:
    await asyncio.gather(*(race(replicas, range(1, 101)) for _ in range(10)))


async def race(replicas: list[Replica], movies: range) -> None:
    """Have two like each film at the same instant, each on a replica of their own."""
    ada, grace = Friend("Ada", replicas[0].stub), Friend("Grace", replicas[1].stub)
    code = (await ada.create()).code
    await grace.join(code)
    await ada.pick(code, *movies)
    began = await ada.start(code)
    watching = grace.watch(code)
    await watching.first()
    for movie_id in movies:
        await asyncio.gather(ada.swipe(code, movie_id), grace.swipe(code, movie_id))
    # 200 swipes, 100 matches, and the news that the cards have run out.
    await watching.until_seq(began.seq + 301)
    matches = [event.match.movie_id for event in watching.events if event.WhichOneof("kind") == "match"]
    assert sorted(matches) == list(movies)
    watching.close()
