"""Writes what is made of the descriptor set: the OpenAPI document, its page, and docs/api.

python -m dev.documents DESCRIPTOR_SET FOLDER    as `make gen` does, which hands in a folder to compare with
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dev.api_pages import pages
from dev.contract import read
from dev.openapi.document import document
from dev.openapi.page import page


def write(descriptor_set: Path, out: Path) -> None:
    """Writes `gen/openapi.json`, `gen/docs.html` and `docs/api/` into the folder `out`.

    Raises:
        ValueError: The contract has something that OpenAPI cannot tell.
    """
    contract = read(descriptor_set.read_bytes())
    described = document(contract)
    text = json.dumps(described, ensure_ascii=False, indent=1)
    (out / "gen" / "openapi.json").write_text(text + "\n", encoding="utf-8")
    (out / "gen" / "docs.html").write_text(page(described) + "\n", encoding="utf-8")
    folder = out / "docs" / "api"
    folder.mkdir(parents=True)
    for name, text in pages(contract, described).items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]), Path(sys.argv[2]))
    except ValueError as error:
        sys.exit(str(error))
