"""A provider's limits kept in front of it: a rate-limit clamp for a provider that is not simulated."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from llmsim.gateway.contract import Provider
from llmsim.providers.dialects import DIALECTS, Account, Refused, Ticket
from llmsim.providers.faults import Fault
from llmsim.providers.outage import At
from llmsim.providers.ramps import steps
from llmsim.providers.wrapped import Wrapped
from llmsim.traffic.workload import World
from llmsim.types import NO_USAGE, Outcome, Request, Response, Usage

__all__ = ["Clamp", "Clamped"]


class Clamp:
    """One account, and when its limits are cut. Providers of one `quota_group` share it.

    It is charged all the time, so that what was used before a cut counts in it. During a cut it refuses as the
    simulated provider would; afterwards as long as it has not recovered. What the limits would refuse without any cut
    is the real provider's business.

    Parameters
    ----------
    account
        With the limits the scenario gives, to be cut.
    uncut
        Another with the same limits, which is not cut: what would be left if there were no fault.
    dialect
        Of its answers.
    faults
        Those that cut it, of whichever of its providers; overlaps multiply.
    now, at
        The loop's clock, and how to be called at a time of it.
    zero_s
        Loop time at which the scenario's clock reads 0.
    """

    def __init__(
        self,
        account: Account,
        uncut: Account,
        dialect: str,
        faults: Sequence[Fault],
        *,
        now: Callable[[], float],
        at: At,
        zero_s: float = 0.0,
    ) -> None:
        self.account = account
        self._uncut = uncut
        self.dialect = DIALECTS[dialect]
        self._faults = [fault for fault in faults if fault.rate_limit]
        self._now = now
        self.active = False
        for start_s, at_s in steps(self._faults, zero_s):
            at(start_s, self._change, at_s)

    def admit(self, input_tokens: int, output_tokens: int | None) -> Ticket | Refused | None:
        """A ticket; or why the call does not get in; or None: it does, and has not been charged."""
        now = self._now()
        found = self.account.admit(input_tokens, output_tokens, 0, now)
        otherwise = self._uncut.admit(input_tokens, output_tokens, 0, now)
        if type(found) is Refused and type(otherwise) is Refused and not self.active:
            return None
        return found

    def _change(self, at_s: float) -> None:
        """What lasts from now on is what there is at `at_s` on the scenario's clock."""
        self.active = any(fault.at <= at_s < fault.end_s for fault in self._faults)
        self.account.rescale(math.prod(fault.factor("rate_limit", at_s) for fault in self._faults), self._now())


class Clamped(Wrapped):
    """`inner` behind the limits of an account, which answers 429 as the simulated provider would.

    Parameters
    ----------
    inner
        The provider.
    clamp
        Its account.
    world
        What is true about requests: some dialects charge what an answer will have.
    wait
        Waits as long as a refusal takes.
    now
        The loop's clock.
    """

    def __init__(
        self,
        inner: Provider,
        clamp: Clamp,
        *,
        world: World,
        wait: Callable[[Request], Awaitable[None]],
        now: Callable[[], float],
    ) -> None:
        super().__init__(inner)
        self._clamp = clamp
        self._world = world
        self._wait = wait
        self._now = now

    async def send(self, request: Request) -> Response:
        """As `inner`, if the account lets it in.

        Raises
        ------
        GatewayError
            What its dialect says to a call that is one too many.
        """
        clamp = self._clamp
        ticket = clamp.admit(request.input_tokens, self._output(request))
        if ticket is None:
            return await self._inner.send(request)
        if type(ticket) is Refused:
            refusal = clamp.dialect.refusal(clamp.account, ticket, model=request.model or self.model)
            await self._wait(request)
            raise refusal.error(self.name)
        return await self._admitted(request, ticket)  # type: ignore[arg-type]  # a plain tuple

    def _output(self, request: Request) -> int | None:
        if not self._clamp.account.foresees:
            return request.max_tokens
        drawn = max(self._world.truth(request).output_tokens, 1)
        return drawn if request.max_tokens is None else min(drawn, request.max_tokens)

    async def _admitted(self, request: Request, ticket: Ticket) -> Response:
        clamp, account = self._clamp, self._clamp.account
        try:
            response = await self._inner.send(request)
        except Exception:
            account.settle(ticket, NO_USAGE, self._now())
            raise
        except BaseException:  # the caller left: the prompt was read by then
            account.settle(ticket, Usage(request.input_tokens), self._now())
            raise

        def ended(outcome: Outcome, usage: Usage) -> None:
            account.settle(ticket, usage, self._now())

        response.on_end(ended)
        if clamp.active and clamp.dialect.has_headers:
            said: Any = clamp.dialect.success(account, ticket)
            response.headers = ChainMap(said, response.headers)  # type: ignore[arg-type]  # nobody writes into it
        return response
