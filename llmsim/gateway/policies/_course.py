"""The way of one request through the upstreams of a fallback: who has been asked, who is next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import inf
from typing import NamedTuple

from llmsim.error_words import error_matcher, outcome_word
from llmsim.errors import AllUpstreamsFailed, ContextTooLong, RateLimited
from llmsim.gateway.contract import Run
from llmsim.gateway.exchange import Exchange
from llmsim.types import CallNext, Request

__all__ = ["Course", "Rules"]


class Rules(NamedTuple):
    """What a `Fallback` says, for all of its requests."""

    run: Run
    order: tuple[str, ...] | None
    catches: Callable[[BaseException], bool]
    orders: Mapping[str | int, tuple[str, ...]]
    max_fallbacks: int | None
    mid_stream: str

    def order_after(self, error: BaseException) -> tuple[str, ...] | None:
        """The order that this error has of its own."""
        for word, order in self.orders.items():
            if error_matcher((word,))(error):
                return order
        return None


class Course:
    """One request on its way.

    Attributes
    ----------
    asked
        Upstreams in the order they were asked; the first may be "" where a router chose.
    causes
        What they failed with.
    """

    __slots__ = ("_above", "_order", "_rules", "asked", "call_next", "causes", "exchange", "request")

    def __init__(
        self, rules: Rules, request: Request, call_next: CallNext, exchange: Exchange | None, first: str
    ) -> None:
        self._rules = rules
        self._order = rules.order
        self._above = 0  # context windows up to this size are too small
        self.request = request
        self.call_next = call_next
        self.exchange = exchange
        self.asked = [first]
        self.causes: list[BaseException] = []

    @property
    def rules(self) -> Rules:
        """Of the fallback it belongs to."""
        return self._rules

    def last_asked(self) -> str:
        """Who was asked last, whoever chose it."""
        if not self.asked[-1] and self.exchange is not None:
            self.asked[-1] = self.exchange.last_upstream
        return self.asked[-1]

    def failed(self, error: BaseException) -> None:
        """The one that was asked last failed with this."""
        self.causes.append(error)
        upstream = getattr(error, "upstream", "") or self.last_asked()
        if isinstance(error, ContextTooLong):
            self._above = max(self._above, self._rules.run.context_windows.get(upstream, 0))
        self._order = self._rules.order_after(error) or self._order

    def answered(self, winner: str, lost: Collection[str]) -> None:
        """Of several that were asked at once `winner` has answered; `lost` were too slow, and may be asked again."""
        self.asked = [upstream for upstream in self.asked if upstream not in (winner, *lost)] + [winner]
        if self.exchange is not None:
            self.exchange.tried = tuple(upstream for upstream in self.exchange.tried if upstream not in lost)

    def passed_over(self, first: str, needed: int) -> None:
        """The first choice was not even asked, since the request does not fit it."""
        if self.exchange is not None:
            self.exchange.routed(first)
        self._above = needed - 1
        self.failed(ContextTooLong(f"{needed} tokens do not fit its context window; not sent", upstream=first))

    def next(self, error: BaseException | None = None) -> str | None:
        """Whom to ask after the latest failure, or after `error` if that were to come next; None: nobody is left."""
        rules = self._rules
        if rules.max_fallbacks is not None and len(self.asked) > rules.max_fallbacks:
            return None
        order = self._order if error is None else rules.order_after(error) or self._order
        exchange = self.exchange
        if order is None and exchange is not None and exchange.router is not None:
            try:
                return exchange.router.choose(self.request, exchange, larger_than=self._above, besides=self.asked)
            except RateLimited as full:  # its upstreams have no room left
                if error is None:
                    self.causes.append(full)
                return None
        self.last_asked()
        windows = rules.run.context_windows
        for upstream in order or rules.run.upstreams:
            if upstream not in self.asked and windows.get(upstream, inf) > self._above:
                return upstream
        return None

    def enter(self, upstream: str, error: BaseException | None = None, **fields: object) -> Request:
        """Go on to `upstream`, and say so: the request on its way there."""
        word = outcome_word(self.causes[-1] if error is None else error)
        self._rules.run.emit(
            "fallback", self.request, **{"from": self.last_asked(), "to": upstream, "error": word}, **fields
        )
        self.asked.append(upstream)
        exchange = self.exchange
        if self._order is None and exchange is not None and exchange.router is not None:
            return exchange.router.addressed(self.request, upstream)
        return self.request.to(upstream)

    def exhausted(self) -> BaseException:
        """What to raise when nobody is left."""
        return AllUpstreamsFailed(causes=self.causes)
