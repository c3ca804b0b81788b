"""`python -m movie_svc.fill` fills the cache ahead of its readers.

    python -m movie_svc.fill --popular 2000 --top 500 --language de-DE en-US --region DE
    python -m movie_svc.fill --ids films.txt

Films come from TMDB's popular and best rated ones and from files of TMDB's ids, one a line (what follows a
`#` is a remark). The cache itself remembers how far it has come: what is fresh in it is passed over, so an
interrupted run is simply started again. Requests stay inside the same budget as the service's own;
`--requests-per-second` asks for less of it while replicas are serving.

Exit status: 0 all is in the cache; 1 some films could not be had; 2 wrong arguments or settings;
130 interrupted.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TextIO

from mesh import logs
from mesh.clock import Clock, utc_now
from mesh.server import run
from mesh.settings import load
from movie_svc.__main__ import NAME, Parts, parts
from movie_svc.catalogue import FILM_POLICY
from movie_svc.films import LAST_PAGE, ROWS_A_PAGE, FilmsUnavailable, ListPage, MovieNotFound
from movie_svc.keys import FilmKey, RankingKey
from movie_svc.languages import FALLBACK_LANGUAGE, Reader
from movie_svc.settings import MovieSettings
from movie_svc.shelf import PATIENCE_SECONDS, StoreUnavailable

MOST_RANKED: Final = LAST_PAGE * ROWS_A_PAGE
"""TMDB shows no more of a ranking."""
ALL_FILLED: Final = 0
SOME_MISSING: Final = 1
WRONG_ARGUMENTS: Final = 2
INTERRUPTED: Final = 130

_LOOKED_UP_AT_ONCE: Final = 100
_FETCHED_AT_ONCE: Final = 20
_LARGEST_ID: Final = 2**31 - 1
# What TMDB did not give is asked for again, after a pause that doubles.
_ROUNDS: Final = 6
_FIRST_PAUSE_SECONDS: Final = 0.5
_BAR_CELLS: Final = 30
_DRAWN_EVERY_SECONDS: Final = 0.1


@dataclass(slots=True)
class Tally:
    """What became of the films, each in each language."""

    fresh: int = 0
    """Were in the cache already."""
    fetched: int = 0
    unknown: int = 0
    """TMDB has none with that id."""
    failed: int = 0
    """TMDB did not give it."""

    @property
    def done(self) -> int:
        """How many are settled."""
        return self.fresh + self.fetched + self.unknown + self.failed

    def __str__(self) -> str:
        return (
            f"{self.fetched} fetched, {self.fresh} were fresh, {self.unknown} unknown to TMDB, "
            f"{self.failed} could not be had"
        )


class Bar:
    """A line on a terminal that shows how far it is; elsewhere nothing."""

    def __init__(self, stream: TextIO, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Take where to draw, and what is the end."""
        self._stream, self._total, self._clock = stream, total, clock
        self._drawn_at = -1.0
        self._began = clock()

    def show(self, tally: Tally) -> None:
        """Draw, unless that was just done."""
        now = self._clock()
        if not self._stream.isatty() or (
            now - self._drawn_at < _DRAWN_EVERY_SECONDS and tally.done < self._total
        ):
            return
        self._drawn_at = now
        share = tally.done / self._total if self._total else 1.0
        cells = "█" * round(share * _BAR_CELLS)
        seconds = max(now - self._began, 1e-9)
        left = (self._total - tally.done) * seconds / max(tally.done, 1)
        self._stream.write(
            f"\r\x1b[K{cells:░<{_BAR_CELLS}} {share:4.0%} {tally.done}/{self._total}"
            f" {tally.fetched / seconds:.0f}/s {left:.0f} s left"
        )
        self._stream.flush()

    def close(self) -> None:
        """Leave the line."""
        if self._stream.isatty():
            self._stream.write("\n")


class Fill:
    """One run."""

    def __init__(self, built: Parts, *, clock: Clock) -> None:
        """Take the service's parts."""
        self._parts = built
        self._clock = clock
        self.tally = Tally()

    async def ranked(self, ranking: Literal["popular", "top_rated"], most: int, language: str) -> list[int]:
        """Return the ids of the first films of a ranking.

        Raises:
            FilmsUnavailable: TMDB does not give its pages.
        """
        movie_ids: list[int] = []
        for page in range(1, -(-most // ROWS_A_PAGE) + 1):
            got = await self._page(RankingKey(ranking, language, page))
            movie_ids += got
            if not got:
                break
        return movie_ids[:most]

    async def films(self, movie_ids: Sequence[int], reader: Reader, bar: Bar) -> None:
        """Bring films into the cache for a reader, those that are not fresh there."""
        left: list[int] = []
        for some in _pieces(movie_ids, _LOOKED_UP_AT_ONCE):
            stale = await self._not_fresh(some, reader)
            self.tally.fresh += len(some) - len(stale)
            left += stale
            bar.show(self.tally)
        for attempt in range(_ROUNDS):
            if attempt:
                await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            failed: list[int] = []
            for some in _pieces(left, _FETCHED_AT_ONCE):
                failed += await self._fetch(some, reader)
                bar.show(self.tally)
            left = failed
            if not left:
                return
        self.tally.failed += len(left)
        bar.show(self.tally)

    async def _page(self, key: RankingKey) -> list[int]:
        for attempt in range(_ROUNDS - 1):
            with suppress(FilmsUnavailable):
                return _ids(await self._parts.rankings.get(key))
            await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
        return _ids(await self._parts.rankings.get(key))

    async def _not_fresh(self, movie_ids: Sequence[int], reader: Reader) -> list[int]:
        keys = {FilmKey(movie_id, reader).name: movie_id for movie_id in movie_ids}
        try:
            kept = await self._parts.store.films.read(list(keys))
        except StoreUnavailable:
            return list(movie_ids)
        now = self._clock()
        fresh = {keys[name] for name, one in kept.items() if now < FILM_POLICY.stale_at(one)}
        return [movie_id for movie_id in movie_ids if movie_id not in fresh]

    async def _fetch(self, movie_ids: Sequence[int], reader: Reader) -> list[int]:
        """Return those that are not in the cache afterwards."""
        found = await self._parts.catalogue.films(movie_ids, reader, patience=PATIENCE_SECONDS)
        # The service answers before the store has it, and renews what is stale behind its reader's back.
        await self._parts.catalogue.settle()
        failed = await self._not_fresh(movie_ids, reader)
        for movie_id in set(movie_ids).difference(failed):
            if isinstance(found[movie_id], MovieNotFound):
                self.tally.unknown += 1
            else:
                self.tally.fetched += 1
        return failed


def read_ids(files: Iterable[Path]) -> list[int]:
    """Return the ids in files, each once, in their order.

    Raises:
        ValueError: A line is none; the text says which.
        OSError: A file cannot be read.
    """
    movie_ids: dict[int, None] = {}
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _LARGEST_ID):
                raise ValueError(f"{file}, line {number}: {text[:40]!r} is no id of TMDB's")
            movie_ids[int(text)] = None
    return list(movie_ids)


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; exits with 2 when it makes no sense."""
    parser = argparse.ArgumentParser(prog="python -m movie_svc.fill", description=__doc__.split("\n\n")[0])
    parser.add_argument("--popular", type=_count, default=0, metavar="N", help="TMDB's N most popular films")
    parser.add_argument("--top", type=_count, default=0, metavar="N", help="TMDB's N best rated films")
    parser.add_argument("--ids", type=Path, action="append", default=[], metavar="FILE", help="a file of ids")
    parser.add_argument("--language", nargs="+", default=[FALLBACK_LANGUAGE], help="BCP 47, such as de-DE")
    parser.add_argument("--region", default="", help="ISO 3166-1, such as DE; US by default")
    parser.add_argument("--requests-per-second", type=float, help="at most so many requests to TMDB")
    arguments = parser.parse_args(given)
    if not (arguments.popular or arguments.top or arguments.ids):
        parser.error("say what to fill with: --popular, --top or --ids")
    return arguments


async def fill(arguments: argparse.Namespace, settings: MovieSettings, *, clock: Clock = utc_now) -> int:
    """Do it, and return the exit status; SIGINT and SIGTERM end it in good order."""
    listed = read_ids(arguments.ids)
    if arguments.requests_per_second:
        slower = min(settings.tmdb_requests_per_second, arguments.requests_per_second)
        settings = settings.model_copy(update={"tmdb_requests_per_second": slower})
    readers = [Reader.of((language,), arguments.region) for language in arguments.language]
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with parts(settings, clock=clock) as built:
        filling = Fill(built, clock=clock)
        work = asyncio.create_task(_all(filling, arguments, listed, readers))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        interrupted = not work.done()
        if interrupted:
            work.cancel()
        status = ALL_FILLED
        with suppress(asyncio.CancelledError):
            try:
                await work
            except FilmsUnavailable:
                print("TMDB does not give its lists just now.", file=sys.stderr)
                status = SOME_MISSING
    # What was on its way to the store is there now.
    print(
        f"{filling.tally}{'; interrupted, start it again to go on' if interrupted else ''}", file=sys.stderr
    )
    if interrupted:
        return INTERRUPTED
    return SOME_MISSING if filling.tally.failed else status


async def _all(
    filling: Fill, arguments: argparse.Namespace, listed: list[int], readers: Sequence[Reader]
) -> None:
    language = readers[0].language
    movie_ids = dict.fromkeys(listed)
    movie_ids |= dict.fromkeys(await filling.ranked("popular", arguments.popular, language))
    movie_ids |= dict.fromkeys(await filling.ranked("top_rated", arguments.top, language))
    bar = Bar(sys.stderr, len(movie_ids) * len(readers))
    try:
        for reader in readers:
            await filling.films(list(movie_ids), reader, bar)
    finally:
        bar.close()


def _ids(page: ListPage | None) -> list[int]:
    return [] if page is None else [row.id for row in page.rows if row is not None]


def _pieces(movie_ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for first in range(0, len(movie_ids), size):
        yield movie_ids[first : first + size]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_RANKED):
        raise argparse.ArgumentTypeError(f"must be 1 to {MOST_RANKED}")
    return int(text)


if __name__ == "__main__":
    asked = arguments_of(None)
    loaded = load(MovieSettings)
    logs.configure(NAME, loaded.log_level, loaded.log_format)
    try:
        sys.exit(run(fill(asked, loaded)))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(WRONG_ARGUMENTS)
