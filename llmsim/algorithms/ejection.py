"""Which of several upstreams to leave out, because it does worse than the others or fails all the time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmsim.algorithms.ramp import ramp_delay_s

__all__ = ["Ejections", "Host"]


class Host:
    """What is known of one upstream."""

    __slots__ = ("active", "failed", "for_s", "in_a_row", "name", "times", "total", "until_s")

    def __init__(self, name: str) -> None:
        self.name = name
        self.in_a_row = 0  #: failures since the last success
        self.total = 0  #: calls that ended in this interval
        self.failed = 0  #: failures among them
        self.times = 0  #: ejections in a row, less one per interval of good health
        self.for_s = 0.0  #: length of the latest ejection
        self.until_s = -math.inf  #: end of the latest ejection, also when it has passed
        self.active = False  #: whether calls have to ask `Ejections.opens_s`


class Ejections:
    """Outlier ejection after Envoy's: an upstream that sticks out is left out for a while, never too many at a time.

    *Consecutive errors* eject at once. *Failure rate* and *success rate* are looked at when an interval is over, over
    the calls that ended in it; intervals without calls are skipped, as there is no timer. The n-th ejection in a row
    lasts n times `base_s`; every interval in which the upstream was not ejected takes one off n.

    One rule differs from Envoy's: an ejection ends when its time is over and not at the next sweep.

    Parameters
    ----------
    names
        All upstreams.
    consecutive
        Failures in a row that eject; None: no number does.
    interval_s, base_s, max_s
        Seconds: between two looks at the rates; of a first ejection; of any ejection.
    max_share
        Of the upstreams, ejected at a time; rounded down, so that it holds also where that means none.
    always_one
        One may be ejected in any case, unless it is the only one.
    failure_rate
        Share of failures in an interval that ejects; None: none does.
    stdevs
        A success rate this many standard deviations below the mean of all ejects; None: none does. Of n upstreams one
        cannot be further below than √(n − 1).
    minimum_calls
        Ended calls in an interval without which its rates say nothing.
    ramp_s
        Seconds after an ejection until everything goes through again.

    Examples
    --------
    >>> ejections = Ejections(["a", "b"], consecutive=2)
    >>> [ejections.record("a", now, failed=True) for now in (0.0, 1.0)]
    [{}, {'a': 'consecutive_errors'}]
    >>> [ejections.record("b", now, failed=True) for now in (2.0, 3.0)]  # half of them is enough
    [{}, {}]
    >>> ejections.opens_s("a"), ejections.opens_s("b")
    (31.0, -inf)
    """

    __slots__ = (
        "_allowed",
        "_base",
        "_consecutive",
        "_failure_rate",
        "_interval",
        "_max",
        "_minimum_calls",
        "_most_times",
        "_next_look_s",
        "_ramp",
        "_stdevs",
        "hosts",
    )

    def __init__(
        self,
        names: Sequence[str],
        *,
        consecutive: int | None = None,
        interval_s: float = 10.0,
        base_s: float = 30.0,
        max_s: float = 300.0,
        max_share: float = 0.5,
        always_one: bool = False,
        failure_rate: float | None = None,
        stdevs: float | None = None,
        minimum_calls: int = 1,
        ramp_s: float = 0.0,
    ) -> None:
        self.hosts = {name: Host(name) for name in names}
        # 29 % of 100 are 29, also where 0.29 * 100 is a rounding error short of it.
        self._allowed = math.floor(max_share * len(self.hosts) + 1e-9)
        if always_one and len(self.hosts) > 1:
            self._allowed = max(self._allowed, 1)
        self._consecutive = math.inf if consecutive is None else consecutive
        self._interval = interval_s
        self._base = base_s
        self._max = max_s
        self._most_times = math.ceil(max_s / base_s)
        self._failure_rate = 2.0 if failure_rate is None else failure_rate  # no share reaches 2
        self._stdevs = stdevs
        self._minimum_calls = minimum_calls
        self._ramp = ramp_s
        rates = stdevs is not None or failure_rate is not None
        self._next_look_s = -math.inf if rates else math.inf

    def record(self, name: str, now: float, *, failed: bool) -> dict[str, str]:
        """A call to `name` ended at `now`: which upstreams that ejects, and why."""
        ejected = self._look(now) if now >= self._next_look_s else {}
        host = self.hosts[name]
        if now < host.until_s:  # began before it was ejected
            return ejected
        host.total += 1
        if not failed:
            host.in_a_row = 0
            return ejected
        host.failed += 1
        host.in_a_row += 1
        if host.in_a_row >= self._consecutive and self._eject(host, now):
            ejected[name] = "consecutive_errors"
        return ejected

    def ejected(self, now: float) -> int:
        """How many are ejected at `now`."""
        return sum(host.until_s > now for host in self.hosts.values())

    def opens_s(self, name: str, luck: float = 0.0) -> float:
        """The time from which a call to `name` with this luck in (0, 1) goes through."""
        return self.hosts[name].until_s + ramp_delay_s(luck, self._ramp)

    def settle(self, name: str, now: float) -> None:
        """Note when the ejection and its ramp are over."""
        host = self.hosts[name]
        if now >= host.until_s + self._ramp:
            host.active = False

    def _eject(self, host: Host, now: float) -> bool:
        if self.ejected(now) >= self._allowed:
            return False
        if host.times:
            host.times = max(0, host.times - int((now - host.until_s) / self._interval))
        host.times = min(host.times + 1, self._most_times)
        host.for_s = min(self._max, self._base * host.times)
        host.until_s = now + host.for_s
        host.in_a_row = 0
        host.active = True
        return True

    def _look(self, now: float) -> dict[str, str]:
        """An interval is over: compare the rates, and begin anew."""
        first = self._next_look_s == -math.inf
        self._next_look_s = now + self._interval
        if first:
            return {}
        enough = [host for host in self.hosts.values() if host.total >= self._minimum_calls and not host.until_s > now]
        least = self._least_success_rate(enough)
        ejected = {}
        for host in sorted(enough, key=lambda host: -host.failed / host.total):  # the worst first
            share = host.failed / host.total
            reason = "failure_rate" if share >= self._failure_rate else "success_rate" if 1 - share < least else ""
            if reason and self._eject(host, now):
                ejected[host.name] = reason
        for host in self.hosts.values():
            host.total = host.failed = 0
        return ejected

    def _least_success_rate(self, hosts: list[Host]) -> float:
        """Below this a success rate sticks out."""
        if self._stdevs is None or not hosts:
            return -math.inf
        rates = [1 - host.failed / host.total for host in hosts]
        mean = math.fsum(rates) / len(rates)
        variance = math.fsum((rate - mean) ** 2 for rate in rates) / len(rates)
        return mean - self._stdevs * math.sqrt(variance) - 1e-9  # equal rates are equal, whatever their sum rounds to
