"""Everything held about a person, over all services: the whole of it, or a refusal."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from google.protobuf.struct_pb2 import Struct

from gateway.accounts import Account, AccountGone
from gateway.records import Records


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session that is on file, open or ended."""

    session_id: UUID
    """Its id."""
    device: str
    """What it runs on, as far as the app told."""
    create_time: datetime
    """When it began."""
    last_use_time: datetime
    """When it was last refreshed."""


@dataclass(frozen=True, slots=True)
class OwnRecords:
    """What the gateway itself holds about a person."""

    account: Account
    """The account, with its identities."""
    sessions: tuple[KeptSession, ...]
    """All sessions on file, the latest used first."""
    rows: Mapping[str, Any]
    """Its rows as JSON, all columns but secrets: `{"account": {...}, "identities": [...], ...}`."""


@dataclass(frozen=True, slots=True)
class Export:
    """Everything."""

    own: OwnRecords
    """What the gateway holds."""
    services: Mapping[str, Struct]
    """What the other services hold, by the service's name."""


class OwnRecordStore(Protocol):
    """Knows all that the gateway holds about a person."""

    async def own_records(self, user_id: UUID) -> OwnRecords | None:
        """Return it; None when there is no account that lives."""
        ...


class Exports:
    """Puts exports together."""

    def __init__(self, own: OwnRecordStore, *, others: Iterable[Records]) -> None:
        """Take what knows our own part, and the other services'."""
        self._own = own
        self._others = tuple(others)

    async def everything_about(self, user_id: UUID) -> Export:
        """Return everything, all services asked at once.

        Raises:
            AccountGone: There is no such account (any more).
            mesh.errors.Unavailable: A service does not answer: half an export would pass for a whole one.
        """
        own = await self._own.own_records(user_id)
        if own is None:
            raise AccountGone
        asked = [asyncio.ensure_future(records.export(user_id)) for records in self._others]
        try:
            answers = await asyncio.gather(*asked)
        finally:
            for task in asked:
                task.cancel()
        return Export(
            own, {records.service: data for records, data in zip(self._others, answers, strict=True)}
        )
