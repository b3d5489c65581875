"""So many calls at once, and no faster than so many a second."""

from __future__ import annotations

from llmsim.algorithms.buckets import TokenBucket
from llmsim.algorithms.queues import Ticket
from llmsim.algorithms.rate_limits import INSTANT_S
from llmsim.algorithms.smoothed import Smoothed

__all__ = ["Permits"]

_FOREVER = float("inf")


class Permits:
    """What may go on at once, and how often one more may begin.

    Parameters
    ----------
    limit
        Most calls at once. May be changed at any time.
    rate_per_s
        Most calls that begin a second, evenly: the next no sooner than 1/rate after one; None: no limit.
    held_s
        How long calls have one, for `expected_s`; default: a mean of its own.

    Examples
    --------
    >>> permits = Permits(limit=2, rate_per_s=10.0)
    >>> permits.wait_s(None, now=0.0)
    0.0
    >>> permits.take(None, now=0.0)
    >>> permits.wait_s(None, now=0.0)
    0.1
    >>> permits.take(None, now=0.1)
    >>> permits.wait_s(None, now=0.2)
    inf
    """

    __slots__ = ("_held_s", "_pace", "limit", "taken")

    def __init__(
        self, limit: float = _FOREVER, rate_per_s: float | None = None, held_s: Smoothed | None = None
    ) -> None:
        self.limit = limit
        self.taken = 0
        self._held_s = held_s or Smoothed()
        self._pace = None if rate_per_s is None else TokenBucket(rate_per_s, 1.0)

    def wait_s(self, ticket: Ticket | None, now: float) -> float:
        """Seconds until one more may begin; 0: now; inf: not before one ends."""
        if self.taken >= self.limit:
            return _FOREVER
        if self._pace is None:
            return 0.0
        wait_s = self._pace.wait_s(1.0, now)
        return wait_s if wait_s > INSTANT_S else 0.0

    def take(self, ticket: Ticket | None, now: float) -> None:
        """One more begins."""
        self.taken += 1
        if self._pace is not None:
            self._pace.take(1.0, now)

    def give_back(self, ticket: Ticket | None, now: float) -> None:
        """One that began never did anything."""
        self.taken -= 1
        if self._pace is not None:
            self._pace.take(-1.0, now)

    def ended(self, held_s: float) -> None:
        """One has ended that began so many seconds ago."""
        self.taken -= 1
        self._held_s.add(held_s)

    def expected_s(self, waiting: int) -> float:
        """Seconds that one would wait behind `waiting` others, as things have gone; 0 where nothing is known."""
        by_permits = (waiting + 1) * self._held_s.value / self.limit
        return by_permits if self._pace is None else max(by_permits, (waiting + 1) / self._pace.rate_per_s)
