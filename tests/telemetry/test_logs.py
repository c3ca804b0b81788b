"""Logs: JSON, one request id from the edge to the last service, and nothing that is nobody's business."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.telemetry.conftest import Evening

pytestmark = pytest.mark.xdist_group("watched")

SERVICES = ("edge", "gateway", "backlog_svc", "movie_svc", "game_svc")
ADDRESS = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}")


def log_of(evening: Evening, service: str) -> Path:
    folder = evening.mesh.folder
    return folder / "edge" / "envoy.log" if service == "edge" else folder / "logs" / f"{service}.log"


def lines_of(evening: Evening, service: str) -> list[dict[str, Any]]:
    lines = log_of(evening, service).read_text().splitlines()
    return [json.loads(line) for line in lines if service != "edge" or line.startswith("{")]


def ids_in(evening: Evening, service: str) -> set[str]:
    return {line.get("request_id", "") for line in lines_of(evening, service)}


@pytest.mark.parametrize("service", SERVICES)
def test_every_line_is_json(evening: Evening, service: str) -> None:
    lines = lines_of(evening, service)
    assert len(lines) > 5
    assert all(line["service"] == service for line in lines)


def test_no_log_holds_what_is_nobodys_business(evening: Evening) -> None:
    assert len(evening.secrets) > 15
    logs = [*evening.mesh.folder.glob("logs/*.log"), *evening.mesh.folder.glob("edge/*.log")]
    assert {log.stem for log in logs} >= {*SERVICES[1:], "envoy"}
    for log in logs:
        text = log.read_text()
        for what, secret in evening.secrets.items():
            assert len(secret) >= 6, what
            assert secret not in text, f"{what} stands in {log.name}"
        if log.stem not in ("tmdb", "idp"):  # stand-ins for what is not ours
            assert not ADDRESS.search(text), f"an e-mail address stands in {log.name}"
            assert not JWT.search(text), f"a token stands in {log.name}"


def test_every_answer_has_a_request_id_and_every_line_about_it_has_the_same(evening: Evening) -> None:
    ids = [answer.headers["x-request-id"] for answer in evening.answers]
    assert len(set(ids)) == len(ids)
    assert set(ids) <= ids_in(evening, "edge")
    by_service = {service: ids_in(evening, service) for service in SERVICES}
    assert evening.film_read in by_service["gateway"] & by_service["movie_svc"] & by_service["backlog_svc"]
    for service in SERVICES[1:]:
        rpcs = [line for line in lines_of(evening, service) if line["event"] == "rpc"]
        assert rpcs
        assert all(line["request_id"] for line in rpcs), service


def test_an_error_is_found_by_the_id_that_its_caller_was_told(evening: Evening) -> None:
    refused = [answer for answer in evening.answers if answer.status_code >= 400]
    assert refused
    logged = {
        line["request_id"]: line
        for service in ("gateway", "game_svc")
        for line in lines_of(evening, service)
        if line["event"] == "rpc"
    }
    found = [logged[answer.headers["x-request-id"]] for answer in refused if answer.status_code != 401]
    assert found
    assert all(line["status"] != "OK" and line["reason"] for line in found)
