"""Samples in bulk: what a limit learns from is the mean of a second and not one lucky call."""

from __future__ import annotations

from llmsim.algorithms.limits import ConcurrencyLimiter

__all__ = ["WindowedLimit"]


class WindowedLimit:
    """Hands on one sample a window: mean time, most in flight, and whether any was dropped.

    After Netflix's ``WindowedLimit`` (1 s, at least 10 samples, mean), with two differences on purpose. A window that
    ends with too few samples goes on instead of being thrown away: at an LLM's few calls a second the limit would
    otherwise never learn anything. And the mean is that of calls that were not dropped, if there are any: a refusal in
    30 ms is not a fast answer.

    Parameters
    ----------
    inner
        The limit that learns.
    window_s
        Seconds from one sample handed on to the next, at least.
    samples
        How many make one, at least.

    Examples
    --------
    >>> from llmsim.algorithms.limits_aimd import Aimd
    >>> limit = WindowedLimit(Aimd(initial=20).start(), window_s=1.0, samples=2)
    >>> for now in (0.2, 0.4, 1.3):
    ...     limit.sample(now, 0.1, 20, dropped=False)
    >>> limit.limit
    21
    """

    __slots__ = ("_dropped_s", "_drops", "_inner", "_least", "_most", "_next_s", "_samples", "_sum_s", "_window_s")

    def __init__(self, inner: ConcurrencyLimiter, window_s: float, samples: int) -> None:
        self._inner = inner
        self._window_s = window_s
        self._least = samples
        self._next_s = window_s
        self._clear()

    def _clear(self) -> None:
        self._sum_s = self._dropped_s = 0.0
        self._samples = self._drops = 0
        self._most = 0

    @property
    def limit(self) -> int:
        """See `ConcurrencyLimiter.limit`."""
        return self._inner.limit

    def sample(self, now: float, rtt_s: float, in_flight: int, *, dropped: bool) -> None:
        """A call that ended at `now`; the rest as in `ConcurrencyLimiter.sample`."""
        if dropped:
            self._dropped_s += rtt_s
            self._drops += 1
        else:
            self._sum_s += rtt_s
            self._samples += 1
        self._most = max(self._most, in_flight)
        if now > self._next_s and self._samples + self._drops >= self._least:
            self._next_s = now + self._window_s
            mean_s = self._sum_s / self._samples if self._samples else self._dropped_s / self._drops
            self._inner.sample(mean_s, self._most, dropped=self._drops > 0)
            self._clear()
