"""Lists against a plain Python model, whatever is put or removed between two pages."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from popcorn.backlog.v1 import backlog_pb2 as pb

if TYPE_CHECKING:
    from backlog_svc.tests.conftest import SetClock
    from popcorn.backlog.v1.backlog_pb2_grpc import BacklogServiceAsyncStub

EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    # The service and its database are shared by all examples; each has a person of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ORDERS = [
    pb.ENTRY_ORDER_UNSPECIFIED,
    pb.ENTRY_ORDER_ADDED_DESC,
    pb.ENTRY_ORDER_ADDED_ASC,
    pb.ENTRY_ORDER_UPDATED_DESC,
    pb.ENTRY_ORDER_UPDATED_ASC,
    pb.ENTRY_ORDER_RATING_DESC,
    pb.ENTRY_ORDER_RATING_ASC,
]
STATUSES = st.sampled_from(list(pb.EntryStatus.values()))
TAGS = st.sampled_from(["cosy", "Cosy", "with kids", "ünï", "{a,b}", '"'])
FILTERS = st.builds(pb.EntryFilter, status=STATUSES, tag=st.sampled_from(["", "cosy", "{a,b}", "absent"]))


@dataclass
class Change:
    """One put or removal, some time after the one before."""

    draft: pb.EntryDraft
    remove: bool
    seconds: int


@st.composite
def changes(draw: st.DrawFn, movie_ids: st.SearchStrategy[int], removals: bool) -> Change:
    draft = pb.EntryDraft(
        movie_id=draw(movie_ids),
        status=draw(STATUSES),
        rating=draw(st.one_of(st.none(), st.integers(1, 10).map(lambda half: half / 2))),
        tags=draw(st.lists(TAGS, max_size=3)),
    )
    # Many share an instant, so that ties are common.
    return Change(draft, removals and draw(st.booleans()), draw(st.sampled_from([0, 0, 0, 1, 60])))


@dataclass
class Model:
    """A backlog as a dictionary: what the service has to agree with."""

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

    def chosen(self, wanted: pb.EntryFilter) -> list[pb.Entry]:
        return [
            entry
            for entry in self.entries.values()
            if wanted.status in (pb.ENTRY_STATUS_UNSPECIFIED, entry.status)
            and (not wanted.tag or wanted.tag in entry.tags)
        ]

    def listed(self, wanted: pb.EntryFilter, order: pb.EntryOrder.ValueType) -> list[pb.Entry]:
        return sorted(self.chosen(wanted), key=lambda entry: (sort_value(entry, order), entry.movie_id))


def sort_value(entry: pb.Entry, order: pb.EntryOrder.ValueType) -> float:
    match order:
        case pb.ENTRY_ORDER_ADDED_ASC:
            return entry.add_time.ToNanoseconds()
        case pb.ENTRY_ORDER_UPDATED_DESC:
            return -entry.update_time.ToNanoseconds()
        case pb.ENTRY_ORDER_UPDATED_ASC:
            return entry.update_time.ToNanoseconds()
        case pb.ENTRY_ORDER_RATING_DESC:
            return -entry.rating if entry.HasField("rating") else math.inf
        case pb.ENTRY_ORDER_RATING_ASC:
            return entry.rating if entry.HasField("rating") else math.inf
        case _:
            return -entry.add_time.ToNanoseconds()


async def apply(
    backlog: BacklogServiceAsyncStub, clock: SetClock, user: str, model: Model, some: Iterable[Change]
) -> None:
    for change in some:
        now = clock.advance(seconds=change.seconds)
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
    page_size: int,
) -> AsyncIterator[pb.ListEntriesResponse]:
    """The pages of a list, each asked for when the one before has been dealt with."""
    token = ""
    while True:
        page = await backlog.ListEntries(
            pb.ListEntriesRequest(
                user_id=user, filter=wanted, order=order, page_size=page_size, page_token=token
            )
        )
        yield page
        token = page.next_page_token
        if not token:
            return


@EXAMPLES
@given(
    history=st.lists(changes(st.integers(1, 30), removals=True), max_size=40),
    wanted=FILTERS,
    page_size=st.integers(1, 12),
)
async def test_in_every_order_all_pages_together_are_the_sorted_and_filtered_backlog(
    backlog: BacklogServiceAsyncStub,
    clock: SetClock,
    somebody: Callable[[], str],
    history: list[Change],
    wanted: pb.EntryFilter,
    page_size: int,
) -> None:
    user, model = somebody(), Model()
    await apply(backlog, clock, user, model, history)
    for order in ORDERS:
        expected = model.listed(wanted, order)
        entries: list[pb.Entry] = []
        async for page in listed(backlog, user, wanted, order, page_size):
            assert page.total_size == len(expected)
            assert len(page.entries) == min(page_size, len(expected) - len(entries))
            entries += page.entries
            assert bool(page.next_page_token) == (len(entries) < len(expected))
        assert [without_etag(entry) for entry in entries] == expected


@EXAMPLES
@given(
    staying=st.lists(changes(st.integers(1, 15), removals=False), min_size=1, max_size=15),
    coming_and_going=st.lists(changes(st.integers(16, 30), removals=True), max_size=15),
    between_pages=st.lists(
        st.lists(changes(st.integers(16, 30), removals=True), max_size=4), min_size=1, max_size=8
    ),
    wanted=FILTERS,
    order=st.sampled_from(ORDERS),
    page_size=st.integers(1, 4),
)
async def test_what_stays_appears_exactly_once_whatever_comes_and_goes_between_pages(
    backlog: BacklogServiceAsyncStub,
    clock: SetClock,
    somebody: Callable[[], str],
    staying: list[Change],
    coming_and_going: list[Change],
    between_pages: list[list[Change]],
    wanted: pb.EntryFilter,
    order: pb.EntryOrder.ValueType,
    page_size: int,
) -> None:
    user, model = somebody(), Model()
    mixed = [change for pair in zip(staying, coming_and_going, strict=False) for change in pair]
    mixed += staying[len(coming_and_going) :] + coming_and_going[len(staying) :]
    await apply(backlog, clock, user, model, mixed)
    stays = [entry.movie_id for entry in model.listed(wanted, order) if entry.movie_id <= 15]
    seen: list[int] = []
    pauses = iter(between_pages)
    async for page in listed(backlog, user, wanted, order, page_size):
        now_listed = {entry.movie_id: entry for entry in model.listed(wanted, order)}
        assert page.total_size == len(now_listed)
        for entry in page.entries:
            assert without_etag(entry) == now_listed[entry.movie_id]
        seen += [entry.movie_id for entry in page.entries]
        await apply(backlog, clock, user, model, next(pauses, []))
    assert [movie_id for movie_id in seen if movie_id <= 15] == stays


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
