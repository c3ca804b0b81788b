"""A circuit breaker: whoever fails time and again is left alone for a while.

closed      all may pass; opens after so many failures in a row, or when most of late have failed
open        nobody may pass, until the rest is over
half-open   one at a time may pass, to probe; enough successes in a row close it, one failure opens it again
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType

import structlog

_log = structlog.get_logger("movie_svc.breaker")


class State(Enum):
    """What a breaker lets pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class BreakerOpen(Exception):
    """Nobody may pass now."""

    def __init__(self, *, retry_after_seconds: float) -> None:
        """Say when asking again makes sense."""
        super().__init__("the circuit breaker is open")
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and what it takes to close it."""

    failures_in_a_row: int = 8
    """So many open it."""
    window_seconds: float = 10.0
    """The share of failures is taken over so long."""
    failing_share: float = 0.5
    """So large a share of failures opens it."""
    fewest_in_window: int = 20
    """Over fewer outcomes there is no share."""
    rest_seconds: float = 4.0
    """So long it stays open before the first probe, and after every probe that failed."""
    probes_to_close: int = 2
    """So many successful probes in a row close it."""


class Breaker:
    """One for each thing that may fail."""

    def __init__(
        self, about: str, *, clock: Callable[[], float], policy: BreakerPolicy | None = None
    ) -> None:
        """Make a closed breaker.

        Args:
            about: What it stands before, for the log.
            clock: Seconds that never go back, such as `time.monotonic`.
            policy: When it opens and closes.
        """
        self._about = about
        self._clock = clock
        self._policy = policy or BreakerPolicy()
        self._state = State.CLOSED
        self._failures_in_a_row = 0
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=1000)
        self._opened_at = 0.0
        self._probing = False
        self._good_probes = 0

    @property
    def state(self) -> State:
        """What it lets pass."""
        return self._state

    def check(self) -> None:
        """Say at once whether asking makes sense: before waiting for one's turn.

        Raises:
            BreakerOpen: Nobody may pass now.
        """
        match self._state:
            case State.OPEN if (rest := self._rest_left()) > 0:
                raise BreakerOpen(retry_after_seconds=rest)
            case State.OPEN | State.HALF_OPEN if self._probing:
                raise BreakerOpen(retry_after_seconds=1.0)

    def enter(self) -> "Pass":
        """Let one pass, who says how it went: `with breaker.enter() as way: ...; way.succeeded()`.

        Raises:
            BreakerOpen: Nobody may pass now.
        """
        self.check()
        if self._state is State.OPEN:
            self._change(State.HALF_OPEN)
            self._good_probes = 0
        probe = self._state is State.HALF_OPEN
        self._probing = probe
        return Pass(self, probe=probe)

    def _rest_left(self) -> float:
        return self._opened_at + self._policy.rest_seconds - self._clock()

    def _ended(self, outcome: bool | None, *, probe: bool) -> None:
        if probe:
            self._probing = False
        if outcome is None:
            return
        if self._state is State.CLOSED:
            self._note(outcome)
        elif probe:  # what had set out before it opened says nothing new
            self._probed(outcome)

    def _note(self, succeeded: bool) -> None:
        policy, now = self._policy, self._clock()
        self._failures_in_a_row = 0 if succeeded else self._failures_in_a_row + 1
        self._outcomes.append((now, succeeded))
        while self._outcomes[0][0] < now - policy.window_seconds:
            self._outcomes.popleft()
        if succeeded:
            return
        failures = sum(not good for _, good in self._outcomes)
        counted = len(self._outcomes)
        mostly = counted >= policy.fewest_in_window and failures >= policy.failing_share * counted
        if mostly or self._failures_in_a_row >= policy.failures_in_a_row:
            self._open(failures=failures, of=counted)

    def _probed(self, succeeded: bool) -> None:
        if not succeeded:
            self._open()
            return
        self._good_probes += 1
        if self._good_probes >= self._policy.probes_to_close:
            self._failures_in_a_row = 0
            self._outcomes.clear()
            self._change(State.CLOSED)

    def _open(self, **why: int) -> None:
        self._opened_at = self._clock()
        self._change(State.OPEN, **why)

    def _change(self, state: State, **why: int) -> None:
        self._state = state
        log = _log.warning if state is State.OPEN else _log.info
        log("breaker.changed", about=self._about, state=state.value, **why)


class Pass:
    """One who was let through. Who leaves without having said how it went counts for nothing."""

    __slots__ = ("_breaker", "_outcome", "_probe")

    def __init__(self, breaker: Breaker, *, probe: bool) -> None:
        """Made by `Breaker.enter` only."""
        self._breaker = breaker
        self._probe = probe
        self._outcome: bool | None = None

    def succeeded(self) -> None:
        """Note that what is behind the breaker is well."""
        self._outcome = True

    def failed(self) -> None:
        """Note that what is behind the breaker is not well."""
        self._outcome = False

    def __enter__(self) -> "Pass":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._breaker._ended(self._outcome, probe=self._probe)
