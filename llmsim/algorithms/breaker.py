"""When to stop asking an upstream, and when to ask again."""

from __future__ import annotations

import math
from typing import Literal

from llmsim.algorithms.ramp import ramp_delay_s
from llmsim.algorithms.window import LastCalls, RollingCounts

__all__ = ["Breaker", "BreakerState"]

BreakerState = Literal["closed", "open", "half_open", "ramping"]


class Breaker:
    """A circuit breaker over a window of time or calls, after resilience4j's.

    *closed*: every call goes through; opens when at least `minimum_calls` ended inside the window and the share of
    failures among them is `failure_rate` or more, or that of slow calls `slow_rate` or more. *open*: no call goes
    through until the wait is over. *half_open*: `permitted_in_half_open` calls go through, at most, and they are held
    to the same rates. *ramping*, only with `ramp_s`: a growing share goes through, and what ends is counted as in
    closed, into which it passes on.

    Two rules differ from resilience4j's on purpose, because a streamed call can last half a minute. The half-open
    verdict is given as soon as the outcomes so far settle it (it is the verdict all of them would have given). And an
    outcome counts only in the period its call was admitted in (ramping and closed are one): calls that began
    before the breaker opened say nothing about whether the upstream is back.

    Parameters
    ----------
    failure_rate
        Share of failed calls at which it opens, in (0, 1].
    window_s
        Length of the sliding window in seconds.
    window_calls
        Length of the sliding window in calls, in place of `window_s`.
    minimum_calls
        Ended calls without which the shares say nothing.
    wait_in_open_s
        Seconds it stays open.
    permitted_in_half_open
        Calls that probe whether the upstream is back.
    slow_rate
        Share of slow calls at which it opens, in (0, 1]; None: slow calls are no matter.
    ramp_s
        Seconds from the end of half-open until everything goes through.
    wait_multiplier, max_wait_s
        Each time it opens again without having been closed, it stays open this many times as long as the last time,
        `max_wait_s` at most (but never less than `wait_in_open_s`).

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
        "_fast",
        "_max_wait",
        "_minimum_calls",
        "_next_wait",
        "_passed",
        "_permits",
        "_permitted",
        "_ramp",
        "_ramping_since",
        "_slow_threshold",
        "_slow_window",
        "_threshold",
        "_wait",
        "_wait_multiplier",
        "_window",
        "failure_rate",
        "generation",
        "open_until_s",
        "slow_rate",
        "state",
    )

    def __init__(
        self,
        *,
        failure_rate: float,
        window_s: float = 30.0,
        window_calls: int | None = None,
        minimum_calls: int,
        wait_in_open_s: float,
        permitted_in_half_open: int,
        slow_rate: float | None = None,
        ramp_s: float = 0.0,
        wait_multiplier: float = 1.0,
        max_wait_s: float = math.inf,
    ) -> None:
        def window() -> RollingCounts | LastCalls:
            return RollingCounts(window_s) if window_calls is None else LastCalls(window_calls)

        self._threshold = failure_rate
        self._slow_threshold = slow_rate
        self._minimum_calls = minimum_calls
        self._wait = self._next_wait = wait_in_open_s
        self._wait_multiplier = wait_multiplier
        self._max_wait = max(max_wait_s, wait_in_open_s)
        self._permitted = permitted_in_half_open
        self._ramp = ramp_s
        self._ramping_since = 0.0
        self._window = window()
        self._slow_window = None if slow_rate is None else window()
        self._permits = 0  # half-open permits not given out
        self._passed = 0  # half-open calls that ended well
        self._failed = 0  # half-open calls that failed
        self._fast = 0  # half-open calls that were not slow, failed or not
        self.open_until_s = 0.0  #: while open: when it will probe
        self.state: BreakerState = "closed"
        self.generation = 1  #: of the calls admitted now; grows when their outcomes get another meaning
        self.failure_rate = 0.0  #: the share of failures at the last change of state
        self.slow_rate = 0.0  #: the share of slow calls at the last change of state

    def admit(self, now: float, luck: float = 1.0) -> int:
        """Ask for a call at `now`: its generation, to be handed to `record` or `release`; 0 if refused.

        `luck`, in (0, 1), matters while ramping: without it the answer is then no.
        """
        if self.state == "closed":
            return self.generation
        if self.state == "ramping":
            self._ramped(now)
            return self.generation if now >= self.opens_s(luck) else 0
        if self.state == "open":
            if now < self.open_until_s:
                return 0
            self._permits = self._permitted
            self._passed = self._failed = self._fast = 0
            self._change("half_open")
        if self._permits == 0:
            return 0
        self._permits -= 1
        return self.generation

    def record(self, generation: int, now: float, *, failed: bool, slow: bool = False) -> None:
        """A call that was admitted in `generation` ended at `now`."""
        if generation != self.generation:
            return
        if self.state != "closed" and self._settled(now, failed=failed, slow=slow):
            return
        window = self._window
        window.add(now, marked=failed)
        if self._slow_window is not None:
            self._slow_window.add(now, marked=slow)
            self._judge_both(now, self._slow_window)
        elif window.marked and window.total >= self._minimum_calls:
            share = window.marked / window.total
            if share >= self._threshold:
                self._open(now, share)

    def release(self, generation: int) -> None:
        """A call that was admitted in `generation` ended without saying anything about the upstream."""
        if generation == self.generation and self.state == "half_open":
            self._permits += 1

    def remaining_s(self, now: float) -> float | None:
        """Seconds until an open breaker lets a call through; None when it is not open."""
        return max(0.0, self.open_until_s - now) if self.state == "open" else None

    def opens_s(self, luck: float) -> float:
        """While ramping: the time from which a call with this luck is let through."""
        return self._ramping_since + ramp_delay_s(luck, self._ramp)

    def _settled(self, now: float, *, failed: bool, slow: bool) -> bool:
        """Whether an outcome that came while not closed is dealt with (and does not go into the window)."""
        if self.state == "ramping":
            self._ramped(now)
            return False
        if failed:
            self._failed += 1
        else:
            self._passed += 1
        if not slow:
            self._fast += 1
        self._judge(now)
        return True

    def _ramped(self, now: float) -> None:
        if now >= self._ramping_since + self._ramp:
            self._close()  # of the same generation: what goes on counts

    def _judge_both(self, now: float, slow_window: RollingCounts | LastCalls) -> None:
        window = self._window
        assert self._slow_threshold is not None
        if window.total < self._minimum_calls:
            return
        share, slow_share = window.marked / window.total, slow_window.marked / slow_window.total
        if (window.marked and share >= self._threshold) or (slow_window.marked and slow_share >= self._slow_threshold):
            self._open(now, share, slow_share)

    def _judge(self, now: float) -> None:
        ended, permitted = self._failed + self._passed, self._permitted
        share, slow_share = self._failed / ended, 1 - self._fast / ended
        slow_threshold = 2.0 if self._slow_threshold is None else self._slow_threshold  # no share reaches 2
        if self._failed / permitted >= self._threshold or (ended - self._fast) / permitted >= slow_threshold:
            self._open(now, share, slow_share)
        elif (permitted - self._passed) / permitted < self._threshold and (
            (permitted - self._fast) / permitted < slow_threshold
        ):
            self.failure_rate, self.slow_rate = share, slow_share
            self.generation += 1
            if self._ramp > 0:
                self._ramping_since = now
                self.state = "ramping"
            else:
                self._close()

    def _close(self) -> None:
        self._next_wait = self._wait
        self.state = "closed"

    def _open(self, now: float, share: float, slow_share: float = 0.0) -> None:
        self.failure_rate, self.slow_rate = share, slow_share
        self._clear()
        self.open_until_s = now + self._next_wait
        self._next_wait = min(self._max_wait, self._next_wait * self._wait_multiplier)
        self._change("open")

    def _clear(self) -> None:
        self._window.clear()
        if self._slow_window is not None:
            self._slow_window.clear()

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self.generation += 1
