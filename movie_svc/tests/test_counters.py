"""What is counted, and told once a minute."""

import structlog

from movie_svc.counters import Counters
from movie_svc.tests.conftest import Running
from movie_svc.tests.test_service import get, refused
from movie_svc.tests.upstream import NOT_FOUND, Reply


def test_only_news_are_told_in_one_line() -> None:
    counters = Counters()
    some = counters.of("some_total", shelf="films", outcome="memory")
    assert counters.of("some_total", outcome="memory", shelf="films") is some
    counters.of("other_total")
    some.add()
    some.add(2)
    with structlog.testing.capture_logs() as logs:
        counters.tell()
        counters.tell()
        some.add()
        counters.tell()
    name = 'some_total{outcome="memory",shelf="films"}'
    assert [{key: value for key, value in log.items() if key == name} for log in logs] == [
        {name: 3},
        {name: 1},
    ]
    assert counters.values() == {name: 4, "other_total": 0}


async def test_hits_misses_and_unusable_answers_are_counted_and_the_latter_logged_with_their_id(
    running: Running,
) -> None:
    await running.stub.GetMovie(get(1))
    await running.stub.GetMovie(get(1))
    running.upstream.answers["/movie/2"] = lambda _: NOT_FOUND
    await refused(running.stub.GetMovie(get(2)))
    running.upstream.answers["/movie/3"] = lambda _: Reply.of([])
    with structlog.testing.capture_logs() as logs:
        await refused(running.stub.GetMovie(get(3)))
    [unusable] = [log for log in logs if log["event"] == "tmdb.answer_unusable"]
    assert (unusable["path"], unusable["log_level"]) == ("/movie/3", "error")
    counted = {name: count for name, count in running.counters.values().items() if count}
    reads = {
        outcome: counted[f'movie_cache_reads_total{{outcome="{outcome}",shelf="films"}}']
        for outcome in ("memory", "fetched", "absent", "unavailable")
    }
    assert reads == {"memory": 1, "fetched": 1, "absent": 1, "unavailable": 1}
    requests = {
        outcome: counted[f'movie_tmdb_requests_total{{outcome="{outcome}"}}']
        for outcome in ("ok", "not_found", "unusable")
    }
    assert requests == {"ok": 1, "not_found": 1, "unusable": 1}
