"""A backlog in numbers, for an answer."""

from itertools import pairwise
from typing import Final

from backlog_svc import entries
from backlog_svc.messages import status_number
from backlog_svc.stats import RUNTIME_BOUNDS, Stats
from popcorn.backlog.v1 import backlog_pb2

_SPANS: Final = tuple(pairwise((0, *RUNTIME_BOUNDS, 0)))


def stats_message(stats: Stats) -> backlog_pb2.Stats:
    """Numbers, in the contract's orders, with the zeros that it promises."""
    message = backlog_pb2.Stats
    by_frequency = sorted(stats.genres.items(), key=lambda genre: (-genre[1], genre[0]))
    return message(
        statuses=[
            message.StatusCount(status=status_number(status), count=stats.statuses.get(status, 0))
            for status in entries.Status
        ],
        ratings=[
            message.RatingCount(rating=entries.stars(half), count=stats.half_stars.get(half, 0))
            for half in range(1, entries.MOST_HALF_STARS + 1)
        ],
        genres=[message.GenreCount(genre_id=genre_id, count=films) for genre_id, films in by_frequency],
        decades=[
            message.DecadeCount(decade=decade, count=films) for decade, films in sorted(stats.decades.items())
        ],
        runtimes=[
            message.RuntimeCount(
                from_minutes=shortest, below_minutes=below, count=stats.runtimes.get(span, 0)
            )
            for span, (shortest, below) in enumerate(_SPANS)
        ],
        months=[
            message.MonthCount(year=month.year, month=month.month, count=films)
            for month, films in sorted(stats.months.items())
        ],
        watched_minutes=stats.watched_minutes,
        without_genre=stats.without_genre,
        without_decade=stats.without_decade,
        without_runtime=stats.without_runtime,
    )
