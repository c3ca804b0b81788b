"""The fault switch and the record of requests: what tests need of a TMDB that misbehaves on demand."""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlencode

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dev.tmdb.answers import FAULT_MESSAGES

Body = Literal["html", "truncated", "reset"]
BODIES: Final = ("html", "truncated", "reset")
REMEMBERED: Final = 1000

_HTML = "<html><head><title>{0} Error</title></head><body><center><h1>{0} Error</h1></center></body></html>\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with the next requests.

    Attributes:
        latency_seconds: waited before anything is answered.
        status: answered instead of the film; with `body` "truncated" or "reset" it plays no part.
        retry_after: the `Retry-After` header, in seconds or as a date, sent with `status`.
        body: `html` answers a proxy's page instead of JSON, `truncated` half of the true JSON, `reset`
            nothing: the connection breaks.
        times: how many requests it meets; 0 is every request until it is taken back.
        path: only requests whose path begins like this are met.
    """

    latency_seconds: float = 0.0
    status: int | None = None
    retry_after: str | None = None
    body: Body | None = None
    times: int = 1
    path: str = "/3/"

    @classmethod
    def parse(cls, order: Mapping[str, Any]) -> "Fault":
        """Reads the body of `POST /control/faults`.

        Raises:
            ValueError: a name or value it does not know, with a sentence that says which.
        """
        unknown = set(order) - {"latencySeconds", "status", "retryAfter", "body", "times", "path"}
        if unknown:
            raise ValueError(f"A fault has no {', '.join(sorted(unknown))}.")
        body = order.get("body")
        if body is not None and body not in BODIES:
            raise ValueError(f"A fault's body is one of {', '.join(BODIES)}.")
        status = order.get("status")
        if status is not None and not (isinstance(status, int) and 200 <= status <= 599):
            raise ValueError("A fault's status is a number from 200 to 599.")
        retry_after = order.get("retryAfter")
        return cls(
            latency_seconds=float(order.get("latencySeconds", 0)),
            status=status,
            retry_after=None if retry_after is None else str(retry_after),
            body=body,
            times=int(order.get("times", 1)),
            path=str(order.get("path", "/3/")),
        )


class Switchboard:
    """The fault that is switched on, if any, and the requests that came in."""

    def __init__(self) -> None:
        self.count = 0
        self._requests: deque[str] = deque(maxlen=REMEMBERED)
        self._fault: Fault | None = None
        self._left = 0

    def reset(self) -> None:
        """Takes the fault back and forgets the requests."""
        self.count = 0
        self._requests.clear()
        self._fault = None

    def switch_on(self, fault: Fault) -> None:
        """Lets `fault` meet the next requests, instead of the one before it."""
        self._fault, self._left = fault, fault.times

    def record(self, path: str, query: str) -> None:
        """Remembers a request, without its key."""
        self.count += 1
        shown = urlencode([(name, value) for name, value in parse_qsl(query, True) if name != "api_key"])
        self._requests.append(f"{path}?{shown}" if shown else path)

    def take(self, path: str) -> Fault | None:
        """The fault that meets a request for `path`, which is one of those it was switched on for."""
        fault = self._fault
        if fault is None or not path.startswith(fault.path):
            return None
        if fault.times and self._left <= 0:
            self._fault = None
            return None
        self._left -= 1
        return fault

    def report(self) -> dict[str, Any]:
        """The number of requests since the last reset, and the paths of the last of them, oldest first."""
        return {"count": self.count, "requests": list(self._requests)}


class FaultyService:
    """Stands before the API: counts every request to it and lets the switched-on fault happen."""

    def __init__(self, app: ASGIApp, *, switchboard: Switchboard) -> None:
        self._app = app
        self._switchboard = switchboard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or fails it as told."""
        if scope["type"] != "http" or not scope["path"].startswith("/3/"):
            await self._app(scope, receive, send)
            return
        self._switchboard.record(scope["path"], scope["query_string"].decode("latin-1"))
        fault = self._switchboard.take(scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
            return
        if fault.latency_seconds > 0:
            await asyncio.sleep(fault.latency_seconds)
        match fault:
            case Fault(body="reset"):
                await _break_connection(receive, send)
            case Fault(body="truncated"):
                await self._cut_short(scope, receive, send)
            case Fault(status=None, body=None):
                await self._app(scope, receive, send)
            case _:
                await _refusal(fault)(scope, receive, send)

    async def _cut_short(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers half of the true answer, as complete HTTP: JSON that ends in the middle."""
        status = 200
        whole = bytearray()

        async def keep(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                whole.extend(message.get("body", b""))

        await self._app(scope, receive, keep)
        half = Response(bytes(whole[: len(whole) // 2]), status, media_type="application/json")
        await half(scope, receive, send)


def _refusal(fault: Fault) -> Response:
    status = fault.status or 502
    headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else None
    if fault.body == "html":
        return Response(_HTML.format(status), status, headers, "text/html")
    code, message = FAULT_MESSAGES.get(status, (11, "Internal error: Something went wrong, contact TMDB."))
    return JSONResponse({"success": False, "status_code": code, "status_message": message}, status, headers)


async def _break_connection(receive: Receive, send: Send) -> None:
    """Drops the client's connection without an answer.

    ASGI has no word for that, so the connection is taken from the server: uvicorn's `send` is a method of the
    object that holds it. Under a server that does not have it so (a test client in the same process) the
    client sees the exception itself.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("The stand-in for TMDB was told to break this connection.")
    transport.abort()
    # Until the server has heard that the connection is gone it would try to answer for us.
    message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()


def parse_order(raw: bytes) -> Fault:
    """Reads a fault from the bytes of a request.

    Raises:
        ValueError: not a JSON object, or not a fault.
    """
    order = json.loads(raw)
    if not isinstance(order, dict):
        raise ValueError("A fault is a JSON object.")
    return Fault.parse(order)
