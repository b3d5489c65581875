"""Some of the planted mistakes again, as another team would make them: other settings, loops and classes of their own.

A check that finds `bugs` by how they are written, and not by what they do, would miss these.
"""

from __future__ import annotations

import asyncio

import llmsim as ls
from llmsim.errors import BudgetExceeded, GatewayError
from llmsim.gateway.contract import Handler
from llmsim.gateway.policies import Backoff, Timeout
from llmsim.types import NO_USAGE, CallNext, Outcome, Usage, WholeAnswer
from tests.planted.gateways import changed

#: "There is jitter."
jitter_of_5_percent = changed(retry={"backoff": Backoff(initial=0.2, max=2.0, jitter=0.05)})

#: "There is a timeout": half of what the OpenAI SDK has.
timeout_of_5_minutes = changed(timeout=Timeout(total=300.0))

#: Only one status too many.
retry_on_422 = changed(retry={"on": (422, 429, "5xx", "connection_failed"), "by_status": True})

breaker_for_an_hour = changed(circuit_breaker={"wait_in_open": 3600.0})


@ls.policy
async def half_as_long(request: ls.Request, call_next: CallNext) -> ls.Response:
    """Somebody found that Retry-After is on the safe side."""
    for _ in range(2):
        try:
            return await call_next(request)
        except GatewayError as error:
            if not error.retryable:
                raise
            wait_s = (error.retry_after_s or 0.4) / 2
            if wait_s > 3.0:
                raise
            await asyncio.sleep(wait_s)
    return await call_next(request)


retry_after_halved = changed(retry=half_as_long)


@ls.policy
class OneForAll:
    """A cache of a dozen lines whose key is the question."""

    def start(self, run: ls.Run) -> Handler:
        kept: dict[str, str] = {}

        async def handle(request: ls.Request, call_next: CallNext) -> ls.Response:
            assert request.messages is not None
            question = request.messages[-1].content
            if question in kept:
                return ls.Response(WholeAnswer(kept[question], 1, NO_USAGE), upstream="", model="", served_from="cache")
            response = await call_next(request)
            tap = response.tap()

            def keep(outcome: Outcome, usage: Usage) -> None:
                if outcome.kind == "ok":
                    kept[question] = tap.text

            response.on_end(keep)
            return response

        return handle


cache_keyed_by_question = changed(semantic_cache=OneForAll())


@ls.policy
class LooksAfterwards:
    """A budget that knows what a call cost when it is over, and lets all go ahead that come until then."""

    def start(self, run: ls.Run) -> Handler:
        spent: dict[str, float] = {}

        async def handle(request: ls.Request, call_next: CallNext) -> ls.Response:
            if spent.get(request.user, 0.0) >= 1.0:
                raise BudgetExceeded(f"{request.user} has spent a dollar")
            response = await call_next(request)

            def add(outcome: Outcome, usage: Usage) -> None:
                price = usage.input_tokens * 2.5e-6 + usage.output_tokens * 10e-6
                spent[request.user] = spent.get(request.user, 0.0) + price

            response.on_end(add)
            return response

        return handle


budget_after_the_call = changed(budget=LooksAfterwards())


@ls.policy
async def whoever_is_left(request: ls.Request, call_next: CallNext) -> ls.Response:
    """A fallback when the first takes too long, which forgets that the first goes on."""
    first, second = ls.current_run().upstreams
    call = asyncio.ensure_future(call_next(request.to(first)))
    done, _ = await asyncio.wait({call}, timeout=2.0)
    try:
        if done:
            return call.result()
    except GatewayError:
        pass
    call.add_done_callback(lambda over: over.cancelled() or over.exception())
    return await call_next(request.to(second))


fallback_that_forgets = changed(fallback=whoever_is_left)
