"""Logs: one JSON object a line on stdout, or coloured text for a developer's eyes.

Every line has `timestamp`, `level`, `service` and `event`, and inside an RPC its `request_id`. Libraries that
log through the standard library come out the same way. Tokens and e-mail addresses do not come out at all.
"""

import json
import logging
import re
import sys
from typing import Any, Final, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from mesh import running

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]

_SECRET_KEYS: Final = frozenset(
    {
        "access_token",
        "api_key",
        "authorization",
        "cookie",
        "email",
        "id_token",
        "identity_header",
        "password",
        "refresh_token",
        "secret",
        "token",
    }
)
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)*")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_URL_PASSWORD = re.compile(r"(://[^\s:/@\"]*:)[^\s/@\"]+@")
_HEAD: Final = ("timestamp", "level", "service", "event", "request_id")
_REDACTED: Final = "[redacted]"

# Libraries that say at INFO what we say ourselves, once a request.
_QUIET: Final = ("httpx", "httpcore", "asyncio", "pymongo", "hpack")


def configure(service: str, level: Level = "info", fmt: Format = "json") -> None:
    """Set up logging for this process.

    Args:
        service: The name on every line.
        level: The least level that is written.
        fmt: "json" for machines, "console" for people.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]

    def with_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Processor] = [
        structlog.processors.add_log_level,
        with_service,
        _with_request,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _without_secrets,
    ]
    rendering: list[Processor] = (
        [structlog.processors.format_exc_info, _as_json]
        if fmt == "json"
        # Plain: where rich is installed, tracebacks come in colours, and what colours cut up is not scrubbed.
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback), _scrubbed]
    )
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:-1], structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_secrets,
                *rendering,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(True)


def scrub(text: str) -> str:
    """Return a text without the tokens, passwords in URLs and e-mail addresses that stood in it."""
    if "eyJ" in text:
        text = _JWT.sub(_REDACTED, text)
    if "@" in text:
        text = _EMAIL.sub(_REDACTED, _URL_PASSWORD.sub(rf"\1{_REDACTED}@", text))
    return text


def _with_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    call = running.current()
    if call is not None:
        event.setdefault("request_id", call.request_id)
    return event


def _without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key in _SECRET_KEYS & event.keys():
        event[key] = _REDACTED
    return event


_encode = json.JSONEncoder(separators=(",", ":"), default=repr, ensure_ascii=False).encode


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    head: dict[str, Any] = {key: event.pop(key) for key in _HEAD if key in event}
    return scrub(_encode({**head, **event}))


def _scrubbed(_logger: WrappedLogger, _method: str, rendered: Any) -> str:
    return scrub(str(rendered))
