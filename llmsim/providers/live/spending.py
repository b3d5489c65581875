"""A budget that is never passed: every call reserves the most it can cost before it is sent."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any

from llmsim.errors import BudgetExceeded, GatewayError
from llmsim.gateway.contract import Provider
from llmsim.pricing import TokenPrice
from llmsim.providers.live.events import USAGE_HEADER
from llmsim.providers.live.most import most_tokens
from llmsim.providers.wrapped import Wrapped
from llmsim.types import Outcome, Request, Response, Usage

__all__ = ["Budget", "Budgeted"]

#: A sum of a million prices is off by less than this share of it (2**-53 for each addition).
_ROUNDING = 1e-9
#: How long somebody waits who asks again for a request that was refused before: a policy that swallows its own
#: cancellation and tries for ever must not keep the loop from everybody else.
_AGAIN_S = 0.05
#: Statuses that say nothing was made of the call. What a 408, 500, 502 or 504 has cost nobody knows: a proxy that gave
#: up waiting says so too, while the model behind it went on.
_UNBILLED = frozenset({*range(400, 500), 503, 529}) - {408, 499}


class Budget:
    """Money that a live run may spend, and what it has spent.

    Parameters
    ----------
    usd
        The most.

    Attributes
    ----------
    spent_usd
        Of calls that have ended: what the server reported, or the most it can have been where it reported nothing.
    calls, unreported
        Calls that were sent, and those of them that ended without a report of what they used.
    refused
        Calls that were not sent.
    on_refusal
        Called with each request whose call was not sent.
    excess
        By upstream: how many times the most that it should have cost a call was billed. Above 1, the server does not
        keep to ``max_tokens``; every further call is taken to cost so much more.

    Raises
    ------
    ValueError
        `usd` is not a number above 0.
    """

    def __init__(self, usd: float) -> None:
        if not isinstance(usd, int | float) or isinstance(usd, bool) or not 0 < usd < math.inf:
            raise ValueError(f"a live run needs a budget above zero, as in budget_usd=0.50 (USD), not {usd!r}")
        self.usd = usd
        self.spent_usd = 0.0
        self.calls = 0
        self.unreported = 0
        self.refused = 0
        self.on_refusal: Callable[[Request], object] | None = None
        self.excess: dict[str, float] = {}
        self._reserved: dict[str, float] = {}  # by upstream, without its excess
        self._under_way: dict[str, int] = {}
        self._turned_away: set[str] = set()

    @property
    def reserved_usd(self) -> float:
        """The most that calls under way can still cost."""
        return sum(usd * self.excess.get(upstream, 1.0) for upstream, usd in self._reserved.items())

    @property
    def under_way(self) -> int:
        """Calls that have not ended."""
        return sum(self._under_way.values())

    @property
    def left_usd(self) -> float:
        """What a further call may still cost."""
        return self.usd * (1 - _ROUNDING) - self.spent_usd - self.reserved_usd

    def turned_away(self, request: Request) -> bool:
        """Whether a call of this request was refused before."""
        return request.id in self._turned_away

    def reserve(self, request: Request, most_usd: float, upstream: str) -> None:
        """Put `most_usd` aside.

        Raises
        ------
        BudgetExceeded
            There is not so much left, or there was not for an earlier call of this request; nothing may be sent.
        """
        most_now = most_usd * self.excess.get(upstream, 1.0)
        if most_now > self.left_usd or request.id in self._turned_away:
            self.refused += 1
            self._turned_away.add(request.id)
            if self.on_refusal is not None:
                self.on_refusal(request)
            raise BudgetExceeded(
                f"the budget of ${self.usd:g} has ${max(self.left_usd, 0.0):.6f} left, and this call could cost "
                f"${most_now:.6f}",
                upstream=upstream,
            )
        self._reserved[upstream] = self._reserved.get(upstream, 0.0) + most_usd
        self._under_way[upstream] = self._under_way.get(upstream, 0) + 1
        self.calls += 1

    def settle(self, upstream: str, most_usd: float, cost_usd: float | None) -> None:
        """A call has ended: of what was put aside, this was spent; None: nobody said, so all of it."""
        self._under_way[upstream] -= 1
        left = self._reserved[upstream] - most_usd
        self._reserved[upstream] = max(left, 0.0) if self._under_way[upstream] else 0.0
        excess = self.excess.get(upstream, 1.0)
        if cost_usd is None:
            self.unreported += 1
            cost_usd = most_usd * excess
        elif most_usd > 0 and cost_usd > most_usd * excess * (1 + _ROUNDING):
            self.excess[upstream] = cost_usd / most_usd
        self.spent_usd += max(cost_usd, 0.0)  # a count below zero earns nothing

    def close(self) -> None:
        """Nothing more is heard of calls under way: they have cost the most they can."""
        self.spent_usd += self.reserved_usd
        self.unreported += self.under_way
        self._reserved.clear()
        self._under_way.clear()

    def notes(self) -> list[str]:
        """What a person should know of the bills, beside the sum."""
        found = [
            f"{upstream} billed a call {factor:.3g} times the most it should have cost: it does not keep to max_tokens "
            "and prices; further calls were taken to cost as much"
            for upstream, factor in self.excess.items()
        ]
        over = self.spent_usd - self.usd
        if over > self.usd * _ROUNDING:
            found.append(f"${over:.6f} more than the budget was billed, by calls that were under way by then")
        return found


class Budgeted(Wrapped):
    """A provider whose calls are paid from a budget. Right in front of the live one, behind all injected faults.

    A call that is cancelled, breaks, or ends without usage from the server is taken to have cost all that was put
    aside for it: some servers bill what nobody has read. What was refused before anything was made of it (no
    connection, 4xx, 503, 529) has cost nothing.

    Parameters
    ----------
    inner
        The live provider.
    budget, price
        What pays, and what tokens cost.
    extra_body, template_tokens
        What the provider adds to every call (see `most_tokens`).
    """

    def __init__(
        self,
        inner: Provider,
        budget: Budget,
        price: TokenPrice,
        *,
        extra_body: Mapping[str, Any] | None = None,
        template_tokens: int = 0,
    ) -> None:
        super().__init__(inner)
        self._budget = budget
        self._price = price
        self._extra_body = extra_body or {}
        self._template_tokens = template_tokens

    async def send(self, request: Request) -> Response:
        """As `inner`, if there is money for it.

        Raises
        ------
        BudgetExceeded
            There is not enough left for the most that the call can cost.
        """
        most = most_tokens(request, self._extra_body, self._template_tokens)
        most_usd = self._dearest(most)
        again = self._budget.turned_away(request)
        try:
            self._budget.reserve(request, most_usd, self.name)
        except BudgetExceeded:
            # Whoever was told to leave does so here, before a policy takes this for a failure it could do something of.
            await asyncio.sleep(_AGAIN_S if again else 0)
            raise
        try:
            response = await self._inner.send(request)
        except BaseException as error:
            self._budget.settle(self.name, most_usd, 0.0 if _unbilled(error) else None)
            raise

        def ended(outcome: Outcome, usage: Usage) -> None:
            told = outcome.kind == "ok" and response.headers.get(USAGE_HEADER) == "reported"
            self._budget.settle(self.name, most_usd, self._price.cost(usage) if told else None)

        response.on_end(ended)
        return response

    def _dearest(self, usage: Usage) -> float:
        prompt = usage.input_tokens
        cached = usage._replace(cached_input_tokens=prompt)
        written = usage._replace(cache_write_tokens=prompt)  # Anthropic takes a quarter more for that
        return max(map(self._price.cost, (usage, cached, written)))  # nothing says that a cache makes it cheaper


def _unbilled(error: BaseException) -> bool:
    """Whether a call that failed so has surely cost nothing."""
    if not isinstance(error, GatewayError):
        return False
    said = error.headers.get(USAGE_HEADER)
    if said is not None:  # the server had taken the call (it said 200), or nothing had been sent to it
        return said == "unsent"
    return error.status in _UNBILLED
