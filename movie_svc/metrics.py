"""What movie_svc tells Prometheus: what it has counted for its log, and how it stands with TMDB."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mesh.metrics import Families
from movie_svc import counters as names
from movie_svc.counters import Counters
from movie_svc.tmdb import Tmdb

HELP: Final = {
    names.CACHE_READS: "Reads of a shelf, by where the answer came from.",
    names.CACHE_STALE: "Of those, what was served stale.",
    names.STORE_FAILURES: "Reads and writes that MongoDB did not answer.",
    names.LEASES: "Leases to fetch from TMDB, by what came of them.",
    names.TMDB_REQUESTS: "Requests to TMDB, by outcome.",
    names.TMDB_SPARED: "What would have been a request to TMDB and was not sent, by why.",
    names.FILMS_CHANGED: "Cached films that TMDB's list of changes made stale.",
}
"""By the counter's name."""


_EXPECTED: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    (names.TMDB_REQUESTS, "outcome", ("ok", "not_found", "unusable", "failed", "too_many", "refused")),
    (names.TMDB_SPARED, "why", ("breaker", "budget", "concurrency")),
)


def of_counters(counters: Counters) -> Families:
    """Return everything that was counted; 0 of what may come, so that the first of it is an increase."""
    for name, label, values in _EXPECTED:
        for value in values:
            counters.of(name, **{label: value})
    counters.of(names.FILMS_CHANGED)

    def families() -> Iterable[Metric]:
        counted = sorted(counters.counted(), key=lambda one: one.name)
        by_name = {name: list(group) for name, group in groupby(counted, key=lambda one: one.name)}
        for name, text in HELP.items():
            found = by_name.get(name, [])
            labels = _labels(found[0].labels) if found else ()
            family = CounterMetricFamily(name.removesuffix("_total"), text, labels=labels)
            for counter in found:
                family.add_metric([value for _, value in counter.labels], counter.value)
            yield family

    return families


def _labels(labels: Sequence[tuple[str, str]]) -> list[str]:
    return [label for label, _ in labels]


def of_tmdb(tmdb: Tmdb) -> Families:
    """Return how a process stands with TMDB."""

    def families() -> Iterable[Metric]:
        return (
            GaugeMetricFamily(
                "movie_tmdb_budget_per_second",
                "Requests to TMDB that this replica may send a second.",
                tmdb.budget_per_second,
            ),
            GaugeMetricFamily(
                "movie_tmdb_rests", "1 while TMDB is left alone for having failed so often.", tmdb.rests
            ),
        )

    return families
