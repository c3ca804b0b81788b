"""Lists against a plain Python model, whatever is put or removed between two pages.

What is known of films differs: nothing, all, or all but the German title or the British providers. movie_svc
has nothing to add meanwhile, so a list has to say about how many entries it cannot tell.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backlog_svc.films import FilmFacts, View
from popcorn.backlog.v1 import backlog_pb2 as pb

if TYPE_CHECKING:
    from backlog_svc.film_store import FilmStore
    from backlog_svc.tests.conftest import SetClock
    from backlog_svc.tests.movie_service import ScriptedMovies
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

EXAMPLES = settings(
    max_examples=80,
    deadline=None,
    report_multiple_bugs=False,
    # The service and its database are shared by all examples; each has a person of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ORDERS = st.sampled_from(list(pb.EntryOrder.values()))
STATUSES = st.sampled_from(list(pb.EntryStatus.values()))
TAGS = st.sampled_from(["cosy", "Cosy", "with kids", "ünï", "{a,b}", '"'])
TITLES = st.sampled_from(
    [
        "Alien",
        "alien",
        "Älien",
        "Amélie",
        "100 % Wolf",
        "_",
        "\\",
        "Straße",
        "Zulu",
        "ÆON",
        "七人の侍",
        "z" * 80,
    ]
)
# One condition by itself is met more often than a mixture of all.
CONDITIONS: Mapping[str, st.SearchStrategy[Any]] = {
    "status": STATUSES,
    "tag": st.sampled_from(["cosy", "{a,b}", "absent"]),
    "genre_ids": st.sampled_from([[18], [18, 35], [35, 35]]),
    "max_runtime_minutes": st.sampled_from([90, 120]),
    "decade": st.sampled_from([1990, 2000]),
    "provider_ids": st.sampled_from([[8], [8, 9]]),
    "text": st.sampled_from(["ALIEN", "alien", "é", "%", "_", "\\", "strasse", "侍", "cosy", "aeon", "rain"]),
}
FILTERS = st.one_of(
    *[st.just(pb.EntryFilter())] * 3,
    *(
        st.builds(pb.EntryFilter, region=st.just("GB"), **{name: values})
        for name, values in [*CONDITIONS.items(), *[("text", CONDITIONS["text"])] * 3]
    ),
    st.fixed_dictionaries({}, optional=dict(CONDITIONS)).map(
        lambda fields: pb.EntryFilter(region="GB", **fields)
    ),
)
LANGUAGES = st.sampled_from([[], ["en-GB"], ["de"]])


@dataclass(frozen=True)
class Film:
    """What is known of a film; None is what is not."""

    facts: FilmFacts | None = None
    german: str | None = None
    british: tuple[int, ...] | None = None


FACTS = st.builds(
    FilmFacts,
    movie_id=st.just(0),
    title=TITLES,
    original_title=TITLES,
    release_date=st.none() | st.sampled_from([date(1989, 12, 31), date(1990, 1, 1), date(1999, 12, 31)]),
    runtime_minutes=st.none() | st.sampled_from([60, 90, 91, 120]),
    genre_ids=st.sampled_from([(), (18,), (35, 18)]),
    popularity=st.sampled_from([0.0, 0.1, 7.25, 1234.5]),
)
GONE = st.just(FilmFacts(movie_id=0, missing=True))
FILMS = st.builds(
    Film,
    facts=st.none() | FACTS | FACTS | GONE,
    german=st.none() | TITLES,
    british=st.none() | st.sampled_from([(), (8,), (9, 10)]),
)
KNOWN = st.lists(FILMS, min_size=31, max_size=31).map(lambda films: dict(enumerate(films)))

_bases = itertools.count(1_000, 1_000)


def fold(text: str) -> str:
    """The folding of what is used here, by other means than the service's."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not "\u0300" <= c <= "\u036f")
    return bare.replace("æ", "ae")


@dataclass
class Change:
    """One put or removal, some time after the one before."""

    draft: pb.EntryDraft
    remove: bool
    seconds: int

    def beyond(self, base: int) -> Change:
        """The same for a film that is numbered from there on."""
        draft = pb.EntryDraft()
        draft.CopyFrom(self.draft)
        draft.movie_id += base
        return Change(draft, self.remove, self.seconds)


@st.composite
def changes(draw: st.DrawFn, movie_ids: st.SearchStrategy[int], removals: bool) -> Change:
    draft = pb.EntryDraft(
        movie_id=draw(movie_ids),
        status=draw(STATUSES),
        note=draw(st.sampled_from(["", "", "for a rainy day", "50 % off"])),
        rating=draw(st.one_of(st.none(), st.integers(1, 10).map(lambda half: half / 2))),
        tags=draw(st.lists(TAGS, max_size=3)),
    )
    # Many share an instant, so that ties are common.
    return Change(draft, removals and draw(st.booleans()), draw(st.sampled_from([0, 0, 0, 1, 60])))


@dataclass
class Model:
    """A backlog as a dictionary: what the service has to agree with."""

    base: int = 0
    """Every example has films of its own: their numbers come after this one."""
    films: Mapping[int, Film] = field(default_factory=dict)
    entries: dict[int, pb.Entry] = field(default_factory=dict)

    def apply(self, change: Change, now: datetime) -> None:
        draft = change.draft
        if change.remove:
            self.entries.pop(draft.movie_id, None)
            return
        before = self.entries.get(draft.movie_id)
        written = Timestamp()
        written.FromDatetime(now)
        entry = pb.Entry(
            movie_id=draft.movie_id,
            status=draft.status or pb.ENTRY_STATUS_WANT_TO_WATCH,
            note=draft.note,
            rating=draft.rating if draft.HasField("rating") else None,
            tags=dict.fromkeys(draft.tags),
            add_time=before.add_time if before else written,
            update_time=written,
            source=before.source if before else pb.ENTRY_SOURCE_BY_HAND,
        )
        if entry.status == pb.ENTRY_STATUS_WATCHED:
            known = before is not None and before.HasField("watch_time")
            entry.watch_time.CopyFrom(before.watch_time if before and known else written)
        self.entries[draft.movie_id] = entry

    def film(self, entry: pb.Entry) -> Film:
        return self.films.get(entry.movie_id - self.base, Film())

    def passes(self, entry: pb.Entry, wanted: pb.EntryFilter, languages: list[str]) -> bool | None:
        """Whether an entry is in the list; None when nobody can say."""
        verdicts: list[bool | None] = [
            wanted.status in (pb.ENTRY_STATUS_UNSPECIFIED, entry.status),
            not wanted.tag or wanted.tag in entry.tags,
        ]
        film = self.film(entry)
        facts = film.facts
        if wanted.genre_ids:
            verdicts.append(set(wanted.genre_ids) <= set(facts.genre_ids) if facts else None)
        if wanted.max_runtime_minutes:
            minutes = facts.runtime_minutes if facts else None
            verdicts.append(0 < (minutes or 0) <= wanted.max_runtime_minutes if facts else None)
        if wanted.decade:
            year = facts.release_date.year if facts and facts.release_date else 0
            verdicts.append(year // 10 * 10 == wanted.decade if facts else None)
        if wanted.provider_ids:
            verdicts.append(None if film.british is None else bool({*wanted.provider_ids} & {*film.british}))
        if wanted.text:
            texts = [entry.note, *entry.tags, film.german or ""]
            texts += [facts.title, facts.original_title] if facts else []
            found = any(fold(wanted.text) in fold(text) for text in texts)
            sure = facts is not None and (film.german is not None or languages != ["de"])
            verdicts.append(found or (False if sure else None))
        return False if False in verdicts else None if None in verdicts else True

    def chosen(
        self, wanted: pb.EntryFilter, languages: list[str], *, verdict: bool | None = True
    ) -> list[pb.Entry]:
        return [entry for entry in self.entries.values() if self.passes(entry, wanted, languages) is verdict]

    def listed(
        self, wanted: pb.EntryFilter, order: pb.EntryOrder.ValueType, languages: list[str]
    ) -> list[pb.Entry]:
        name = pb.EntryOrder.Name(order or pb.ENTRY_ORDER_ADDED_DESC).removeprefix("ENTRY_ORDER_")
        what, _, direction = name.rpartition("_")
        entries = sorted(self.chosen(wanted, languages), key=lambda entry: entry.movie_id)
        keys = {entry.movie_id: self.fact(what, entry, languages) for entry in entries}
        have = [entry for entry in entries if keys[entry.movie_id] is not None]
        have.sort(key=lambda entry: keys[entry.movie_id], reverse=direction == "DESC")
        return have + [entry for entry in entries if keys[entry.movie_id] is None]

    def fact(self, what: str, entry: pb.Entry, languages: list[str]) -> Any:
        film = self.film(entry)
        facts = film.facts or FilmFacts(movie_id=0)
        match what:
            case "ADDED":
                return entry.add_time.ToNanoseconds()
            case "UPDATED":
                return entry.update_time.ToNanoseconds()
            case "RATING":
                return entry.rating if entry.HasField("rating") else None
            case "RELEASE_DATE":
                return facts.release_date
            case "RUNTIME":
                return facts.runtime_minutes
            case "POPULARITY":
                return facts.popularity
            case "TITLE":
                german = film.german if languages == ["de"] else None
                return fold(german or facts.title)[:50] or None
        raise AssertionError(what)


@pytest.fixture
def nothing_new(scripted: ScriptedMovies) -> Iterator[None]:
    """movie_svc answers that no film can be had: what is known is what the test has written."""
    scripted.nothing = True
    yield
    scripted.nothing = False


async def new_model(films: Mapping[int, Film], store: FilmStore, clock: SetClock) -> Model:
    """Somebody with an empty backlog, in a world that knows these films."""
    model = Model(next(_bases), films)

    def numbered(number: int, facts: FilmFacts) -> FilmFacts:
        return replace(facts, movie_id=model.base + number)

    await store.write(
        [numbered(number, film.facts) for number, film in films.items() if film.facts], now=clock()
    )
    german = [
        FilmFacts(movie_id=model.base + number, title=film.german)
        for number, film in films.items()
        if film.german is not None
    ]
    await store.write_view(german, View(languages=("de",)), now=clock())
    british = [
        FilmFacts(movie_id=model.base + number, provider_ids=film.british)
        for number, film in films.items()
        if film.british is not None
    ]
    await store.write_view(british, View(region="GB"), now=clock())
    return model


async def apply(
    backlog: BacklogServiceAsyncStub, clock: SetClock, user: str, model: Model, some: Iterable[Change]
) -> None:
    for change in some:
        now = clock.advance(seconds=change.seconds)
        change = change.beyond(model.base)
        movie_id = change.draft.movie_id
        there = movie_id in model.entries
        model.apply(change, now)
        if change.remove:
            removal = await backlog.RemoveEntry(pb.RemoveEntryRequest(user_id=user, movie_id=movie_id))
            assert removal.removed == there
        else:
            put = await backlog.PutEntry(pb.PutEntryRequest(user_id=user, entry=change.draft))
            assert put.added != there
            assert without_etag(put.entry) == model.entries[movie_id]


def without_etag(entry: pb.Entry) -> pb.Entry:
    copy = pb.Entry()
    copy.CopyFrom(entry)
    assert copy.etag
    copy.ClearField("etag")
    return copy


async def listed(
    backlog: BacklogServiceAsyncStub,
    user: str,
    wanted: pb.EntryFilter,
    order: pb.EntryOrder.ValueType,
    languages: list[str],
    page_size: int,
) -> AsyncIterator[pb.ListEntriesResponse]:
    """The pages of a list, each asked for when the one before has been dealt with."""
    token = ""
    while True:
        page = await backlog.ListEntries(
            pb.ListEntriesRequest(
                user_id=user,
                filter=wanted,
                order=order,
                languages=languages,
                page_size=page_size,
                page_token=token,
            )
        )
        yield page
        token = page.next_page_token
        if not token:
            return


@EXAMPLES
@given(
    # Long ones and short ones: left to itself hypothesis hardly tries more than a few.
    history=st.integers(0, 40).flatmap(
        lambda length: st.lists(changes(st.integers(1, 30), removals=True), min_size=length, max_size=length)
    ),
    films=KNOWN,
    wanted=FILTERS,
    order=ORDERS,
    languages=LANGUAGES,
    page_size=st.integers(1, 12),
)
async def test_in_every_order_all_pages_together_are_the_sorted_and_filtered_backlog(
    backlog: BacklogServiceAsyncStub,
    clock: SetClock,
    somebody: Callable[[], str],
    film_store: FilmStore,
    nothing_new: None,
    history: list[Change],
    films: Mapping[int, Film],
    wanted: pb.EntryFilter,
    order: pb.EntryOrder.ValueType,
    languages: list[str],
    page_size: int,
) -> None:
    user, model = somebody(), await new_model(films, film_store, clock)
    await apply(backlog, clock, user, model, history)
    expected = model.listed(wanted, order, languages)
    undecided = len(model.chosen(wanted, languages, verdict=None))
    entries: list[pb.Entry] = []
    async for page in listed(backlog, user, wanted, order, languages, page_size):
        assert page.total_size == len(expected)
        assert page.undecided_size == undecided
        assert len(page.entries) == min(page_size, len(expected) - len(entries))
        entries += page.entries
        assert bool(page.next_page_token) == (len(entries) < len(expected))
    assert [without_etag(entry) for entry in entries] == expected
    for other in pb.EntryOrder.values():
        async for page in listed(backlog, user, wanted, other, languages, 100):
            whole = [entry.movie_id for entry in page.entries]
            assert whole == [entry.movie_id for entry in model.listed(wanted, other, languages)]


@EXAMPLES
@given(
    staying=st.lists(changes(st.integers(1, 15), removals=False), min_size=1, max_size=15),
    coming_and_going=st.lists(changes(st.integers(16, 30), removals=True), max_size=15),
    between_pages=st.lists(
        st.lists(changes(st.integers(16, 30), removals=True), max_size=4), min_size=1, max_size=8
    ),
    films=KNOWN,
    wanted=FILTERS,
    order=ORDERS,
    languages=LANGUAGES,
    page_size=st.integers(1, 4),
)
async def test_what_stays_appears_exactly_once_whatever_comes_and_goes_between_pages(
    backlog: BacklogServiceAsyncStub,
    clock: SetClock,
    somebody: Callable[[], str],
    film_store: FilmStore,
    nothing_new: None,
    staying: list[Change],
    coming_and_going: list[Change],
    between_pages: list[list[Change]],
    films: Mapping[int, Film],
    wanted: pb.EntryFilter,
    order: pb.EntryOrder.ValueType,
    languages: list[str],
    page_size: int,
) -> None:
    user, model = somebody(), await new_model(films, film_store, clock)
    mixed = [change for pair in zip(staying, coming_and_going, strict=False) for change in pair]
    mixed += staying[len(coming_and_going) :] + coming_and_going[len(staying) :]
    await apply(backlog, clock, user, model, mixed)
    here_to_stay = range(model.base + 1, model.base + 16)
    stays = [
        entry.movie_id for entry in model.listed(wanted, order, languages) if entry.movie_id in here_to_stay
    ]
    seen: list[int] = []
    pauses = iter(between_pages)
    async for page in listed(backlog, user, wanted, order, languages, page_size):
        now_listed = {entry.movie_id: entry for entry in model.listed(wanted, order, languages)}
        assert page.total_size == len(now_listed)
        for entry in page.entries:
            assert without_etag(entry) == now_listed[entry.movie_id]
        seen += [entry.movie_id for entry in page.entries]
        await apply(backlog, clock, user, model, next(pauses, []))
    assert [movie_id for movie_id in seen if movie_id in here_to_stay] == stays


@EXAMPLES
@given(
    change=changes(st.just(603), removals=False), pause=st.integers(0, int(timedelta(days=9).total_seconds()))
)
async def test_putting_the_same_twice_changes_nothing_but_the_update_time(
    backlog: BacklogServiceAsyncStub,
    clock: SetClock,
    somebody: Callable[[], str],
    change: Change,
    pause: int,
) -> None:
    request = pb.PutEntryRequest(user_id=somebody(), entry=change.draft)
    first = await backlog.PutEntry(request)
    clock.advance(seconds=pause)
    second = await backlog.PutEntry(request)
    assert (first.added, second.added) == (True, False)
    assert second.entry.update_time.ToDatetime(UTC) == clock.now
    assert (second.entry.etag == first.entry.etag) == (pause == 0)
    for put in (first, second):
        put.entry.ClearField("update_time")
        put.entry.ClearField("etag")
    assert first.entry == second.entry
