"""What taking a claim into a backlog does: nothing newer is overwritten, a second time changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backlog_svc.entries import Entry, Source, Status
from backlog_svc.imports.claims import Claim, joined, merged
from backlog_svc.imports.jobs import ClaimRow, Found, RowState, effects

NOW = datetime(2026, 11, 21, 20, 15, tzinfo=UTC)
times = st.datetimes(datetime(2000, 1, 1), NOW.replace(tzinfo=None), timezones=st.just(UTC))  # noqa: DTZ001
statuses = st.sampled_from(Status)
half_stars = st.none() | st.integers(1, 10)
notes = st.sampled_from(["", "a", "b"])
tags = st.lists(st.sampled_from("xyz"), unique=True).map(tuple)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    status = draw(statuses)
    add_time = draw(times)
    return Entry(
        movie_id=1,
        status=status,
        note=draw(notes),
        half_stars=draw(half_stars),
        tags=draw(tags),
        add_time=add_time,
        update_time=draw(
            st.datetimes(add_time.replace(tzinfo=None), NOW.replace(tzinfo=None), timezones=st.just(UTC))
        ),
        watch_time=draw(times if status is Status.WATCHED else st.none() | times),
        source=draw(st.sampled_from(Source)),
    )


claims = st.builds(
    Claim,
    line=st.integers(1, 99),
    title=st.just("A film"),
    status=statuses,
    half_stars=half_stars,
    note=notes,
    tags=tags,
    add_time=st.none() | times,
    watch_time=st.none() | times,
    state_time=st.none() | times,
)


@given(st.none() | entries(), claims, st.timedeltas(timedelta(0), timedelta(days=999)))
def test_a_second_time_changes_nothing(entry: Entry | None, claim: Claim, later: timedelta) -> None:
    once = merged(entry, claim, movie_id=1, now=NOW)
    assert merged(once, claim, movie_id=1, now=NOW + later) == once


@given(entries(), claims)
def test_what_was_changed_after_the_file_was_written_stays(entry: Entry, claim: Claim) -> None:
    claim = replace(claim, state_time=min(claim.state_time or entry.update_time, entry.update_time))
    after = merged(entry, claim, movie_id=1, now=NOW)
    assert after.half_stars == (entry.half_stars or claim.half_stars)
    assert after.note == (entry.note or claim.note)
    assert after.tags == (entry.tags or claim.tags)
    if (entry.status, claim.status) != (Status.WANT_TO_WATCH, Status.WATCHED):
        assert after.status is entry.status
        assert entry.watch_time in (None, after.watch_time)


@given(entries(), claims)
def test_what_the_file_says_after_the_last_change_counts(entry: Entry, claim: Claim) -> None:
    entry = replace(entry, update_time=entry.add_time)
    claim = replace(claim, state_time=entry.update_time + timedelta(seconds=1))
    after = merged(entry, claim, movie_id=1, now=NOW + timedelta(days=1))
    assert after.half_stars == (claim.half_stars or entry.half_stars)
    assert after.note == (claim.note or entry.note)
    assert after.tags == (claim.tags or entry.tags)
    assert after.status is (entry.status if claim.status is Status.WANT_TO_WATCH else claim.status)


@given(st.none() | entries(), claims)
def test_an_entry_is_always_one_that_may_be_kept(entry: Entry | None, claim: Claim) -> None:
    after = merged(entry, claim, movie_id=1, now=NOW)
    assert after.watch_time is not None or after.status is not Status.WATCHED
    assert after.update_time <= NOW
    if entry is not None:
        assert (after.add_time, after.source) == (entry.add_time, entry.source)
        assert after.update_time == (entry.update_time if after == entry else NOW)


def test_watched_beats_a_wish_and_a_wish_takes_nothing_back() -> None:
    wish = merged(None, Claim(line=1, title="A"), movie_id=1, now=NOW)
    seen = Claim(line=1, title="A", status=Status.WATCHED, watch_time=NOW - timedelta(days=900))
    watched = merged(wish, seen, movie_id=1, now=NOW)
    assert (watched.status, watched.watch_time) == (Status.WATCHED, seen.watch_time)
    wished_later = Claim(line=1, title="A", state_time=NOW)
    assert merged(watched, wished_later, movie_id=1, now=NOW + timedelta(days=1)) == watched


@given(st.lists(st.tuples(st.sampled_from("AB"), claims), max_size=8))
def test_joining_leaves_one_claim_a_film_and_is_done_once(given_: list[tuple[str, Claim]]) -> None:
    once = joined(replace(claim, title=title) for title, claim in given_)
    assert len({claim.film_key for claim in once}) == len(once) == len({title for title, _ in given_})
    assert joined(once) == once


@given(
    st.lists(st.tuples(st.integers(1, 3), claims), max_size=9),
    st.dictionaries(st.integers(1, 3), entries()),
    st.integers(1, 4),
)
def test_a_dry_run_says_exactly_what_the_import_then_does(
    lines: list[tuple[int, Claim]], there: dict[int, Entry], batch: int
) -> None:
    rows = [
        ClaimRow(row=row, state=RowState.WAITING, claim=replace(claim, movie_id=film))
        for row, (film, claim) in enumerate(lines, 1)
    ]
    found = {row.row: Found(row.claim.movie_id) for row in rows}
    before = {film: replace(entry, movie_id=film) for film, entry in there.items()}
    told: list[RowState] = []
    done: list[RowState] = []
    backlog = dict(before)
    for begin in range(0, len(rows), batch):
        earlier = [(row.claim.movie_id, row.claim) for row in rows[:begin]]
        piece = rows[begin : begin + batch]

        foreseen = effects(piece, found, entries=before, earlier=earlier, now=NOW)
        told += [mark.state for mark in foreseen.marks]
        does = effects(piece, found, entries=backlog, now=NOW)
        done += [mark.state for mark in does.marks]
        assert not does.new.keys() & backlog.keys()
        assert does.changed.keys() <= backlog.keys()
        backlog |= does.new | does.changed
    assert told == done


@given(st.none() | entries(), st.lists(claims, max_size=4))
def test_lines_that_turn_out_to_be_one_film_do_not_undo_each_other(
    entry: Entry | None, lines: list[Claim]
) -> None:
    def all_taken_in(there: Entry | None, now: datetime) -> Entry | None:
        for claim in lines:
            there = merged(there, claim, movie_id=1, now=now)
        return there

    once = all_taken_in(entry, NOW)
    assert all_taken_in(once, NOW + timedelta(days=1)) == once
