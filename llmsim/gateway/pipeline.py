"""A gateway: policies composed at two scopes in front of named upstreams, in N replicas behind a balancer."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Literal, NamedTuple, Self, cast

from llmsim.constructors import checked_values
from llmsim.errors import PolicyError
from llmsim.gateway.caching import StoreOpener
from llmsim.gateway.checked import UnknownUpstream, checked, name_of, refuse_no_policy, start_policy
from llmsim.gateway.contract import FunctionPolicy, Handler, Provider, Run, Runtime, Telemetry, Toll
from llmsim.gateway.deadlines import Deadlines
from llmsim.gateway.exchange import Attempt, Exchange, current_exchange
from llmsim.gateway.health import Health
from llmsim.gateway.presets import read_preset
from llmsim.gateway.registry import kind_of
from llmsim.gateway.terminal import Terminal, is_toll
from llmsim.named import Named
from llmsim.pricing import FREE, TokenPrice
from llmsim.types import CallNext, Request, Response
from llmsim.units import PositiveCount

__all__ = ["Gateway", "RunningGateway", "Upstream"]

GatewayFunction = Callable[[Request, Mapping[str, "Upstream"]], Awaitable[Response]]


@checked_values
@dataclass(frozen=True)
class Gateway:
    """What stands between callers and providers.

    Parameters
    ----------
    policies
        Gateway scope, outermost first: cache, deadline, fallback, retry, …
    upstream
        Upstream scope, outermost first; one instance per upstream: timeout, circuit breaker, …
    replicas
        Copies of the gateway, each with its own state unless a policy says ``shared: true``.
    balancer
        Which replica gets a request: ``round_robin``, ``least_in_flight``, or ``sticky`` by session.
    stream
        Whether upstreams are asked for a stream; None: as the caller asked.
    entry
        A whole gateway of one's own, ``async def gateway(request, providers)``, in place of `policies`.
    preset
        Which preset these are the policies of: in a scenario file its keys hold where none stand beside it, and a list
        replaces the whole list. ``llmsim presets`` lists them. From Python, `llmsim.policies.preset` makes the gateway.

    Examples
    --------
    >>> async def mine(request, providers):
    ...     return await providers["openai"].send(request)
    >>> Gateway.of(mine).entry is mine
    True
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    policies: tuple[Any, ...] = ()
    upstream: tuple[Any, ...] = ()
    replicas: PositiveCount = 1
    balancer: Literal["round_robin", "least_in_flight", "sticky"] = "round_robin"
    stream: bool | None = None
    entry: Any = field(default=None)
    preset: str = ""

    def __post_init__(self) -> None:
        for scope in ("policies", "upstream"):
            specs = tuple(getattr(self, scope))
            for spec in specs:
                refuse_no_policy(spec)
            object.__setattr__(self, scope, specs)  # of a list too: what is frozen has a hash
        if not self.preset:
            return
        read_preset(self.preset)
        if not self.policies and not self.upstream:
            raise ValueError(
                f"a gateway without policies has nothing of the preset {self.preset!r}; remove preset (from Python, "
                f"write llmsim.policies.preset({self.preset!r}) for the gateway)"
            )

    @classmethod
    def of(cls, gateway: Any) -> Gateway:
        """A `Gateway` from one, from a list of policies, or from an ``async def gateway(request, providers)``."""
        if isinstance(gateway, Gateway):
            return gateway
        if isinstance(gateway, Sequence) and not isinstance(gateway, str):
            return cls(policies=tuple(gateway))
        if callable(gateway) and not isinstance(gateway, type | FunctionPolicy):
            return cls(entry=gateway)
        raise TypeError(
            f"a gateway is a Gateway, a list of policies, or an async def gateway(request, providers); got {gateway!r}"
        )

    def start(
        self,
        runtime: Runtime,
        providers: Mapping[str, Provider],
        prices: Mapping[str, TokenPrice] | None = None,
    ) -> RunningGateway:
        """Fresh state in front of these providers (in order: the first is where unaddressed requests go)."""
        if not providers:
            raise ValueError("a gateway needs at least one provider")
        shared = _Shared({}, {}, Health(), [])
        replicas = [_Replica(self, number, runtime, providers, prices or {}, shared) for number in range(self.replicas)]
        return RunningGateway(self, replicas, runtime, shared.closers)

    def open(
        self,
        providers: Sequence[Provider],
        *,
        on_event: Callable[[str, dict[str, Any]], object] | None = None,
        on_attempt: Callable[[Attempt], object] | None = None,
        seed: int | None = None,
        stores: StoreOpener | None = None,
        telemetry: Telemetry | None = None,
    ) -> RunningGateway:
        """Start it for real, on the running asyncio loop: the same policies, live providers.

        ``async with gateway.open(...) as running:`` closes it in the end; see `RunningGateway.aclose`.

        Parameters
        ----------
        providers
            In order; the first is where unaddressed requests go. Their ``price``, if they have one, prices attempts.
        on_event, on_attempt
            Called with what policies emit (kind, fields) and with every finished call to an upstream.
        seed
            Of the jitter; default: fresh from the system.
        stores
            Where caches keep answers (`llmsim.stores.LiveStores`); `semantic_cache` needs one.
        telemetry
            Whom every request is told: an `llmsim.production.OpenTelemetry`.
        """
        if telemetry is not None:
            return telemetry.open(self, providers, on_event=on_event, on_attempt=on_attempt, seed=seed, stores=stores)
        from llmsim.gateway.plain import PlainRuntime

        prices = {provider.name: getattr(provider, "price", FREE) for provider in providers}
        runtime = PlainRuntime(prices, on_event=on_event, on_attempt=on_attempt, seed=seed, stores=stores)
        return self.start(runtime, {provider.name: provider for provider in providers}, prices)


class Upstream:
    """A configured upstream with its upstream-scope policies in front; what a user's own gateway calls."""

    __slots__ = ("chain", "model", "name")

    def __init__(self, name: str, chain: CallNext, model: str) -> None:
        self.name = name
        self.model = model
        self.chain = chain

    def send(self, request: Request) -> Awaitable[Response]:
        """Address `request` here and send it on; resolves at the first chunk."""
        if request.upstream != self.name:
            request = request.to(self.name)
        current_exchange.get().routed(self.name)
        return self.chain(request)


class _Router:
    """Innermost of the gateway scope: on to the upstream a request is addressed to.

    Not the replica's own business: what is behind the policies does not refer to what is before them. Otherwise a
    gateway that is over, with all its caches, would be a circle and wait for the cyclic collector.
    """

    __slots__ = ("_default", "_upstreams")

    def __init__(self, upstreams: dict[str, Upstream]) -> None:
        self._upstreams = upstreams
        self._default = next(iter(upstreams.values()))

    def send(self, request: Request) -> Awaitable[Response]:
        name = request.upstream
        if name is None:
            return self._default.send(request)
        upstream = self._upstreams.get(name)
        if upstream is None:
            raise UnknownUpstream(name, tuple(self._upstreams))
        current_exchange.get().routed(name)
        return upstream.chain(request)


class _Shared(NamedTuple):
    """What the replicas of a gateway have in common.

    That is handlers (and what they know) of ``shared: true``, timers, and the list of what is to be closed in the end.
    """

    handlers: dict[tuple[str, int, str], Handler]
    deadlines: dict[tuple[float | None, str], Deadlines]
    health: Health
    closers: list[Callable[[], Awaitable[object]]]


class _Replica:
    """One copy of the gateway."""

    __slots__ = ("_upstreams", "call", "in_flight", "number")

    def __init__(
        self,
        gateway: Gateway,
        number: int,
        runtime: Runtime,
        providers: Mapping[str, Provider],
        prices: Mapping[str, TokenPrice],
        shared: _Shared,
    ) -> None:
        names = tuple(providers)
        health = Health(shared.health)
        sizes = {name: getattr(provider, "context_window", None) for name, provider in providers.items()}
        windows = {name: size for name, size in sizes.items() if size is not None}

        def started(index: int, spec: Any, scope: Literal["gateway", "upstream"], upstream: str) -> Handler:
            key = (scope, index, upstream)
            for_all = bool(getattr(spec, "shared", False))
            if for_all and key in shared.handlers:
                return shared.handlers[key]
            run = Run(
                runtime,
                kind_of(spec),
                scope,
                upstream,
                upstreams=names,
                replica=number,
                prices=prices,
                deadlines=shared.deadlines,
                health=shared.health if for_all else health,
                context_windows=windows,
            )
            shared.handlers[key] = handler = start_policy(spec, run)
            close = getattr(handler, "aclose", None)
            if close is not None:
                shared.closers.append(close)
            return handler

        self.number = number
        self.in_flight = 0
        self._upstreams: dict[str, Upstream] = {}
        terminals: list[Terminal] = []
        for name, provider in providers.items():
            terminal = Terminal(provider, runtime)
            terminals.append(terminal)
            chain: CallNext = terminal.send
            for index, spec in reversed(tuple(enumerate(gateway.upstream))):
                handler = started(index, spec, "upstream", name)
                if is_toll(handler):
                    terminal.tolls.append(cast("Toll", handler))
                chain = _link(handler, chain)
            self._upstreams[name] = Upstream(name, chain, getattr(provider, "model", ""))
        route: CallNext = _Router(self._upstreams).send
        call: CallNext
        if gateway.entry is not None:
            function, upstreams = gateway.entry, Named("provider", self._upstreams)
            entry = checked(lambda request, call_next: function(request, upstreams), name_of(function), function)
            call = _link(entry, route)
        else:
            call = route
        for index, spec in reversed(tuple(enumerate(gateway.policies))):
            handler = started(index, spec, "gateway", "")
            if is_toll(handler):
                for terminal in terminals:
                    terminal.tolls.append(cast("Toll", handler))
            call = _link(handler, call)
        self.call: CallNext = call


class RunningGateway:
    """A started gateway. `send` is all a caller needs, and `aclose` in the end."""

    __slots__ = ("_balancer", "_closers", "_next", "_only", "_replicas", "_runtime", "_stream")

    def __init__(
        self,
        gateway: Gateway,
        replicas: list[_Replica],
        runtime: Runtime,
        closers: Sequence[Callable[[], Awaitable[object]]],
    ) -> None:
        self._stream, self._balancer = gateway.stream, gateway.balancer
        self._replicas = replicas
        self._only = replicas[0] if len(replicas) == 1 else None
        self._runtime = runtime
        self._closers = closers
        self._next = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let policies end what they have begun: a cache writes what it was about to keep, and closes its store.

        Providers, stores and embedders that were passed in are closed by whoever made them. What is still being
        answered goes on, but nobody waits for what becomes of it.
        """
        async with AsyncExitStack() as stack:  # one that fails keeps none of the others from it
            for close in self._closers:
                stack.push_async_callback(close)

    @property
    def in_flight(self) -> int:
        """Requests being handled now, in all replicas."""
        return sum(replica.in_flight for replica in self._replicas)

    async def send(self, request: Request, exchange: Exchange | None = None) -> Response:
        """Answer a request: resolves at the first chunk, or raises a `GatewayError`."""
        if exchange is None:
            exchange = Exchange(request, self._runtime)
        stream = self._stream
        if stream is not None and request.stream is not stream:
            request = request._replace(stream=stream)
        replica = self._only or self._pick(request)
        exchange.replica = replica.number
        current_exchange.set(exchange)
        replica.in_flight += 1
        try:
            response = await replica.call(request)
            if not isinstance(response, Response):
                raise PolicyError(f"the gateway returned {response!r} instead of a Response")
        except BaseException:
            replica.in_flight -= 1
            exchange.finish()
            raise
        exchange.settle(response)
        exchange.home, exchange.answer = replica, response
        response.on_end(exchange.ended)
        return response

    def _pick(self, request: Request) -> _Replica:
        if self._balancer == "round_robin":
            self._next = (self._next + 1) % len(self._replicas)
            return self._replicas[self._next]
        if self._balancer == "least_in_flight":
            least = self._replicas[0]  # the first of equals; min() with a key takes thrice as long
            for replica in self._replicas:
                if replica.in_flight < least.in_flight:
                    least = replica
            return least
        # Not hash(): that differs from process to process.
        from zlib import crc32

        return self._replicas[crc32((request.session or request.id).encode()) % len(self._replicas)]


def _link(handler: Handler, call_next: CallNext) -> CallNext:
    # A plain function that returns the handler's coroutine: one frame less than an async one. Bound beforehand,
    # the `__call__` of an instance need not be looked up for every request.
    call = handler if inspect.isfunction(handler) else handler.__call__
    return lambda request: call(request, call_next)
