"""The REST API as an OpenAPI 3.1 document: what the edge lets in, and nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

from dev.contract import Contract, Rpc, Service
from dev.openapi.operations import BEARER, REFUSED, Operations, event_of
from dev.openapi.schemas import Schemas
from dev.openapi.words import in_json
from mesh.edge import PUBLIC_SERVICES
from popcorn.options.v1 import options_pb2

Document = dict[str, Any]

_PROJECT: Final = Path(__file__).resolve().parent.parent.parent / "pyproject.toml"

_INTRODUCTION: Final = """\
Friends open a room with a short code and swipe through films together; the moment everybody likes the \
same one, everybody hears of it. Each of them keeps a backlog of films to watch.

**Signing in** gives an access token, which goes with every other call: `Authorization: Bearer ...`. A \
guest's token opens rooms, and nothing that is kept.

**Errors** are `google.rpc.Status` as JSON, whatever refuses. Their ErrorInfo has a stable `reason` to \
switch on; for bad input a BadRequest names every field at once.

**JSON** is protobuf's: 64-bit numbers are strings, times are RFC 3339, enums are names. A field that is \
left out is the same as one that is empty or 0. Answers have every field but what is absent. New fields \
and enum values may come at any time: pass over what you do not know. Query parameters that do not exist \
are refused.

**Lists** come in pages: `pageSize`, `pageToken`, `nextPageToken`.

**Languages**: `Accept-Language` and `X-Region` (ISO 3166-1) say how films are told, and where they are \
to be watched.

The same contract is spoken as gRPC and gRPC-Web on the same port."""

_EVERY_ANSWER: Final = {
    "X-Request-Id": {
        "description": "The call's id. Name it when you ask us about it.",
        "schema": {"type": "string"},
    }
}


def document(contract: Contract) -> Document:
    """Returns the document.

    Raises:
        ValueError: The contract has something that cannot be told, or two methods of one name.
    """
    services = [service for service in contract.services if service.name in PUBLIC_SERVICES]
    # In the order in which one meets them.
    services.sort(key=lambda service: [*PUBLIC_SERVICES].index(service.name))
    reachable = [rpc for service in services for rpc in service.rpcs if _over_rest(rpc)]
    schemas = Schemas(
        contract,
        incoming=[rpc.request for rpc in reachable],
        outgoing=[answer for rpc in reachable if (answer := event_of(contract, rpc)) is not None],
    )
    paths = _paths(services, Operations(contract, schemas))
    status = schemas.status()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Evening Popcorn",
            "version": tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["version"],
            "description": _INTRODUCTION,
        },
        "servers": [{"url": "/", "description": "Where this document comes from"}],
        "security": [{BEARER: []}],
        "tags": [_tag(contract, service) for service in services],
        "paths": paths,
        "components": {
            "securitySchemes": {
                BEARER: {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The access token of a session.",
                }
            },
            "responses": {
                name: {
                    "description": text,
                    "headers": _EVERY_ANSWER,
                    "content": {"application/json": {"schema": status}},
                }
                for name, text in [
                    *((refused.name, refused.description) for refused in REFUSED),
                    ("Refused", "Any other refusal."),
                ]
            },
            "schemas": dict(sorted(schemas.components.items())),
        },
    }


def _paths(services: list[Service], operations: Operations) -> Document:
    paths: Document = {}
    seen: set[str] = set()
    for service in services:
        for rpc in filter(_over_rest, service.rpcs):
            for path, verb, operation in operations.of(service, rpc):
                if operation["operationId"] in seen:
                    raise ValueError(f"There is another method called {rpc.name}.")
                seen.add(operation["operationId"])
                item = paths.setdefault(path, {})
                if verb in item:
                    raise ValueError(f"{verb.upper()} {path} stands for two methods.")
                item[verb] = operation
    return paths


def _over_rest(rpc: Rpc) -> bool:
    return rpc.http is not None and rpc.access != options_pb2.ACCESS_INTERNAL


def _tag(contract: Contract, service: Service) -> Document:
    names = contract.field_names
    tag: Document = {
        "name": service.short_name,
        "description": in_json(f"{service.file_comment}\n\n{service.comment}".strip(), names),
    }
    grpc_only = [
        {"method": rpc.path, "description": in_json(rpc.comment, names)}
        for rpc in service.rpcs
        if rpc.http is None and rpc.access != options_pb2.ACCESS_INTERNAL
    ]
    if grpc_only:
        tag["x-grpc-only"] = grpc_only
    return tag
