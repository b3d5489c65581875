"""Ask the cheap model first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.error_words import error_matcher, outcome_word
from llmsim.errors import PolicyError
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._answers import REFUSED, json_answer, schema_check
from llmsim.gateway.policies._words import ELSEWHERE, Names, OnWords, known_upstreams, on_words
from llmsim.gateway.registry import register
from llmsim.gateway.whole import whole
from llmsim.types import CallNext, Request, Response
from llmsim.units import PositiveCount

__all__ = ["Cascade"]


@register("cascade")
@dataclass(frozen=True, kw_only=True)
class Cascade:
    """Send a request to the cheapest upstream, look at its answer, and go on to a better one if that will not do.

    **Protects from** paying the price of the best model for what the cheapest can do. With a share *e* of answers that
    escalate, a request costs cheap + *e* × dear in place of dear: it pays as long as *e* < 1 − cheap / dear.

    **Costs** both answers, where the first will not do (the cheap one is retry work in the bill); and the stream of all
    but the last: an answer must be complete to be judged, so the time to the first token is that of the cheap model's
    last one, plus the next one's where it escalates.

    **Makes things worse** when the judge is wrong. It sees the form only: that the model refused, was cut off, answered
    in fewer tokens than `min_tokens`, or not in JSON that fits the request's schema. Whether an answer is *right* takes
    an `accept` of your own (a classifier, a second model's verdict); without one, a confident wrong answer passes. In
    the lab, answers differ in these forms only: how often a provider refuses or breaks JSON is in its ``output``.

    It stands outside of a ``fallback``, which then begins at the upstream the cascade asks; an answer from further up
    in `order` needs no escalation to there. A request that names an upstream itself is not cascaded. If the last one
    fails (or a `budget` refuses it), so does the request: an answer that would not do is not handed out after all.

    Parameters
    ----------
    order
        Names of upstreams, cheapest first; the last one's answer is taken as it is, as a stream.
    refusal
        Whether to go on where the finish reason is ``refusal`` or ``content_filter``.
    cut
        … where it is ``length``: a wordy cheap model at a tight ``max_tokens``.
    json
        … where a request has a ``response_schema`` and the answer, strictly parsed, does not fit it. To repair it
        first, put ``structured_output`` inside.
    min_tokens
        … where it is shorter; None (default): any length will do.
    accept
        A function of one's own, ``accept(request, text, response) -> bool``, quick and without awaits: whether the
        answer will do. From Python only.
    on
        Errors after which to go on as well: words of `llmsim.error_words.ERROR_WORDS` and statuses.

    Notes
    -----
    Emits ``cascade`` with ``from``, ``to`` and ``reason`` (``refusal``, ``cut``, ``json``, ``short``, ``not_accepted``,
    or an error's word) each time it goes on. ``fallback_rate`` counts what others than the first answered.

    Examples
    --------
    >>> def sure(request, text, response):
    ...     return "I am not sure" not in text
    >>> Cascade(order=("mini", "large"), accept=sure).refusal
    True
    >>> Cascade(order=("mini",))
    Traceback (most recent call last):
    ValueError: a cascade needs two upstreams at least; write order: [cheap, better]
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    order: Names
    refusal: bool = True
    cut: bool = True
    json: bool = True
    min_tokens: PositiveCount | None = None
    accept: Any = None
    on: OnWords = (*ELSEWHERE, "bad_output")
    name: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.order, str) or len(self.order) < 2:
            raise ValueError("a cascade needs two upstreams at least; write order: [cheap, better]")
        object.__setattr__(self, "order", tuple(self.order))
        if len(set(self.order)) < len(self.order):
            raise ValueError("cascade order names an upstream twice; to ask it again, put a retry inside")
        if self.accept is not None and not callable(self.accept):
            raise ValueError("cascade accept is a Python function; leave it out of files")
        on_words(self)

    def start(self, run: Run) -> Handler:
        """No state.

        Raises
        ------
        PolicyError
            If `order` names an upstream that is not configured.
        """
        known_upstreams(run, self.order, "order")
        return _CascadeHandler(self, run)


class _CascadeHandler:
    __slots__ = ("_matches", "_place", "_run", "_spec")

    def __init__(self, spec: Cascade, run: Run) -> None:
        self._spec = spec
        self._run = run
        self._matches: Callable[[BaseException], bool] = error_matcher(spec.on)
        self._place = {upstream: place for place, upstream in enumerate(spec.order)}

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        if request.upstream is not None:
            return await call_next(request)
        order, place = self._spec.order, 0
        last = len(order) - 1
        while place < last:
            asked = order[place]
            try:
                response = await call_next(request.to(asked))
                # A fallback inside may have gone further up.
                place = max(place, self._place.get(response.upstream, 0))
                if place == last:
                    return response
                text = await response.read()
            except Exception as error:
                if not self._matches(error):
                    raise
                reason = outcome_word(error)
            else:
                reason = self._reason(request, text, response)
                if not reason:
                    return whole(response, text)
            place += 1
            self._run.emit("cascade", request, **{"from": asked, "to": order[place], "reason": reason})
        return await call_next(request.to(order[last]))

    def _reason(self, request: Request, text: str, response: Response) -> str:
        """Why this answer will not do; empty if it does."""
        spec, finish_reason = self._spec, response.finish_reason
        if spec.refusal and finish_reason in REFUSED:
            return "refusal"
        if spec.cut and finish_reason == "length":
            return "cut"
        if spec.min_tokens is not None and response.tokens_delivered < spec.min_tokens:
            return "short"
        if spec.json and request.response_schema is not None:
            check = schema_check(request.response_schema)
            if json_answer(text, finish_reason, check, repair=False).error:
                return "json"
        if spec.accept is not None:
            try:
                accepted = spec.accept(request, text, response)
            except Exception as error:
                message = f"accept raised {type(error).__name__}: {error}"
                raise PolicyError(message, policy=self._run.name) from error
            if not accepted:
                return "not_accepted"
        return ""
