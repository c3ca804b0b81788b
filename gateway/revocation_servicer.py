"""popcorn.gateway.v1.RevocationService: which sessions have ended, for the services of the mesh."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import grpc

from gateway.messages import timestamp
from gateway.session_store import SessionStore
from mesh.checks import Checks
from mesh.page_tokens import PageTokens
from popcorn.gateway.v1 import revocations_pb2, revocations_pb2_grpc

_USUAL_PAGE: Final = 1_000
_LARGEST_PAGE: Final = 10_000
_LIST: Final = "gateway.revocations"


class RevocationServicer(revocations_pb2_grpc.RevocationServiceServicer):
    """Tells the mesh which tokens to refuse."""

    def __init__(self, store: SessionStore, *, tokens: PageTokens) -> None:
        """Take what knows the sessions, and what seals page tokens."""
        self._store = store
        self._tokens = tokens

    async def ListRevocations(
        self,
        request: revocations_pb2.ListRevocationsRequest,
        _context: grpc.aio.ServicerContext[Any, Any],
    ) -> revocations_pb2.ListRevocationsResponse:
        """Return what is new."""
        since = request.since.ToDatetime(tzinfo=UTC) if request.HasField("since") else None
        query = {"since": None if since is None else since.isoformat()}
        checks = Checks()
        limit = checks.page_size("page_size", request.page_size, default=_USUAL_PAGE, most=_LARGEST_PAGE)
        position = checks.page_token(
            "page_token", request.page_token, tokens=self._tokens, kind=_LIST, query=query
        )
        checks.done()
        after = (datetime.fromisoformat(position[0]), UUID(position[1])) if position else None
        as_of = await self._store.as_of()
        rows = await self._store.revocations(since=since, after=after, limit=limit)
        answer = revocations_pb2.ListRevocationsResponse(
            revocations=[
                revocations_pb2.Revocation(
                    session_id=str(row["session_id"]),
                    revoke_time=timestamp(row["revoke_time"]),
                    forget_time=timestamp(row["forget_time"]),
                )
                for row in rows
            ],
            as_of=timestamp(as_of),
        )
        if len(rows) == limit:
            last = [rows[-1]["revoke_time"].isoformat(), str(rows[-1]["session_id"])]
            answer.next_page_token = self._tokens.seal(_LIST, query, last)
        return answer
