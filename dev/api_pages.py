"""The folder docs/api: every method of every service, with a call to paste into a shell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dev import commands, examples
from dev.contract import Contract, Rpc, Service
from dev.openapi.words import in_json
from popcorn.options.v1 import options_pb2

_INDEX: Final = """\
# Calling the API

Every method, with calls that can be pasted into a shell in the repository's folder while `make up`
runs. These pages are made by `make gen` from the contract. What the edge lets in is also at
<http://localhost:8080/docs>, and for tools at <http://localhost:8080/openapi.json> (OpenAPI 3.1).

```sh
TOKEN=$(cat .data/tokens/ada)
```

`buf` comes with `make test`; [grpcurl](https://github.com/fullstorydev/grpcurl) is to be installed by
yourself. The codes and ids in the examples are made up: put in what an earlier answer gave.

"""
_INSIDE: Final = """\
Inside the mesh only: the edge has no route to it. `make up` says where the service is, as in
`{variable}=127.0.0.1:20245`.
"""


def pages(contract: Contract, document: Mapping[str, Any]) -> dict[str, str]:
    """Returns the files of the folder, by name.

    Args:
        contract: What there is.
        document: The OpenAPI document that is made of it.
    """
    over_rest = {
        operation["x-grpc-method"]: (path, verb, operation)
        for path, item in document["paths"].items()
        for verb, operation in item.items()
    }
    listed = [
        f"- [{service.short_name}]({service.short_name}.md): {_comment(contract, service)}\n"
        for service in contract.services
    ]
    files = {"README.md": _INDEX + "".join(listed)}
    for service in contract.services:
        files[f"{service.short_name}.md"] = _page(contract, service, over_rest)
    return files


def _page(contract: Contract, service: Service, over_rest: Mapping[str, tuple[str, str, Any]]) -> str:
    parts = [
        f"# {service.short_name}\n",
        f"`{service.name}`. {_comment(contract, service)}\n",
    ]
    inside = {commands.target_of(rpc) for rpc in service.rpcs if rpc.access == options_pb2.ACCESS_INTERNAL}
    parts += [_INSIDE.format(variable=target.removeprefix("$")) for target in sorted(inside)]
    for rpc in service.rpcs:
        parts += [f"## {rpc.name}\n", in_json(rpc.comment, contract.field_names) + "\n"]
        parts += [f"```sh\n{command}\n```\n" for command in _calls(contract, rpc, over_rest)]
    return "\n".join(parts)


def _comment(contract: Contract, service: Service) -> str:
    return in_json(service.comment, contract.field_names)


def _calls(contract: Contract, rpc: Rpc, over_rest: Mapping[str, tuple[str, str, Any]]) -> list[str]:
    example = examples.of(contract, rpc)
    rest = [commands.curl(*over_rest[rpc.path])] if rpc.path in over_rest else []
    return [*rest, commands.grpcurl(rpc, example), commands.buf_curl(rpc, example)]
