"""Ask somebody else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.error_words import error_matcher, outcome_word
from llmsim.errors import AllUpstreamsFailed
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._words import Names, OnWords, known_upstream, on_words
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Request, Response

__all__ = ["Fallback"]


@register("fallback")
@dataclass(frozen=True, kw_only=True)
class Fallback:
    """Send a request to the first upstream of a list that answers.

    **Protects from** the outage, the rate limit and the slowness of one upstream.

    **Costs** the time that is lost on those before; the price difference; and answers that differ, since it is
    another model.

    **Makes things worse** when the second cannot bear the load of the first: the failure then moves along the list.
    A retry *inside* the fallback makes everybody wait through all its attempts first (BerriAI/litellm PR 42450: five
    seconds on every request during an outage); a circuit breaker below, with ``circuit_open`` in `on`, ends that.

    A request that names an upstream itself starts there, whether that is in the list or not; then come the others in
    order. Only that first choice gets the model the caller named: the others do not know it and use their own.

    An error that is not in `on` (say, a bad request) ends the search and is raised as it is. `AllUpstreamsFailed`
    means that every one was asked and failed with an error of `on`. Once an upstream has delivered its first
    chunk there is no fallback: what breaks later is the reader's to see.

    Parameters
    ----------
    order
        Names of upstreams, first choice first.
    on
        Which errors: words of `llmsim.error_words.ERROR_WORDS` and statuses.

    Notes
    -----
    Emits ``fallback`` with ``from``, ``to`` and ``error`` each time it goes on to the next.

    Examples
    --------
    >>> Fallback(order=("openai", "anthropic", "openai"))
    Traceback (most recent call last):
    ValueError: fallback order names 'openai' twice; to ask it again, put a retry inside
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    order: Names
    on: OnWords = (
        "rate_limited",
        "quota_exhausted",
        "server_error",
        "timeout",
        "connection_failed",
        "stream_broken",
        "circuit_open",
    )
    name: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.order, str):
            raise ValueError(f"order takes a list; write order: [{self.order}]")
        if not self.order:
            raise ValueError("fallback order is empty; write order: [openai, anthropic] with names from providers")
        object.__setattr__(self, "order", tuple(self.order))
        for position, upstream in enumerate(self.order):
            if upstream in self.order[:position]:
                raise ValueError(f"fallback order names {upstream!r} twice; to ask it again, put a retry inside")
        on_words(self)

    def start(self, run: Run) -> Handler:
        """No state.

        Raises
        ------
        PolicyError
            If `order` names an upstream that is not configured.
        """
        for upstream in self.order:
            known_upstream(run, upstream, "order")
        return _FallbackHandler(self, run)


class _FallbackHandler:
    __slots__ = ("_first", "_matches", "_order", "_run")

    def __init__(self, spec: Fallback, run: Run) -> None:
        self._run = run
        self._order = spec.order
        self._first = spec.order[0]
        self._matches: Callable[[BaseException], bool] = error_matcher(spec.on)

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        first = request.upstream
        try:
            if first is None:
                first = self._first
                return await call_next(request.to(first, model=request.model))
            return await call_next(request)
        except Exception as error:
            if not self._matches(error):
                raise
            causes = [error]
        # Outside of the except block: what fails next is not "during handling of" this error.
        tried = first
        try:
            for upstream in self._order:
                if upstream == first:
                    continue
                fields = {"from": tried, "to": upstream, "error": outcome_word(causes[-1])}
                self._run.emit("fallback", request, **fields)
                tried = upstream
                try:
                    return await call_next(request.to(upstream))
                except Exception as error:
                    if not self._matches(error):
                        raise
                    causes.append(error)
            raise AllUpstreamsFailed(causes=causes)
        finally:
            causes.clear()  # their tracebacks refer to this frame: a circle only the cyclic collector could free
