"""Everything around the swiping, as clients see it: doors, decks, undos, run-offs, results, history."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import field_mask_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from game_svc import films
from game_svc.tests.friends import Friend, Replica, ScriptedMovies, replica, scripted_movies
from game_svc.tests.test_game_service import ABOUT_A_ROOM, named_fields, reason
from popcorn.game.v1 import game_pb2
from popcorn.movie.v1 import movie_pb2


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(redis_url: str) -> AsyncIterator[tuple[Replica, ScriptedMovies]]:
    async with scripted_movies() as (movies, target), replica(redis_url, target) as running:
        yield running, movies


@pytest.fixture
def here(world: tuple[Replica, ScriptedMovies]) -> Replica:
    return world[0]


@pytest.fixture
def movies(world: tuple[Replica, ScriptedMovies]) -> ScriptedMovies:
    return world[1]


def friends(here: Replica, *names: str) -> list[Friend]:
    return [Friend(name, here.stub) for name in names or ("Ada", "Grace", "Linus")]


async def lobby(here: Replica, **settings: Any) -> tuple[Friend, Friend, Friend, str]:
    ada, grace, linus = friends(here)
    code = (await ada.create(**settings)).code
    await grace.join(code)
    await linus.join(code)
    return ada, grace, linus, code


async def ask(friend: Friend, method: str, **fields: Any) -> Any:
    request = getattr(game_pb2, f"{method}Request")(**fields)
    return await getattr(friend.stub, method)(request, metadata=friend.metadata)


async def refused(friend: Friend, method: str, **fields: Any) -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await ask(friend, method, **fields)
    return reason(refusal.value)


async def exhausted(here: Replica) -> tuple[Friend, Friend, Friend, str]:
    """A room of three where the cards have run out: 1 is liked by two, 2 by one, 3 by nobody."""
    ada, grace, linus, code = await lobby(here)
    await ada.pick(code, 1, 2, 3)
    await ada.start(code)
    likes = {ada: {1, 2}, grace: {1}, linus: set[int]()}
    for friend, liked in likes.items():
        for movie_id in (1, 2, 3):
            verdict = game_pb2.VERDICT_LIKE if movie_id in liked else game_pb2.VERDICT_PASS
            await friend.swipe(code, movie_id, verdict)
    return ada, grace, linus, code


# ---- the lobby ------------------------------------------------------------------------------------------


async def test_the_host_changes_what_the_mask_names_and_nothing_else(here: Replica) -> None:
    ada, grace, _, code = await lobby(here, max_movies=7)
    watching = grace.watch(code)
    await watching.first()
    game = game_pb2.Game(
        name="Saturday",
        settings=game_pb2.GameSettings(
            match_rule=game_pb2.MATCH_RULE_COUNT, likes_needed=2, max_movies=9, leave_out_watched=True
        ),
    )
    mask = field_mask_pb2.FieldMask(paths=["name", "settings.match_rule", "settings.likes_needed"])
    changed = (await ask(ada, "UpdateGame", code=code, game=game, update_mask=mask)).game
    assert (changed.name, changed.settings.likes_needed, changed.settings.max_movies) == ("Saturday", 2, 7)
    assert not changed.settings.leave_out_watched
    told = (await watching.until_event("updated")).updated
    assert (told.name, told.settings) == (changed.name, changed.settings)
    watching.close()

    again = (await ask(ada, "UpdateGame", code=code, game=game, update_mask=mask)).game
    assert again.seq == changed.seq, "the same again changes nothing"
    assert await refused(grace, "UpdateGame", code=code, game=game, update_mask=mask) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "NOT_HOST",
    )
    rule = field_mask_pb2.FieldMask(paths=["settings"])
    counting = game_pb2.Game(settings=game_pb2.GameSettings(match_rule=game_pb2.MATCH_RULE_COUNT))
    assert (await refused(ada, "UpdateGame", code=code, game=counting, update_mask=rule))[1] == (
        "LIKES_NEEDED_MISSING"
    )
    await ada.pick(code, 1)
    await ada.start(code)
    assert (await refused(ada, "UpdateGame", code=code, game=game, update_mask=mask))[1] == "GAME_STARTED"


async def test_bad_settings_are_named_all_at_once(here: Replica) -> None:
    (ada,) = friends(here, "Ada")
    code = (await ada.create()).code
    film = movie_pb2.MovieFilter(
        genre_ids=[0], year_from=1800, year_to=3000, min_rating=11, provider_ids=range(1, 30),
        max_runtime_minutes=-1, original_language="french",
    )  # fmt: skip
    settings = game_pb2.GameSettings(
        deck_sources=[game_pb2.DECK_SOURCE_DISCOVER] * 5, discover=film, region="Germany", max_movies=501
    )
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await ask(
            ada,
            "UpdateGame",
            code=code,
            game=game_pb2.Game(settings=settings),
            update_mask=field_mask_pb2.FieldMask(paths=["settings", "players", "settings.colour"]),
        )
    assert named_fields(refusal.value) == {
        "update_mask",
        "game.settings.deck_sources",
        "game.settings.max_movies",
        "game.settings.region",
        *(f"game.settings.discover.{name}" for name in (
            "genre_ids", "year_from", "year_to", "min_rating", "provider_ids", "max_runtime_minutes",
            "original_language",
        )),
    }  # fmt: skip


async def test_a_closed_door_keeps_strangers_out_and_lets_players_back(here: Replica) -> None:
    ada, grace, _, code = await lobby(here)
    assert (await ask(ada, "LockGame", code=code, locked=True)).game.locked
    (barbara,) = friends(here, "Barbara")
    assert await refused(barbara, "JoinGame", code=code) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "ROOM_LOCKED",
    )
    await grace.leave(code)
    assert len((await grace.join(code)).players) == 3
    await ask(ada, "LockGame", code=code, locked=False)
    assert len((await barbara.join(code)).players) == 4


async def test_whom_the_host_takes_out_stays_out_and_their_stream_ends(here: Replica) -> None:
    ada, grace, linus, code = await lobby(here)
    playing = await linus.play(code)
    await playing.first()
    assert len((await ask(ada, "RemovePlayer", code=code, player_id="p3")).game.players) == 2
    await playing.until_event("removed")
    assert await playing.call.read() is grpc.aio.EOF
    assert await refused(linus, "JoinGame", code=code) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "REMOVED_FROM_GAME",
    )
    assert (await refused(linus, "GetGame", code=code))[1] == "GAME_NOT_FOUND"
    await ask(ada, "RemovePlayer", code=code, player_id="p3")
    assert (await refused(ada, "RemovePlayer", code=code, player_id="p1"))[1] == "HOST_STAYS"
    assert (await refused(ada, "RemovePlayer", code=code, player_id="p9"))[1] == "PLAYER_NOT_FOUND"
    assert (await refused(grace, "RemovePlayer", code=code, player_id="p1"))[1] == "NOT_HOST"
    assert (await linus.create()).code, "and they may play elsewhere"


async def test_the_host_hands_the_room_over(here: Replica) -> None:
    ada, grace, _, code = await lobby(here)
    game = (await ask(ada, "TransferHost", code=code, player_id="p2")).game
    assert [player.host for player in game.players] == [False, True, False]
    await ask(ada, "TransferHost", code=code, player_id="p2")  # the answer was lost: once more
    assert (await refused(ada, "TransferHost", code=code, player_id="p3"))[1] == "NOT_HOST"
    await grace.leave(code)
    assert [player.host for player in (await ada.game(code)).players] == [True, False]


async def test_a_guest_to_whom_the_room_falls_is_a_host_like_any_other(here: Replica) -> None:
    ada, linus = friends(here, "Ada", "Linus")
    grace = Friend("Grace", here.stub, guest=True)
    code = (await ada.create()).code
    for guest in (grace, linus):
        await guest.join(code)
    await ada.leave(code)
    assert (await refused(linus, "StartGame", code=code))[1] == "NOT_HOST"
    await ask(grace, "LockGame", code=code, locked=True)
    await ask(
        grace, "UpdateGame", code=code, game=game_pb2.Game(name="Saturday"), update_mask={"paths": ["name"]}
    )
    await grace.pick(code, 1, 2)
    await grace.start(code)
    for friend in (grace, linus):
        for movie_id in (1, 2):
            await friend.swipe(code, movie_id, game_pb2.VERDICT_PASS)
    await ask(grace, "StartRunOff", code=code)
    for friend in (grace, linus):
        for movie_id in (1, 2):
            await friend.swipe(code, movie_id, game_pb2.VERDICT_PASS)
    assert (await ask(grace, "DrawWinner", code=code)).winner.movie_id in (1, 2)


async def test_a_guest_hands_a_room_over_takes_somebody_out_and_ends_it(here: Replica) -> None:
    ada, linus = friends(here, "Ada", "Linus")
    grace = Friend("Grace", here.stub, guest=True)
    code = (await ada.create()).code
    for friend in (grace, linus):
        await friend.join(code)
    await ask(ada, "TransferHost", code=code, player_id="p2")
    await ask(grace, "RemovePlayer", code=code, player_id="p3")
    await ask(grace, "TransferHost", code=code, player_id="p1")
    await ask(ada, "TransferHost", code=code, player_id="p2")
    game = (await ask(grace, "EndGame", code=code)).game
    assert game.state == game_pb2.GAME_STATE_ENDED


async def test_five_wrong_codes_a_minute_and_no_more(here: Replica) -> None:
    ada, grace = friends(here, "Ada", "Grace")
    code = (await ada.create()).code
    for _ in range(4):
        assert (await refused(grace, "JoinGame", code="00000000"))[1] == "GAME_NOT_FOUND"
    await grace.join(code)
    await grace.join(code)  # right ones do not count
    await grace.leave(code)
    assert (await refused(grace, "JoinGame", code="00000001"))[1] == "GAME_NOT_FOUND"
    for tried in ("00000002", code):
        assert await refused(grace, "JoinGame", code=tried) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_WRONG_CODES",
        )
    (linus,) = friends(here, "Linus")
    assert (await linus.join(code)).code == code, "others are not held up"


async def test_wrong_codes_count_however_many_are_tried_at_once(here: Replica) -> None:
    (mallory,) = friends(here, "Mallory")
    answers = await asyncio.gather(
        *(refused(mallory, "JoinGame", code=f"0000{number:04}") for number in range(40))
    )
    # Who enters one room is refused the others unseen; what was looked at counts.
    looked_at = [why for _, why in answers].count("GAME_NOT_FOUND")
    assert looked_at <= 5
    after = [await refused(mallory, "JoinGame", code="00000000") for _ in range(6)]
    assert looked_at + [why for _, why in after].count("GAME_NOT_FOUND") == 5


# ---- decks ----------------------------------------------------------------------------------------------

BACKLOGS, DISCOVER = game_pb2.DECK_SOURCE_BACKLOGS, game_pb2.DECK_SOURCE_DISCOVER
PICKS, TRENDING = game_pb2.DECK_SOURCE_PICKS, game_pb2.DECK_SOURCE_TRENDING


async def cards(friend: Friend, code: str) -> set[int]:
    deck = await ask(friend, "GetDeck", code=code, page_size=20)
    return {card.movie_id for card in deck.cards}


async def test_a_deck_is_mixed_from_all_its_sources(here: Replica, movies: ScriptedMovies) -> None:
    film = movie_pb2.MovieFilter(genre_ids=[18], year_from=1990)
    ada, grace, linus, code = await lobby(
        here, deck_sources=[DISCOVER, PICKS, BACKLOGS], discover=film, max_movies=8
    )
    here.backlogs.wanted |= {ada.user_id: [21, 22], grace.user_id: [22, 23], linus.user_id: [22]}
    await ada.pick(code, 11)
    await grace.pick(code, 12)
    assert (await ada.start(code)).deck_size == 8
    # The picks, then turn by turn: what most want first, and what was discovered.
    assert await cards(ada, code) == {11, 12, 22, 21, 23, 601, 602, 603}
    assert list(movies.discovered[-1].filter.genre_ids) == [18]


async def test_a_source_that_gives_nothing_or_is_away_falls_back_to_what_is_trending(
    here: Replica, movies: ScriptedMovies
) -> None:
    for away in (False, True):
        ada, grace, _, code = await lobby(here, deck_sources=[BACKLOGS, PICKS])
        await ada.pick(code, 11)
        watching = grace.watch(code)
        await watching.first()
        here.backlogs.away = away
        await ada.start(code)
        here.backlogs.away = False
        assert list((await watching.until_event("started")).started.empty_sources) == [BACKLOGS]
        assert await cards(ada, code) == {11, *range(501, 508)}
        watching.close()


async def test_films_that_somebody_has_watched_are_left_out_where_the_room_says_so(here: Replica) -> None:
    ada, grace, linus, code = await lobby(
        here, deck_sources=[PICKS, TRENDING, BACKLOGS], leave_out_watched=True
    )
    here.backlogs.wanted[ada.user_id] = [31, 32]
    here.backlogs.watched |= {grace.user_id: {31, 41}, linus.user_id: {501, 999}}
    await ada.pick(code, 41, 42)
    await ada.start(code)
    assert await cards(ada, code) == {42, 32, *range(502, 508)}


async def test_who_has_watched_the_top_of_a_list_swipes_what_comes_after_it(
    here: Replica, movies: ScriptedMovies
) -> None:
    movies.discovered.clear()
    for watched, deck, pages in [
        (range(601, 611), range(611, 621), 1),
        (range(601, 616), range(616, 626), 2),
        (range(601, 681), range(681, 691), 5),
        (range(601, 728), range(728, 731), 7),
    ]:
        ada, grace, _, code = await lobby(
            here, deck_sources=[DISCOVER], max_movies=10, leave_out_watched=True
        )
        here.backlogs.watched[grace.user_id] = set(watched)
        assert (await ada.start(code)).deck_size == len(deck)
        assert await cards(ada, code) == set(deck)
        assert len(movies.discovered) == pages, "no page is asked for without need"
        movies.discovered.clear()


async def test_a_list_on_which_everything_is_watched_is_not_read_for_ever(
    here: Replica, movies: ScriptedMovies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(films, "_MOST_PAGES", 3)
    movies.discovered.clear()
    ada, grace, _, code = await lobby(here, deck_sources=[DISCOVER], max_movies=10, leave_out_watched=True)
    here.backlogs.watched[grace.user_id] = set(range(601, 731))
    await ada.start(code)
    assert await cards(ada, code) == set(range(501, 508)), "what is trending takes its place"
    assert len(movies.discovered) == 3


async def test_a_deck_never_starts_empty(here: Replica, movies: ScriptedMovies) -> None:
    ada, _, _, code = await lobby(here, deck_sources=[DISCOVER])
    movies.lists_away = True
    assert await refused(ada, "StartGame", code=code) == (
        grpc.StatusCode.UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
    )
    movies.lists_away = False
    assert (await ada.start(code)).deck_size == 100


async def test_the_lobby_counts_what_the_deck_would_have(here: Replica) -> None:
    ada, grace, _, code = await lobby(here, deck_sources=[PICKS, BACKLOGS])
    here.backlogs.wanted[grace.user_id] = [11, 51, 52]
    await ada.pick(code, 11, 12)
    count = await ask(grace, "CountDeck", code=code)
    assert [(one.source, one.movies) for one in count.sources] == [(PICKS, 2), (BACKLOGS, 2)]
    assert count.movies == 4
    trial = game_pb2.GameSettings(deck_sources=[DISCOVER], max_movies=60)
    count = await ask(ada, "CountDeck", code=code, settings=trial)
    assert [(one.source, one.movies) for one in count.sources] == [(DISCOVER, 130)]
    assert count.movies == 60
    assert (await refused(grace, "CountDeck", code=code, settings=trial))[1] == "NOT_HOST"


# ---- undoing --------------------------------------------------------------------------------------------


async def test_a_swipe_is_taken_back_once_and_the_card_comes_again(here: Replica) -> None:
    ada, grace, _, code = await lobby(here)
    await ada.pick(code, 1, 2)
    await ada.start(code)
    await ada.swipe(code, 1, swipe_id="first")
    undone = await ada.undo(code, 1, swipe_id="first")
    assert undone
    assert 1 in await cards(ada, code)
    await ada.swipe(code, 1, game_pb2.VERDICT_PASS, swipe_id="second")
    assert await ada.undo(code, 1, swipe_id="first") == undone, "a retry takes nothing else back"
    assert 1 not in await cards(ada, code)
    assert await ada.undo(code, 1) > undone
    assert await ada.undo(code, 1) == 0
    assert await grace.undo(code, 2) == 0
    assert (await ada.swipe(code, 1, swipe_id="first")).seq < undone, "nor does a late swipe come back"


async def test_an_undo_over_play_is_acknowledged_like_a_swipe(here: Replica) -> None:
    ada, grace, _, code = await lobby(here)
    await ada.pick(code, 1, 2)
    await ada.start(code)
    playing, watching = await ada.play(code), grace.watch(code)
    await watching.first()
    await playing.swipe(1, swipe_id="one")
    await playing.undo("one")
    await playing.undo("one")
    await playing.undo("never swiped")
    await playing.until(lambda: len(playing.acks) == 4)
    swiped, undone, again, nothing = playing.acks
    assert (swiped.undo, undone.undo) == (False, True)
    assert undone.seq == swiped.seq + 1
    assert again == undone
    assert (nothing.seq, nothing.HasField("refusal")) == (0, False)
    event = (await watching.until_event("swipe_undone")).swipe_undone
    assert event == game_pb2.SwipeUndone(player_id="p1", swipes=0), "what was undone is not told"
    playing.close()
    watching.close()


# ---- the end --------------------------------------------------------------------------------------------


async def test_when_the_cards_run_out_all_hear_it_and_see_what_came_near(here: Replica) -> None:
    ada, grace, linus, code = await lobby(here)
    await ada.pick(code, 1)
    await ada.start(code)
    watching = linus.watch(code)
    await watching.first()
    assert (await refused(ada, "GetResults", code=code))[1] == "GAME_NOT_ENDED"
    for friend in (ada, grace):
        await friend.swipe(code, 1)
    await linus.swipe(code, 1, game_pb2.VERDICT_PASS)
    await watching.until_event("cards_ran_out")
    watching.close()
    assert (await ada.game(code)).out_of_cards
    results = await ada.results(code)
    assert [(miss.movie_id, miss.percent) for miss in results.near_misses] == [(1, 67)]
    assert [movie.title for movie in results.movies] == ["Film 1"]
    assert not results.players, "numbers about players come with the end"
    await linus.undo(code, 1)
    assert (await refused(ada, "GetResults", code=code))[1] == "GAME_NOT_ENDED"


async def test_a_run_off_swipes_the_best_once_more(here: Replica) -> None:
    ada, grace, linus, code = await exhausted(here)
    assert (await refused(grace, "StartRunOff", code=code))[1] == "NOT_HOST"
    playing = await grace.play(code)
    await playing.first()
    game = (await ask(ada, "StartRunOff", code=code)).game
    assert (game.deck_size, game.round, game.out_of_cards) == (2, 2, False)
    assert (await playing.until_event("run_off_started")).run_off_started.round == 2
    assert {card.movie_id for card in await playing.cards()} == {1, 2}
    playing.close()
    assert (await ask(ada, "StartRunOff", code=code)).game.seq == game.seq
    assert (await refused(ada, "DrawWinner", code=code))[1] == "CARDS_LEFT"
    for friend in (ada, grace, linus):
        await friend.swipe(code, 2)
    assert [match.movie_id for match in (await ada.game(code)).matches] == [2]
    await ada.end(code)
    results = await linus.results(code)
    assert (results.run_offs, [match.movie_id for match in results.matches]) == (1, [2])


async def test_chance_decides_between_the_nearest_and_anybody_can_check_it(here: Replica) -> None:
    ada, grace, linus, code = await exhausted(here)
    watching = grace.watch(code)
    await watching.first()
    drawn = (await ask(ada, "DrawWinner", code=code)).winner
    assert (drawn.movie_id, list(drawn.among)) == (1, [1])
    number = int.from_bytes(hashlib.sha256(drawn.seed.encode()).digest(), "big")
    assert drawn.among[number % len(drawn.among)] == drawn.movie_id
    assert (await watching.until_event("winner_drawn")).winner_drawn == drawn
    assert (await watching.until_event("ended")).ended.cause == game_pb2.END_CAUSE_DRAW
    watching.close()
    assert (await ask(ada, "DrawWinner", code=code)).winner == drawn
    results = await linus.results(code)
    assert (results.winner, results.end_cause) == (drawn, game_pb2.END_CAUSE_DRAW)


async def test_results_stay_with_those_who_were_there_to_the_end(here: Replica) -> None:
    ada, grace, linus, code = await lobby(here)
    await ada.pick(code, 1, 2)
    await ada.start(code)
    await linus.leave(code)
    await ada.swipe(code, 1)
    await grace.swipe(code, 1)
    assert (await ada.end(code)).end_cause == game_pb2.END_CAUSE_HOST
    await ada.end(code)
    before = await ada.results(code)
    await grace.leave(code)
    await ada.leave(code)
    assert await ada.results(code) == before, "who leaves afterwards changes nothing"
    assert (await refused(linus, "GetResults", code=code))[1] == "GAME_NOT_FOUND"


async def test_ones_rooms_are_listed_the_latest_first_page_by_page(here: Replica) -> None:
    ada, grace = friends(here, "Ada", "Grace")
    codes = []
    for _ in range(5):
        code = (await ada.create()).code
        codes.append(code)
        await grace.join(code)
        await ada.end(code)
        await grace.leave(code)
    left = (await ada.create()).code
    await grace.join(left)
    await ada.leave(left)
    first = await ask(ada, "ListMyGames", page_size=2)
    second = await ask(ada, "ListMyGames", page_size=2, page_token=first.next_page_token)
    third = await ask(ada, "ListMyGames", page_size=2, page_token=second.next_page_token)
    listed = [game.code for page in (first, second, third) for game in page.games]
    assert listed == codes[::-1], "a room that one left while it went on is not one's own any more"
    assert (first.total_size, third.next_page_token) == (5, "")
    assert first.games[0].own_player_id == "p1"
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await ask(grace, "ListMyGames", page_token=first.next_page_token)
    assert named_fields(refusal.value) == {"page_token"}


async def test_the_join_link_is_a_picture_in_both_formats(here: Replica) -> None:
    ada, _, linus, code = await lobby(here)
    svg = (await ask(linus, "GetQrCode", code=code)).picture
    assert (svg.content_type, svg.data[:4]) == ("image/svg+xml", b"<svg")
    png_format = game_pb2.GetQrCodeRequest.FORMAT_PNG
    png = (await ask(ada, "GetQrCode", code=code, format=png_format)).picture
    assert (png.content_type, png.data[:8]) == ("image/png", b"\x89PNG\r\n\x1a\n")
    assert (await ask(ada, "GetGame", code=code)).join_url.endswith(f"/{code}")


# ---- what is not told -----------------------------------------------------------------------------------

TELL_A_FILM = {"MatchFound.movie_id", "MatchWithdrawn.movie_id", "WinnerDrawn.movie_id", "WinnerDrawn.among"}
"""What of an event names a film: only what concerns all."""


def fields_of(message: Descriptor, seen: set[str]) -> list[FieldDescriptor]:
    """All fields of a message and of the messages in it."""
    if message.full_name in seen:
        return []
    seen.add(message.full_name)
    found = list(message.fields)
    for field in message.fields:
        if field.message_type is not None and field.message_type.file is message.file:
            found += fields_of(field.message_type, seen)
    return found


def test_no_event_has_room_for_a_verdict_or_for_somebodys_film() -> None:
    fields = fields_of(game_pb2.GameEvent.DESCRIPTOR, set())
    assert not [field.full_name for field in fields if field.enum_type is game_pb2.Verdict.DESCRIPTOR]
    named = {
        ".".join(field.full_name.split(".")[-2:])
        for field in fields
        if field.type == FieldDescriptor.TYPE_INT32 and field.name in ("movie_id", "among", "movie_ids")
    }
    assert named == TELL_A_FILM


@pytest.mark.parametrize("method", ABOUT_A_ROOM, ids=lambda method: method.name)
async def test_a_code_that_is_none_is_named_as_bad_input(here: Replica, method: MethodDescriptor) -> None:
    (ada,) = friends(here, "Ada")
    request = getattr(game_pb2, method.input_type.name)(code="none")
    call = getattr(ada.stub, method.name)(request, metadata=ada.metadata)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await (call.read() if method.server_streaming else call)
    assert reason(refusal.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
    assert "code" in named_fields(refusal.value)
