"""Ask for as many tokens as the answer needs, and no more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from llmsim.algorithms.lengths import LengthCap
from llmsim.algorithms.lru import LruCache
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.registry import register
from llmsim.gateway.whole import whole
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import Multiplier, PositiveCount, Ratio

__all__ = ["MaxTokens"]

_PLACE = Request._fields.index("max_tokens")
_ROUTES = 1000  #: that are remembered: names come from callers


@register("max_tokens")
@dataclass(frozen=True, kw_only=True)
class MaxTokens:
    """Set or lower ``max_tokens``, by route: to a fixed cap, or to what its answers have needed of late.

    **Protects from** answers that run on, and from limits that count what might come: OpenAI and Bedrock deduct
    ``max_tokens`` from the tokens a minute before anything is generated, and Bedrock the model's maximum where there is
    none (of 2M a minute 31 calls fit without it and 1,333 with 1,000: aws/agent-toolkit-for-aws quota-health.md). A
    ``budget`` sets aside what a call can cost: the same again.

    **Costs** the ends of long answers: they stop at the cap with the finish reason ``length``.

    **Makes things worse** where a cut answer is worth nothing, as JSON is: there it must be generous, or ask again.
    Have a cache outside of it, since ``max_tokens`` is part of what makes two requests the same.

    A caller's own ``max_tokens`` is never raised. With `quantile` a route starts with `cap` (without: with what the
    caller asks for) until `minimum_answers` have come; then its cap is that quantile of the latest 1,000 lengths ×
    `margin`, at least `floor`, and at most `cap`. Answers that were cut here count with their cut length. That does not
    pull the cap down: it lies above the quantile, so what is cut lies above it as well; hence a margin above 1. Those
    that were cut at a limit of the caller's own count as longer than all others; if that reaches the quantile, there is
    no cap.

    Parameters
    ----------
    cap
        Tokens; None (default): no fixed cap.
    routes
        Fixed caps of single routes, in place of `cap`.
    quantile
        Which quantile of a route's lengths; None (default): not by what is observed.
    margin
        What it is multiplied with. 1.5x: chosen.
    floor
        Never less than that by `quantile`. 64: chosen.
    minimum_answers
        Lengths without which `quantile` says nothing. 100: below, the 99th percentile is the longest so far.
    max_attempts
        Calls in all, where an answer is cut at our cap: the next one may have `grow` times as many tokens. Above 1 it
        must see the end first: the answer is read whole before it is handed out, and the time to its first token is
        that of its last. 1 (default): hand out what came.
    grow
        … 4x: chosen; two re-asks reach 16 times the cap.

    Notes
    -----
    Emits ``max_tokens`` for every answer that was cut at our cap, with ``state`` (``cut``, or ``reasked``), ``route``
    and ``max_tokens``. The first call of a re-ask is retry work in the bill.

    Examples
    --------
    >>> MaxTokens(cap=1000, routes={"chat": 400}).max_attempts
    1
    >>> MaxTokens(quantile=0.99, margin=1.0)
    Traceback (most recent call last):
    ValueError: max_tokens margin must be above 1x, not 1x: answers cut at the cap would hold it down for ever
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    cap: PositiveCount | None = None
    routes: Mapping[str, PositiveCount] = field(default_factory=dict)
    quantile: Ratio | None = None
    margin: Multiplier = 1.5
    floor: PositiveCount = 64
    minimum_answers: PositiveCount = 100
    max_attempts: PositiveCount = 1
    grow: Multiplier = 4.0
    name: str | None = None

    def __hash__(self) -> int:
        return hash((self.cap, *self.routes.items(), self.quantile, self.margin, self.name))

    def __post_init__(self) -> None:
        if self.cap is None and not self.routes and self.quantile is None:
            raise ValueError("max_tokens limits nothing; write cap: 1000, routes: {chat: 400} or quantile: 99%")
        for key, cap in (("cap", self.cap), *self.routes.items()):
            if cap is not None and cap < 1:
                raise ValueError(f"max_tokens {key} must be at least 1, not {cap}")
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise ValueError(f"max_tokens quantile must be above 0% and below 100%, not {self.quantile:g}; write 99%")
        if self.quantile is not None and not self.margin > 1:
            raise ValueError(
                f"max_tokens margin must be above 1x, not {self.margin:g}x: "
                "answers cut at the cap would hold it down for ever"
            )
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts includes the first; write 1 for no re-ask, not {self.max_attempts}")
        if self.max_attempts > 1 and not self.grow > 1:
            raise ValueError(f"max_tokens grow must be above 1x, not {self.grow:g}x: the answer would be cut again")

    def start(self, run: Run) -> Handler:
        """Fresh state: no lengths yet."""
        return _MaxTokensHandler(self, run)


class _MaxTokensHandler:
    __slots__ = ("_learnt", "_run", "_spec")

    def __init__(self, spec: MaxTokens, run: Run) -> None:
        self._spec = spec
        self._run = run
        self._learnt = LruCache[LengthCap](_ROUTES)

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        most, cap = request.max_tokens, self._cap(request.route)
        if cap is None or (most is not None and most <= cap):
            response = await call_next(request)
            response.on_end(_Watch(self, request, response, None))
            return response
        if self._spec.max_attempts > 1:
            return await self._until_whole(request, call_next, cap)
        response = await call_next(_capped(request, cap))
        response.on_end(_Watch(self, request, response, cap))
        return response

    async def _until_whole(self, request: Request, call_next: CallNext, cap: int) -> Response:
        spec, attempt, most = self._spec, 1, request.max_tokens
        while True:
            response = await call_next(_capped(request, cap))
            text = await response.read()
            if response.finish_reason != "length":
                break
            if attempt >= spec.max_attempts or cap == most:
                if cap != most:
                    self.cut(request, cap, "cut")
                break
            self.cut(request, cap, "reasked")
            attempt += 1
            cap = math.ceil(cap * spec.grow)
            if most is not None and cap > most:
                cap = most
        if response.served_from != "cache":
            self.learn(request.route, response, caller_cut=cap == most)
        return whole(response, text)

    def _cap(self, route: str) -> int | None:
        spec = self._spec
        fixed = spec.routes.get(route, spec.cap)
        learnt = self._learnt.get(route, 0.0) if spec.quantile is not None else None
        live = learnt.cap if learnt is not None else None
        return fixed if live is None or (fixed is not None and fixed < live) else live

    def learn(self, route: str, response: Response, *, caller_cut: bool) -> None:
        """An answer was this long; at a limit of the caller's own it says only that it would have been longer."""
        spec, tokens = self._spec, float(response.usage.output_tokens)
        if spec.quantile is None or not tokens:
            return
        learnt = self._learnt.get(route, 0.0)
        if learnt is None:
            learnt = LengthCap(spec.quantile, spec.margin, spec.floor, spec.minimum_answers)
            self._learnt.put(route, learnt, 0.0)
        learnt.learn(math.inf if caller_cut and response.finish_reason == "length" else tokens)

    def cut(self, request: Request, cap: int, state: str) -> None:
        """An answer ended at our cap."""
        self._run.emit("max_tokens", request, state=state, route=request.route, max_tokens=cap)


def _capped(request: Request, cap: int) -> Request:
    # A NamedTuple's _replace takes four times as long.
    return tuple.__new__(Request, (*request[:_PLACE], cap, *request[_PLACE + 1 :]))


class _Watch:
    """What is learnt from an answer when it has ended."""

    __slots__ = ("_cap", "_handler", "_request", "_response")

    def __init__(self, handler: _MaxTokensHandler, request: Request, response: Response, cap: int | None) -> None:
        self._handler = handler
        self._request = request
        self._response = response
        self._cap = cap

    def __call__(self, outcome: Outcome, usage: Usage) -> None:
        if outcome.kind != "ok" or self._response.served_from == "cache":
            return
        self._handler.learn(self._request.route, self._response, caller_cut=self._cap is None)
        if self._cap is not None and self._response.finish_reason == "length":
            self._handler.cut(self._request, self._cap, "cut")
