"""Between the contract's timestamps and the domain's times, which are aware and in microseconds."""

from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from mesh.checks import Checks

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# The range of both google.protobuf.Timestamp and datetime, in seconds since 1970: years 1 to 9999. Their very
# first instant is left out: to asyncpg it means minus infinity.
_FIRST_SECOND: Final = -62_135_596_799
_LAST_SECOND: Final = 253_402_300_799


def read_time(checks: Checks, field: str, given: Timestamp) -> datetime:
    """Return a time; what it returns for a bad one means nothing."""
    if not (_FIRST_SECOND <= given.seconds <= _LAST_SECOND and 0 <= given.nanos < 1_000_000_000):
        checks.require(False, field, "INVALID_TIME", "Must be a time of the years 1 to 9999.")
        return _EPOCH
    return _EPOCH + timedelta(seconds=given.seconds, microseconds=given.nanos // 1000)


def timestamp(time: datetime) -> Timestamp:
    """Return a time, for an answer."""
    message = Timestamp()
    write_time(message, time)
    return message


def write_time(message: Timestamp, time: datetime) -> None:
    """Set a message's timestamp, in place: quicker than making one and copying it."""
    since = time - _EPOCH
    message.seconds = since.days * 86_400 + since.seconds
    message.nanos = since.microseconds * 1_000


def to_number(time: datetime) -> int:
    """Return a time as microseconds since 1970, as page tokens hold it."""
    return (time - _EPOCH) // _MICROSECOND


def from_number(number: int) -> datetime:
    """Return the time that is so many microseconds after 1970."""
    return _EPOCH + number * _MICROSECOND
