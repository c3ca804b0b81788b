"""Reading what a refused call says."""

from collections.abc import Awaitable
from dataclasses import dataclass

import grpc
import pytest
from google.rpc import error_details_pb2

from mesh.errors import DOMAIN, status_of


@dataclass(frozen=True)
class Seen:
    """A refusal as a client sees it."""

    code: str
    reason: str
    metadata: dict[str, str]
    fields: set[str]
    message: str


async def refusal(call: Awaitable[object]) -> Seen:
    """Make a call that has to be refused, in the shape that every refusal has."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = status_of(caught.value)
    assert status is not None, f"no details: {caught.value}"
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert [detail.Unpack(info) for detail in status.details].count(True) == 1
    for detail in status.details:
        detail.Unpack(bad)
    assert info.domain == DOMAIN
    return Seen(
        code=caught.value.code().name,
        reason=info.reason,
        metadata=dict(info.metadata),
        fields={violation.field for violation in bad.field_violations},
        message=caught.value.details() or "",
    )
