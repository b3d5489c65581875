"""Which errors a retry has given up on, so that none further out begins anew: attempts at several layers multiply."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["Marks", "given_up", "retried"]

E = TypeVar("E", bound=BaseException)


class Marks:
    """How many errors were given up so far, in this process."""

    number = 0


def given_up(error: E) -> E:
    """Mark an error that was retried and is raised now all the same: a `Retry` further out leaves it alone.

    The mark is on the error and not on the request, since a fallback between the two goes on with other upstreams. It
    is a number that grows, since whoever sees it must know that it was set in the call they made: tests like to raise
    one and the same object again and again.

    Examples
    --------
    >>> error = given_up(TimeoutError())
    >>> error.retried > 0
    True
    """
    Marks.number += 1
    error.retried = Marks.number  # type: ignore[attr-defined]
    return error


def retried(error: BaseException, since: int) -> bool:
    """Whether this error, or one of those it stands for, was given up since there were so many marks."""
    if getattr(error, "retried", 0) > since:
        return True
    causes = getattr(error, "causes", None)
    return causes is not None and any(retried(cause, since) for cause in causes)
