"""Child processes: none outlives its parent, and none ends without a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dev.processes import Process, StartFailed

_PARENT = """
import sys
from pathlib import Path
from dev.processes import Process
child = Process("child", ["sleep", "600"], log=Path(sys.argv[1]))
child.start()
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_child_dies_with_its_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.send_signal(signal.SIGKILL)
            assert _ends(child, seconds=5)
        finally:
            os.close(child)


def _ends(pidfd: int, *, seconds: float) -> bool:
    """Whether the process behind `pidfd` ends in time (a pidfd is readable once it has)."""
    import select

    return bool(select.select([pidfd], [], [], seconds)[0])


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    deaf = Process("deaf", ["sh", "-c", "trap '' TERM; echo listening; sleep 600 & wait; wait"], log=log)
    deaf.start()
    deaf.wait_until(lambda: log.exists() and b"listening" in log.read_bytes(), seconds=10)
    deaf.stop(grace=0.2)
    assert deaf.ending() == "SIGKILL"


def test_an_early_end_is_told_with_the_last_lines_of_the_log(tmp_path: Path) -> None:
    failing = Process("the oven", ["sh", "-c", "echo no gas; exit 3"], log=tmp_path / "log")
    failing.start()
    with pytest.raises(StartFailed, match=r"the oven ended with exit code 3 .*\n  \| no gas"):
        failing.wait_until(lambda: False, seconds=10)


def test_a_program_that_does_not_exist_is_told_in_a_sentence(tmp_path: Path) -> None:
    missing = Process("popper", ["no-such-program"], log=tmp_path / "log")
    missing.start()
    with pytest.raises(StartFailed, match="no-such-program: No such file"):
        missing.wait_until(lambda: False, seconds=10)
