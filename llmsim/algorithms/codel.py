"""Controlled delay: shed when even the fastest has waited too long for too long."""

from __future__ import annotations

import math

__all__ = ["Codel"]


class Codel:
    """The control law of CoDel (Nichols and Jacobson, ACM Queue 2012; RFC 8289), for a server instead of a router.

    A burst makes some wait; a *standing* queue makes everybody wait. So what counts is the smallest delay of an
    interval: once all delays of `interval_s` were above `target_s`, one arrival is shed, the next one `interval_s`
    later, then `interval_s`/√2 after that, /√3, and so on, until a delay below the target is seen. Who falls back
    soon after starts with nearly the pace at which it left (RFC 8289, 5.4).

    Delays and arrivals are two events here (a router does both when it takes a packet out of its queue): a delay is
    known when somebody has been served, and what is shed is who comes in.

    Parameters
    ----------
    target_s
        The standing delay that is put up with.
    interval_s
        How long it must have lasted; at least what it takes for shedding to be felt.

    Examples
    --------
    >>> codel = Codel(target_s=1.0, interval_s=10.0)
    >>> for second in range(12):
    ...     codel.delay(float(second), 3.0)
    >>> [codel.admit(now) for now in (12.0, 13.0, 22.0, 23.0)]
    [False, True, False, True]
    >>> codel.delay(24.0, 0.4)
    >>> codel.admit(40.0)
    True
    """

    __slots__ = (
        "_above_until_s",
        "_count",
        "_interval_s",
        "_last_count",
        "_next_s",
        "_standing",
        "_target_s",
        "shedding",
    )

    def __init__(self, target_s: float, interval_s: float) -> None:
        self._target_s = target_s
        self._interval_s = interval_s
        self._above_until_s = math.inf  # when delays will have been above the target for an interval
        self._standing = False
        self._next_s = 0.0  # when the next arrival is to be shed
        self._count = 0  # how many were since shedding began
        self._last_count = 0  # … what it stood at when it began
        self.shedding = False

    def delay(self, now: float, delay_s: float) -> None:
        """Somebody was served at `now` after `delay_s`."""
        if delay_s < self._target_s:
            self._above_until_s = math.inf
            self._standing = self.shedding = False
        elif self._above_until_s == math.inf:
            self._above_until_s = now + self._interval_s
        elif now >= self._above_until_s:
            self._standing = True

    def idle(self) -> None:
        """Nobody is being served: there is no queue."""
        self._above_until_s = math.inf
        self._standing = self.shedding = False

    def admit(self, now: float) -> bool:
        """Whether to let in who arrives at `now`."""
        if self.shedding:
            if now < self._next_s:
                return True
            self._count += 1
            # From the time it was due, not from now: so says the law, which lags behind the load otherwise.
            self._next_s += self._interval_s / math.sqrt(self._count)
            return False
        if not self._standing:
            return True
        self.shedding = True
        # RFC 8289: near the last time means within 16 intervals of when the next one would have been shed.
        since = self._count - self._last_count
        recent = now - self._next_s < 16 * self._interval_s
        self._count = since if since > 1 and recent else 1
        self._last_count = self._count
        self._next_s = now + self._interval_s / math.sqrt(self._count)
        return False
