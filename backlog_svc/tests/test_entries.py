"""The rules of entries, without a server or a database."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backlog_svc.entries import Draft, Entry, Field, Source, Status, changed, half_stars, stars

NOW = datetime(2026, 11, 21, 20, 15, tzinfo=UTC)
ENTRY = Entry(
    movie_id=603,
    status=Status.WATCHED,
    note="with Ada",
    half_stars=9,
    tags=("classic", "rewatch"),
    add_time=NOW - timedelta(days=30),
    update_time=NOW,
    watch_time=NOW,
    source=Source.BY_HAND,
)


def test_half_stars_are_all_of_0_5_to_5_and_come_back_as_they_were() -> None:
    assert [half_stars(n / 2) for n in range(1, 11)] == list(range(1, 11))
    assert all(stars(n) == n / 2 for n in range(1, 11))


@pytest.mark.parametrize(
    "not_a_rating", [0, 0.25, 0.75, 4.9999, 5.5, -1, math.nan, math.inf, -math.inf, 1e308]
)
def test_nothing_else_is_a_rating(not_a_rating: float) -> None:
    assert half_stars(not_a_rating) is None


def test_watched_without_a_time_means_now_and_keeps_what_was_known() -> None:
    draft = Draft(movie_id=1, status=Status.WATCHED)
    assert draft.keeps_watch_time
    assert draft.new_watch_time(NOW) == NOW


def test_a_given_watch_time_replaces_and_is_never_later_than_now() -> None:
    earlier = NOW - timedelta(days=3)
    draft = Draft(movie_id=1, status=Status.WATCHED, watch_time=earlier)
    assert not draft.keeps_watch_time
    assert draft.new_watch_time(NOW) == earlier
    assert replace(draft, watch_time=NOW + timedelta(seconds=5)).new_watch_time(NOW) == NOW


@pytest.mark.parametrize("status", [Status.WANT_TO_WATCH, Status.WATCHING, Status.DROPPED])
def test_what_is_not_watched_has_only_the_watch_time_it_is_given(status: Status) -> None:
    assert not Draft(movie_id=1, status=status).keeps_watch_time
    assert Draft(movie_id=1, status=status).new_watch_time(NOW) is None
    assert Draft(movie_id=1, status=status, watch_time=NOW).new_watch_time(NOW) == NOW


def test_the_etag_changes_with_every_field_and_with_nothing_else() -> None:
    later = NOW + timedelta(microseconds=1)
    changed = [
        replace(ENTRY, movie_id=604),
        replace(ENTRY, status=Status.DROPPED),
        replace(ENTRY, note="with ada"),
        replace(ENTRY, half_stars=None),
        replace(ENTRY, tags=("rewatch", "classic")),
        replace(ENTRY, tags=("classic, rewatch",)),
        replace(ENTRY, add_time=later),
        replace(ENTRY, update_time=later),
        replace(ENTRY, watch_time=None),
        replace(ENTRY, source=Source.IMPORT),
    ]
    assert len({ENTRY.etag, *(entry.etag for entry in changed)}) == len(changed) + 1
    assert replace(ENTRY).etag == ENTRY.etag


ALL_OTHER = Draft(
    movie_id=603,
    status=Status.DROPPED,
    note="alone",
    half_stars=2,
    tags=("never again",),
    watch_time=NOW - timedelta(days=7),
)


@pytest.mark.parametrize("field", Field)
def test_a_change_touches_the_fields_it_names_and_no_other(field: Field) -> None:
    later = NOW + timedelta(hours=1)
    after = changed(ENTRY, ALL_OTHER, {field}, now=later)
    name = "half_stars" if field is Field.RATING else field.value
    assert after == replace(ENTRY, update_time=later, **{name: getattr(ALL_OTHER, name)})


def test_a_change_of_nothing_is_none() -> None:
    assert changed(ENTRY, ALL_OTHER, frozenset(), now=NOW + timedelta(hours=1)) is ENTRY


def test_what_is_watched_always_has_a_watch_time() -> None:
    later = NOW + timedelta(hours=1)
    watched = Draft(movie_id=603, status=Status.WATCHED)
    wanted = replace(ENTRY, status=Status.WANT_TO_WATCH, watch_time=None)
    assert changed(wanted, watched, {Field.STATUS}, now=later).watch_time == later
    assert changed(ENTRY, watched, {Field.STATUS}, now=later).watch_time == NOW
    assert changed(ENTRY, watched, {Field.WATCH_TIME}, now=later).watch_time == NOW
    ahead = replace(watched, watch_time=later + timedelta(seconds=30))
    assert changed(ENTRY, ahead, {Field.WATCH_TIME}, now=later).watch_time == later


def test_what_is_to_be_watched_again_keeps_when_it_was_watched_until_that_is_taken_away() -> None:
    again = changed(ENTRY, Draft(movie_id=603), {Field.STATUS}, now=NOW)
    assert (again.status, again.watch_time) == (Status.WANT_TO_WATCH, NOW)
    assert changed(again, Draft(movie_id=603), {Field.WATCH_TIME}, now=NOW).watch_time is None
