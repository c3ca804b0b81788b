"""Who may import whom: services meet in the contract only, and what they share knows none of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SERVICES = {"gateway", "backlog_svc", "movie_svc", "game_svc"}


def imported_packages(source: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", sorted(SERVICES | {"mesh"}))
def test_no_service_knows_another_and_the_mesh_knows_none(package: str, repository: Path) -> None:
    sources = [path for path in (repository / package).rglob("*.py") if "tests" not in path.parts]
    assert sources
    for source in sources:
        assert not imported_packages(source) & (SERVICES - {package} | {"dev", "bench"}), source


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_channel_and_server_is_given_its_certificates(service: str, repository: Path) -> None:
    tree = ast.parse((repository / service / "__main__.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = {
        name: [call for call in calls if ast.unparse(call.func).rpartition(".")[2] == name]
        for name in ("open_channel", "serve")
    }
    assert named["serve"]
    for call in (*named["open_channel"], *named["serve"]):
        assert "certificates" in {keyword.arg for keyword in call.keywords}, ast.unparse(call)
