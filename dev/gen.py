"""Generates everything in `gen/` and `docs/api/` from `protos/`.

    python -m dev.gen            writes both
    python -m dev.gen --check    writes nothing; exits 1 when they are not what the protos give

What comes out: messages (`*_pb2.py`), services (`*_pb2_grpc.py`), stubs for the type checker (`.pyi`), and
`gen/popcorn.binpb`, one descriptor set with every import and every comment. Envoy transcodes with it, the
edge's allow-list is derived from it, buf lints it, and `grpcurl -protoset` reads it. From that set come
`gen/openapi.json` and `gen/docs.html`, which the edge serves, and the pages of `docs/api/`.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent.parent
PROTOS = ROOT / "protos"
FOLDERS = ("gen", "docs/api")
"""What is generated, each as a whole."""

# The details of errors. No proto of ours imports them all, but Envoy prints only what the descriptor set has.
ERROR_DETAILS = "google/rpc/error_details.proto"


def generate(out: Path) -> None:
    """Writes the generated folders into the empty folder `out`.

    Raises:
        RuntimeError: protoc refuses a proto, or OpenAPI cannot tell something; the message stands on stderr.
    """
    (out / "gen").mkdir()
    descriptor_set = out / "gen" / "popcorn.binpb"
    _code_and_descriptors(out / "gen", descriptor_set)
    # In a process of its own: the documents' makers import what has just been generated.
    command = [sys.executable, "-m", "dev.documents", str(descriptor_set), str(out)]
    path = os.pathsep.join((str(out / "gen"), str(ROOT)))
    if subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=False).returncode != 0:
        raise RuntimeError("the documents could not be made; the reason stands above")


def _code_and_descriptors(out: Path, descriptor_set: Path) -> None:
    ours = sorted(str(proto.relative_to(PROTOS)) for proto in PROTOS.rglob("*.proto"))
    includes = [f"-I{PROTOS}", *(f"-I{folder}" for folder in _google_folders())]
    code = ["--python_out", "--grpc_python_out", "--mypy_out", "--mypy_grpc_out"]
    _run([*includes, *(f"{option}={out}" for option in code), *ours])
    descriptors = [
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={descriptor_set}",
    ]
    _run([*includes, *descriptors, *ours, ERROR_DETAILS])


def _google_folders() -> list[Path]:
    """Where imported files lie: protoc's own (google/protobuf), googleapis' (google/api, google/rpc)."""
    return [
        Path(str(resources.files("grpc_tools") / "_proto")),
        Path(str(resources.files("google.rpc") / "status.proto")).parent.parent.parent,
    ]


def _run(arguments: list[str]) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        raise RuntimeError("protoc refused the protos; its message stands above")


def _differences(fresh: Path, kept: Path) -> list[str]:
    """Files, relative to the repository, that are missing, left over or different."""
    names = {
        path.relative_to(tree)
        for tree in (fresh, kept)
        for folder in FOLDERS
        for path in (tree / folder).rglob("*")
        if _generated(path)
    }
    return sorted(
        str(name)
        for name in names
        if not ((fresh / name).exists() and (kept / name).exists())
        or not filecmp.cmp(fresh / name, kept / name, shallow=False)
    )


def _generated(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def main() -> int:
    """The command. Returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m dev.gen", description="Generate from protos/.")
    parser.add_argument("--check", action="store_true", help="only say whether gen/ is up to date")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        try:
            generate(fresh)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        different = _differences(fresh, ROOT)
        if arguments.check:
            for name in different:
                print(f"{name} is not what the protos give: run `make gen`", file=sys.stderr)
            return 1 if different else 0
        for folder in FOLDERS:
            shutil.rmtree(ROOT / folder, ignore_errors=True)
            shutil.copytree(fresh / folder, ROOT / folder)
    print(f"{', '.join(FOLDERS)}: {len(different)} files changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
