"""Checks what the mesh is shipped with, without Docker and without a cluster: `python -m dev.manifests`.

The Dockerfile with hadolint; compose.yaml and the workflows against their schemas; the workflows with zizmor;
and every overlay of k8s/, as kustomize renders it, with kubernetes-validate for each version of Kubernetes
that is supported, and with checkov. What these tools cannot know of us, tests/ship does.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
OVERLAYS: Final = ("local", "production")
KUBERNETES: Final = ("1.34.0", "1.35.0", "1.36.0", "1.37.0")
"""The versions that the manifests are valid for."""

_TOOLS: Final = ROOT / ".venv-manifests" / "bin"
_OUT: Final = ROOT / ".data" / "manifests"


class RenderError(Exception):
    """An overlay cannot be rendered; the text is kustomize's own."""


def render(overlay: str, *, root: Path = ROOT) -> str:
    """Returns what `kubectl apply -k k8s/overlays/OVERLAY` would send, as YAML documents.

    Raises:
        RenderError: There is no such overlay, or it makes no sense.
    """
    kubectl = Path(sysconfig.get_path("scripts")) / "kubectl"
    rendered = subprocess.run(
        [str(kubectl), "kustomize", str(root / "k8s" / "overlays" / overlay)],
        capture_output=True,
        text=True,
        check=False,
    )
    if rendered.returncode != 0:
        raise RenderError(rendered.stderr)
    return rendered.stdout


def commands() -> Iterator[list[str]]:
    """Every check, as the command that makes it."""
    workflows = [str(path.relative_to(ROOT)) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))]
    yield ["hadolint", "Dockerfile"]
    yield ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
    yield ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows]
    yield ["zizmor", "--offline", "--quiet", "--no-progress", *workflows]
    rendered = [str((_OUT / f"{overlay}.yaml").relative_to(ROOT)) for overlay in OVERLAYS]
    for version in KUBERNETES:
        yield ["kubernetes-validate", "--strict", "--quiet", "--kubernetes-version", version, *rendered]
    for overlay, path in zip(OVERLAYS, rendered, strict=True):
        yield ["checkov", "--config-file", f"k8s/checkov-{overlay}.yaml", "--file", path]


def main() -> int:
    """Runs every check to its end, and returns 1 when one of them found something."""
    _OUT.mkdir(parents=True, exist_ok=True)
    for overlay in OVERLAYS:
        (_OUT / f"{overlay}.yaml").write_text(render(overlay), encoding="utf-8")
    failed = False
    for command in commands():
        print(" ".join(command), flush=True)
        ran = subprocess.run(
            [str(_TOOLS / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if ran.returncode != 0:
            failed = True
            print(ran.stdout + ran.stderr, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
