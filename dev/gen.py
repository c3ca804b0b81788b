"""Generates everything in `gen/` from `protos/`.

    python -m dev.gen            writes gen/
    python -m dev.gen --check    writes nothing; exits 1 when gen/ is not what the protos give

What comes out: messages (`*_pb2.py`), services (`*_pb2_grpc.py`), stubs for the type checker (`.pyi`), and
`gen/popcorn.binpb`, one descriptor set with every import and every comment. Envoy transcodes with it, the
edge's allow-list is derived from it, buf lints it, and `grpcurl -protoset` reads it.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent.parent
PROTOS = ROOT / "protos"
GEN = ROOT / "gen"

# The details of errors. No proto of ours imports them all, but Envoy prints only what the descriptor set has.
ERROR_DETAILS = "google/rpc/error_details.proto"


def generate(out: Path) -> None:
    """Writes the generated tree into the empty folder `out`.

    Raises:
        RuntimeError: protoc refuses a proto; its message stands on stderr.
    """
    ours = sorted(str(proto.relative_to(PROTOS)) for proto in PROTOS.rglob("*.proto"))
    includes = [f"-I{PROTOS}", *(f"-I{folder}" for folder in _google_folders())]
    code = ["--python_out", "--grpc_python_out", "--mypy_out", "--mypy_grpc_out"]
    _run([*includes, *(f"{option}={out}" for option in code), *ours])
    descriptors = [
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={out / 'popcorn.binpb'}",
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
    """Files, relative to `gen/`, that are missing, left over or different."""
    names = {path.relative_to(tree) for tree in (fresh, kept) for path in tree.rglob("*") if _generated(path)}
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
    parser = argparse.ArgumentParser(prog="python -m dev.gen", description="Generate gen/ from protos/.")
    parser.add_argument("--check", action="store_true", help="only say whether gen/ is up to date")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        try:
            generate(fresh)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        different = _differences(fresh, GEN)
        if arguments.check:
            for name in different:
                print(f"gen/{name} is not what the protos give: run `make gen`", file=sys.stderr)
            return 1 if different else 0
        shutil.rmtree(GEN, ignore_errors=True)
        shutil.copytree(fresh, GEN)
        GEN.chmod(0o755)  # the copy has a temporary folder's mode, which keeps everybody else out
    print(f"gen/: {len(different)} files changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
