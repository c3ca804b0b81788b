"""A client of the stand-in, and the answers of the real TMDB to measure it by."""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.tmdb.app import DEFAULT_KEY, create_app
from dev.tmdb.catalogue import Catalogue, load

with warnings.catch_warnings():
    # Starlette would rather have httpx2, which nothing else here needs; httpx serves it as well.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

RECORDED = Path(__file__).parents[4] / "shared" / "tmdb"


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The shipped films."""
    return load()


@pytest.fixture
def tmdb(catalogue: Catalogue) -> Iterator[TestClient]:
    """A client that brings the key."""
    with TestClient(
        create_app(catalogue),
        base_url="http://tmdb.test/3/",
        headers={"Authorization": f"Bearer {DEFAULT_KEY}"},
    ) as client:
        yield client


@pytest.fixture
def recorded() -> Callable[[str], Any]:
    """Reads a recorded answer of the real TMDB; skips the test where there are none."""

    def read(name: str) -> Any:
        file = RECORDED / f"{name}.json"
        if not file.is_file():
            pytest.skip(f"TMDB's recorded answers are not here ({name}.json).")
        return json.loads(file.read_text())

    return read
