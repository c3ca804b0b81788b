"""CPU time and memory of processes, from Linux' /proc (proc(5)), and which core they may use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_AUTOGROUPS = Path("/proc/sys/kernel/sched_autogroup_enabled")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def seconds_of(pid: int) -> float:
    """Return the CPU seconds that a process and its living descendants have used; 0 for one that is gone."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            read = _read_stat(entry)
            if read is not None:
                parent, seconds = read
                used[int(entry.name)] = seconds
                children.setdefault(parent, []).append(int(entry.name))
    return sum(used.get(one, 0.0) for one in _tree(pid, children))


def memory_of(pid: int) -> int:
    """Return the bytes of memory that are a process's own: its proportional set size, without descendants."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no proportional set size of {pid}")


def used_between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds each of the named processes has used from one reading to the next."""
    return {name: after[name] - before[name] for name in before}


def readings(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU seconds of several processes by name."""
    return {name: seconds_of(pid) for name, pid in pids.items()}


def share_a_core(core: int) -> str:
    """Keep this process, and those it starts from now on, on one core; say so, or why not."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(_all_cores()) < 2:
        return "one core for servers and load together: the machine has no second one"
    os.sched_setaffinity(0, {core})
    return f"core {core} (of {len(cores) or '?'})"


@contextmanager
def without_autogroups() -> Iterator[str]:
    """Have Linux share a core among all processes alike for the block; say so, or why not.

    With autogroups (sched(7), on by default) it is shared among sessions, and each PostgreSQL backend is a
    session of its own. On a full core some of them then wait for a second or more, while others are served:
    for a server that shares its core with nobody that is no question, here it would be the tail of every
    latency.
    """
    try:
        before = _AUTOGROUPS.read_text()
        _AUTOGROUPS.write_text("0\n")
    except OSError as error:
        yield f"autogroups: as they are ({error.strerror}); with them on, tails are the scheduler's"
        return
    try:
        yield "autogroups: off"
    finally:
        _AUTOGROUPS.write_text(before)


def _all_cores() -> list[int]:
    return list(range(os.cpu_count() or 1))


def _tree(pid: int, children: Mapping[int, list[int]]) -> Iterable[int]:
    yield pid
    for child in children.get(pid, ()):
        yield from _tree(child, children)


def _read_stat(entry: Path) -> tuple[int, float] | None:
    """Return the parent and the CPU seconds in /proc/PID/stat."""
    try:
        stat = (entry / "stat").read_text()
    except OSError:
        return None
    # The command's name stands in parentheses and may hold anything, so count from behind it: state, ppid,
    # ...
    fields = stat.rpartition(")")[2].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
