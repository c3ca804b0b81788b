"""The command that fills the cache, as a process of its own."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pymongo
import pytest

from movie_svc import fill
from movie_svc.fill import ALL_FILLED, INTERRUPTED, SOME_MISSING, WRONG_ARGUMENTS, Bar, Tally
from movie_svc.tests.conftest import KEY, until
from movie_svc.tests.upstream import NOT_FOUND, Reply, Upstream, page


@pytest.fixture
def environment(upstream: Upstream, new_mongo_url: Callable[[], str], repository: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{repository}{os.pathsep}{repository / 'gen'}",
        "MONGO_URL": new_mongo_url(),
        "MOVIE_LISTEN": "127.0.0.1:0",
        "PAGE_TOKEN_KEY": "k" * 32,
        "TMDB_API_KEY": KEY,
        "TMDB_URL": upstream.url,
        "TMDB_REQUESTS_PER_SECOND": "500",
        "LOG_FORMAT": "json",
    }


async def start(environment: Mapping[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "movie_svc.fill", *arguments),
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(environment: Mapping[str, str], *arguments: str) -> tuple[int | None, str]:
    process = await start(environment, *arguments)
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    return process.returncode, errors.decode().strip().splitlines()[-1]


def films_asked_for(upstream: Upstream) -> list[int]:
    paths = [asked.path.split("/") for asked in upstream.asked]
    return [int(path[3]) for path in paths if path[2] == "movie" and path[3].isdigit()]


def ranked(upstream: Upstream) -> None:
    for name in ("popular", "top_rated"):
        upstream.answers[f"/movie/{name}"] = lambda asked: Reply.of(page(int(asked.query["page"])))


async def test_it_fetches_what_is_ranked_and_listed_once_and_then_nothing(
    upstream: Upstream, environment: dict[str, str], tmp_path: Path
) -> None:
    ranked(upstream)
    upstream.answers["/movie/1000"] = lambda _: NOT_FOUND
    ids = tmp_path / "ids.txt"
    ids.write_text("# favourites\n3\n\n999 # a good one\n1000\n999\n")
    arguments = (
        "--popular",
        "30",
        "--top",
        "25",
        "--ids",
        str(ids),
        "--language",
        "de",
        "fr-FR",
        "--region",
        "DE",
    )
    assert await run(environment, *arguments) == (
        ALL_FILLED,
        "62 fetched, 0 were fresh, 2 unknown to TMDB, 0 could not be had",
    )
    assert sorted(films_asked_for(upstream)) == sorted([*range(1, 31), 999, 1000] * 2)
    asked = len(upstream.asked)
    assert await run(environment, *arguments) == (
        ALL_FILLED,
        "0 fetched, 64 were fresh, 0 unknown to TMDB, 0 could not be had",
    )
    assert len(upstream.asked) == asked


async def test_killed_half_way_it_goes_on_where_it_was(
    upstream: Upstream, environment: dict[str, str], tmp_path: Path
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("\n".join(map(str, range(1, 101))))
    client: pymongo.AsyncMongoClient[dict[str, object]] = pymongo.AsyncMongoClient(environment["MONGO_URL"])
    kept = client.get_default_database()["films"]
    process = await start({**environment, "TMDB_REQUESTS_PER_SECOND": "60"}, "--ids", str(ids))

    async def half_way() -> bool:
        return await kept.count_documents({}) >= 40

    await until(half_way, seconds=20)
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    had = await kept.count_documents({})
    upstream.asked.clear()
    status, last = await run(environment, "--ids", str(ids))
    assert (status, last) == (
        ALL_FILLED,
        f"{100 - had} fetched, {had} were fresh, 0 unknown to TMDB, 0 could not be had",
    )
    assert len(films_asked_for(upstream)) == 100 - had <= 60
    assert await kept.count_documents({}) == 100
    await client.close()


async def test_interrupted_it_says_so_and_keeps_what_it_has(
    upstream: Upstream, environment: dict[str, str], tmp_path: Path
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("\n".join(map(str, range(1, 201))))
    process = await start({**environment, "TMDB_REQUESTS_PER_SECOND": "40"}, "--ids", str(ids))

    async def has_begun() -> bool:
        return len(films_asked_for(upstream)) >= 30

    await until(has_begun, seconds=20)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        _, errors = await process.communicate()
    assert process.returncode == INTERRUPTED
    assert errors.decode().strip().endswith("interrupted, start it again to go on")
    assert "Traceback" not in errors.decode()


async def test_what_tmdb_does_not_give_is_tried_again_and_counted(
    upstream: Upstream, environment: dict[str, str], tmp_path: Path
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("1\n2\n3\n")
    upstream.answers["/movie/2"] = lambda _: Reply.of(["no film"])
    assert await run(environment, "--ids", str(ids)) == (
        SOME_MISSING,
        "2 fetched, 0 were fresh, 0 unknown to TMDB, 1 could not be had",
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "say what to fill with"),
        (["--popular", "0"], "must be 1 to 10000"),
        (["--top", "10001"], "must be 1 to 10000"),
        (["--ids", "nowhere.txt"], "nowhere.txt"),
        (["--ids", "BAD"], "line 2: 'tt0133093' is no id of TMDB's"),
    ],
)
async def test_wrong_arguments_end_it_with_a_sentence(
    environment: dict[str, str], tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("603\ntt0133093\n")
    status, last = await run(environment, *(str(bad) if given == "BAD" else given for given in arguments))
    assert status == WRONG_ARGUMENTS
    assert complaint in last


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_how_far_it_is_and_only_on_a_terminal() -> None:
    seconds = iter([0.0, 10.0, 10.01, 20.0])
    terminal, file = Terminal(), io.StringIO()
    bar = Bar(terminal, 200, clock=lambda: next(seconds))
    bar.show(Tally(fresh=20, fetched=30))
    bar.show(Tally(fresh=20, fetched=31))
    bar.show(Tally(fresh=100, fetched=100))
    bar.close()
    first, second = terminal.getvalue().removeprefix("\r\x1b[K").split("\r\x1b[K")
    assert first.strip() == "████████░░░░░░░░░░░░░░░░░░░░░░  25% 50/200 3/s 30 s left"
    assert second == "█" * 30 + " 100% 200/200 5/s 0 s left\n"
    Bar(file, 200, clock=lambda: 0.0).show(Tally(fetched=200))
    assert file.getvalue() == ""


def test_as_many_as_tmdb_shows_can_be_asked_for() -> None:
    assert fill.arguments_of(["--popular", "10000"]).popular == 10_000
