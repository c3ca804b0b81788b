"""The edge leaves as its manifest has it leave: its clients are told to go before it does."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx

from dev.edge import Edge
from dev.processes import free_port
from tests.edge.door import settings
from tests.ship.cluster import of_kind, pod_of


async def test_the_pre_stop_has_clients_go_while_they_are_still_answered(tmp_path: Path) -> None:
    [container] = pod_of(of_kind("production", "Deployment")["edge"])["containers"]
    [bash, _, script] = container["lifecycle"]["preStop"]["exec"]["command"]
    port = free_port()
    script = script.replace("/9901", f"/{port}").replace("sleep 20", "sleep 0; echo $answer")
    edge = Edge(settings(edge_admin_port=port), folder=tmp_path)
    # As the manifest starts it, and no sooner at its end than this test is.
    for option in ("--drain-strategy", "--drain-time-s"):
        edge.process.command += [option, container["args"][container["args"].index(option) + 1]]
    await asyncio.to_thread(edge.start)
    try:
        async with httpx.AsyncClient(base_url=edge.url, trust_env=False) as client:
            assert "connection" not in (await client.get("/healthz")).headers
            run = await asyncio.create_subprocess_exec(
                bash, "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            output, _ = await asyncio.wait_for(run.communicate(), 10)
            assert run.returncode == 0, output
            assert re.match(rb"HTTP/1.1 200 OK", output), output
            answers = [await client.get("/healthz") for _ in range(5)]
        assert {answer.headers.get("connection") for answer in answers} == {"close"}
        assert edge.process.running
    finally:
        await asyncio.to_thread(edge.stop)
