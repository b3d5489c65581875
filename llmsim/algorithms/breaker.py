"""When to stop asking an upstream, and when to ask again."""

from __future__ import annotations

from typing import Literal

from llmsim.algorithms.window import RollingCounts

__all__ = ["Breaker", "BreakerState"]

BreakerState = Literal["closed", "open", "half_open"]


class Breaker:
    """A circuit breaker over a time window, after resilience4j's.

    *closed*: every call goes through; opens when at least `minimum_calls` ended inside the window and the share of
    failures among them is `failure_rate` or more. *open*: no call goes through for `wait_in_open_s`. *half_open*:
    `permitted_in_half_open` calls go through, at most, and their failures are held to the same `failure_rate`.

    Two rules differ from resilience4j's on purpose, because a streamed call can last half a minute. The half-open
    verdict is given as soon as the outcomes so far settle it (it is the verdict all of them would have given). And an
    outcome counts only in the period its call was admitted in: calls that began before the breaker opened say
    nothing about whether the upstream is back.

    Parameters
    ----------
    failure_rate
        Share of failed calls at which it opens, in (0, 1].
    window_s
        Length of the sliding window in seconds.
    minimum_calls
        Ended calls without which the share says nothing.
    wait_in_open_s
        Seconds it stays open.
    permitted_in_half_open
        Calls that probe whether the upstream is back.

    Examples
    --------
    >>> breaker = Breaker(failure_rate=0.5, window_s=30, minimum_calls=2, wait_in_open_s=15, permitted_in_half_open=1)
    >>> for _ in range(2):
    ...     breaker.record(breaker.admit(0.0), now=0.0, failed=True)
    >>> breaker.state, breaker.admit(1.0), breaker.remaining_s(1.0)
    ('open', 0, 14.0)
    >>> probe = breaker.admit(15.0)
    >>> breaker.state, breaker.admit(15.0)
    ('half_open', 0)
    >>> breaker.record(probe, now=16.0, failed=False)
    >>> breaker.state
    'closed'
    """

    __slots__ = (
        "_failed",
        "_minimum_calls",
        "_passed",
        "_permits",
        "_permitted",
        "_threshold",
        "_wait",
        "_window",
        "failure_rate",
        "generation",
        "open_until_s",
        "state",
    )

    def __init__(
        self,
        *,
        failure_rate: float,
        window_s: float,
        minimum_calls: int,
        wait_in_open_s: float,
        permitted_in_half_open: int,
    ) -> None:
        self._threshold = failure_rate
        self._minimum_calls = minimum_calls
        self._wait = wait_in_open_s
        self._permitted = permitted_in_half_open
        self._window = RollingCounts(window_s)
        self.open_until_s = 0.0  #: while open: when it will probe
        self._permits = 0  # half-open permits not given out
        self._passed = 0  # half-open calls that ended well
        self._failed = 0  # half-open calls that failed
        self.state: BreakerState = "closed"
        self.generation = 1  #: grows by one with every change of state
        self.failure_rate = 0.0  #: the share that caused the last change of state

    def admit(self, now: float) -> int:
        """Ask for a call at `now`: its generation, to be handed to `record` or `release`; 0 if refused."""
        if self.state == "closed":
            return self.generation
        if self.state == "open":
            if now < self.open_until_s:
                return 0
            self._permits = self._permitted
            self._passed = self._failed = 0
            self._change("half_open")
        if self._permits == 0:
            return 0
        self._permits -= 1
        return self.generation

    def record(self, generation: int, now: float, *, failed: bool) -> None:
        """A call that was admitted in `generation` ended at `now`."""
        if generation != self.generation:
            return
        if self.state == "closed":
            window = self._window
            window.add(now, marked=failed)
            if window.marked and window.total >= self._minimum_calls:
                share = window.marked / window.total
                if share >= self._threshold:
                    self._open(now, share)
            return
        if failed:
            self._failed += 1
        else:
            self._passed += 1
        self._judge(now)

    def release(self, generation: int) -> None:
        """A call that was admitted in `generation` ended without saying anything about the upstream."""
        if generation == self.generation and self.state == "half_open":
            self._permits += 1

    def remaining_s(self, now: float) -> float | None:
        """Seconds until an open breaker lets a call through; None when it is not open."""
        return max(0.0, self.open_until_s - now) if self.state == "open" else None

    def _judge(self, now: float) -> None:
        if self._failed / self._permitted >= self._threshold:
            self._open(now, self._failed / (self._failed + self._passed))
        elif (self._permitted - self._passed) / self._permitted < self._threshold:
            self.failure_rate = self._failed / (self._failed + self._passed)
            self._window.clear()
            self._change("closed")

    def _open(self, now: float, share: float) -> None:
        self.failure_rate = share
        self.open_until_s = now + self._wait
        self._change("open")

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self.generation += 1
