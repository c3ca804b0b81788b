"""What every test may ask for: the real stores, and the whole mesh behind the real edge.

With pytest-xdist every worker has stores of its own: they start in under a second, and tests on
different workers can never see each other's data. Tests that ask for the mesh share one, on one worker.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dev.mongo import Mongo
from dev.postgres import Postgres
from dev.valkey import Valkey

if TYPE_CHECKING:
    from dev.mesh import Mesh


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sends all tests that ask for the mesh to one worker: starting it takes seconds."""
    for item in items:
        if "mesh" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("mesh"))


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A running PostgreSQL of this test process."""
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Postgres) -> str:
    """URL of a database that all tests of this process share; most want `fresh_database`."""
    return postgres_server.url


@pytest.fixture(scope="session")
def new_database(postgres_server: Postgres) -> Callable[[], str]:
    """Makes an empty PostgreSQL database at every call (about 0.1 s) and returns its URL."""
    numbers = itertools.count(1)
    return lambda: postgres_server.create_database(f"test_{next(numbers)}")


@pytest.fixture(scope="module")
def fresh_database(new_database: Callable[[], str]) -> str:
    """URL of an empty PostgreSQL database of this test module's own."""
    return new_database()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A running Valkey of this test process."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_url(valkey_server: Valkey) -> str:
    """URL of a Redis-speaking server of this test process."""
    return valkey_server.url


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongo]:
    """A running MongoDB-speaking server of this test process."""
    server = Mongo(tmp_path_factory.mktemp("mongo"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mongo_url(mongo_server: Mongo) -> str:
    """URL of a MongoDB database that all tests of this process share; most want `fresh_mongo_url`."""
    return mongo_server.url


@pytest.fixture(scope="session")
def new_mongo_url(mongo_server: Mongo) -> Callable[[], str]:
    """Names an empty MongoDB database at every call and returns its URL."""
    numbers = itertools.count(1)
    return lambda: mongo_server.url_of(f"test_{next(numbers)}")


@pytest.fixture(scope="module")
def fresh_mongo_url(new_mongo_url: Callable[[], str]) -> str:
    """URL of an empty MongoDB database of this test module's own."""
    return new_mongo_url()


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Everything, on free ports, with empty stores; rate limits are out of the way.

    A test that kills a part starts it again before it ends.
    """
    from dev.mesh import Mesh, bare_environment  # not above: most test processes never need all that

    limits = ("SIGN_INS", "GUESTS", "REFRESHES", "JOINS", "NOTIFICATIONS", "IMPORTS")
    settings = bare_environment() | {f"EDGE_{limit}_PER_MINUTE": "1000000" for limit in limits}
    settings |= {
        f"{limit}_PER_{whose}_PER_MINUTE": "1000000"
        for limit in ("SIGN_INS", "GUESTS", "REFRESHES")
        for whose in ("ADDRESS", "ACCOUNT")
    }
    settings["ERASURE_DELAY_SECONDS"] = "2"
    with Mesh(tmp_path_factory.mktemp("mesh"), settings=settings) as running:
        yield running


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root folder."""
    return Path(__file__).parent
