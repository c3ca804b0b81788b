"""The game as its clients see it: two replicas, a real Valkey, real streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import field_mask_pb2
from google.protobuf.descriptor import MethodDescriptor

from game_svc.__main__ import GAME_SERVICE
from game_svc.tests.friends import UNKNOWN_MOVIE, Friend, Replica, ScriptedMovies, replica, scripted_movies
from mesh.errors import reason_of, status_of
from popcorn.game.v1 import game_pb2


@dataclass
class Evening:
    """Two replicas with everything behind them."""

    first: Replica
    second: Replica
    movies: ScriptedMovies
    movie_target: str
    redis_url: str

    def friends(self) -> tuple[Friend, Friend]:
        """Ada is connected to the first replica, Grace to the second."""
        return Friend("Ada", self.first.stub), Friend("Grace", self.second.stub)

    async def playing(self, *movie_ids: int, **settings: Any) -> tuple[Friend, Friend, game_pb2.Game]:
        """A room where Ada and Grace swipe these films."""
        ada, grace = self.friends()
        code = (await ada.create(**settings)).code
        await grace.join(code)
        await ada.pick(code, *movie_ids)
        return ada, grace, await ada.start(code)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def evening(redis_url: str) -> AsyncIterator[Evening]:
    async with (
        scripted_movies() as (movies, target),
        replica(redis_url, target) as first,
        replica(redis_url, target) as second,
    ):
        yield Evening(first, second, movies, target, redis_url)


def reason(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str | None]:
    status = status_of(error)
    return error.code(), None if status is None else reason_of(status)


def kinds(events: list[game_pb2.GameEvent]) -> list[str | None]:
    return [event.WhichOneof("kind") for event in events]


async def test_two_friends_find_a_film_one_over_play_the_other_over_swipe_and_watch(evening: Evening) -> None:
    ada, grace = evening.friends()
    created = await ada.stub.CreateGame(game_pb2.CreateGameRequest(name="Friday"), metadata=ada.metadata)
    code = created.game.code
    assert created.join_url.endswith(f"/{code}")
    assert created.qr_code_svg.startswith("<svg")
    typed_by_hand = f"{code[:4]}-{code[4:].lower()}"
    await grace.join(typed_by_hand)
    await ada.pick(code, 11, 12)
    await grace.pick(code, 12, 13)
    playing, watching = await ada.play(code), grace.watch(code)
    await playing.first()
    await watching.first()

    await ada.start(code)
    assert [card.movie_id for card in await playing.cards()] == [12, 13, 11], "what both want, the best rated"
    assert [card.movie.title for card in await playing.cards()] == ["Film 12", "Film 13", "Film 11"]
    await playing.ack(await playing.swipe(11))
    deck = await grace.stub.GetDeck(game_pb2.GetDeckRequest(code=code), metadata=grace.metadata)
    assert [card.movie_id for card in deck.cards] == [11, 12, 13], "what somebody likes comes before the rest"
    await grace.swipe(code, 11)

    for stream in (playing, watching):
        assert (await stream.until_event("match")).match.movie_id == 11
    assert playing.events == watching.events
    seqs = [event.seq for event in playing.events]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "numbers have no gaps"
    assert [match.movie_id for match in (await grace.game(code)).matches] == [11]
    playing.close()
    watching.close()


async def test_a_stream_resumes_where_it_was_without_a_gap(evening: Evening) -> None:
    ada, grace, game = await evening.playing(21, 22, 23)
    watching = grace.watch(game.code)
    snapshot = (await watching.first()).snapshot
    await ada.swipe(game.code, 21)
    await watching.until_seq(snapshot.game.seq + 1)
    watching.close()
    await ada.swipe(game.code, 22)
    await ada.swipe(game.code, 23)

    for resumed in (
        grace.watch(game.code, after_seq=watching.events[-1].seq, epoch=snapshot.game.epoch),
        await grace.on(evening.first).play(
            game.code, after_seq=watching.events[-1].seq, epoch=snapshot.game.epoch
        ),
    ):
        first = await resumed.first()
        assert first.resumed
        assert not first.HasField("snapshot")
        await resumed.until_seq(watching.events[-1].seq + 2)
        assert kinds(resumed.events) == ["swiped", "swiped"]
        resumed.close()


async def test_server_sent_events_have_ids_to_resume_after(evening: Evening) -> None:
    ada, grace, game = await evening.playing(21, 22)

    async def sent(most: int, *last_event_id: str) -> list[tuple[str, Any]]:
        """So many events of a stream, as (id, data)."""
        call: Any = grace.stub.StreamEvents(
            game_pb2.StreamEventsRequest(code=game.code),
            metadata=(*grace.metadata, *(("last-event-id", one) for one in last_event_id)),
        )
        found: list[tuple[str, Any]] = []
        while len(found) < most:
            body = await call.read()
            assert body.content_type == "text/event-stream"
            for block in body.data.decode().removesuffix("\n\n").split("\n\n"):
                lines = dict(line.split(": ", 1) for line in block.split("\n"))
                data = json.loads(lines["data"])
                if data["events"] or "snapshot" in data or data["resumed"]:
                    found.append((lines["id"], data))
        call.cancel()
        return found

    begun = (await ada.swipe(game.code, 21)).seq
    ((beginning, first),) = await sent(1)
    assert beginning == f"{begun}-{game.epoch}"
    assert first["snapshot"]["game"]["code"] == game.code
    for movie_id, swiper in ((22, ada), (21, grace)):
        await swiper.swipe(game.code, movie_id)
    missed = await sent(4, beginning)
    assert missed[0] == (beginning, {"resumed": True, "events": []})
    assert [one for one, _ in missed[1:]] == [f"{begun + number}-{game.epoch}" for number in (1, 2, 3)]
    assert missed[3][1]["events"][0]["match"] == {"movieId": 21}
    for stale in (f"{begun}-another", "rubbish", "9" * 40):
        assert "snapshot" in (await sent(1, stale))[0][1]


async def test_a_stream_of_another_epoch_starts_over_from_a_snapshot(evening: Evening) -> None:
    ada, _, game = await evening.playing(21)
    await ada.swipe(game.code, 21, game_pb2.VERDICT_PASS)
    watching = ada.watch(game.code, after_seq=3, epoch="another")
    first = await watching.first()
    assert not first.resumed
    assert first.snapshot.game.epoch == game.epoch
    assert [(swipe.movie_id, swipe.verdict) for swipe in first.snapshot.own_swipes] == [
        (21, game_pb2.VERDICT_PASS)
    ]
    watching.close()


async def test_a_repeated_swipe_id_gives_the_same_answer_and_one_effect(evening: Evening) -> None:
    ada, _, game = await evening.playing(31, 32)
    first = await ada.swipe(game.code, 31, swipe_id="one")
    again = await ada.on(evening.second).swipe(game.code, 31, swipe_id="one")
    assert again == first
    assert (await ada.game(game.code)).seq == first.seq

    with pytest.raises(grpc.aio.AioRpcError) as other:
        await ada.swipe(game.code, 32, swipe_id="one")
    assert reason(other.value) == (grpc.StatusCode.ALREADY_EXISTS, "SWIPE_ID_REUSED")
    with pytest.raises(grpc.aio.AioRpcError) as twice:
        await ada.swipe(game.code, 31, game_pb2.VERDICT_PASS, swipe_id="two")
    assert reason(twice.value) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_SWIPED")


async def test_pipelined_swipes_are_answered_in_order_and_a_refused_one_does_not_end_the_stream(
    evening: Evening,
) -> None:
    movies = range(100, 140)
    ada, _, game = await evening.playing(*movies)
    playing = await ada.play(game.code)
    sent = [await playing.swipe(movie_id) for movie_id in movies]
    sent.append(await playing.swipe(9))
    sent.append(await playing.swipe(0, verdict=17))
    await playing.ack(sent[-1])
    assert [ack.swipe_id for ack in playing.acks] == sent
    accepted = [ack.seq for ack in playing.acks[:40]]
    assert accepted == list(range(accepted[0], accepted[0] + 40))
    *_, not_in_deck, malformed = playing.acks
    assert reason_of(not_in_deck.refusal) == "NOT_IN_DECK"
    assert reason_of(malformed.refusal) == "INVALID_INPUT"
    assert not not_in_deck.seq
    playing.close()


async def test_an_undo_over_play_is_answered_in_its_turn_and_twice_alike(evening: Evening) -> None:
    ada, _, game = await evening.playing(151, 152)
    playing = await ada.play(game.code)
    swiped = await playing.swipe(151)
    for _ in range(2):
        await playing.undo(swiped)
    await playing.undo("never given")
    again = await playing.swipe(151, game_pb2.VERDICT_PASS)
    await playing.ack(again)
    assert [(ack.swipe_id, ack.undo, ack.seq - game.seq) for ack in playing.acks if ack.seq] == [
        (swiped, False, 1), (swiped, True, 2), (swiped, True, 2), (again, False, 3)
    ]  # fmt: skip
    assert playing.acks[3] == game_pb2.SwipeAck(swipe_id="never given", undo=True)
    await playing.until_seq(game.seq + 3)
    assert kinds(playing.events) == ["swiped", "swipe_undone", "swiped"]
    playing.close()


async def test_a_play_stream_brings_each_film_once_and_in_the_players_language(evening: Evening) -> None:
    ada, _, game = await evening.playing(*range(201, 209))
    playing = await ada.play(game.code, languages="de-AT, en;q=0.5")
    dealt = await playing.cards()
    assert {card.movie.language for card in dealt} == {"de-AT"}
    await playing.ack(await playing.swipe(dealt[0].movie_id))
    await playing.until(lambda: len([message for message in playing.messages if message.cards]) == 2)
    second = playing.messages[-1].cards
    assert [card.HasField("movie") for card in second] == [False, False, False, False, True]
    assert playing.messages[-1].remaining == 7
    playing.close()


async def test_cards_come_without_their_films_while_movie_svc_is_away(evening: Evening) -> None:
    _, grace, game = await evening.playing(301, 302)
    evening.movies.away = True
    try:
        playing = await grace.play(game.code, languages="fi")
        assert [card.HasField("movie") for card in await playing.cards()] == [False, False]
        assert (await playing.ack(await playing.swipe(301))).seq
        playing.close()
    finally:
        evening.movies.away = False


async def test_what_another_likes_is_the_next_card_at_once_and_what_changes_nothing_brings_no_cards(
    evening: Evening,
) -> None:
    ada, grace, game = await evening.playing(301, 302, 303)
    playing = await grace.play(game.code)
    await playing.until(lambda: [card.movie_id for card in playing.dealt] == [302, 303, 301])
    await ada.swipe(game.code, 301)
    await playing.until(lambda: [card.movie_id for card in playing.dealt] == [301, 303, 302])
    dealt = sum(bool(message.cards) for message in playing.messages)
    await ada.swipe(game.code, 302, game_pb2.VERDICT_SEEN_IT)
    await playing.until_seq((await ada.game(game.code)).seq)
    assert sum(bool(message.cards) for message in playing.messages) == dealt, "302 was last already"
    playing.close()


async def test_two_last_likes_at_the_same_instant_on_two_replicas_make_one_match(evening: Evening) -> None:
    movies = range(401, 441)
    ada, grace, game = await evening.playing(*movies)
    watching = grace.watch(game.code)
    await watching.first()
    for movie_id in movies:
        await asyncio.gather(ada.swipe(game.code, movie_id), grace.swipe(game.code, movie_id))
    await watching.until_seq((await ada.game(game.code)).seq)
    matches = [event.match.movie_id for event in watching.events if event.WhichOneof("kind") == "match"]
    assert sorted(matches) == list(movies)
    watching.close()


async def test_a_leaving_holdout_makes_the_match_and_coming_back_withdraws_it(evening: Evening) -> None:
    ada, grace = evening.friends()
    linus = Friend("Linus", evening.first.stub)
    code = (await ada.create()).code
    for friend in (grace, linus):
        await friend.join(code)
    await ada.pick(code, 51, 52)
    await ada.start(code)
    watching = ada.watch(code)
    await watching.first()
    await ada.swipe(code, 51)
    await grace.swipe(code, 51)
    await linus.swipe(code, 51, game_pb2.VERDICT_PASS)
    await linus.leave(code)
    await watching.until_event("match")
    await linus.join(code)
    await watching.until_event("match_withdrawn")
    assert kinds(watching.events) == [
        "swiped", "swiped", "swiped", "left", "match", "joined", "match_withdrawn",
    ]  # fmt: skip
    watching.close()


async def test_one_room_a_player_at_a_time(evening: Evening) -> None:
    ada, grace = evening.friends()
    code = (await ada.create()).code
    with pytest.raises(grpc.aio.AioRpcError) as second_room:
        await ada.on(evening.second).create()
    assert reason(second_room.value) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_PLAYING")
    other = (await grace.create()).code
    with pytest.raises(grpc.aio.AioRpcError) as joined_other:
        await ada.join(other)
    assert reason(joined_other.value) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_PLAYING")
    await ada.leave(code)
    assert len((await ada.join(other)).players) == 2


async def test_opening_two_rooms_at_once_opens_one(evening: Evening) -> None:
    ada, _ = evening.friends()
    outcomes = await asyncio.gather(
        *(ada.on(where).create() for where in (evening.first, evening.second) * 5), return_exceptions=True
    )
    assert len([game for game in outcomes if isinstance(game, game_pb2.Game)]) == 1


ABOUT_A_ROOM = [
    method
    for method in GAME_SERVICE.methods
    if "code" in method.input_type.fields_by_name and method.name not in ("JoinGame", "Play")
]
FILLED_IN = {
    "movie_id": 61,
    "player_id": "p1",
    "swipe_id": "s",
    "verdict": game_pb2.VERDICT_LIKE,
    "game": game_pb2.Game(name="Mine"),
    "update_mask": field_mask_pb2.FieldMask(paths=["name"]),
}
"""What a request about a room needs besides the room's code."""


@pytest.mark.parametrize("method", ABOUT_A_ROOM, ids=lambda method: method.name)
async def test_to_outsiders_a_room_looks_like_no_room(evening: Evening, method: MethodDescriptor) -> None:
    _, _, game = await evening.playing(61)
    linus = Friend("Linus", evening.second.stub)
    fields = {name: value for name, value in FILLED_IN.items() if name in method.input_type.fields_by_name}
    request_type = getattr(game_pb2, method.input_type.name)
    answers = []
    for code in (game.code, "00000000"):
        call = getattr(linus.stub, method.name)(request_type(code=code, **fields), metadata=linus.metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await (call.read() if method.server_streaming else call)
        answers.append((*reason(refused.value), str(refused.value.details()).replace(code, "CODE")))
    assert answers[0] == answers[1]
    assert answers[0][:2] == (grpc.StatusCode.NOT_FOUND, "GAME_NOT_FOUND")


async def test_nobody_outside_a_room_learns_anything_of_it(evening: Evening) -> None:
    covered = {method.name for method in ABOUT_A_ROOM} | {"JoinGame", "Play", "CreateGame", "ListMyGames"}
    assert covered == {method.name for method in GAME_SERVICE.methods}
    ada, _, game = await evening.playing(61)
    mallory = Friend("Mallory", evening.second.stub)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (await mallory.play(game.code)).first()
    assert reason(refused.value) == (grpc.StatusCode.NOT_FOUND, "GAME_NOT_FOUND")
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await mallory.join(game.code)
    assert reason(late.value) == (grpc.StatusCode.FAILED_PRECONDITION, "GAME_STARTED")
    assert len((await ada.game(game.code)).players) == 2


async def test_events_say_who_has_swiped_and_not_what_they_think(evening: Evening) -> None:
    ada, grace, game = await evening.playing(71, 72)
    watching = grace.watch(game.code)
    await watching.first()
    await ada.swipe(game.code, 71, game_pb2.VERDICT_PASS)
    await ada.swipe(game.code, 72, game_pb2.VERDICT_SUPERLIKE)
    await watching.until_seq(game.seq + 2)
    for number, event in enumerate(watching.events, start=1):
        assert event.swiped == game_pb2.CardSwiped(player_id="p1", swipes=number)
    watching.close()


async def test_a_game_without_picks_swipes_what_is_trending_and_says_so(evening: Evening) -> None:
    ada, grace = evening.friends()
    code = (await ada.create()).code
    await grace.join(code)
    watching = grace.watch(code)
    await watching.first()
    assert (await ada.start(code)).deck_size == 7
    started = (await watching.until_event("started")).started
    assert list(started.empty_sources) == [game_pb2.DECK_SOURCE_PICKS]
    watching.close()


async def test_the_lobby_refuses_what_it_must(evening: Evening) -> None:
    ada, grace = evening.friends()
    code = (await ada.create()).code
    with pytest.raises(grpc.aio.AioRpcError) as alone:
        await ada.start(code)
    assert reason(alone.value) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_ENOUGH_PLAYERS")
    await grace.join(code)
    with pytest.raises(grpc.aio.AioRpcError) as not_host:
        await grace.start(code)
    assert reason(not_host.value) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_HOST")
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await ada.pick(code, UNKNOWN_MOVIE)
    assert reason(unknown.value) == (grpc.StatusCode.NOT_FOUND, "MOVIE_NOT_FOUND")
    with pytest.raises(grpc.aio.AioRpcError) as early:
        await ada.swipe(code, 1)
    assert reason(early.value) == (grpc.StatusCode.FAILED_PRECONDITION, "GAME_NOT_STARTED")


async def test_picks_are_the_callers_own_and_may_be_taken_back(evening: Evening) -> None:
    ada, grace = evening.friends()
    code = (await ada.create()).code
    await grace.join(code)
    await ada.pick(code, 81, 82)
    await grace.pick(code, 82, 83)
    request = game_pb2.RemovePickRequest(code=code, movie_id=81)
    removed = await ada.stub.RemovePick(request, metadata=ada.metadata)
    again = await ada.stub.RemovePick(request, metadata=ada.metadata)
    assert (removed.removed, again.removed) == (True, False)
    mine = await ada.stub.ListPicks(game_pb2.ListPicksRequest(code=code), metadata=ada.metadata)
    assert [card.movie.title for card in mine.picks] == ["Film 82"]
    assert mine.picked_movies == 2
    assert mine.attribution.tmdb


async def test_a_stopping_replica_sends_its_streams_elsewhere_with_every_swipe_answered(
    evening: Evening,
) -> None:
    ada, _, game = await evening.playing(*range(601, 641))
    async with replica(evening.redis_url, evening.movie_target) as third:
        playing = await ada.on(third).play(game.code)
        watching = ada.on(third).watch(game.code)
        await playing.first()
        await watching.first()
        sent = [await playing.swipe(movie_id) for movie_id in range(601, 641)]
        await playing.ack(sent[0])
        await third.server.stop()
        for stream in (playing, watching):
            reconnect = (await stream.until_field("reconnect")).reconnect
            assert reconnect.cause == game_pb2.Reconnect.CAUSE_SERVER_STOPS
            assert await stream.call.read() is grpc.aio.EOF
    last_seq = playing.messages[-1].reconnect.last_seq
    resumed = await ada.play(game.code, after_seq=last_seq, epoch=game.epoch)
    assert (await resumed.first()).resumed
    for swipe_id, movie_id in zip(sent, range(601, 641), strict=True):
        await resumed.swipe(movie_id, swipe_id=swipe_id)
    assert (await resumed.ack(sent[-1])).seq
    acknowledged = [*playing.acks, *resumed.acks]
    by_id = {ack.swipe_id: ack.seq for ack in acknowledged}
    assert len(set(by_id.values())) == 40
    assert all(by_id[ack.swipe_id] == ack.seq for ack in acknowledged), "a retry gives the same number"
    resumed.close()


async def test_silence_is_broken_by_heartbeats(evening: Evening) -> None:
    ada, _, game = await evening.playing(91)
    async with replica(evening.redis_url, evening.movie_target, heartbeat_seconds=0.05) as quick:
        for stream in (await ada.on(quick).play(game.code), ada.on(quick).watch(game.code)):
            await stream.until_field("heartbeat")
            assert stream.messages[-1].heartbeat.last_seq == game.seq
            stream.close()


async def test_a_stream_ends_with_its_token_and_says_so_in_its_last_message(evening: Evening) -> None:
    ada, _, game = await evening.playing(96)
    ada.token_seconds = 1
    watching = ada.watch(game.code)
    error = (await watching.until_field("error")).error
    assert reason_of(error) == "TOKEN_EXPIRED"
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await watching.call.read()
    assert reason(ended.value) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


BAD_INPUT: list[tuple[str, Any, set[str]]] = [
    ("GetGame", game_pb2.GetGameRequest(code="short"), {"code"}),
    ("JoinGame", game_pb2.JoinGameRequest(code="UUUUUUUU"), {"code"}),
    ("LeaveGame", game_pb2.LeaveGameRequest(), {"code"}),
    ("AddPick", game_pb2.AddPickRequest(code="x", movie_id=-1), {"code", "movie_id"}),
    ("RemovePick", game_pb2.RemovePickRequest(code="x"), {"code", "movie_id"}),
    ("ListPicks", game_pb2.ListPicksRequest(code="\u0000" * 8), {"code"}),
    ("StartGame", game_pb2.StartGameRequest(code="x"), {"code"}),
    ("GetDeck", game_pb2.GetDeckRequest(code="x", page_size=-1), {"code", "page_size"}),
    (
        "Swipe",
        game_pb2.SwipeRequest(code="x", swipe_id="\u0000", movie_id=0, verdict=game_pb2.Verdict.ValueType(9)),
        {"code", "swipe_id", "movie_id", "verdict"},
    ),
    (
        "Swipe",
        game_pb2.SwipeRequest(code="7K3MXQ2A", swipe_id="s" * 65, movie_id=1),
        {"swipe_id", "verdict"},
    ),
    (
        "CreateGame",
        game_pb2.CreateGameRequest(
            name="n" * 61,
            settings=game_pb2.GameSettings(
                match_rule=game_pb2.MatchRule.ValueType(9),
                after_match=game_pb2.AfterMatch.ValueType(-1),
                likes_needed=3,
                deck_sources=[game_pb2.DeckSource.ValueType(77)],
                max_movies=501,
            ),
        ),
        {
            "name", "settings.match_rule", "settings.after_match", "settings.likes_needed",
            "settings.deck_sources[0]", "settings.max_movies",
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("method", "request_", "fields"), BAD_INPUT)
async def test_bad_input_is_refused_with_every_bad_field_named(
    evening: Evening, method: str, request_: Any, fields: set[str]
) -> None:
    ada, _ = evening.friends()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(ada.stub, method)(request_, metadata=ada.metadata)
    assert reason(refused.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
    assert named_fields(refused.value) == fields


async def test_streams_refuse_bad_beginnings(evening: Evening) -> None:
    ada, _, game = await evening.playing(95)
    with pytest.raises(grpc.aio.AioRpcError) as bad_hello:
        await (await ada.play("bad", after_seq=-1)).first()
    assert named_fields(bad_hello.value) == {"code", "after_seq"}
    call = ada.stub.Play(metadata=ada.metadata)
    await call.write(game_pb2.PlayRequest(swipe=game_pb2.PlaySwipe(swipe_id="s", movie_id=95)))
    with pytest.raises(grpc.aio.AioRpcError) as no_hello:
        await call.read()
    assert reason(no_hello.value) == (grpc.StatusCode.INVALID_ARGUMENT, "HELLO_EXPECTED")
    playing = await ada.play(game.code)
    await playing.first()
    await playing.call.write(game_pb2.PlayRequest(hello=game_pb2.Hello(code=game.code)))
    with pytest.raises(grpc.aio.AioRpcError) as second_hello:
        await playing.until(lambda: False)
    assert reason(second_hello.value) == (grpc.StatusCode.INVALID_ARGUMENT, "HELLO_EXPECTED")


def named_fields(error: grpc.aio.AioRpcError) -> set[str]:
    from google.rpc import error_details_pb2

    status = status_of(error)
    assert status is not None
    fields = set()
    for detail in status.details:
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            fields |= {violation.field for violation in bad_request.field_violations}
    return fields
