"""A budget that is never passed: every call reserves the most it can cost before it is sent."""

from __future__ import annotations

from collections.abc import Callable

from llmsim.errors import BudgetExceeded, GatewayError
from llmsim.gateway.contract import Provider
from llmsim.pricing import TokenPrice
from llmsim.providers.live.events import USAGE_HEADER
from llmsim.types import Outcome, Request, Response, Usage

__all__ = ["UNSAID_TOKENS", "Budget", "Budgeted", "most_tokens"]

#: Output that a call without ``max_tokens`` is taken to be able to make: what OpenAI's and Anthropic's models of 2024
#: could write in one answer at most was 4,096 to 16,384 tokens (their model pages). Requests of the lab name theirs.
UNSAID_TOKENS = 16_384
#: What a chat template adds to a message at most, generously: the formats in use add 3 to 12 tokens.
_TEMPLATE_TOKENS = 32


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
    reserved_usd
        The most that calls under way can still cost.
    calls, unreported
        Calls that were sent, and those of them that ended without a report of what they used.
    refused
        Calls that were not sent.
    on_refusal
        Called with each request whose call was not sent.
    """

    def __init__(self, usd: float) -> None:
        if not usd > 0:
            raise ValueError(f"a live run needs a budget above zero, not {usd!r}")
        self.usd = usd
        self.spent_usd = 0.0
        self.reserved_usd = 0.0
        self.calls = 0
        self.unreported = 0
        self.refused = 0
        self.on_refusal: Callable[[Request], object] | None = None

    @property
    def left_usd(self) -> float:
        """What a further call may still cost."""
        return self.usd - self.spent_usd - self.reserved_usd

    def reserve(self, request: Request, most_usd: float, upstream: str) -> None:
        """Put `most_usd` aside.

        Raises
        ------
        BudgetExceeded
            There is not so much left; nothing may be sent.
        """
        if most_usd > self.left_usd:
            self.refused += 1
            if self.on_refusal is not None:
                self.on_refusal(request)
            raise BudgetExceeded(
                f"the budget of ${self.usd:g} has ${max(self.left_usd, 0.0):.6f} left, and this call could cost "
                f"${most_usd:.6f}",
                upstream=upstream,
            )
        self.reserved_usd += most_usd
        self.calls += 1

    def settle(self, most_usd: float, cost_usd: float, *, reported: bool) -> None:
        """A call has ended: of what was put aside, this was spent."""
        self.reserved_usd -= most_usd
        self.spent_usd += cost_usd
        self.unreported += not reported


def most_tokens(request: Request) -> Usage:
    """The most that a call can be billed for: a token is at least a byte of the prompt, and answers end somewhere."""
    prompt = sum(len(message.content.encode()) + _TEMPLATE_TOKENS for message in request.messages or ())
    schema = len((request.response_schema or "").encode())
    return Usage(prompt + schema, UNSAID_TOKENS if request.max_tokens is None else request.max_tokens)


class Budgeted:
    """A provider whose calls are paid from a budget. Right in front of the live one, behind all injected faults.

    A call that is cancelled, breaks, or ends without usage from the server is taken to have cost all that was put
    aside for it: some servers bill what nobody has read.
    """

    def __init__(self, inner: Provider, budget: Budget, price: TokenPrice) -> None:
        self.name = inner.name
        self._inner = inner
        self._budget = budget
        self._price = price

    async def send(self, request: Request) -> Response:
        """As `inner`, if there is money for it.

        Raises
        ------
        BudgetExceeded
            There is not enough left for the most that the call can cost.
        """
        most_usd = self._price.cost(most_tokens(request))
        self._budget.reserve(request, most_usd, self.name)
        try:
            response = await self._inner.send(request)
        except BaseException as error:
            # An answer with an error status is not billed. Without any answer nobody knows.
            refused = isinstance(error, GatewayError) and bool(error.status)
            self._budget.settle(most_usd, 0.0 if refused else most_usd, reported=refused)
            raise

        def ended(outcome: Outcome, usage: Usage) -> None:
            told = outcome.kind == "ok" and response.headers.get(USAGE_HEADER) == "reported"
            self._budget.settle(most_usd, self._price.cost(usage) if told else most_usd, reported=told)

        response.on_end(ended)
        return response

    def cancelled_usage(self, request: Request) -> Usage:
        """As `inner`."""
        return self._inner.cancelled_usage(request)

    async def aclose(self) -> None:
        """Close `inner`."""
        await self._inner.aclose()
