"""What is left of somebody else's rate limits, from what the answers say and what is under way."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Amounts", "QuotaBook", "Told"]


class Amounts(NamedTuple):
    """What a call draws, by the names that limits have."""

    requests: float = 1.0
    tokens: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0


class Told(NamedTuple):
    """What an answer says about one limit."""

    limit: float  #: the most it holds
    remaining: float
    refill_per_s: float


class _Level:
    __slots__ = ("left", "limit", "place", "refill_per_s", "stamp_s")

    def __init__(self, place: int) -> None:
        self.place = place  # of the amount that it counts, in `Amounts`
        self.limit = self.left = math.inf
        self.refill_per_s = self.stamp_s = 0.0

    def at(self, now: float) -> float:
        """Forget the past: what is left at `now`."""
        if now > self.stamp_s:
            self.left = min(self.left + self.refill_per_s * (now - self.stamp_s), self.limit)
            self.stamp_s = now
        return self.left


class QuotaBook:
    """One account's limits as far as they are known: nothing, until the first answer tells.

    Every call draws what it is estimated to need when it is sent. Every answer says what is left, as of its own
    admission: from that, the calls that were sent after it are taken once more, since it cannot know of them. An answer
    that was overtaken by the answer to a later call says nothing new.

    It errs on the safe side: refill is counted from when the answer came and not from when it was written.

    Examples
    --------
    >>> book = QuotaBook()
    >>> first, second = book.send(Amounts(tokens=400), now=0.0), book.send(Amounts(tokens=400), now=0.0)
    >>> book.told(first, {"tokens": Told(limit=1000, remaining=600, refill_per_s=10)}, now=1.0)
    >>> book.wait_s(Amounts(tokens=100), now=1.0), book.wait_s(Amounts(tokens=400), now=1.0)
    (0.0, 20.0)
    >>> book.share(now=1.0)
    0.2
    """

    __slots__ = ("_levels", "_newest", "_pending", "_sent", "_until_s", "_waiting")

    def __init__(self) -> None:
        self._levels: dict[str, _Level] = {}
        self._sent = 0
        self._newest = 0  # the latest call whose answer has told
        self._pending: deque[tuple[int, Amounts]] = deque()  # sent after that one, in order
        self._waiting: set[int] = set()  # those of them that have neither answered nor failed
        self._until_s = -math.inf  # told to stay away until then

    def send(self, amounts: Amounts, now: float) -> int:
        """A call is sent: its number, for `told` or `failed`."""
        self._sent += 1
        for level in self._levels.values():
            level.at(now)
            level.left -= amounts[level.place]
        self._pending.append((self._sent, amounts))
        self._waiting.add(self._sent)
        return self._sent

    def told(self, call: int, limits: Mapping[str, Told], now: float, *, retry_after_s: float | None = None) -> None:
        """The answer to a call, a refusal too: what it says about limits (nothing: it came all the same)."""
        self._waiting.discard(call)
        if retry_after_s is not None:
            self._until_s = max(self._until_s, now + retry_after_s)
        if limits and call > self._newest:
            self._newest = call
            self._forget_known()
            # Before those that are over are forgotten, too: this answer knows nothing of them.
            for name, told in limits.items():
                level = self._levels.get(name)
                if level is None:
                    level = self._levels[name] = _Level(Amounts._fields.index(name))
                level.limit, level.refill_per_s, level.stamp_s = told.limit, told.refill_per_s, now
                level.left = told.remaining - sum(amounts[level.place] for _, amounts in self._pending)
        self._prune()

    def failed(self, call: int) -> None:
        """A call ended without an answer that could tell."""
        self._waiting.discard(call)
        self._prune()

    def _forget_known(self) -> None:
        """Of what was sent up to the newest word on the limits, that word tells."""
        pending = self._pending
        while pending and pending[0][0] <= self._newest:
            number, _ = pending.popleft()
            self._waiting.discard(number)
        if not self._levels and len(pending) > 2 * len(self._waiting) + 8:
            # Of an upstream that tells nothing, what has ended is not kept while one call hangs.
            self._pending = deque(call for call in pending if call[0] in self._waiting)

    def _prune(self) -> None:
        """Forget the eldest while it is over: no call before it can tell any more."""
        self._forget_known()
        pending = self._pending
        while pending and pending[0][0] not in self._waiting:
            pending.popleft()

    def wait_s(self, amounts: Amounts, now: float, headroom: float = 0.0) -> float:
        """Seconds until this call fits, leaving `headroom` (a share) of each limit free; inf: never."""
        wait = max(self._until_s - now, 0.0)
        for level in self._levels.values():
            lacking = amounts[level.place] + headroom * level.limit - level.at(now)
            if lacking > 0:
                if level.refill_per_s <= 0 or amounts[level.place] > (1.0 - headroom) * level.limit:
                    return math.inf
                wait = max(wait, lacking / level.refill_per_s)
        return wait

    def share(self, now: float) -> float:
        """The smallest share that is left of any limit; 1 if none is known."""
        return min((level.at(now) / level.limit for level in self._levels.values() if level.limit > 0), default=1.0)
