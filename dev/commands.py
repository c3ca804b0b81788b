"""What to type to call a method: `curl`, `grpcurl` and `buf curl`, with an example's values."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from dev.contract import Rpc
from popcorn.options.v1 import options_pb2

EDGE: Final = "localhost:8080"
"""Where `make up` has the edge."""
_CONTRACT: Final = "gen/popcorn.binpb"
_BEARER: Final = '-H "authorization: Bearer $TOKEN"'


def target_of(rpc: Rpc) -> str:
    """Returns where a method is: the edge, or a variable with the address of the service that has it."""
    if rpc.access != options_pb2.ACCESS_INTERNAL:
        return EDGE
    return f"${rpc.service.split('.')[1].upper()}_TARGET"


def grpcurl(rpc: Rpc, example: Mapping[str, Any]) -> str:
    """Returns a call over gRPC with grpcurl."""
    options = ["grpcurl", "-plaintext", "-protoset", _CONTRACT, *_headers(rpc)]
    return f"{' '.join(options)} \\\n  -d {_json(example)} \\\n  {target_of(rpc)} {rpc.path}"


def buf_curl(rpc: Rpc, example: Mapping[str, Any]) -> str:
    """Returns a call over gRPC with the buf that `make test` installs."""
    options = ["--protocol", "grpc", "--http2-prior-knowledge", "--schema", _CONTRACT]
    words = [".venv/bin/buf", "curl", *options, *_headers(rpc)]
    return f"{' '.join(words)} \\\n  -d {_json(example)} \\\n  http://{target_of(rpc)}/{rpc.path}"


def curl(path: str, verb: str, operation: Mapping[str, Any]) -> str:
    """Returns a call over REST.

    Args:
        path: An OpenAPI document's path.
        verb: The verb, in lower case.
        operation: The document's operation.
    """
    query: list[tuple[str, str]] = []
    for parameter in operation.get("parameters", []):
        example = parameter.get("example")
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(str(example), safe=""))
        elif parameter["in"] == "query" and example is not None:
            values = example if isinstance(example, list) else [example]
            query += [(parameter["name"], _plain(value)) for value in values]
    words = ["curl"]
    if "text/event-stream" in operation["responses"]["200"]["content"]:
        words.append("-N")
    if verb != "get":
        words += ["-X", verb.upper()]
    if operation.get("security") != []:
        words.append(_BEARER)
    words.append(shlex.quote(f"{EDGE}{path}{'?' + urlencode(query) if query else ''}"))
    if body := operation.get("requestBody"):
        kind, content = next(iter(body["content"].items()))
        if kind == "application/json":
            words += ["-d", _json(content.get("example", {}))]
        else:
            words += ["-H", shlex.quote(f"content-type: {kind}"), "--data-binary", "@FILE"]
    return " ".join(words)


def _headers(rpc: Rpc) -> list[str]:
    anybody = rpc.access in (options_pb2.ACCESS_PUBLIC, options_pb2.ACCESS_INTERNAL)
    return [] if anybody else [_BEARER]


def _json(example: Mapping[str, Any]) -> str:
    return shlex.quote(json.dumps(example, ensure_ascii=False))


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
