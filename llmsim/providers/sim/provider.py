"""A simulated provider: its front decides who gets in and what is said; slots or a serving engine decide when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llmsim.engine.loop import SimLoop
from llmsim.errors import ConnectionFailed, GatewayError, StreamBroken
from llmsim.luck import Luck
from llmsim.providers.dialects import DIALECTS, Account, Accounts, Failure, Refused, Ticket
from llmsim.providers.faults import Fault
from llmsim.providers.sim.answers import Answers
from llmsim.providers.sim.call import Call
from llmsim.providers.sim.conditions import HEALTHY, Conditions, Phase
from llmsim.providers.sim.congestion import SharedCongestion
from llmsim.providers.sim.draws import CallLuck
from llmsim.providers.sim.engine_slots import EngineSlots
from llmsim.providers.sim.slots import Server, Slots
from llmsim.providers.sim.spec import SimProvider
from llmsim.providers.sim.timing import PromptCacheState, Timing
from llmsim.traffic.workload import Truth, World
from llmsim.types import NO_LIMITS, Request, Response, Usage, WholeAnswer

__all__ = ["SimulatedProvider"]


class SimulatedProvider:
    """Implements `Provider` in virtual time.

    Parameters
    ----------
    name
        How the gateway calls it.
    spec
        What it is like.
    loop
        The engine's loop, whose queue its timeline lives in.
    luck, world
        Its luck, and the truths about requests.
    accounts
        The accounts of the run, for providers that share one.
    faults
        Those that name it; only intrinsic ones and outages matter here.
    zero_s
        Loop time at which the scenario's clock reads 0.
    """

    def __init__(
        self,
        name: str,
        spec: SimProvider,
        *,
        loop: SimLoop,
        luck: Luck,
        world: World,
        accounts: Accounts | None = None,
        faults: Sequence[Fault] = (),
        zero_s: float = 0.0,
    ) -> None:
        self.name = name
        self.spec = spec
        self.model = spec.model
        self.context_window = spec.context_window
        self.loop = loop
        self._world = world
        self._truths = world.truths
        self._answers = Answers(
            spec.output, luck, name, window=spec.context_window, drifts=any(fault.drift for fault in faults)
        )
        self._error_share = spec.errors.total
        self._dialect = DIALECTS[spec.dialect]
        self._account: Account | None = None
        if spec.rate_limit is not None:
            accounts = Accounts() if accounts is None else accounts
            self._account = accounts.get(name, spec.dialect, spec.rate_limit, group=spec.quota_group)
        self.settles = self._account is not None and self._account.accounting.settles
        self._has_headers = self._account is not None and self._dialect.has_headers
        self._prompts = PromptCacheState(spec.prompt_cache) if spec.prompt_cache is not None else None
        self._phase: Phase = HEALTHY
        self._may_refuse = True  # whether `_turned_away` has anything to look at
        self._latest: dict[str, Call] = {}
        congestion = None
        if spec.congestion is not None:
            congestion = SharedCongestion(spec.congestion, luck, spec.incident_group or name, zero_s=zero_s)
        loses = any(fault.outage for fault in faults)
        self.server: Server = (
            Slots(self, congestion, loses=loses)
            if spec.serving is None
            else EngineSlots(self, spec.serving, spec.on_cancel)
        )
        columns = {**self.server.columns, **self._answers.columns}
        if self._error_share:
            columns["error"] = None
        network = Timing(spec).network
        if network is not None:
            columns["network"] = network
        self._luck = CallLuck(luck, name, columns)
        self._rarely = CallLuck(luck, name, {"answer_time": spec.answer_time, "break_at": None})
        self._error, self._network = self._luck.at.get("error", -1), self._luck.at.get("network", -1)
        self.server.find(self._luck.at)
        self._answers.find(self._luck.at)
        for phase in Conditions(faults, zero_s).phases:
            if phase.start_s > 0:
                loop.at(phase.start_s, self._enter, phase)
            else:
                self._enter(phase)

    # -- Provider ----------------------------------------------------------------------------------------------

    async def send(self, request: Request) -> Response:
        """Resolve at the first token (the last, if not ``request.stream``) or raise what the provider answers."""
        truth = self._truths.get(request.id) or self._world.truth(request)
        calls, name = truth.calls, self.name
        number = calls.get(name, 0)
        calls[name] = number + 1
        row = self._luck(truth, number)
        answer: asyncio.Future[None] = self.loop.create_future()
        arrived: list[Call | GatewayError] = []
        call: Any = None
        if self._network < 0:
            self._arrive(request, truth, number, row, answer, arrived)
        else:  # the way there is no business of the caller's task: nothing is awaited before the answer
            at_s = self.loop.time() + row[self._network]
            self.loop.at(at_s, self._arrive, request, truth, number, row, answer, arrived)
        try:
            await answer
            call = arrived[0]
            if isinstance(call, GatewayError):
                raise call
            if self._prompts is not None:
                fixed = None if truth.session is None else truth.session.fixed_tokens
                self._prompts.wrote(request, call.first_s, self.loop.time(), truth.shared_tokens, fixed)
            response = Response(call, upstream=name, model=self._phase.model or request.model or self.model)
            response.queue_s = call.queue_s
            if call.headers is not None:
                response.headers = call.headers
            return response if request.stream else await self._whole(request, call, response)
        except GatewayError:
            raise
        except BaseException:
            self._left(request, arrived)
            raise
        finally:
            arrived.clear()
            del answer, call  # an error's traceback refers to this frame: no circle for the cyclic collector

    def _arrive(
        self,
        request: Request,
        truth: Truth,
        number: int,
        row: tuple[float, ...],
        answer: asyncio.Future[None],
        arrived: list[Call | GatewayError],
    ) -> None:
        """A call is here; what becomes of it goes into `arrived`, and `answer` resolves with its answer."""
        if answer.done():
            return  # the caller left while it was on its way
        now = self.loop.time()
        plan = self._answers.plan(request, truth, number, row, self._phase)
        cached, failure = 0, None
        if self._prompts is not None:
            fixed = None if truth.session is None else truth.session.fixed_tokens
            cached = self._prompts.cached(request, now, truth.shared_tokens, fixed)
        if self._error >= 0 and row[self._error] < self._error_share:
            failure = self.spec.errors.pick(row[self._error])
        ticket = self._admit(request, failure, plan.tokens, cached, now)
        if isinstance(ticket, GatewayError):
            arrived.append(ticket)
            self.loop.wake_at(now + self._rarely(truth, number)[0], answer)
            return
        if failure == "in_stream":
            plan = plan._replace(fails_after=int(self._rarely(truth, number)[1] * plan.tokens))
        call = self.server.accept(request, plan, row, cached, answer, now)
        arrived.append(call)
        if self.settles:
            call.ticket = ticket
        if self._has_headers:
            assert self._account is not None and ticket is not None
            call.headers = self._dialect.success(self._account, ticket)

    def _left(self, request: Request, arrived: list[Call | GatewayError]) -> None:
        """The caller went away before the answer."""
        call = arrived[0] if arrived else None
        if call is None or isinstance(call, GatewayError):
            self._latest.pop(request.id, None)  # nothing was made
        else:
            call.abandon()
            self._latest[request.id] = call

    async def _whole(self, request: Request, call: Call, response: Response) -> Response:
        """The answer in one piece."""
        await call.rest(NO_LIMITS)
        if call.error is not None:  # what had been made of it went nowhere
            if call.error.body:  # an event in a stream; without one, the answer that it stands for
                raise self.in_stream_error(0)
            self._latest[request.id] = call
            raise StreamBroken("connection lost", upstream=self.name, status=200)
        answer = WholeAnswer(call.words(0, call.tokens), call.tokens, call.usage, call.finish_reason)
        return Response(
            answer, upstream=self.name, model=response.model, headers=response.headers, queue_s=response.queue_s
        )

    def cancelled_usage(self, request: Request) -> Usage:
        """What the cancelled latest call of this request is billed."""
        call = self._latest.pop(request.id, None)
        return call.usage if call is not None else Usage()

    async def aclose(self) -> None:
        """Nothing to release."""

    def let_go(self) -> None:
        """The run is over: part from the server and from what was drawn, so that no circle of them is left."""
        self._latest.clear()
        del self.server, self._luck, self._rarely

    # -- admission ---------------------------------------------------------------------------------------------

    def _admit(
        self, request: Request, failure: Failure | None, tokens: int, cached: int, now: float
    ) -> Ticket | GatewayError | None:
        """What the account charged for the call (None: it has no limits), or what it is answered instead."""
        if failure is not None or self._may_refuse:
            answered = self._turned_away(request, failure)
            if answered is not None:
                return answered
        account = self._account
        if account is None:
            return None
        output_tokens = tokens if account.foresees else request.max_tokens
        outcome = account.admit(request.input_tokens, output_tokens, cached, now)
        if type(outcome) is Refused:
            return self._dialect.refusal(account, outcome, model=request.model or self.model).error(self.name)
        return outcome  # type: ignore[return-value]  # a plain tuple

    def _turned_away(self, request: Request, failure: Failure | None) -> GatewayError | None:
        """What a call is answered that comes no further than the front, whatever its account has left."""
        spec = self.spec
        if self._phase.outage:
            return ConnectionFailed("connection refused", upstream=self.name)
        if failure is not None and failure != "in_stream":
            return self._failed(failure, request)
        if spec.context_window is not None and self._exceeds(request, spec.context_window):
            return self._failed("context_too_long", request)
        limit = spec.queue.limit
        if limit is not None and self.server.is_full(limit):
            return self._failed("overloaded", request)
        return None

    def _exceeds(self, request: Request, window: int) -> bool:
        wanted = request.max_tokens if self._dialect.window_holds_max_tokens else None
        return request.input_tokens + (1 if wanted is None else wanted) > window

    def _failed(self, failure: Failure, request: Request) -> GatewayError:
        if self._account is not None:
            self._account.failed(None, self.loop.time())
        answer = self._dialect.failure(
            failure,
            model=request.model or self.model,
            input_tokens=request.input_tokens,
            context_tokens=self.spec.context_window or 0,
            output_tokens=request.max_tokens or 0,
        )
        return answer.error(self.name)

    def in_stream_error(self, tokens_delivered: int) -> GatewayError:
        """What a stream ends with that fails after its 200."""
        return self._dialect.failure("in_stream", model=self.model).error(self.name, tokens_delivered)

    def settle(self, call: Call) -> None:
        """Replace what the account was charged for the call by what it used."""
        assert self._account is not None and call.ticket is not None
        self._account.settle(call.ticket, call.usage, self.loop.time())
        call.ticket = None

    # -- intrinsic faults --------------------------------------------------------------------------------------

    def _enter(self, phase: Phase) -> None:
        """A fault begins or ends."""
        outage = phase.outage and not self._phase.outage
        if self._account is not None and phase.rate_limit != self._phase.rate_limit:
            self._account.rescale(phase.rate_limit, self.loop.time(), self.name)
        self._phase = phase
        self._may_refuse = phase.outage or self.spec.context_window is not None or self.spec.queue.limit is not None
        self.server.enter(phase, outage=outage)
