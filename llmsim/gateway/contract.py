"""The contract between a gateway and its policies.

A *spec* is a frozen description (comparable, YAML-able, sweepable). ``spec.start(run)`` makes a *handler* with
fresh state, once per run, replica and scope. A handler holds the ``await``: it may call ``call_next`` never, once
or often, concurrently, and a call ends when its *response* ends, not when ``call_next`` returns.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import isawaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, dataclass_transform, overload, runtime_checkable

from llmsim.gateway.caching import AnswerStore, StoreOpener, StoreSpec
from llmsim.gateway.deadlines import Deadlines
from llmsim.gateway.exchange import Attempt
from llmsim.gateway.health import Health
from llmsim.luck import Luck
from llmsim.pricing import FREE, TokenPrice
from llmsim.types import CallNext, Request, Response, Usage

if TYPE_CHECKING:
    from llmsim.gateway.pipeline import Gateway, RunningGateway

__all__ = [
    "FunctionPolicy",
    "Handler",
    "PolicySpec",
    "Provider",
    "Run",
    "Runtime",
    "Telemetry",
    "Toll",
    "current_run",
    "policy",
]

Scope = Literal["gateway", "upstream"]
_T = TypeVar("_T")


class Handler(Protocol):
    """What runs for every request: ``await call_next(request)`` goes on inwards.

    One with an ``async def aclose(self)`` besides is told by it that the gateway is closed.
    """

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        """Answer `request`, or raise a `GatewayError`."""


class Toll(Protocol):
    """What a handler is besides, if it has these two methods: asked before *every* call to an upstream.

    A handler of gateway scope sees a request once, whatever retries, fallbacks and hedges inside make of it. One that
    must know of each call (since each costs money) also has these, and the pipeline asks it in front of the provider,
    behind all other policies: nobody can call past it, and it is told what the call was billed, also where that call
    was cancelled or broke. In upstream scope it is asked for calls to its own upstream only.
    """

    def before_attempt(self, request: Request, upstream: str) -> Any:
        """Raise a `GatewayError`, and the call is not made; else a ticket for `after_attempt`."""

    def after_attempt(self, ticket: Any, usage: Usage | None) -> None:
        """The call has ended and this is billed (None: another toll refused it). Exactly once for each ticket."""


@runtime_checkable
class PolicySpec(Protocol):
    """A policy as a value. Frozen dataclasses with a ``start`` are the usual form."""

    def start(self, run: Run) -> Handler:
        """Fresh state; called once per run, replica and (in upstream scope) upstream."""


@runtime_checkable
class Provider(Protocol):
    """An upstream: simulated, live, or either with faults in front. They look the same."""

    name: str

    async def send(self, request: Request) -> Response:
        """Resolve at the first chunk (complete, if not ``request.stream``) or raise a `GatewayError`."""

    def cancelled_usage(self, request: Request) -> Usage:
        """Tokens billed for the latest call of this request, which was cancelled or broke before its first chunk."""

    async def aclose(self) -> None:
        """Release connections."""


class Runtime(Protocol):
    """What a gateway needs from the world it runs in; one implementation in the lab, one in production."""

    luck: Luck
    epoch_s: float  #: what wall clocks say at loop time 0, in seconds since 1970 (UTC)
    stores: StoreOpener | None  #: for policies that keep answers

    def now(self) -> float:
        """Seconds on the running loop's clock."""

    def emit(
        self, kind: str, request_id: str, policy: str, upstream: str, replica: int, fields: dict[str, Any]
    ) -> None:
        """Record an event."""

    def attempt_ended(self, attempt: Attempt) -> None:
        """Record a finished call to an upstream, and set its ``cost_usd``."""


class Telemetry(Protocol):
    """Tells somebody what a gateway outside the lab does, by opening it with watchers around (`Gateway.open`)."""

    def open(self, gateway: Gateway, providers: Sequence[Provider], **others: Any) -> RunningGateway:
        """Open `gateway`; `others` are the other arguments of `Gateway.open`."""


class Run:
    """A policy's window on the run it belongs to: clock, luck, signals, prices. Nothing else from outside.

    Attributes
    ----------
    name
        What the policy goes by: its kind, or its ``name:``.
    scope
        ``"gateway"`` or ``"upstream"``.
    upstream
        The upstream this instance guards; empty in gateway scope.
    upstreams
        Names of all upstreams, in the order they were configured.
    replica
        Which gateway replica, from 0.
    now
        Seconds on the loop's clock.
    epoch_s
        What wall clocks say when that reads 0: seconds since 1970 (UTC), for days and months.
    context_windows
        Most input and output tokens of each upstream, where that is known.
    health
        Until when which upstreams are refused (`llmsim.gateway.health.Health`).
    stores
        For policies that keep answers (`open_store`).
    """

    __slots__ = (
        "_deadlines",
        "_emit",
        "_luck",
        "context_windows",
        "epoch_s",
        "health",
        "name",
        "now",
        "prices",
        "replica",
        "scope",
        "stores",
        "upstream",
        "upstreams",
    )

    def __init__(
        self,
        runtime: Runtime,
        name: str = "",
        scope: Scope = "gateway",
        upstream: str = "",
        *,
        upstreams: tuple[str, ...] = (),
        replica: int = 0,
        prices: Mapping[str, TokenPrice] | None = None,
        deadlines: dict[tuple[float | None, str], Deadlines] | None = None,
        health: Health | None = None,
        context_windows: Mapping[str, int] | None = None,
    ) -> None:
        self.now: Callable[[], float] = runtime.now
        self.epoch_s: float = getattr(runtime, "epoch_s", 0.0)
        self.stores: StoreOpener | None = getattr(runtime, "stores", None)
        self._deadlines = {} if deadlines is None else deadlines
        self._luck = runtime.luck
        self._emit = runtime.emit
        self.name = name
        self.scope: Scope = scope
        self.upstream = upstream
        self.upstreams = upstreams
        self.replica = replica
        self.prices: Mapping[str, TokenPrice] = prices or {}
        self.health = Health() if health is None else health
        self.context_windows: Mapping[str, int] = context_windows or {}

    def luck(self, purpose: str, request: Request | None, *address: object) -> float:
        """A number in (0, 1) that belongs to this policy, purpose, request and address (say, the n-th retry).

        The same whatever other policies draw and whenever it is drawn. What belongs to no request (the end of the n-th
        cooldown) has None for it and an address that is its own, with the `replica` in it.
        """
        request_id = "" if request is None else request.id
        return self._luck.uniform(f"{self.name}.{purpose}", request_id, self.upstream, *address)

    def emit(self, kind: str, request: Request | None = None, **fields: Any) -> None:
        """Record that something notable happened; shows in ``result.events``."""
        self._emit(kind, request.id if request is not None else "", self.name, self.upstream, self.replica, fields)

    def deadlines(self, duration_s: float | None, word: str) -> Deadlines:
        """Limits of this length, for all policies of the gateway that have such: they share one timer."""
        key = (duration_s, word)
        if key not in self._deadlines:
            self._deadlines[key] = Deadlines(self.now, word)
        return self._deadlines[key]

    def open_store(self, spec: StoreSpec) -> AnswerStore:
        """Where the policy keeps answers.

        Raises
        ------
        ValueError
            If the gateway was opened without stores.
        """
        if self.stores is None:
            raise ValueError(
                f"{self.name} needs a store for its answers, and the gateway was opened without; write "
                "gateway.open(providers, stores=LiveStores(...)), from llmsim.stores"
            )
        return self.stores.open(spec, self)

    def cost(self, upstream: str, usage: Usage) -> float:
        """USD for `usage` at this upstream's price."""
        return self.prices.get(upstream, FREE).cost(usage)


_run: ContextVar[Run] = ContextVar("llmsim_run")


def current_run() -> Run:
    """The `Run` of the function policy that is executing.

    Raises
    ------
    LookupError
        Outside of a policy made with ``@llmsim.policy``.
    """
    try:
        return _run.get()
    except LookupError:
        raise LookupError(
            "current_run() works inside a function decorated with @llmsim.policy, while it handles a request"
        ) from None


PolicyFunction = Callable[[Request, CallNext], Awaitable[Response]]


@dataclass(frozen=True)
class FunctionPolicy:
    """A plain ``async def policy(request, call_next)`` as a policy spec. Calling it calls the function."""

    function: PolicyFunction
    name: str

    def __call__(self, request: Request, call_next: CallNext) -> Awaitable[Response]:
        return self.function(request, call_next)

    def start(self, run: Run) -> Handler:
        function = self.function

        async def handle(request: Request, call_next: CallNext) -> Response:
            token = _run.set(run)
            try:
                answer: Any = function(request, call_next)
                # What is no coroutine is for the layer around every user policy to judge (llmsim.gateway.checked).
                if type(answer) is CoroutineType or isawaitable(answer):
                    answer = await answer
                return answer  # type: ignore[no-any-return]
            finally:
                _run.reset(token)

        return handle


@overload
@dataclass_transform(frozen_default=True, kw_only_default=True)
def policy(target: type[_T]) -> type[_T]: ...  # type: ignore[overload-overlap]  # no class is called with a request


@overload
def policy(target: PolicyFunction) -> FunctionPolicy: ...


def policy(target: Any) -> Any:
    """Make a policy of an ``async def f(request, call_next)`` or of a class with ``start(self, run)``.

    A function keeps no state of its own and reaches its `Run` through `current_run`. A class becomes a frozen,
    keyword-only dataclass whose YAML kind is its name in snake_case. Annotations are `llmsim.Request`,
    `llmsim.Response`, ``llmsim.types.CallNext`` and, for what ``start`` returns, ``llmsim.gateway.contract.Handler``.

    Raises
    ------
    TypeError
        For anything else, saying what is missing.

    Examples
    --------
    >>> @policy
    ... async def small_talk_goes_local(request, call_next):
    ...     return await call_next(request.to("local") if request.input_tokens < 200 else request)
    >>> small_talk_goes_local.name
    'small_talk_goes_local'
    """
    if isinstance(target, type):
        if not callable(getattr(target, "start", None)):
            raise TypeError(f"@policy class {target.__name__} needs a method start(self, run) that returns a handler")
        cls = target if dataclasses.is_dataclass(target) else dataclass(frozen=True, kw_only=True)(target)
        from llmsim.gateway.registry import register

        register(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", target.__name__).lower())(cls)
        return cls
    if not callable(target):
        raise TypeError(f"@policy takes an async function or a class with start(run), not {target!r}")
    return FunctionPolicy(target, getattr(target, "__name__", "policy"))
