"""The README's commands, pasted into a shell: whoever tries them sees what it promises."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from dev.mesh import Mesh

# One paste a block; functions and variables live on from one to the next.
_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def pasted(readme: str, mesh: Mesh) -> list[str]:
    """The shell blocks of "Five minutes", for a mesh on other ports than `make up`'s."""
    section = readme.split("## Five minutes", 1)[1].split("\n## ", 1)[0]
    blocks = [block for block in _BLOCK.findall(section) if "grpcurl" not in block or shutil.which("grpcurl")]
    assert len(blocks) >= 6, "the section has lost its examples"
    buf = str(Path(sys.executable).with_name("buf"))
    return [
        block.replace("localhost:8080", mesh.edge_target)
        .replace("localhost:8081", str(mesh.idp_url).removeprefix("http://"))
        .replace(".venv/bin/buf", buf)
        for block in blocks
    ]


@pytest.fixture
def newcomer(mesh: Mesh, tmp_path: Path, repository: Path) -> Path:
    """A folder like a clone in which `make up` has signed Ada and Grace in."""
    (tmp_path / ".data" / "tokens").mkdir(parents=True)
    (tmp_path / "gen").symlink_to(repository / "gen")
    for provider, name in (("google", "ada"), ("apple", "grace")):
        asked = {"provider": provider, "subject": f"{name}-{uuid4().hex}", "name": name.title()}
        id_token = httpx.post(f"{mesh.idp_url}/tokens", json=asked, timeout=10).json()["idToken"]
        sign_in = {"provider": f"PROVIDER_{provider.upper()}", "idToken": id_token}
        session = httpx.post(f"{mesh.edge_url}/v1/auth:signIn", json=sign_in, timeout=10).json()
        (tmp_path / ".data" / "tokens" / name).write_text(session["tokens"]["accessToken"])
    return tmp_path


def test_the_readmes_commands_do_what_it_says(mesh: Mesh, newcomer: Path, repository: Path) -> None:
    readme = (repository / "README.md").read_text()
    marker = "<<< next block >>>"
    script = f'\necho "{marker}"\n'.join(["set -eu\n", *pasted(readme, mesh)])
    ran = subprocess.run(
        ["bash", "-c", script], cwd=newcomer, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    answers = ran.stdout.split(marker)[1:]
    _functions, film, backlog, files, numbers, *game_and_more = answers
    room, swiping, ended, leaving, somebody_else, *over_grpc = game_and_more
    assert "Chihiros Reise ins Zauberland" in film
    for promised in ('"added":true', '"totalSize":1', '"field":"rating"'):
        assert promised in backlog
    for promised in (
        '"added":1,',
        '"row":2,',
        '"id":348,',
        "78,Blade Runner,1982,4.5,2024-05-01,,",
        "129,Spirited",
    ):
        assert promised in files
    assert '"rating":4.5,"count":2' in numbers
    assert "Meine Filme in Zahlen" in (newcomer / ".data" / "films.svg").read_text()
    assert '"state":"GAME_STATE_PLAYING"' in room
    assert '"match":{"movieId":129}' in swiping
    assert '"endCause":"END_CAUSE_HOST"' in ended
    assert (newcomer / ".data" / "join.png").read_bytes()[1:4] == b"PNG"
    assert leaving.strip() == "{}{}"
    assert '"newAccount":true' in somebody_else
    assert json.loads(over_grpc[-1])["account"]["displayName"] == "Ada"
