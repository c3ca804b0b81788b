"""The stores of the development mesh: real servers that keep what they were given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pymongo
import pytest
import redis.asyncio

from dev.mongo import Mongo
from dev.postgres import Postgres
from dev.valkey import Valkey


async def _postgres_value(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_postgres_keeps_acknowledged_rows_when_it_is_killed(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres")
    try:
        server.start()
        await _postgres_value(server.url, "CREATE TABLE films AS SELECT 603 AS id")
        server.kill()
        server.start()
        assert await _postgres_value(server.url, "SELECT id FROM films") == 603
    finally:
        server.stop()


async def test_postgres_asks_for_its_password(postgres_server: Postgres) -> None:
    user, _, place = postgres_server.url.partition("://")[2].rpartition("@")[0].partition(":")
    assert user == "popcorn"
    assert place
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres_server.url.replace(place, "wrong"), timeout=10)


async def test_postgres_does_fsync(postgres_url: str) -> None:
    assert await _postgres_value(postgres_url, "SHOW fsync") == "on"


async def test_a_fresh_database_is_empty(fresh_database: str, postgres_url: str) -> None:
    assert fresh_database != postgres_url
    assert await _postgres_value(fresh_database, "SELECT count(*) FROM pg_stat_user_tables") == 0


async def test_valkey_keeps_acknowledged_writes_when_it_is_killed(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey")
    try:
        server.start()
        async with redis.asyncio.from_url(server.url) as client:
            await client.set("film", "603")
        server.kill()
        server.start()
        async with redis.asyncio.from_url(server.url) as client:
            assert await client.get("film") == b"603"
    finally:
        server.stop()


async def test_mongo_keeps_what_it_was_given(tmp_path: Path) -> None:
    server = Mongo(tmp_path / "mongo")
    try:
        server.start()
        async with pymongo.AsyncMongoClient[dict[str, Any]](server.url) as client:
            await client.get_default_database()["films"].insert_one({"_id": 603})
        server.stop()
        server.start()
        async with pymongo.AsyncMongoClient[dict[str, Any]](server.url) as client:
            assert await client.get_default_database()["films"].find_one() == {"_id": 603}
    finally:
        server.stop()
