"""`python -m mesh.probe` asks a service whether it serves, by gRPC's health protocol: a container's health.

It asks where HEALTH_LISTEN says, or the address it is given, and exits with 0 when the answer is SERVING,
with 1 and a sentence when it is anything else or there is none.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mesh.probe", description="Whether a service serves.")
    parser.add_argument("address", nargs="?", default=os.environ.get("HEALTH_LISTEN"), metavar="HOST:PORT")
    parser.add_argument("--service", default="", help="which part of it, or `process`; all of it by default")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to wait (default: %(default)g)")
    options = parser.parse_args(arguments)
    if not options.address:
        print(
            "HEALTH_LISTEN is not set, and no address is given: it should look like 127.0.0.1:9100.",
            file=sys.stderr,
        )
        return 2
    host, _, port = options.address.rpartition(":")
    target = f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"  # noqa: S104 - compared
    with grpc.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(
                health_pb2.HealthCheckRequest(service=options.service), timeout=options.seconds
            )
        except grpc.RpcError as error:
            print(f"{options.address} does not answer: {error.code().name}.", file=sys.stderr)
            return 1
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        print(f"{options.address} says {status}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
