"""Backlogs on their way out, with the films' titles as far as they are known or can be had in time."""

from collections.abc import AsyncGenerator
from typing import Final

from backlog_svc.entries import Status
from backlog_svc.export_store import ExportStore
from backlog_svc.films import View
from backlog_svc.imports.writing import FileKind, pieces
from backlog_svc.lookups import Lookups
from mesh.clock import Clock

_PATIENCE_WITH_TITLES_SECONDS: Final = 2.0


class Exporting:
    """Makes files of backlogs."""

    def __init__(self, store: ExportStore, lookups: Lookups, *, clock: Clock) -> None:
        self._store = store
        self._lookups = lookups
        self._clock = clock

    async def file(self, user_id: str, kind: FileKind, status: Status | None) -> AsyncGenerator[str, None]:
        """Give a file piece by piece. A film whose title is not known has none there: its id names it.

        Args:
            user_id: Whose backlog.
            kind: Which file.
            status: Only entries with this one; None for all.
        """
        await self._lookups.fill_in(user_id, View(), seconds=_PATIENCE_WITH_TITLES_SECONDS)
        async for piece in pieces(kind, self._store.stretches(user_id, status), now=self._clock()):
            yield piece
