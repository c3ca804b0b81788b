"""The calls of docs/api, pasted: each works, or is refused in words of ours."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.rpc import error_details_pb2

from dev import examples
from dev.contract import read
from dev.fuzz import sign_in
from dev.mesh import ROOT, Mesh
from mesh.errors import DOMAIN
from tests.edge.standins import METHODS

PAGES = ROOT / "docs" / "api"
_BLOCK = re.compile(r"```sh\n(.*?)\n```", re.DOTALL)
_AT_A_TIME = 4
"""How many calls run at a time."""


@dataclass(frozen=True, slots=True)
class Command:
    method: str
    words: list[str]


def commands(tool: str) -> Iterator[Command]:
    """Every command of the pages that begins with a tool's name."""
    for page in sorted(PAGES.glob("*Service.md")):
        for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
            words = shlex.split(block.replace("\\\n", " "))
            if Path(words[0]).name == tool:
                yield Command("/" + "/".join(words[-1].split("/")[-2:]), words)


@pytest.mark.parametrize("tool", ["buf", "grpcurl"])
def test_there_is_a_call_for_every_method(tool: str) -> None:
    assert sorted(command.method for command in commands(tool)) == sorted(METHODS)


def test_every_field_of_an_example_has_a_value_that_makes_sense() -> None:
    """Whoever adds a field to a request says in dev/examples.py what it looks like."""
    contract = read((ROOT / "gen" / "popcorn.binpb").read_bytes())
    assert examples.unknown(contract) == set()


def pasted(command: Command, mesh: Mesh, token: str) -> list[str]:
    """The command for a mesh on other ports than `make up`'s."""
    values = {"localhost:8080": mesh.edge_target, "$TOKEN": token}
    values |= {
        f"${name.removesuffix('_svc').upper()}_TARGET": target for name, target in mesh.targets.items()
    }
    words = command.words
    for placeholder, value in values.items():
        words = [word.replace(placeholder, value) for word in words]
    return [str(Path(sys.executable).with_name("buf")), *words[1:]]


def test_every_call_with_buf_is_answered_or_refused_in_words_of_ours(mesh: Mesh) -> None:
    def call(command: Command) -> tuple[str, subprocess.CompletedProcess[str]]:
        # Somebody new each time: some of these sign out, or leave for good.
        words = pasted(command, mesh, sign_in(mesh) if "$TOKEN" in " ".join(command.words) else "")
        ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        return command.method, ran

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        answers = dict(pool.map(call, commands("buf")))
    assert len(answers) == len(METHODS)
    refused = {method: refusal(ran.stderr) for method, ran in answers.items() if ran.returncode != 0}
    assert not {method: answers[method].stderr for method, (_, reason) in refused.items() if not reason}
    # An example is never wrong in itself.
    assert not {
        method: (code, reason)
        for method, (code, reason) in refused.items()
        if code in ("unknown", "internal", "invalid_argument", "data_loss")
    }


def refusal(printed: str) -> tuple[str, str]:
    """The code and our reason in what `buf curl` prints of a failed call; "" for what is not there."""
    try:
        status = json.loads(printed)
    except ValueError:
        return "", ""
    for detail in status.get("details", []):
        if detail["type"].endswith("google.rpc.ErrorInfo"):
            # In base64 without the padding.
            info = error_details_pb2.ErrorInfo.FromString(base64.b64decode(detail["value"] + "=="))
            if info.domain == DOMAIN:
                return status["code"], info.reason
    return status["code"], ""
