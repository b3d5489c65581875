"""Leave an upstream alone until a deadline, and come back gradually."""

from __future__ import annotations

from math import inf

from llmsim.algorithms.ramp import ramp_delay_s

__all__ = ["Cooldown"]


class Cooldown:
    """The deadline until which an upstream is left alone; it never moves earlier.

    An upstream that says how long it wants to be left alone (Retry-After) is, at once; so is one whose failure needs no
    second opinion (a 429); for anything else it takes some failures in a row. Whatever comes while it cools can make
    the deadline later: a Retry-After of 60 s after one of 1 s counts (LiteLLM kept the first: BerriAI/litellm#40130).

    Parameters
    ----------
    time_s
        Seconds, where the upstream does not say how long.
    failures
        Failures in a row that start a cooldown.
    max_s
        A Retry-After counts for this many seconds at most.
    jitter
        Up to this share is added to each cooldown, by luck.
    ramp_s
        Seconds after the deadline until everything goes through again.

    Examples
    --------
    >>> cooldown = Cooldown(time_s=5.0, failures=3)
    >>> cooldown.failed(0.0, retry_after_s=60.0)
    60.0
    >>> cooldown.failed(1.0, at_once=True)  # 1 s + 5 s is sooner
    0.0
    >>> cooldown.until_s
    60.0
    """

    __slots__ = ("_failures", "_in_a_row", "_jitter", "_max", "_ramp", "_time", "active", "until_s")

    def __init__(
        self, *, time_s: float, failures: int, max_s: float = inf, jitter: float = 0.0, ramp_s: float = 0.0
    ) -> None:
        self._time = time_s
        self._failures = failures
        self._max = max_s
        self._jitter = jitter
        self._ramp = ramp_s
        self._in_a_row = 0
        self.until_s = -inf  #: the deadline, also when it has passed
        self.active = False  #: whether calls have to ask `opens_s` (it cools or ramps up, as of the last `settle`)

    def failed(
        self, now: float, *, retry_after_s: float | None = None, at_once: bool = False, luck: float = 0.0
    ) -> float:
        """A call failed at `now`: seconds from now to the deadline, if that made it later; else 0.

        Parameters
        ----------
        retry_after_s
            Seconds the upstream asked for; 0: it wants no cooldown, though the failure counts as one of several.
        at_once
            This failure alone is enough.
        luck
            In (0, 1), for the jitter.
        """
        if retry_after_s is not None and retry_after_s > 0:
            wait = min(retry_after_s, self._max)
        elif at_once:
            if retry_after_s is not None:
                return 0.0
            wait = self._time
        else:
            self._in_a_row += 1
            if self._in_a_row < self._failures:
                return 0.0
            wait = self._time
        self._in_a_row = 0
        wait *= 1 + self._jitter * luck
        if now + wait <= self.until_s:
            return 0.0
        self.until_s = now + wait
        self.active = True
        return wait

    def succeeded(self) -> None:
        """A call ended well. That ends a row of failures and no cooldown."""
        self._in_a_row = 0

    def opens_s(self, luck: float) -> float:
        """The time from which a call with this luck in (0, 1) goes through."""
        return self.until_s + ramp_delay_s(luck, self._ramp)

    def settle(self, now: float) -> None:
        """Note when it is over."""
        if now >= self.until_s + self._ramp:
            self.active = False
