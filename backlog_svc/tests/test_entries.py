"""The rules of entries, without a server or a database."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backlog_svc.entries import Draft, Entry, Order, Source, Status, half_stars, sort_key, stars

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


def test_no_rating_sorts_behind_every_rating_in_both_directions() -> None:
    unrated = replace(ENTRY, half_stars=None)
    rated = [replace(ENTRY, half_stars=n) for n in range(1, 11)]
    assert all(sort_key(unrated, Order.RATING_DESC) < sort_key(entry, Order.RATING_DESC) for entry in rated)  # type: ignore[operator]  # both are numbers
    assert all(sort_key(unrated, Order.RATING_ASC) > sort_key(entry, Order.RATING_ASC) for entry in rated)  # type: ignore[operator]  # both are numbers
