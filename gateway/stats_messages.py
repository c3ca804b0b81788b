"""A backlog in numbers, from the contract's messages to the picture's figures."""

from collections.abc import Iterable

from gateway.stats_chart import Figures
from popcorn.backlog.v1 import backlog_pb2
from popcorn.movie.v1 import movie_pb2


def figures_of(stats: backlog_pb2.Stats, genres: Iterable[movie_pb2.Genre]) -> Figures:
    """Return what to draw; a genre that has no name goes by its number."""
    names = {genre.id: genre.name for genre in genres}
    by_status = {one.status: one.count for one in stats.statuses}
    return Figures(
        want_to_watch=by_status.get(backlog_pb2.ENTRY_STATUS_WANT_TO_WATCH, 0),
        watching=by_status.get(backlog_pb2.ENTRY_STATUS_WATCHING, 0),
        watched=by_status.get(backlog_pb2.ENTRY_STATUS_WATCHED, 0),
        dropped=by_status.get(backlog_pb2.ENTRY_STATUS_DROPPED, 0),
        watched_minutes=stats.watched_minutes,
        genres=[(names.get(one.genre_id) or f"#{one.genre_id}", one.count) for one in stats.genres],
        ratings=[one.count for one in stats.ratings],
        decades={one.decade: one.count for one in stats.decades},
        lengths=[(one.from_minutes, one.below_minutes, one.count) for one in stats.runtimes],
        months={(one.year, one.month): one.count for one in stats.months},
        without_genre=stats.without_genre,
        without_decade=stats.without_decade,
        without_length=stats.without_runtime,
    )
