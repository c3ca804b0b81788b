"""What game_svc tells Prometheus: how the evenings go, who is there, and whether Redis answers."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from game_svc.events import CardSwiped, MatchFound, Numbered, RoomOpened, Verdict
from game_svc.redis_link import RedisLink
from game_svc.state import State
from game_svc.streams import Streams
from mesh.metrics import Families, histogram

MATCH_SECONDS: Final = (5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600)
"""Upper bounds of the buckets of the time from a game's start to its first match."""


class Evenings:
    """Counts what happens in rooms. The replica that appends an event counts it, and no other does."""

    def __init__(self) -> None:
        self._rooms = 0
        self._matches = 0
        self._swipes: Counter[Verdict] = Counter()
        self._first_matches = [0] * (len(MATCH_SECONDS) + 1)
        self._seconds = 0.0

    def note(self, events: Sequence[Numbered], state: State) -> None:
        """Count events that have just been appended to a room; `state` is the one after them."""
        for numbered in events:
            match numbered.event:
                case CardSwiped(verdict=verdict):
                    self._swipes[verdict] += 1
                case MatchFound():
                    self._matches += 1
                    if state.started is not None and len(state.matches) <= 1:
                        seconds = (numbered.at - state.started).total_seconds()
                        self._first_matches[bisect_left(MATCH_SECONDS, seconds)] += 1
                        self._seconds += seconds
                case RoomOpened():
                    self._rooms += 1
                case _:
                    pass

    def families(self) -> Iterable[Metric]:
        """Return what was counted."""
        swipes = CounterMetricFamily("game_swipes", "Swipes, by verdict.", labels=["verdict"])
        for verdict in Verdict:
            swipes.add_metric([verdict.value], self._swipes[verdict])
        to_match = HistogramMetricFamily(
            "game_match_seconds", "From a game's start to its first match, in seconds."
        )
        to_match.add_metric([], *histogram(MATCH_SECONDS, self._first_matches, self._seconds))
        return (
            CounterMetricFamily("game_rooms_opened", "Rooms opened.", self._rooms),
            CounterMetricFamily("game_matches", "Matches found.", self._matches),
            swipes,
            to_match,
        )


def of_audience(streams: Streams) -> Families:
    """Return who listens through this replica."""

    def families() -> Iterable[Metric]:
        audience = streams.audience
        return (
            GaugeMetricFamily(
                "game_rooms_open",
                "Rooms that somebody listens to through this replica.",
                len({code for code, _ in audience}),
            ),
            GaugeMetricFamily(
                "game_players_connected",
                "People who listen to a room through this replica.",
                len({user_id for _, user_id in audience}),
            ),
        )

    return families


def of_redis(link: RedisLink) -> Families:
    """Return how Redis answers."""

    def families() -> Iterable[Metric]:
        return (
            CounterMetricFamily(
                "game_redis_failures", "Questions that Redis did not answer in time.", link.failures
            ),
        )

    return families
