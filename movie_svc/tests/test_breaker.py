"""When the circuit breaker opens, probes and closes."""

import pytest
import structlog

from movie_svc.breaker import Breaker, BreakerOpen, BreakerPolicy, State

POLICY = BreakerPolicy(
    failures_in_a_row=3, fewest_in_window=10, window_seconds=10, rest_seconds=5, probes_to_close=2
)


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def seconds() -> Clock:
    return Clock()


@pytest.fixture
def breaker(seconds: Clock) -> Breaker:
    return Breaker("something", clock=seconds, policy=POLICY)


def state(breaker: Breaker) -> State:
    """As a call, since a type checker takes an attribute to stay as it is."""
    return breaker.state


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        with breaker.enter() as way:
            way.failed()


def succeed(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        with breaker.enter() as way:
            way.succeeded()


def test_failures_in_a_row_open_it(breaker: Breaker, seconds: Clock) -> None:
    fail(breaker, 2)
    succeed(breaker)
    fail(breaker, 2)
    assert state(breaker) is State.CLOSED
    fail(breaker)
    assert state(breaker) is State.OPEN
    seconds.seconds += 3
    with pytest.raises(BreakerOpen) as raised:
        breaker.enter()
    assert raised.value.retry_after_seconds == 2


def test_a_large_share_of_failures_opens_it_and_old_ones_do_not_count(
    breaker: Breaker, seconds: Clock
) -> None:
    for _ in range(4):
        fail(breaker)
        succeed(breaker)
    seconds.seconds += 11
    fail(breaker)
    succeed(breaker)
    fail(breaker)
    assert state(breaker) is State.CLOSED
    for _ in range(3):
        succeed(breaker)
        fail(breaker)
    fail(breaker)
    assert state(breaker) is State.OPEN


def test_one_at_a_time_probes_and_successes_in_a_row_close_it(breaker: Breaker, seconds: Clock) -> None:
    fail(breaker, 3)
    seconds.seconds += 5
    breaker.check()
    with breaker.enter() as probe:
        assert state(breaker) is State.HALF_OPEN
        with pytest.raises(BreakerOpen):
            breaker.check()
        with pytest.raises(BreakerOpen):
            breaker.enter()
        probe.succeeded()
    assert state(breaker) is State.HALF_OPEN
    succeed(breaker)
    assert state(breaker) is State.CLOSED
    fail(breaker, 2)
    assert state(breaker) is State.CLOSED


def test_a_failed_probe_opens_it_for_another_rest(breaker: Breaker, seconds: Clock) -> None:
    fail(breaker, 3)
    seconds.seconds += 5
    succeed(breaker)
    fail(breaker)
    assert state(breaker) is State.OPEN
    seconds.seconds += 4.9
    with pytest.raises(BreakerOpen):
        breaker.enter()
    seconds.seconds += 0.1
    succeed(breaker, 2)
    assert state(breaker) is State.CLOSED


def test_a_probe_that_says_nothing_or_breaks_off_makes_room_for_the_next(
    breaker: Breaker, seconds: Clock
) -> None:
    fail(breaker, 3)
    seconds.seconds += 5
    with breaker.enter():
        pass
    with pytest.raises(RuntimeError), breaker.enter():
        raise RuntimeError
    assert state(breaker) is State.HALF_OPEN
    succeed(breaker, 2)
    assert state(breaker) is State.CLOSED


def test_what_set_out_before_it_opened_changes_nothing(breaker: Breaker, seconds: Clock) -> None:
    early = [breaker.enter() for _ in range(4)]
    fail(breaker, 3)
    seconds.seconds += 5
    with breaker.enter() as probe:
        for way in early[:2]:
            with way:
                way.failed()
        for way in early[2:]:
            with way:
                way.succeeded()
        assert state(breaker) is State.HALF_OPEN
        with pytest.raises(BreakerOpen):
            breaker.enter()
        probe.succeeded()


def test_every_change_is_one_line_in_the_log(breaker: Breaker, seconds: Clock) -> None:
    with structlog.testing.capture_logs() as logs:
        fail(breaker, 3)
        for _ in range(5):
            with pytest.raises(BreakerOpen):
                breaker.check()
        seconds.seconds += 5
        succeed(breaker, 4)
    assert [(log["event"], log["about"], log["state"]) for log in logs] == [
        ("breaker.changed", "something", "open"),
        ("breaker.changed", "something", "half-open"),
        ("breaker.changed", "something", "closed"),
    ]
