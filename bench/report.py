"""What was measured, as rows of one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.load import Load

GENERATOR_LIMIT = 0.9
"""From this share of its core on the load generator, not the server, is what was measured."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing."""

    group: str
    """What is compared: "film over REST"."""
    name: str
    """Which side of it: "the mesh", "empty handler"."""
    load: Load
    cpu: Mapping[str, float] = field(default_factory=dict)
    """CPU seconds by process while it ran."""
    is_limit: bool = False
    """Whether the others of the group are measured against it."""

    @property
    def cpu_ms_per_call(self) -> float:
        """CPU milliseconds over all processes for one call."""
        return 1000 * sum(self.cpu.values()) / max(1, self.load.calls)

    def as_json(self) -> dict[str, Any]:
        """Return the row for a file."""
        calls = max(1, self.load.calls)
        return {
            "group": self.group,
            "name": self.name,
            "perSecond": round(self.load.per_second, 1),
            "p50Ms": round(1000 * self.load.percentile(0.5), 2),
            "p99Ms": round(1000 * self.load.percentile(0.99), 2),
            "cpuMsPerCall": round(self.cpu_ms_per_call, 3),
            "cpuMsByProcess": {name: round(1000 * used / calls, 3) for name, used in self.cpu.items()},
            "failed": self.load.failed,
            "generatorShare": round(self.load.generator_seconds / self.load.seconds, 2),
            "isLimit": self.is_limit,
        }


def table(rows: Sequence[Row]) -> str:
    """Return all rows as text, each with its share of its group's limit."""
    limits = {row.group: row.load.per_second for row in rows if row.is_limit}
    heads = f"{'a second':>9} {'of limit':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms':>8}"
    lines = [f"{'':36} {heads}  by process, CPU ms a call"]
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(group)
        limit = limits.get(row.group)
        share = f"{100 * row.load.per_second / limit:8.0f}%" if limit else f"{'':9}"
        busy = row.load.generator_seconds / row.load.seconds
        note = f"  ! the load generator was {100 * busy:.0f} % busy" if busy > GENERATOR_LIMIT else ""
        note += f"  ! {row.load.failed} calls failed" if row.load.failed else ""
        lines.append(
            f"  {row.name:34} {row.load.per_second:9.0f} {share} {1000 * row.load.percentile(0.5):8.2f}"
            f" {1000 * row.load.percentile(0.99):8.2f} {row.cpu_ms_per_call:8.3f}  {_by_process(row)}{note}"
        )
    return "\n".join(lines)


def _by_process(row: Row) -> str:
    calls = max(1, row.load.calls)
    shares = {name: 1000 * used / calls for name, used in row.cpu.items()}
    largest = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {milliseconds:.2f}" for name, milliseconds in largest if milliseconds >= 0.005)
