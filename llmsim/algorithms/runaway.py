"""Which session has run away: an agent that calls and calls, or asks the same again and again."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

__all__ = ["Limits", "Session", "words_of"]

Reason = Literal["calls", "rate", "repeats", "spend"]

#: Repeats are looked for among this many times `max_repeats` of the latest calls: a loop over up to this many
#: different calls (search, read, search, read, …) is found too.
_PERIOD = 4
_MINUTE_S = 60.0
_MOST_WORDS = 512  #: of a message that are compared where alike is enough


class Limits:
    """What a session may do; None: as it likes.

    Parameters
    ----------
    max_calls
        In all.
    calls_per_minute
        In any 60 s.
    max_repeats
        Alike among the latest 4 × `max_repeats`.
    max_spend_usd
        Spent before another call.

    Examples
    --------
    >>> limits, session = Limits(max_repeats=2), Session()
    >>> [limits.enter(session, now, "the same") for now in (0.0, 1.0, 2.0)]
    [None, None, 'repeats']
    >>> limits.enter(session, 3.0, "another one") is None
    True
    """

    __slots__ = ("_calls", "_rate", "_repeats", "_similarity", "_spend")

    def __init__(
        self,
        *,
        max_calls: int | None = None,
        calls_per_minute: int | None = None,
        max_repeats: int | None = None,
        max_spend_usd: float | None = None,
        similarity: float = 1.0,
    ) -> None:
        self._calls = max_calls
        self._rate = calls_per_minute
        self._repeats = max_repeats
        self._similarity = similarity
        self._spend = max_spend_usd

    def enter(self, session: Session, now: float, message: str | None) -> Reason | None:
        """Whether the session may make a call at `now`, which is then counted; else why not.

        Parameters
        ----------
        session
            Whose call.
        now
            Seconds.
        message
            What is new in it: its last message. Not the whole prompt, which grows by every answer, in a loop too.
        """
        if self._calls is not None and session.calls >= self._calls:
            return "calls"
        if self._spend is not None and session.spent_usd >= self._spend:
            return "spend"
        times = session.times
        if self._rate is not None and len(times) >= self._rate and now - times[-self._rate] < _MINUTE_S:
            return "rate"
        if self._repeats is not None and message is not None:
            mark: Hashable = hash(message) if self._similarity >= 1 else words_of(message)
            if self._alike(mark, session.marks) >= self._repeats:
                return "repeats"
            session.marks.append(mark)
            if len(session.marks) > _PERIOD * self._repeats:
                del session.marks[0]
        if self._rate is not None:
            times.append(now)
            if len(times) > self._rate:
                del times[0]
        session.calls += 1
        return None

    def _alike(self, mark: Hashable, marks: list[Hashable]) -> int:
        if not isinstance(mark, frozenset):
            return marks.count(mark)
        return sum(isinstance(other, frozenset) and _similar(mark, other) >= self._similarity for other in marks)


def _similar(one: frozenset[Any], other: frozenset[Any]) -> float:
    common = len(one & other)
    every = len(one) + len(other) - common
    return common / every if every else 1.0


def words_of(message: str) -> frozenset[int]:
    """The set of its first 512 words, as numbers: two messages are as alike as the share of words they have in common.

    Examples
    --------
    >>> a, b = words_of("error 500 at 10:03:07"), words_of("error 500 at 10:03:12")
    >>> len(a & b) / len(a | b)
    0.6
    """
    return frozenset(map(hash, message.split(None, _MOST_WORDS)[:_MOST_WORDS]))


class Session:
    """What is remembered of one: some numbers, however long it lasts."""

    __slots__ = ("calls", "latest_s", "marks", "spent_usd", "times", "told")

    def __init__(self) -> None:
        self.calls = 0
        self.latest_s = 0.0  #: when it was last heard of
        self.spent_usd = 0.0
        self.times: list[float] = []  # of the latest; lists, since an empty deque takes eight times the memory
        self.marks: list[Hashable] = []
        self.told: tuple[str, ...] = ()  #: reasons its owner has been told of
