"""What errors say about an upstream, for the policies that decide whether it is to be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmsim.error_words import error_matcher
from llmsim.errors import (
    AllUpstreamsFailed,
    BudgetExceeded,
    CircuitOpen,
    DeadlineExceeded,
    Rejected,
    TotalTimeout,
    TtftTimeout,
)
from llmsim.gateway.contract import Run
from llmsim.gateway.deadlines import cancelled_by
from llmsim.gateway.policies._words import on_words
from llmsim.units import format_duration

__all__ = ["OWN", "as_upstream_sees", "failure_matcher", "failure_words", "refusal"]

_TIMEOUTS = {error.word: error() for error in (TtftTimeout, TotalTimeout)}
#: What the gateway says itself. An upstream that nobody asked has not failed (BerriAI/litellm PRs 40718 and 40958:
#: the error for "no deployment left" counted against the deployment and renewed its cooldown).
OWN = (CircuitOpen, Rejected, BudgetExceeded, DeadlineExceeded, AllUpstreamsFailed)
_OWN_WORDS = {cls.word for cls in OWN}


def as_upstream_sees(error: BaseException) -> BaseException:
    """The error for the upstream: a time limit further out that cancels the call is a timeout all the same."""
    return _TIMEOUTS.get(cancelled_by(error), error)


def failure_matcher(words: tuple[str | int, ...]) -> Callable[[BaseException], bool]:
    """Which errors are failures of an upstream; never one that the gateway raised itself, even with ``any``."""
    matches = error_matcher(words)
    return lambda error: matches(error) and not isinstance(error, OWN)


def failure_words(spec: Any, key: str = "on") -> None:
    """Check a frozen spec's list of failures and make it a tuple.

    Raises
    ------
    ValueError
        As `on_words` does; and for words of errors that say nothing about an upstream.
    """
    on_words(spec, key)
    for word in getattr(spec, key):
        if word in _OWN_WORDS:
            raise ValueError(f"{word} is what the gateway says, not the upstream; take it out of {key}:")


def refusal(run: Run, what: str, remaining_s: float | None) -> CircuitOpen:
    """The error for a call that is not made; `what` says why ("circuit breaker of a is open")."""
    when = "after the calls that probe it" if remaining_s is None else f"in {format_duration(remaining_s)}"
    return CircuitOpen(f"{what}; try again {when}", upstream=run.upstream, retry_after_s=remaining_s)
