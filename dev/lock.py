"""Pins and hashes every dependency: `make lock`, which is `python -m dev.lock`.

One file a purpose, all from pyproject.toml, each with only what those before it do not have:

    requirements/services.txt   what the four services need in production
    requirements/dev.txt        and `make up`
    requirements/test.txt       and `make test`, `make lint`, `make gen`, `make lock`

Beside them, for a virtual environment of its own, since what it pins would not go together with the rest:

    requirements/manifests.txt  what `make lint` checks the image and the manifests with

They name no package index: wheels come from wherever the installing machine's pip gets them, and the
hashes say whether they are the right ones.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "requirements"

HEADER = """\
# Made by `make lock` from pyproject.toml: {purpose}.
# Wheels for every platform are among the hashes; no package index is named.
"""
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def main() -> None:
    """Writes the files anew; versions already pinned stay unless pyproject.toml rules them out."""
    _lock("services", "what the services need in production")
    _lock("dev", "what `make up` needs on top", groups=("dev",), on_top_of=("services",))
    _lock(
        "test",
        "what the tests and linters need on top",
        groups=("dev", "test"),
        on_top_of=("services", "dev"),
    )
    _lock("manifests", "what the image and the manifests are checked with", groups=("manifests",), alone=True)


def _lock(
    name: str,
    purpose: str,
    *,
    groups: tuple[str, ...] = (),
    on_top_of: tuple[str, ...] = (),
    alone: bool = False,
) -> None:
    out = FOLDER / f"{name}.txt"
    below = {package for lower in on_top_of for package in _PINNED.findall(_path(lower).read_text())}
    resolved = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet"),
            *(() if alone else ("pyproject.toml",)),
            *("--universal", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"),
            *(argument for group in groups for argument in ("--group", group)),
            *(argument for lower in on_top_of for argument in ("--constraint", str(_path(lower)))),
            *(argument for package in sorted(below) for argument in ("--no-emit-package", package)),
            *("--output-file", str(out)),  # read as well: what is pinned there is preferred
        ],
        cwd=ROOT,
        check=False,
    )
    if resolved.returncode != 0:
        raise SystemExit(f"{out.name} could not be made: uv says why above.")
    pins = "\n".join(line for line in out.read_text().splitlines() if not line.startswith(("#", "-")))
    out.write_text(HEADER.format(purpose=purpose) + pins + "\n")


def _path(name: str) -> Path:
    return FOLDER / f"{name}.txt"


if __name__ == "__main__":
    main()
