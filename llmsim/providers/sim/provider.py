"""A simulated provider: rate limits, errors, slots with a bounded queue, and an LLM's timing."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from functools import lru_cache

from llmsim.distributions import Distribution, Normal
from llmsim.engine.loop import SimLoop
from llmsim.errors import ConnectionFailed, GatewayError, StreamBroken
from llmsim.luck import Luck, Series
from llmsim.providers.dialects import DIALECTS, Account, Accounts, Failure, Refused, Ticket
from llmsim.providers.faults import Fault
from llmsim.providers.sim.call import WAITING, Call
from llmsim.providers.sim.conditions import HEALTHY, Conditions, Phase
from llmsim.providers.sim.gaps import GapPool
from llmsim.providers.sim.outputs import REFUSAL_TOKENS, Output, Plan, json_text
from llmsim.providers.sim.spec import SimProvider
from llmsim.traffic.workload import Truth, World
from llmsim.types import NO_LIMITS, Request, Response, Usage, WholeAnswer

__all__ = ["SimulatedProvider"]


_BLOCK_BITS = 9
_BLOCK_MASK = (1 << _BLOCK_BITS) - 1
_NORMAL = Normal()
_NO_GAPS = (0, 0.0, float("nan"))


@lru_cache(maxsize=4096)
def _stops(tokens: int) -> Plan:
    """A complete answer of this length; shared, as most are."""
    return Plan(tokens)


class _CallLuck:
    """One purpose's draws, addressed by (request, n-th call of it to this provider)."""

    __slots__ = ("_address", "_distribution", "_first", "_first_blocks", "_luck", "_others")

    def __init__(self, luck: Luck, purpose: str, provider: str, distribution: Distribution | None = None) -> None:
        self._luck = luck
        self._address = (purpose, provider)
        self._distribution = distribution
        self._first = self._series(0, 0, 0, block=_BLOCK_MASK + 1)
        self._first_blocks = self._first.blocks  # looked into directly: two such draws for every call
        self._others: dict[tuple[int, int, int], Series] = {}

    def _series(self, call: int, step: int, retry: int, block: int) -> Series:
        purpose, provider = self._address
        return self._luck.series(purpose, provider, call, step, retry, block=block, through=self._distribution)

    def __call__(self, truth: Truth, call: int) -> float:
        if call == 0 and truth.retry == 0 and truth.step == 0:
            index = truth.index
            block = self._first_blocks.get(index >> _BLOCK_BITS)
            return self._first(index) if block is None else block[index & _BLOCK_MASK]
        key = (call, truth.step, truth.retry)
        series = self._others.get(key)
        if series is None:
            series = self._others[key] = self._series(*key, block=256)
        return series(truth.index)


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
        self.loop = loop
        self.gaps = GapPool.of(spec.inter_token)
        self.busy = 0  #: slots in use
        self.queue: deque[Call] = deque()
        self.waiting = 0  #: calls in the queue that are still wanted (or will be served all the same)
        self._world = world
        self._ttft = _CallLuck(luck, "ttft", name, spec.ttft)
        self._window = _CallLuck(luck, "window", name)
        self._error = _CallLuck(luck, "error", name)
        self._answer = _CallLuck(luck, "answer_time", name, spec.answer_time)
        self._break_at = _CallLuck(luck, "break_at", name)
        self._refusal = _CallLuck(luck, "refusal", name)
        self._length = _CallLuck(luck, "length", name, _NORMAL)
        self._defect = _CallLuck(luck, "defect", name)
        self._cut_at = _CallLuck(luck, "cut_at", name)
        self._plain = spec.output == Output() and not any(fault.drift for fault in faults)
        self._fails = spec.errors.total > 0
        self._dialect = DIALECTS[spec.dialect]
        self._account: Account | None = None
        if spec.rate_limit is not None:
            accounts = Accounts() if accounts is None else accounts
            self._account = accounts.get(name, spec.dialect, spec.rate_limit, group=spec.quota_group)
        self._settles = self._account is not None and self._account.accounting.settles
        self._has_headers = self._account is not None and self._dialect.has_headers
        self._slots = math.inf if spec.concurrency is None else spec.concurrency
        self._usable = self._slots  # of them now: a capacity cut takes some away
        self._phase: Phase = HEALTHY
        self._latest: dict[str, Call] = {}
        self._active: dict[Call, None] | None = {} if any(fault.outage for fault in faults) else None
        for phase in Conditions(faults, zero_s).phases:
            if phase.start_s > 0:
                loop.at(phase.start_s, self._enter, phase)
            else:
                self._enter(phase)

    # -- Provider ----------------------------------------------------------------------------------------------

    async def send(self, request: Request) -> Response:
        """Resolve at the first token (the last, if not ``request.stream``) or raise what the provider answers."""
        truth = self._world.truth(request)
        number = truth.calls.get(self.name, 0)
        truth.calls[self.name] = number + 1
        plan = self._plan(request, truth, number)
        ticket = self._admit(request, truth, number, plan.tokens)
        if isinstance(ticket, GatewayError):
            self._latest.pop(request.id, None)
            answered = self.loop.create_future()
            self.loop.wake_at(self.loop.time() + self._answer(truth, number), answered)
            await answered
            try:
                raise ticket
            finally:
                del ticket  # its traceback refers to this frame: a circle only the cyclic collector could free
        call = self._accept(request, truth, number, plan)
        if ticket is not None and self._settles:
            call.ticket = ticket
        try:
            await call.waiter  # type: ignore[misc]  # set by _accept
            response = Response(call, upstream=self.name, model=self._phase.model or request.model or self.model)
            response.queue_s = call.queue_s
            if ticket is not None and self._has_headers:
                assert self._account is not None
                response.headers = self._dialect.success(self._account, ticket)
            if request.stream:
                return response
            await call.rest(NO_LIMITS)
            if call.error is not None:  # what had been made of it went nowhere
                self._latest[request.id] = call
                raise StreamBroken("connection lost", upstream=self.name, status=200)
            answer = WholeAnswer(call.words(0, call.tokens), call.tokens, call.usage, call.finish_reason)
            return Response(
                answer,
                upstream=self.name,
                model=response.model,
                headers=response.headers,
                queue_s=response.queue_s,
            )
        except GatewayError:
            raise
        except BaseException:
            call.abandon()
            self._latest[request.id] = call
            raise

    def cancelled_usage(self, request: Request) -> Usage:
        """What the cancelled latest call of this request is billed."""
        call = self._latest.pop(request.id, None)
        return call.usage if call is not None else Usage()

    async def aclose(self) -> None:
        """Nothing to release."""

    # -- the answer --------------------------------------------------------------------------------------------

    def _plan(self, request: Request, truth: Truth, number: int) -> Plan:
        """What the model will answer to this call, unless something goes wrong."""
        natural, most = truth.output_tokens, request.max_tokens
        if self._plain and request.response_schema is None:
            if most is None or natural <= most:
                return _stops(natural)
            return Plan(most, "length")
        output, phase = self.spec.output, self._phase
        if output.refusals and self._refusal(truth, number) < output.refusals * phase.refusals:
            return Plan(REFUSAL_TOKENS if most is None else min(REFUSAL_TOKENS, most), "refusal")
        z = self._length(truth, number) if output.variation else 0.0
        natural = output.tokens(natural, z, phase.length)
        kept = natural if most is None else min(natural, most)
        text = None
        if request.response_schema is not None:
            defect = output.defects(truth.style).pick(self._defect(truth, number), phase.defects)
            text = json_text(natural, kept, defect, self._cut_at(truth, number) if defect == "cut" else 0.0)
        return Plan(kept, "stop" if kept == natural else "length", text)

    # -- admission ---------------------------------------------------------------------------------------------

    def _admit(self, request: Request, truth: Truth, number: int, tokens: int) -> Ticket | GatewayError | None:
        """What the account charged for the call (None: it has no limits), or what it is answered instead."""
        spec = self.spec
        if self._phase.outage:
            return ConnectionFailed("connection refused", upstream=self.name)
        failure = spec.errors.pick(self._error(truth, number)) if self._fails else None
        if failure is not None and failure != "in_stream":
            return self._failed(failure, request)
        if spec.context_window is not None and request.input_tokens > spec.context_window:
            return self._failed("context_too_long", request)
        limit = spec.queue.limit
        if limit is not None and self.busy >= self._usable and self.waiting >= limit:
            return self._failed("overloaded", request)
        account = self._account
        if account is None:
            return None
        output_tokens = tokens if account.foresees else request.max_tokens
        outcome = account.admit(request.input_tokens, output_tokens, 0, self.loop.time())
        if type(outcome) is Refused:
            return self._dialect.refusal(account, outcome, model=request.model or self.model).error(self.name)
        return outcome  # type: ignore[return-value]  # a plain tuple

    def _failed(self, failure: Failure, request: Request) -> GatewayError:
        if self._account is not None:
            self._account.failed(None, self.loop.time())
        answer = self._dialect.failure(
            failure,
            model=request.model or self.model,
            input_tokens=request.input_tokens,
            context_tokens=self.spec.context_window or 0,
        )
        return answer.error(self.name)

    def _accept(self, request: Request, truth: Truth, number: int, plan: Plan) -> Call:
        tokens = plan.tokens
        window = self.gaps.stretch(self._window(truth, number), tokens - 1) if tokens > 1 else _NO_GAPS
        call = Call(self, request.input_tokens, plan, self._ttft(truth, number) * self._phase.ttft, window)
        if self._fails and self.spec.errors.pick(self._error(truth, number)) == "in_stream":
            call.breaks = int(self._break_at(truth, number) * tokens), self._dialect.failure("in_stream")
        call.waiter = self.loop.create_future()
        call.arrived_s = now = self.loop.time()
        if self._active is not None:
            self._active[call] = None
        if not self.waiting and self.busy < self._usable:
            self.busy += 1
            call.start(now, self._phase.latency)
        else:
            self.queue.append(call)
            self.waiting += 1
        return call

    def release(self, call: Call) -> None:
        """`call` gives its slot back."""
        self.busy -= 1
        if call.ticket is not None:
            self._settle(call)
        if self._active is not None:
            self._active.pop(call, None)
        if self.waiting:
            self._serve_queue()

    def forget(self, call: Call) -> None:
        """`call` leaves the queue unserved; its place in the deque is skipped when its turn comes."""
        self.waiting -= 1
        if call.ticket is not None:
            self._settle(call)
        if self._active is not None:
            self._active.pop(call, None)

    def _settle(self, call: Call) -> None:
        """Replace what the account was charged for the call by what it used."""
        assert self._account is not None and call.ticket is not None
        self._account.settle(call.ticket, call.usage, self.loop.time())
        call.ticket = None

    def _serve_queue(self) -> None:
        while self.waiting and self.busy < self._usable:
            call = self.queue.popleft()
            if call.state == WAITING:
                self.waiting -= 1
                self.busy += 1
                call.start(self.loop.time(), self._phase.latency)

    # -- intrinsic faults --------------------------------------------------------------------------------------

    def _enter(self, phase: Phase) -> None:
        """A fault begins or ends."""
        began = phase.outage and not self._phase.outage
        if self._account is not None and phase.rate_limit != self._phase.rate_limit:
            self._account.rescale(phase.rate_limit, self.loop.time(), self.name)
        self._phase = phase
        self._usable = _whole_slots(self._slots, phase.capacity)
        if began and self._active is not None:
            self._cut_all(self._active)
        self._serve_queue()

    def _cut_all(self, active: dict[Call, None]) -> None:
        """The server is gone, and with it everything it was doing."""
        now = self.loop.time()
        self.queue.clear()
        self.waiting = self.busy = 0
        for call in tuple(active):
            delivered = call.generated(now)
            if delivered:
                call.cut(StreamBroken("connection lost", tokens_delivered=delivered, upstream=self.name, status=200))
            else:
                call.cut(ConnectionFailed("connection lost", upstream=self.name))
            if call.ticket is not None:
                self._settle(call)
        active.clear()


def _whole_slots(slots: float, capacity: float) -> float:
    """What is left of the slots, rounded up; a cut to 0 also stops a provider that has no limit."""
    if not capacity:
        return 0
    return slots if slots == math.inf else math.ceil(round(slots * capacity, 6))
