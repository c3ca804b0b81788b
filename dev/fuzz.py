"""Throws what nobody would think of at every method's REST form: `make fuzz`, which is `python -m dev.fuzz`.

Schemathesis reads gen/openapi.json, makes requests that fit it and some that do not, sends them through the
edge to a whole mesh, and looks whether every answer is one that the document describes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx

from dev.mesh import ROOT, Mesh, bare_environment

_DOCUMENT: Final = ROOT / "gen" / "openapi.json"
ENDS_SESSIONS: Final = ("signOut", "revokeSession", "deleteAccount")
"""What ends the session that the requests are made with; each gets one of its own."""
_ALL: Final = "examples,coverage,fuzzing,stateful"
_LIMITS: Final = ("SIGN_INS", "GUESTS", "REFRESHES", "JOINS", "NOTIFICATIONS", "IMPORTS")


def out_of_the_way() -> dict[str, str]:
    """Returns settings with which no limit stops somebody who does little else than call."""
    edge = {f"EDGE_{limit}_PER_MINUTE": "1000000" for limit in _LIMITS}
    inside = {
        f"{limit}_PER_{whose}_PER_MINUTE": "1000000"
        for limit in ("SIGN_INS", "GUESTS", "REFRESHES")
        for whose in ("ADDRESS", "ACCOUNT")
    }
    return edge | inside


def sign_in(mesh: Mesh) -> str:
    """Returns the access token of somebody new."""
    person = {"provider": "google", "subject": uuid4().hex, "name": "Ada"}
    id_token = httpx.post(f"{mesh.idp_url}/tokens", json=person, timeout=10).json()["idToken"]
    asked = {"provider": "PROVIDER_GOOGLE", "idToken": id_token}
    session = httpx.post(f"{mesh.edge_url}/v1/auth:signIn", json=asked, timeout=10)
    token: str = session.json()["tokens"]["accessToken"]
    return token


def fuzz(mesh: Mesh, which: Sequence[str], *, phases: str, examples: int, seed: int, folder: Path) -> str:
    """Fuzzes a running mesh as somebody new.

    Args:
        mesh: Whom.
        which: What: one of `runs`.
        phases: Schemathesis' names for what it does, with commas between them.
        examples: How many requests a method gets in the phase `fuzzing`.
        seed: What chance begins with.
        folder: Where the fuzzer may leave what it remembers.

    Returns:
        What it found, in its words; "" when that is nothing.
    """
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--no-color"),
        *("--config-file", str(ROOT / "dev" / "schemathesis.toml")),
        *("run", str(_DOCUMENT), "--url", mesh.edge_url),
        *("--header", f"Authorization: Bearer {sign_in(mesh)}", "--request-timeout", "15"),
        *("--phases", phases, "--max-examples", str(examples), "--seed", str(seed), *which),
        *("--generation-database", ":memory:", "--continue-on-failure", "--warnings", "off"),
    ]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def runs() -> list[list[str]]:
    """Returns which methods are fuzzed with one session, as options: most of them first."""
    others = [option for name in (*ENDS_SESSIONS, *_endless()) for option in ("--exclude-operation-id", name)]
    return [others, *(["--include-operation-id", name] for name in ENDS_SESSIONS)]


def _endless() -> list[str]:
    """The operations whose answers end when the caller goes: the fuzzer would wait for the last event."""
    document = json.loads(_DOCUMENT.read_text(encoding="utf-8"))
    return [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if "text/event-stream" in operation["responses"]["200"]["content"]
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m dev.fuzz", description="Fuzz the REST API.")
    parser.add_argument("--examples", type=int, default=100, help="requests a method; 100 unless told")
    parser.add_argument("--seed", type=int, default=1, help="what chance begins with; 1 unless told")
    options = parser.parse_args(arguments)
    settings = bare_environment() | out_of_the_way()
    with tempfile.TemporaryDirectory() as folder, Mesh(Path(folder, "mesh"), settings=settings) as mesh:
        found = "\n".join(
            fuzz(mesh, which, phases=_ALL, examples=options.examples, seed=options.seed, folder=Path(folder))
            for which in runs()
        ).strip()
    print(found or "Every answer was as the document describes it.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
