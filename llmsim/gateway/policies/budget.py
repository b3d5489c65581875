"""Do not spend more than that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from llmsim.algorithms.ledger import PICO, Account, Ledger, Window
from llmsim.errors import BudgetExceeded
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._line import key_of, key_text
from llmsim.gateway.registry import register
from llmsim.pricing import FREE, TokenPrice
from llmsim.types import CallNext, Request, Response, Usage
from llmsim.units import PositiveCount, PositiveMoney, Ratio

__all__ = ["Budget"]

Per = Literal["total", "tenant", "user", "route", "feature", "session"]


@register("budget")
@dataclass(frozen=True, kw_only=True)
class Budget:
    """A spending limit per user, route, feature, tenant or session, and a hard stop when it is reached.

    **Protects from** the bill: of a loop, of one customer, of a fallback that costs ten times as much. Every single
    call to an upstream is checked, whoever makes it: first attempts, retries, fallbacks, hedges, re-asks. What the call
    can cost at most, *at the price of the upstream it goes to*, is set aside before it is made, and given back but for
    what was billed when it ends. (A gateway that looks only at the model that was asked for spends without a limit
    through its fallbacks: BerriAI/litellm#41344. One that adds up costs afterwards overshoots by all that is under
    way.)

    **Costs** answers: those that were refused, the last ones although they would have fitted. A call that might cost
    $0.02 is refused while $0.019 is left, or is set aside for others, even if it would have cost $0.002 in the end. A
    tight `max_tokens` sets little aside; put a ``max_tokens`` policy in front.

    **Makes things worse** when it stands for everybody (``per: total``): one runaway user then takes the service from
    all others. With several replicas each has its own ledger and N of them spend N times the limit, unless ``shared``.

    One entry is enough, wherever it stands among ``gateway.policies``: the handler turns requests away early once
    nothing is left, and in front of each provider the pipeline asks it again (`llmsim.gateway.contract.Toll`). Answers
    from a cache outside of it cost nothing and pass, and so does an upstream that is free. Among ``gateway.upstream``
    it is a budget for each upstream by itself.

    Hard means: never passed, as long as no call is billed more than was set aside for it. That takes a ``max_tokens``
    in the request, and an ``input_tokens`` estimate that is not too low; what is billed beyond is counted and shows in
    the next event's ``overrun_usd``.

    Parameters
    ----------
    limit
        USD per window, for each account.
    per
        Whose account: ``user`` means a user of a tenant.
    window
        Calendar ``hour``, ``day`` or ``month`` in UTC, or ``run``: for as long as the gateway runs (default, since any
        other length would be a guess). With ``run`` one account is kept for everybody who ever came (about 300
        bytes each, with the names).
    warn
        Share of `limit` at which an event says so. 80 %: chosen.
    assumed_output_tokens
        What is set aside for the answer to a request without ``max_tokens``. 4,096: chosen; longer answers pass the
        limit.
    shared
        One ledger for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `BudgetExceeded`, which no retry repeats and no fallback catches unless its `on` says so (a cheaper upstream
    may still fit); ``retry_after_s`` is the time to the next window where only that helps. Emits ``budget`` with
    ``state``, each once an account and window: ``warned``, and at a first refusal ``exhausted``, ``set_aside`` (only
    what is set aside for calls under way leaves no room) or ``too_large`` (it would not fit into a whole budget); with
    ``account``, ``spent_usd``, ``reserved_usd``, ``limit_usd``, ``overrun_usd``.

    Examples
    --------
    >>> Budget(limit=5.0, per="user", window="day").warn
    0.8
    >>> Budget(limit=5.0, per="team")
    Traceback (most recent call last):
    ValueError: budget per is 'team'; write total, tenant, user, route, feature or session
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    limit: PositiveMoney
    per: Per = "total"
    window: Window = "run"
    warn: Ratio = 0.8
    assumed_output_tokens: PositiveCount = 4096
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ValueError(f"budget limit must be above 0, not {self.limit!r}; write it like $5")
        for key, known in (("per", get_args(Per)), ("window", get_args(Window))):
            if getattr(self, key) not in known:
                words = f"{', '.join(known[:-1])} or {known[-1]}"
                raise ValueError(f"budget {key} is {getattr(self, key)!r}; write {words}")
        if not 0 <= self.warn <= 1:
            raise ValueError(f"budget warn is a share of limit, 0% to 100%, not {self.warn:g}; write 80%")
        if self.assumed_output_tokens < 1:
            raise ValueError(f"assumed_output_tokens must be at least 1, not {self.assumed_output_tokens}")

    def start(self, run: Run) -> Handler:
        """Fresh state: a ledger on which nothing is spent."""
        return _BudgetHandler(self, run)


#: What a call has set aside: on which account, how much, at which price, and the request.
_Ticket = tuple[Account, int, TokenPrice, Request]


class _BudgetHandler:
    __slots__ = ("_assumed", "_epoch_s", "_free", "_key", "_now", "_prices", "_run", "_spec", "_warn_at", "ledger")

    def __init__(self, spec: Budget, run: Run) -> None:
        self._spec = spec
        self._run = run
        self._now, self._epoch_s = run.now, run.epoch_s
        self._prices = run.prices
        self._assumed = spec.assumed_output_tokens
        self._key = key_of(None if spec.per == "total" else spec.per)
        self._free = any(run.cost(upstream, Usage(1, 1)) == 0 for upstream in run.upstreams)
        self._warn_at = round(spec.warn * spec.limit * PICO)
        self.ledger = Ledger(spec.limit, spec.window)

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        if not self._free:  # where an upstream is, there may be a way on; the others are refused in front of them
            account = self.ledger.account(self._key(request), self._epoch_s + self._now())
            if account.spent >= account.limit:  # no need to go through queues and fallbacks first
                raise self._refusal(request, account, 0)
        return await call_next(request)

    def before_attempt(self, request: Request, upstream: str) -> _Ticket:
        """Set aside the most that this call can cost."""
        most, price = request.max_tokens, self._prices.get(upstream, FREE)
        usd = request.input_tokens * price.input + (self._assumed if most is None else most) * price.output
        account, amount = self.ledger.account(self._key(request), self._epoch_s + self._now()), round(usd * PICO)
        if not account.reserve(amount):
            raise self._refusal(request, account, amount)
        return account, amount, price, request

    def after_attempt(self, ticket: _Ticket, usage: Usage | None) -> None:
        """Give back what was not needed."""
        account, amount, price, request = ticket
        account.settle(amount, 0 if usage is None else round(price.cost(usage) * PICO))
        if account.spent >= self._warn_at:
            self._tell(request, account, "warned")

    def _refusal(self, request: Request, account: Account, amount: int) -> BudgetExceeded:
        spec, state = self._spec, "set_aside"  # for others: that may come back at any time
        if amount > account.limit:
            state = "too_large"
        elif account.spent + max(amount, 1) > account.limit:
            state = "exhausted"  # until the next window
        self._tell(request, account, state)
        window = "" if spec.window == "run" else f" a {spec.window}"
        whose = "" if spec.per == "total" else f" for {spec.per} {key_text(self._key(request))!r}"
        message = (
            f"budget of ${spec.limit:g}{window}{whose}: ${account.spent / PICO:.6g} spent, "
            f"${account.reserved / PICO:.6g} set aside for calls under way, this one may cost ${amount / PICO:.6g}"
        )
        waits = state == "exhausted" and spec.window != "run"
        return BudgetExceeded(message, retry_after_s=self.ledger.end_s - self._epoch_s - self._now() if waits else None)

    def _tell(self, request: Request, account: Account, state: str) -> None:
        if state in account.told or "exhausted" in account.told:
            return
        account.told += (state,)
        self._run.emit(
            "budget",
            request,
            state=state,
            account=key_text(self._key(request)),
            spent_usd=account.spent / PICO,
            reserved_usd=account.reserved / PICO,
            limit_usd=account.limit / PICO,
            overrun_usd=account.overrun / PICO,
        )
