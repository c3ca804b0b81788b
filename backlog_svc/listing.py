"""A page of a backlog, with what can be learnt about its films in time."""

from dataclasses import dataclass
from typing import Final

from backlog_svc.entries import Filter, Order, Page, Position
from backlog_svc.films import FRESH
from backlog_svc.list_store import ListStore, view_of
from backlog_svc.lookups import Lookups
from mesh import running
from mesh.clock import Clock

_LOOKUP_SECONDS: Final = 1.0
# The rest is for the database, before and after, and for the way back.
_LOOKUPS_SHARE_OF_THE_DEADLINE: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """What to list."""

    user_id: str
    chosen: Filter
    order: Order
    languages: tuple[str, ...]
    """The reader's, the best liked first."""
    page_size: int
    after: Position | None
    """Where the page before ended; None for the first."""


class Listing:
    """Lists backlogs."""

    def __init__(self, lists: ListStore, lookups: Lookups, *, clock: Clock) -> None:
        self._lists = lists
        self._lookups = lookups
        self._clock = clock

    async def page(self, query: ListQuery) -> Page:
        """Return a page.

        Only a first page looks films up: what is found would move a list that is being read.
        """
        page = await self._read(query)
        if not page.lacking_size or query.after is not None:
            return page
        view = view_of(query.chosen, query.order, query.languages)
        if await self._lookups.fill_in(query.user_id, view, seconds=_seconds()):
            return await self._read(query)
        return page

    async def _read(self, query: ListQuery) -> Page:
        return await self._lists.page(
            query.user_id,
            query.chosen,
            query.order,
            languages=query.languages,
            after=query.after,
            size=query.page_size,
            fresh_since=self._clock() - FRESH,
        )


def _seconds() -> float:
    call = running.current()
    left = None if call is None else call.time_left()
    return _LOOKUP_SECONDS if left is None else min(_LOOKUP_SECONDS, left * _LOOKUPS_SHARE_OF_THE_DEADLINE)
