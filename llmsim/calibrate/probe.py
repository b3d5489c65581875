"""A designed probe of a live provider: calls of chosen lengths, alone and in company, within a budget."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from llmsim.calibrate.calls import Calls
from llmsim.calibrate.probe_design import Design, Round
from llmsim.engine.real import RealLoop, run_for_real
from llmsim.error_words import outcome_word
from llmsim.errors import AuthError, BadRequest, BudgetExceeded, GatewayError, LlmsimError, RateLimited
from llmsim.gateway.contract import Provider
from llmsim.gateway.server_time import server_s_of
from llmsim.pricing import FREE, TokenPrice
from llmsim.traffic.speech import spoken
from llmsim.types import Message, Request, Response, Usage

if TYPE_CHECKING:
    from llmsim.providers.live.spec import LiveProvider

__all__ = ["ProbeProgress", "Probed", "price_of", "probe"]

_WARM_UP_FAILS = 3  #: calls in a row, from the first on, after which nobody believes that the next one works
_PAUSE_S = 0.2  #: between rounds: a server may take a moment to see that a connection was closed


class Probed(NamedTuple):
    """One call of a probe, in the columns of `llmsim.calibrate.log_rows.OWN_CALLS`."""

    sent_s: float
    ttft_s: float | None
    e2e_s: float | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    outcome: str
    cost_usd: float | None
    model: str
    upstream: str
    status: int = 0
    retry_after_s: float | None = None  #: inf: a 429 did not say
    server_s: float | None = None  #: of `ttft_s`, what the server says it took itself
    connect_s: float = 0.0  #: of `ttft_s`, for a new connection


class ProbeProgress(NamedTuple):
    """Where a probe is."""

    calls: int
    total: int
    spent_usd: float
    budget_usd: float


@dataclass
class _At:
    """What the thread that watches can see."""

    loop: RealLoop | None = None
    rows: list[Probed] = field(default_factory=list)
    calls: int = 0
    stopped: str = ""


def price_of(name: str, spec: LiveProvider) -> TokenPrice:
    """What a provider charges.

    Raises
    ------
    LlmsimError
        Nobody said, and it is not on this machine.
    """
    from llmsim.providers.live.endpoint import is_loopback

    if spec.price is not None:
        return spec.price
    if is_loopback(spec.base_url):
        return FREE
    raise LlmsimError(
        f"{name} has no price, so that no budget could be kept; add price: {{input: $0.15/Mtok, output: $0.60/Mtok}}"
    )


def probe(
    name: str,
    spec: LiveProvider,
    design: Design,
    *,
    budget_usd: float,
    call_timeout_s: float = 120.0,
    on_call: Callable[[Probed], object] | None = None,
    progress: Callable[[ProbeProgress], object] | None = None,
) -> tuple[Calls, tuple[str, ...]]:
    """Make the calls of a design, one round after the other.

    Parameters
    ----------
    name, spec
        Of the provider in ``live.yaml``.
    design
        Which calls.
    budget_usd
        The most that may be spent.
    call_timeout_s
        A call that takes longer is given up.
    on_call
        Told of each counted call as soon as it has ended.
    progress
        Called about ten times a second.

    Returns
    -------
    calls, notes
        Without those of the warm-up.

    Raises
    ------
    LlmsimError
        The first calls all fail.
    SimulationInterrupted
        Ctrl-C; `on_call` was told of every call until then.
    """
    from llmsim.engine.worker import in_worker_thread
    from llmsim.providers.live.opened import live_provider
    from llmsim.providers.live.spending import Budget, Budgeted

    price, budget, at = price_of(name, spec), Budget(budget_usd), _At()
    rounds = design.rounds()
    total = sum(len(one.sizes) for one in rounds)

    async def main(loop: RealLoop) -> None:
        live = live_provider(name, spec, model=spec.model, price=price)
        try:
            paid = Budgeted(live, budget, price)
            await _all(_Prober(paid, spec, price, design.seed, call_timeout_s, at, on_call), rounds, loop)
        finally:
            await live.aclose()

    def tick() -> None:
        if progress is not None:
            progress(ProbeProgress(at.calls, total, budget.spent_usd, budget.usd))

    def on_loop(loop: RealLoop) -> None:
        at.loop = loop

    in_worker_thread(
        lambda: run_for_real(main, on_loop=on_loop),
        loops=lambda: at.loop,  # type: ignore[arg-type, return-value]  # of a SimLoop it uses what a RealLoop has
        tick=tick,
        grace_s=0.6,
    )
    tick()
    if not at.rows:
        raise LlmsimError(at.stopped or f"no call to {name} was counted")
    return _calls(name, at.rows), ((at.stopped,) if at.stopped else ())


def _calls(name: str, rows: list[Probed]) -> Calls:
    import polars as pl

    schema: dict[str, Any] = dict.fromkeys(Probed._fields, pl.Float64)
    schema |= dict.fromkeys(("input_tokens", "cached_tokens", "output_tokens", "status"), pl.Int64)
    schema |= dict.fromkeys(("outcome", "model", "upstream"), pl.String)
    return Calls.of(name, rows[0].model, pl.DataFrame([row._asdict() for row in rows], schema=schema))


@dataclass
class _Prober:
    """Makes single calls."""

    provider: Provider
    spec: LiveProvider
    price: TokenPrice
    seed: int
    timeout_s: float
    at: _At
    on_call: Callable[[Probed], object] | None

    async def call(self, size: tuple[int, int], loop: RealLoop, *, counts: bool) -> BaseException | None:
        """One call; what went wrong, if something did."""
        number = self.at.calls
        self.at.calls += 1
        input_tokens, output_tokens = size
        question = (Message("user", f"{number} of {self.seed}"),)  # no two prompts begin alike: no cache has them
        request = Request(f"{number}/0/0", messages=question, input_tokens=input_tokens, max_tokens=output_tokens)
        request = request._replace(messages=spoken(request, self.spec.template_tokens))
        sent_s = loop.time()
        first_s, usage, failure, response = None, Usage(input_tokens, 0), None, None
        try:
            async with asyncio.timeout(self.timeout_s):
                response = await self.provider.send(request)
                first_s = loop.time() - sent_s
                await response.read()
                usage = response.usage
        except (GatewayError, TimeoutError) as error:
            failure = error
        if counts and not isinstance(failure, BudgetExceeded):
            self._keep(Probed(
                sent_s, first_s, loop.time() - sent_s, usage.input_tokens, usage.cached_input_tokens,
                usage.output_tokens, outcome_word(failure), None if failure else self.price.cost(usage),
                self.spec.model, self.provider.name, *_at_the_server(response, failure),
            ))  # fmt: skip
        return failure

    def _keep(self, row: Probed) -> None:
        self.at.rows.append(row)
        if self.on_call is not None:
            self.on_call(row)


def _at_the_server(
    response: Response | None, failure: BaseException | None
) -> tuple[int, float | None, float | None, float]:
    """Status, Retry-After, the server's own time until the first token, and the time for connecting."""
    from llmsim.providers.live.timings import CONNECT_HEADER

    answer: Any = failure if isinstance(failure, GatewayError) else response
    headers = getattr(answer, "headers", None) or {}
    after_s = getattr(answer, "retry_after_s", None)
    if isinstance(failure, RateLimited) and after_s is None:
        after_s = math.inf
    server_s = server_s_of(response)
    return (
        getattr(answer, "status", None) or 0, after_s, None if math.isnan(server_s) else server_s,
        float(headers.get(CONNECT_HEADER, 0.0)),
    )  # fmt: skip


async def _all(prober: _Prober, rounds: list[Round], loop: RealLoop) -> None:
    """Round after round, until the money is spent or nothing works."""
    at, usual_s, answered = prober.at, 0.0, False
    lengths_s: list[float] = []
    for number, one in enumerate(rounds):
        begun_s = loop.time()

        async def later(size: tuple[int, int], delay: float, *, counts: bool) -> BaseException | None:
            await asyncio.sleep(delay * usual_s)  # noqa: B023 - all of them end within the round
            return await prober.call(size, loop, counts=counts)

        async with asyncio.TaskGroup() as group:
            pairs = zip(one.sizes, one.delays, strict=True)
            tasks = [group.create_task(later(size, delay, counts=not one.warm_up)) for size, delay in pairs]
        failures = [task.result() for task in tasks]
        if any(isinstance(failure, BudgetExceeded) for failure in failures):
            at.stopped = f"stopped after {number} of {len(rounds)} rounds: a further call could have passed the budget"
            return
        answered = answered or None in failures
        for failure in failures:
            if isinstance(failure, AuthError | BadRequest) or (not answered and at.calls >= _WARM_UP_FAILS):
                raise LlmsimError(
                    f"{prober.provider.name} does not answer a prompt of {max(one.sizes)[0]} tokens: "
                    f"{type(failure).__name__}: {failure}"
                )
        if len(failures) == 1 and failures[0] is None:
            lengths_s.append(loop.time() - begun_s)
            usual_s = sorted(lengths_s)[len(lengths_s) // 2]
        await asyncio.sleep(_PAUSE_S)
