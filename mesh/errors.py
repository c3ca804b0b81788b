"""Failures, and the one function that turns them into what the client sees.

A failure is an exception with a `status`, a `reason` and `metadata` (`Refusal`). Domain modules declare their
own, without importing anything from here:

    class RoomFull(Exception):
        status = "FAILED_PRECONDITION"
        reason = "ROOM_FULL"

        def __init__(self, seats: int) -> None:
            super().__init__(f"The room seats {seats}; it is full.")
            self.metadata = {"seats": str(seats)}

Those below belong to everybody. Whatever is not a refusal becomes INTERNAL with one plain sentence: the text
of a foreign exception never leaves the process, except into the log.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

DOMAIN: Final = "eveningpopcorn.dev"
"""The `domain` of every ErrorInfo of ours."""

STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"
_RETRY_PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"

# Trailers have to fit into 8 KiB together (gRPC's limit for metadata), and the details travel in base64.
_DETAILS_BUDGET_BYTES: Final = 4096
_LONGEST_MESSAGE: Final = 512
_REASON = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")

_log = structlog.get_logger("mesh.errors")


@runtime_checkable
class Refusal(Protocol):
    """An exception that the client may see: its text is a sentence written for the client.

    It may also carry `violations` (a sequence of `Violation`, rendered as google.rpc.BadRequest) and
    `retry_after` (a timedelta, rendered as google.rpc.RetryInfo).
    """

    status: str
    """The name of a `grpc.StatusCode`: "NOT_FOUND"."""
    reason: str
    """A stable name in UPPER_SNAKE, unique within our domain: clients switch on it."""
    metadata: Mapping[str, str]
    """Whatever varies in the sentence, under stable names."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One bad field of a request."""

    field: str
    """Its path in the contract's spelling: `note`, `picks[3].movie_id`."""
    reason: str
    """A stable name in UPPER_SNAKE."""
    description: str
    """A sentence that says what would be right; never repeats the value."""


class InvalidInput(Exception):
    """The request itself is wrong, whoever sends it and whenever."""

    status = "INVALID_ARGUMENT"
    reason = "INVALID_INPUT"

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        fields = list(dict.fromkeys(violation.field for violation in self.violations))
        shown = ", ".join(fields[:5]) + (", ..." if len(fields) > 5 else "")
        super().__init__(f"The request has {len(self.violations)} invalid value(s): {shown}.")
        self.metadata: Mapping[str, str] = {"violations": str(len(self.violations))}


class Unauthenticated(Exception):
    """Nobody has said who calls, or not in a way that can be believed."""

    status = "UNAUTHENTICATED"
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        reason: str = "MISSING_IDENTITY",
        sentence: str = "Sign in first: this call needs to know who you are.",
    ) -> None:
        super().__init__(sentence)
        self.reason = reason


class PermissionDenied(Exception):
    """The caller is known, and may not do this."""

    status = "PERMISSION_DENIED"

    def __init__(self, reason: str, sentence: str, *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})


class Unavailable(Exception):
    """Something that this service depends on does not answer; trying again later may help."""

    status = "UNAVAILABLE"
    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, dependency: str, retry_after: timedelta | None = None) -> None:
        """Say which one.

        Args:
            dependency: A plain name for it: "tmdb", "postgresql".
            retry_after: When asking again makes sense, if that is known.
        """
        super().__init__("Something that this needs does not answer right now. Please try again in a moment.")
        self.metadata: Mapping[str, str] = {"dependency": dependency}
        self.retry_after = retry_after


def to_status(error: BaseException, *, method: str = "") -> status_pb2.Status:
    """Turn any exception into the google.rpc.Status that the client gets.

    Args:
        error: What a handler raised. A `Refusal` keeps its status, sentence and details. A failed call to
            another service of the mesh is passed on unchanged when that service explained itself, and is
            otherwise UNAVAILABLE or DEADLINE_EXCEEDED. A `TimeoutError` is DEADLINE_EXCEEDED. Everything else
            is a mistake of ours: it is logged with its traceback and answered with INTERNAL.
        method: The full path of the RPC, for NotImplementedError's metadata and the log.

    Returns:
        A status with exactly one ErrorInfo, of a size that fits into trailers.
    """
    if isinstance(error, grpc.aio.AioRpcError):
        return _of_downstream(error, method)
    if isinstance(error, NotImplementedError):
        name = method.removeprefix("/")
        return _status(
            "UNIMPLEMENTED", "NOT_IMPLEMENTED", f"{name or 'This'} is not implemented yet.", {"method": name}
        )
    if _is_refusal(error):
        return _of_refusal(error)
    if isinstance(error, TimeoutError):
        _log.warning("rpc.timed_out", method=method, exc_info=error)
        return _status("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "This took too long. Please try again.", {})
    _log.error("rpc.failed", method=method, exc_info=error)
    return _status("INTERNAL", "INTERNAL", "Something went wrong on our side.", {})


def code_of(status: status_pb2.Status) -> grpc.StatusCode:
    """Return the gRPC code of a status."""
    return _CODE_OF_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)


def reason_of(status: status_pb2.Status) -> str | None:
    """Return the reason of a status' ErrorInfo, if it is one of ours."""
    info = _our_error_info(status)
    return None if info is None else str(info.reason)


def trailers_of(status: status_pb2.Status) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailing metadata that carries a status' details.

    A status that says when to try again also tells gRPC's own retries to keep out of it: they would come
    within milliseconds, from every replica, to a service that has just said that it is in trouble.
    """
    trailers: list[tuple[str, str | bytes]] = [(STATUS_DETAILS_KEY, status.SerializeToString())]
    if any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details):
        trailers.append((_RETRY_PUSHBACK_KEY, "-1"))
    return tuple(trailers)


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """Return the google.rpc.Status that a failed call brought along, or None when none fits."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                return None
            return status if status.code == error.code().value[0] else None
    return None


_CODE_OF_NUMBER: Final[Mapping[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}
_CODE_OF_NAME: Final[Mapping[str, grpc.StatusCode]] = {
    code.name: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK
}


def _is_refusal(error: BaseException) -> bool:
    # Drivers' exceptions have attributes called `status` and `reason` too; theirs are numbers or sentences.
    status, reason = getattr(error, "status", None), getattr(error, "reason", None)
    return (
        isinstance(status, str)
        and status in _CODE_OF_NAME
        and isinstance(reason, str)
        and _REASON.fullmatch(reason) is not None
        and isinstance(getattr(error, "metadata", None), Mapping)
    )


def _of_refusal(error: BaseException) -> status_pb2.Status:
    refusal: Any = error
    details: list[Message] = []
    if violations := getattr(refusal, "violations", None):
        details.append(_bad_request(violations))
    retry_after = getattr(refusal, "retry_after", None)
    if isinstance(retry_after, timedelta):
        delay = duration_pb2.Duration()
        delay.FromTimedelta(max(retry_after, timedelta(0)))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return _status(refusal.status, refusal.reason, str(error), refusal.metadata, details)


def _bad_request(violations: Iterable[Violation]) -> Message:
    bad_request = error_details_pb2.BadRequest()
    for violation in violations:
        added = bad_request.field_violations.add(
            field=violation.field[:256], reason=violation.reason[:64], description=violation.description[:256]
        )
        if bad_request.ByteSize() > _DETAILS_BUDGET_BYTES:
            # The ErrorInfo's `violations` still says how many there were.
            bad_request.field_violations.remove(added)
            break
    return bad_request  # type: ignore[no-any-return]  # googleapis-common-protos ships no types


def _of_downstream(error: grpc.aio.AioRpcError, method: str) -> status_pb2.Status:
    passed_on = status_of(error)
    if passed_on is not None and _our_error_info(passed_on) is not None:
        return passed_on
    _log.warning("rpc.dependency_failed", method=method, status=error.code().name, details=error.details())
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        sentence = "Something that this needs took too long to answer. Please try again."
        return _status("DEADLINE_EXCEEDED", "DEPENDENCY_UNAVAILABLE", sentence, {})
    sentence = "Something that this needs does not answer right now. Please try again in a moment."
    return _status("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE", sentence, {})


def _our_error_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo | None:
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            try:
                detail.Unpack(info)
            except DecodeError:
                return None
            return info if info.domain == DOMAIN else None
    return None


def _status(
    code: str, reason: str, sentence: str, metadata: Mapping[str, str], details: Iterable[Message] = ()
) -> status_pb2.Status:
    info = error_details_pb2.ErrorInfo(
        reason=reason, domain=DOMAIN, metadata={str(key): str(value)[:256] for key, value in metadata.items()}
    )
    status = status_pb2.Status(code=_CODE_OF_NAME[code].value[0], message=sentence[:_LONGEST_MESSAGE])
    for detail in (info, *details):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status
