"""Between the contract's messages and the domain's values; what is read is checked, all of it at once."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from google.protobuf import json_format

from backlog_svc import entries
from backlog_svc.entries import Draft, Entry, Field, Filter, Order, Page, Position, Source, Status
from backlog_svc.list_store import view_of
from backlog_svc.listing import ListQuery
from backlog_svc.timestamps import from_number, read_time, to_number, write_time
from mesh.checks import Checks
from mesh.page_tokens import PageTokens
from popcorn.backlog.v1 import backlog_pb2

DEFAULT_PAGE_SIZE: Final = 20
LARGEST_PAGE_SIZE: Final = 100
MOST_MOVIES: Final = 500
"""In one BatchGetEntries, entries in one BatchPutEntries, and at most in the answer to IntersectBacklogs."""
MOST_PEOPLE: Final = 20
"""In one IntersectBacklogs."""
LONGEST_ETAG: Final = 64
MOST_LANGUAGES: Final = 10

_LIST_KIND: Final = "backlog.entries"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REGION = re.compile(r"[A-Z]{2}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,4}")
_EVERY_FIELD: Final = "*"

_STATUSES: Final[Mapping[int, Status]] = {
    backlog_pb2.ENTRY_STATUS_WANT_TO_WATCH: Status.WANT_TO_WATCH,
    backlog_pb2.ENTRY_STATUS_WATCHING: Status.WATCHING,
    backlog_pb2.ENTRY_STATUS_WATCHED: Status.WATCHED,
    backlog_pb2.ENTRY_STATUS_DROPPED: Status.DROPPED,
}
_SOURCES: Final[Mapping[int, Source]] = {
    backlog_pb2.ENTRY_SOURCE_BY_HAND: Source.BY_HAND,
    backlog_pb2.ENTRY_SOURCE_IMPORT: Source.IMPORT,
    backlog_pb2.ENTRY_SOURCE_MOVIE_NIGHT: Source.MOVIE_NIGHT,
}
_ORDERS: Final[Mapping[int, Order]] = {
    backlog_pb2.ENTRY_ORDER_ADDED_DESC: Order.ADDED_DESC,
    backlog_pb2.ENTRY_ORDER_ADDED_ASC: Order.ADDED_ASC,
    backlog_pb2.ENTRY_ORDER_UPDATED_DESC: Order.UPDATED_DESC,
    backlog_pb2.ENTRY_ORDER_UPDATED_ASC: Order.UPDATED_ASC,
    backlog_pb2.ENTRY_ORDER_RATING_DESC: Order.RATING_DESC,
    backlog_pb2.ENTRY_ORDER_RATING_ASC: Order.RATING_ASC,
    backlog_pb2.ENTRY_ORDER_RELEASE_DATE_DESC: Order.RELEASE_DATE_DESC,
    backlog_pb2.ENTRY_ORDER_RELEASE_DATE_ASC: Order.RELEASE_DATE_ASC,
    backlog_pb2.ENTRY_ORDER_RUNTIME_DESC: Order.RUNTIME_DESC,
    backlog_pb2.ENTRY_ORDER_RUNTIME_ASC: Order.RUNTIME_ASC,
    backlog_pb2.ENTRY_ORDER_TITLE_DESC: Order.TITLE_DESC,
    backlog_pb2.ENTRY_ORDER_TITLE_ASC: Order.TITLE_ASC,
    backlog_pb2.ENTRY_ORDER_POPULARITY_DESC: Order.POPULARITY_DESC,
    backlog_pb2.ENTRY_ORDER_POPULARITY_ASC: Order.POPULARITY_ASC,
}
_FIELDS: Final = {field.value: field for field in Field}
_STATUS_NUMBERS: Final = {status: number for number, status in _STATUSES.items()}
_SOURCE_NUMBERS: Final = {source: number for number, source in _SOURCES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intersection:
    """An IntersectBacklogsRequest, checked."""

    user_ids: tuple[str, ...]
    at_least: int
    leave_out_watched: bool
    limit: int


def is_id(text: str) -> bool:
    """Whether a text can be the id of a person or a game: 1 to 64 letters, digits, hyphens, underscores."""
    return _ID.fullmatch(text) is not None


def read_user_id(checks: Checks, user_id: str) -> str:
    """Whose backlog: the field `user_id`."""
    checks.require(
        is_id(user_id),
        "user_id",
        "INVALID_USER_ID",
        "Must be a user id: 1 to 64 letters, digits, hyphens and underscores.",
    )
    return user_id


def read_draft(checks: Checks, field: str, draft: backlog_pb2.EntryDraft, *, now: datetime) -> Draft:
    """What an entry shall say; `field` is the draft's own path."""
    status = checks.choice(
        f"{field}.status",
        draft.status,
        backlog_pb2.EntryStatus,
        default=backlog_pb2.ENTRY_STATUS_WANT_TO_WATCH,
    )
    source = checks.choice(
        f"{field}.source", draft.source, backlog_pb2.EntrySource, default=backlog_pb2.ENTRY_SOURCE_BY_HAND
    )
    return Draft(
        movie_id=checks.movie_id(f"{field}.movie_id", draft.movie_id),
        status=_STATUSES.get(status, Status.WANT_TO_WATCH),
        note=checks.text(f"{field}.note", draft.note, longest=entries.LONGEST_NOTE, multiline=True),
        half_stars=_rating(checks, f"{field}.rating", draft),
        tags=_tags(checks, f"{field}.tags", draft.tags),
        watch_time=_watch_time(checks, f"{field}.watch_time", draft, now=now),
        source=_SOURCES.get(source, Source.BY_HAND),
    )


def read_changes(
    checks: Checks, request: backlog_pb2.UpdateEntryRequest, *, now: datetime
) -> tuple[Draft, frozenset[Field]]:
    """What to change: the fields of the mask, `*` for all of them, or without a mask those that are set.

    Fields of the entry that are not to be changed are not looked at.
    """
    masked = list(request.update_mask.paths)
    for index, path in enumerate(masked[: len(Field) + 1]):
        checks.require(
            path in _FIELDS or path == _EVERY_FIELD,
            f"update_mask.paths[{index}]",
            "UNKNOWN_FIELD",
            f"Must be a field that can be changed: {', '.join(Field)}; or * for all of them.",
        )
    checks.require(
        len(masked) <= len(Field) + 1, "update_mask.paths", "TOO_MANY", "Must name each field once at most."
    )
    if _EVERY_FIELD in masked:
        fields = frozenset(Field)
    elif masked:
        fields = frozenset(_FIELDS[path] for path in masked if path in _FIELDS)
    else:
        fields = frozenset(field for field in Field if _is_set(request.entry, field))
    draft = backlog_pb2.EntryDraft()
    draft.CopyFrom(request.entry)
    draft.ClearField("source")
    for field in frozenset(Field) - fields:
        draft.ClearField(field.value)
    return read_draft(checks, "entry", draft, now=now), fields


def read_etag(checks: Checks, etag: str) -> str:
    """The field `etag`."""
    return checks.text("etag", etag, longest=LONGEST_ETAG)


def read_batch(checks: Checks, drafts: Sequence[backlog_pb2.EntryDraft], *, now: datetime) -> list[Draft]:
    """What several entries shall say: the field `entries`."""
    checks.require(len(drafts) > 0, "entries", "REQUIRED", "Must not be empty.")
    checks.require(
        len(drafts) <= MOST_MOVIES, "entries", "TOO_MANY", f"Must have at most {MOST_MOVIES} items."
    )
    read: dict[int, Draft] = {}
    for index, given in enumerate(drafts[:MOST_MOVIES]):
        draft = read_draft(checks, f"entries[{index}]", given, now=now)
        checks.require(
            draft.movie_id not in read,
            f"entries[{index}].movie_id",
            "REPEATED",
            "Must be another film than those before.",
        )
        read[draft.movie_id] = draft
    return list(read.values())


def read_list_query(
    checks: Checks, request: backlog_pb2.ListEntriesRequest, *, tokens: PageTokens
) -> ListQuery:
    """What to list.

    Raises:
        InvalidInput: With everything that is wrong; nothing is left to check.
    """
    user_id = read_user_id(checks, request.user_id)
    chosen = _filter(checks, request.filter)
    order = _ORDERS.get(
        checks.choice(
            "order", request.order, backlog_pb2.EntryOrder, default=backlog_pb2.ENTRY_ORDER_ADDED_DESC
        ),
        Order.ADDED_DESC,
    )
    page_size = checks.page_size(
        "page_size", request.page_size, default=DEFAULT_PAGE_SIZE, most=LARGEST_PAGE_SIZE
    )
    languages = _languages(checks, request.languages)
    position = checks.page_token(
        "page_token",
        request.page_token,
        tokens=tokens,
        kind=_LIST_KIND,
        query=_binding(user_id, chosen, order, languages),
    )
    checks.done()
    return ListQuery(
        user_id=user_id,
        chosen=chosen,
        order=order,
        languages=languages,
        page_size=page_size,
        after=_position(position, order),
    )


def list_message(page: Page, query: ListQuery, *, tokens: PageTokens) -> backlog_pb2.ListEntriesResponse:
    """A page, for an answer."""
    token = ""
    if page.next is not None:
        binding = _binding(query.user_id, query.chosen, query.order, query.languages)
        token = tokens.seal(_LIST_KIND, binding, [_json(page.next.key), page.next.movie_id])
    answer = backlog_pb2.ListEntriesResponse(
        next_page_token=token, total_size=page.total_size, undecided_size=page.undecided_size
    )
    for entry in page.entries:
        _fill(answer.entries.add(), entry)
    return answer


def read_intersection(checks: Checks, request: backlog_pb2.IntersectBacklogsRequest) -> Intersection:
    """Whose films, and which of them. Raises InvalidInput; nothing is left to check."""
    user_ids = request.user_ids
    checks.require(len(user_ids) > 0, "user_ids", "REQUIRED", "Must not be empty.")
    checks.require(
        len(user_ids) <= MOST_PEOPLE, "user_ids", "TOO_MANY", f"Must have at most {MOST_PEOPLE} items."
    )
    for index, user_id in enumerate(user_ids[:MOST_PEOPLE]):
        checks.require(
            is_id(user_id),
            f"user_ids[{index}]",
            "INVALID_USER_ID",
            "Must be a user id: 1 to 64 letters, digits, hyphens and underscores.",
        )
    at_least = request.wanted_by_at_least
    checks.require(at_least >= 0, "wanted_by_at_least", "NEGATIVE", "Must be 0 or more.")
    checks.require(request.limit >= 0, "limit", "NEGATIVE", "Must be 0 or more.")
    checks.done()
    return Intersection(
        # The same person twice is one person.
        user_ids=tuple(dict.fromkeys(user_ids)),
        at_least=max(at_least, 1),
        leave_out_watched=request.leave_out_watched,
        limit=min(request.limit or MOST_MOVIES, MOST_MOVIES),
    )


def read_movie_ids(checks: Checks, movie_ids: Sequence[int]) -> Sequence[int]:
    """Which films: the field `movie_ids`."""
    checks.require(len(movie_ids) > 0, "movie_ids", "REQUIRED", "Must not be empty.")
    checks.require(
        len(movie_ids) <= MOST_MOVIES, "movie_ids", "TOO_MANY", f"Must have at most {MOST_MOVIES} items."
    )
    for index, movie_id in enumerate(movie_ids[:MOST_MOVIES]):
        checks.movie_id(f"movie_ids[{index}]", movie_id)
    return movie_ids


def status_number(status: Status) -> backlog_pb2.EntryStatus.ValueType:
    """A status, for an answer."""
    return _STATUS_NUMBERS[status]  # type: ignore[return-value]  # numbers of this very enum


def entry_message(entry: Entry) -> backlog_pb2.Entry:
    """An entry, for an answer."""
    message = backlog_pb2.Entry()
    _fill(message, entry)
    return message


def entry_data(entry: Entry) -> dict[str, Any]:
    """An entry, for an export: the JSON of its message."""
    return json_format.MessageToDict(entry_message(entry))


def _rating(checks: Checks, field: str, draft: backlog_pb2.EntryDraft) -> int | None:
    if not draft.HasField("rating"):
        return None
    half_stars = entries.half_stars(draft.rating)
    checks.require(
        half_stars is not None, field, "INVALID_RATING", "Must be 0.5 to 5 stars, in steps of a half."
    )
    return half_stars


def _tags(checks: Checks, field: str, given: Iterable[str]) -> tuple[str, ...]:
    indexes: dict[str, int] = {}
    for index, tag in enumerate(given):
        indexes.setdefault(tag.strip(), index)
    checks.require(
        len(indexes) <= entries.MOST_TAGS, field, "TOO_MANY", f"Must have at most {entries.MOST_TAGS} items."
    )
    # Beyond that number nothing is looked at: a request can hold hundreds of thousands.
    return tuple(
        checks.text(f"{field}[{index}]", tag, longest=entries.LONGEST_TAG, shortest=1)
        for tag, index in list(indexes.items())[: entries.MOST_TAGS]
    )


def _watch_time(
    checks: Checks, field: str, draft: backlog_pb2.EntryDraft, *, now: datetime
) -> datetime | None:
    if not draft.HasField("watch_time"):
        return None
    time = read_time(checks, field, draft.watch_time)
    checks.require(time <= now + entries.CLOCK_SKEW, field, "IN_THE_FUTURE", "Must not be in the future.")
    return time


def _filter(checks: Checks, given: backlog_pb2.EntryFilter) -> Filter:
    status = checks.choice("filter.status", given.status, backlog_pb2.EntryStatus, default=0)
    tag = checks.text("filter.tag", given.tag, longest=entries.LONGEST_TAG)
    checks.require(len(given.genre_ids) <= 10, "filter.genre_ids", "TOO_MANY", "Must have at most 10 items.")
    checks.require(
        all(genre_id >= 1 for genre_id in given.genre_ids),
        "filter.genre_ids",
        "INVALID_ID",
        "Must be TMDB's genre ids: whole numbers from 1.",
    )
    checks.require(
        given.max_runtime_minutes >= 0, "filter.max_runtime_minutes", "NEGATIVE", "Must be 0 or more."
    )
    checks.require(
        given.decade == 0 or (1870 <= given.decade <= 2200 and given.decade % 10 == 0),
        "filter.decade",
        "INVALID_DECADE",
        "Must be a decade's first year, such as 1990.",
    )
    checks.require(
        len(given.provider_ids) <= 20, "filter.provider_ids", "TOO_MANY", "Must have at most 20 items."
    )
    checks.require(
        all(provider_id >= 1 for provider_id in given.provider_ids),
        "filter.provider_ids",
        "INVALID_ID",
        "Must be TMDB's provider ids: whole numbers from 1.",
    )
    checks.require(
        (not given.region and not given.provider_ids) or _REGION.fullmatch(given.region) is not None,
        "filter.region",
        "INVALID_REGION",
        "Must be a region's ISO 3166-1 code in upper case, such as GB.",
    )
    return Filter(
        status=_STATUSES.get(status),
        tag=tag or None,
        genre_ids=tuple(sorted(set(given.genre_ids))),
        max_runtime_minutes=given.max_runtime_minutes or None,
        decade=given.decade or None,
        provider_ids=tuple(sorted(set(given.provider_ids))),
        region=given.region if given.provider_ids else "",
        text=checks.text("filter.text", given.text, longest=100),
    )


def _languages(checks: Checks, given: Sequence[str]) -> tuple[str, ...]:
    checks.require(
        len(given) <= MOST_LANGUAGES, "languages", "TOO_MANY", f"Must have at most {MOST_LANGUAGES} items."
    )
    for index, tag in enumerate(given[:MOST_LANGUAGES]):
        checks.require(
            _LANGUAGE.fullmatch(tag) is not None,
            f"languages[{index}]",
            "INVALID_LANGUAGE",
            'Must be a BCP 47 tag such as "pt-BR".',
        )
    return tuple(given)


def _is_set(draft: backlog_pb2.EntryDraft, field: Field) -> bool:
    match field:
        case Field.RATING:
            return draft.HasField("rating")
        case Field.WATCH_TIME:
            return draft.HasField("watch_time")
        case _:
            return bool(getattr(draft, field.value))


def _binding(user_id: str, chosen: Filter, order: Order, languages: tuple[str, ...]) -> Mapping[str, object]:
    """What a page token is good for: this list of this person, and no other."""
    # Languages count only where titles do: a phone may change its own on the way.
    view = view_of(chosen, order, languages)
    return {"user": user_id, "order": order, "languages": view.languages} | asdict(chosen)


def _json(key: datetime | float | str) -> int | float | str:
    return to_number(key) if isinstance(key, datetime) else key


def _position(position: list[Any], order: Order) -> Position | None:
    if not position:
        return None
    key, movie_id = position
    match order:
        case Order.ADDED_DESC | Order.ADDED_ASC | Order.UPDATED_DESC | Order.UPDATED_ASC:
            return Position(from_number(key), movie_id)
        case _:
            return Position(key, movie_id)


# Most of what a page costs this service is here: fields that are set one by one, where they are to end up,
# take a third of the time of messages that are made of keywords and copied.
def _fill(message: backlog_pb2.Entry, entry: Entry) -> None:
    message.movie_id = entry.movie_id
    message.status = _STATUS_NUMBERS[entry.status]  # type: ignore[assignment]  # a number of this very enum
    message.note = entry.note
    if entry.half_stars is not None:
        message.rating = entries.stars(entry.half_stars)
    message.tags.extend(entry.tags)
    write_time(message.add_time, entry.add_time)
    write_time(message.update_time, entry.update_time)
    if entry.watch_time is not None:
        write_time(message.watch_time, entry.watch_time)
    message.source = _SOURCE_NUMBERS[entry.source]  # type: ignore[assignment]  # a number of this very enum
    message.etag = entry.etag
