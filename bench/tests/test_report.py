"""The arithmetic of the report."""

from __future__ import annotations

import math
import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from bench import cpu
from bench.load import Load, percentile
from bench.report import Row, table


@given(st.lists(st.floats(0, 10), min_size=1).map(sorted), st.floats(0, 1))
def test_a_percentile_is_a_value_that_its_share_does_not_exceed(ordered: list[float], share: float) -> None:
    found = percentile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= math.floor(share * len(ordered))


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


def row(name: str, calls: int, *, is_limit: bool = False, failed: int = 0) -> Row:
    load = Load(calls, 2.0, (0.001,) * calls, generator_seconds=0.5, failed=failed)
    return Row("film", name, load, {"gateway": 0.3, "edge": 0.1}, is_limit=is_limit)


def test_a_row_is_measured_against_its_groups_limit() -> None:
    text = table([row("the mesh", 100), row("empty handler", 400, is_limit=True)])
    mesh = next(line for line in text.splitlines() if "the mesh" in line)
    assert mesh.split()[2:4] == ["50", "25%"]
    assert "4.000" in mesh, "CPU milliseconds a call, over all processes"
    assert "gateway 3.00, edge 1.00" in mesh


def test_failed_calls_are_not_hidden() -> None:
    assert "3 calls failed" in table([row("the mesh", 100, failed=3)])


def test_a_process_is_counted_with_its_children() -> None:
    burn = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\ninput()"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE) as process:
        used = 0.0
        while used < 0.2:
            assert process.poll() is None
            used = cpu.seconds_of(process.pid)
        assert cpu.seconds_of(os.getpid()) >= used
        process.communicate(b"\n")
    assert cpu.seconds_of(process.pid) == 0
