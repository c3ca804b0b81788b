"""Metrics: every service serves its own, and what operators look at really exists."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.telemetry.conftest import Evening

pytestmark = pytest.mark.xdist_group("watched")

T = TypeVar("T")

# What Prometheus adds to every sample.
ADDED = {"instance", "job", "__name__"}
SERVICES = ("gateway", "backlog_svc", "movie_svc", "game_svc")


async def served_by(evening: Evening, service: str) -> list[Metric]:
    async with httpx.AsyncClient() as prometheus:
        answer = await prometheus.get(evening.mesh.metrics_urls[service])
    assert answer.status_code == 200
    return list(text_string_to_metric_families(answer.text))


async def samples(evening: Evening, service: str, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in await served_by(evening, service)
        for sample in family.samples
        if sample.name == name
    }


async def until(read: Callable[[], Awaitable[T]], wanted: T) -> None:
    """Other processes take their time."""
    async with asyncio.timeout(10):
        while await read() != wanted:  # noqa: ASYNC110 - and have no events for us
            await asyncio.sleep(0.05)


def expressions() -> dict[str, str]:
    """Every expression of the dashboard and of the alerts, by what it is for."""
    found = {}
    for group in yaml.safe_load(Path("ops/alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"page", "ticket"}
            assert rule["annotations"].keys() == {"summary", "do"}, rule["alert"]
            found[f"alert {rule['alert']}"] = rule["expr"]
    for panel in json.loads(Path("ops/dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            found[f"panel {panel['title']}, {target['refId']}"] = target["expr"]
    return found


def selectors(expression: Any) -> Iterator[Any]:
    """Every selector of a series in an expression."""
    match expression:
        case promql_parser.VectorSelector():
            yield expression
        case promql_parser.MatrixSelector():
            yield expression.vector_selector
        case promql_parser.Call():
            for argument in expression.args:
                yield from selectors(argument)
        case promql_parser.BinaryExpr():
            yield from selectors(expression.lhs)
            yield from selectors(expression.rhs)
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            yield from selectors(expression.expr)
        case promql_parser.NumberLiteral():
            pass
        case other:
            raise AssertionError(f"what is {other}?")


async def exported(evening: Evening) -> dict[str, list[dict[str, str]]]:
    """Every name that any service exports, with the labels of each sample."""
    found: dict[str, list[dict[str, str]]] = {}
    for service in SERVICES:
        for family in await served_by(evening, service):
            if family.type == "counter":
                found.setdefault(f"{family.name}_total", [])
            for sample in family.samples:
                found.setdefault(sample.name, []).append(sample.labels)
    return found


async def test_every_metric_that_operators_look_at_exists(evening: Evening) -> None:
    there = await exported(evening)
    looked_at = set()
    for what, text in expressions().items():
        used = list(selectors(promql_parser.parse(text)))
        assert used, what
        for selector in used:
            assert selector.name in there, f"{what}: nobody exports {selector.name}"
            looked_at.add(selector.name)
            labels = {name for one in there[selector.name] for name in one} | ADDED
            for matcher in selector.matchers.matchers:
                assert matcher.name in labels, f"{what}: {selector.name} has no label {matcher.name}"
                if matcher.name in ("service", "state", "method", "outcome", "why"):
                    values = {one.get(matcher.name, "") for one in there[selector.name]}
                    wanted = matcher.value
                    assert any(re.fullmatch(wanted, value) for value in values), f"{what}: no {wanted}"
        for labels_by in re.findall(r"by \(([^)]*)\)", text):
            named = {label.strip() for label in labels_by.split(",")}
            known = {name for selector in used for one in there[selector.name] for name in one}
            assert named <= known | ADDED, what
    ours = {name for name in there if name.startswith(("popcorn_", "game_", "movie_"))}
    looked_at |= {f"{name.removesuffix('_bucket')}_{part}" for name in looked_at for part in ("sum", "count")}
    assert not ours - looked_at, "nobody looks at these"


async def test_what_was_played_was_counted(evening: Evening) -> None:
    rpcs = await samples(evening, "game_svc", "popcorn_rpc_handled_total")
    assert rpcs[("/popcorn.game.v1.GameService/Swipe", "OK")] == 2
    assert rpcs[("/popcorn.game.v1.GameService/GetGame", "NOT_FOUND")] == 1
    assert (await samples(evening, "game_svc", "game_swipes_total"))[("like",)] == 2
    assert (await samples(evening, "game_svc", "game_matches_total"))[()] == 1
    assert (await samples(evening, "game_svc", "game_match_seconds_count"))[()] == 1
    assert (await samples(evening, "game_svc", "game_rooms_opened_total"))[()] == 1
    assert (await samples(evening, "movie_svc", "movie_tmdb_requests_total"))[("ok",)] >= 2
    ended: dict[tuple[str, ...], float] = {(): 2.0}
    await until(lambda: samples(evening, "gateway", "popcorn_revocations_sessions"), ended)
    seconds = await samples(evening, "gateway", "popcorn_rpc_seconds_count")
    assert seconds[("/popcorn.gateway.v1.LibraryService/GetMovie",)] == 1


async def test_a_stream_is_counted_for_as_long_as_it_is_open(evening: Evening) -> None:
    async def counted() -> tuple[float, float, float]:
        streams = await samples(evening, "game_svc", "popcorn_open_streams")
        [rooms] = (await samples(evening, "game_svc", "game_rooms_open")).values()
        [players] = (await samples(evening, "game_svc", "game_players_connected")).values()
        return sum(streams.values()), rooms, players

    async with evening.watching():
        await until(counted, (1.0, 1.0, 1.0))
    await until(counted, (0.0, 0.0, 0.0))


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_says_how_it_is(evening: Evening, service: str) -> None:
    serving = await samples(evening, service, "popcorn_serving")
    assert serving
    assert set(serving.values()) == {1.0}
    if service in ("gateway", "game_svc"):
        assert (await samples(evening, service, "popcorn_revocations_age_seconds"))[()] < 5
    if service in ("gateway", "backlog_svc"):
        use = await samples(evening, service, "popcorn_database_connections")
        [most] = (await samples(evening, service, "popcorn_database_connections_most")).values()
        assert 0 < use[("idle",)] + use[("in_use",)] <= most
