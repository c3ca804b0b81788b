"""How often one address, and one account, may sign in, refresh, or come as a guest.

Counted over all replicas of the gateway (`gateway.limit_store`), in front of anything that costs: the edge's
own limits count each edge for itself. A limit of N a minute is a bucket of N calls that drips one each 60/N
seconds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

PERIOD = timedelta(minutes=1)
"""What limits are given for."""


class Limited(StrEnum):
    """What is counted."""

    SIGN_IN = "sign_in"
    GUEST_SIGN_IN = "guest_sign_in"
    REFRESH = "refresh"


class RateLimited(Exception):
    """Too often."""

    status = "RESOURCE_EXHAUSTED"
    reason = "RATE_LIMITED"

    def __init__(self, what: Limited, *, retry_after: timedelta) -> None:
        seconds = max(1, math.ceil(retry_after.total_seconds()))
        super().__init__(f"That was too often. Please try again in {seconds} s.")
        self.retry_after = timedelta(seconds=seconds)
        self.metadata: Mapping[str, str] = {"limit": what.value}


@dataclass(frozen=True, slots=True)
class PerMinute:
    """The limits of one address or one account, a minute."""

    sign_ins: int
    """Sign-ins with a provider."""
    refreshes: int
    """Refreshes."""
    guest_sign_ins: int = 1
    """Guests. Of addresses only: before it a guest has no account."""

    def of(self, what: Limited) -> int:
        """Return one of them."""
        match what:
            case Limited.SIGN_IN:
                return self.sign_ins
            case Limited.GUEST_SIGN_IN:
                return self.guest_sign_ins
            case Limited.REFRESH:
                return self.refreshes


class Buckets(Protocol):
    """Keeps the buckets of all replicas."""

    async def take(self, name: str, *, drip: timedelta, size: timedelta) -> timedelta | None:
        """Take one call out of a bucket in one atomic step.

        Args:
            name: Whose bucket, and for what.
            drip: What one call is worth.
            size: What the bucket holds.

        Returns:
            None when it was there; otherwise how long until there is one.
        """
        ...


class Limits:
    """Counts who comes how often."""

    def __init__(self, buckets: Buckets, *, address: PerMinute, account: PerMinute) -> None:
        """Take what keeps the count, and the limits of one address and one account."""
        self._buckets = buckets
        self._address = address
        self._account = account

    async def count_address(self, what: Limited, address: str) -> None:
        """Count one call of an address.

        Raises:
            RateLimited: It has had its share.
            mesh.errors.Unavailable: Nobody can count now.
        """
        await self._count(what, f"address {address}", self._address.of(what))

    async def count_account(self, what: Limited, account: str) -> None:
        """Count one call of an account, named by a key that nobody can choose. Raises as `count_address`."""
        await self._count(what, f"account {account}", self._account.of(what))

    async def _count(self, what: Limited, whose: str, limit: int) -> None:
        wait = await self._buckets.take(f"{what} {whose}", drip=PERIOD / limit, size=PERIOD)
        if wait is not None:
            raise RateLimited(what, retry_after=wait)
