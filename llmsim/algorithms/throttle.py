"""Refuse locally what an upstream would refuse anyway."""

from __future__ import annotations

from llmsim.algorithms.window import RollingCounts

__all__ = ["AdaptiveThrottle"]


class AdaptiveThrottle:
    """The client-side throttling of "Handling Overload" (Google, Site Reliability Engineering, chapter 21).

    Of the calls of the last `window_s` seconds, *requests* is how many the client wanted to make and *accepts* how many
    the upstream took. A new one is refused with probability max(0, (requests − `k`·accepts)/(requests + 1)). Refused
    ones are requests too, so what gets through is about `k` times what the upstream takes: enough to notice when it
    takes more again.

    Requests count from before they are sent (zeromicro/go-zero#5011: counted when they end, a burst of slow ones goes
    through unnoticed).

    Parameters
    ----------
    k
        Calls sent per call accepted, under overload.
    window_s
        How long a call counts, in seconds; longer than a call takes.
    minimum_requests
        Requests in the window below which nothing is refused.

    Examples
    --------
    >>> throttle = AdaptiveThrottle(k=2.0)
    >>> for number in range(100):
    ...     throttle.request(0.0)
    >>> for number in range(30):
    ...     throttle.accept(0.0)
    >>> throttle.probability(1.0) == (100 - 2 * 30) / 101
    True
    """

    __slots__ = ("_accepts", "_k", "_minimum", "_requests")

    def __init__(self, k: float = 2.0, window_s: float = 120.0, minimum_requests: int = 0) -> None:
        self._k = k
        self._minimum = minimum_requests
        self._requests = RollingCounts(window_s)
        self._accepts = RollingCounts(window_s)

    def probability(self, now: float) -> float:
        """With which the next call at `now` is to be refused; in [0, 1)."""
        self._requests.expire(now)
        self._accepts.expire(now)
        requests = self._requests.total
        if requests < self._minimum:
            return 0.0
        excess = requests - self._k * self._accepts.total
        return excess / (requests + 1.0) if excess > 0 else 0.0

    def request(self, now: float) -> None:
        """A call is wanted at `now`, whether it is sent or refused."""
        self._requests.add(now)

    def accept(self, now: float) -> None:
        """The upstream took a call at `now`."""
        self._accepts.add(now)
