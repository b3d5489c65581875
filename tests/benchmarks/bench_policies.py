"""What each policy costs a request, and whether ten layers cost at most three times what two do.

::

    python tests/benchmarks/bench_policies.py            # 9 rounds
    python tests/benchmarks/bench_policies.py --short    # 3 rounds, for CI

Every row is 10,000 requests of 200 tokens that arrive at 40/s, each in a task of its own that reads all of it, through
a gateway in front of two simulated providers; nothing recorded, nothing refused. *Two layers* is a fallback around a
retry. Every other row adds one policy to these two, and the last has ten.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent)]
from open_loop import per_request_us  # noqa: E402 - beside this file, whoever runs it

from llmsim.distributions import Gamma, Lognormal  # noqa: E402
from llmsim.engine.collector import rare_collections  # noqa: E402
from llmsim.engine.loop import SimLoop  # noqa: E402
from llmsim.gateway import policies as p  # noqa: E402
from llmsim.gateway.pipeline import Gateway  # noqa: E402
from llmsim.gateway.registry import policy_kinds  # noqa: E402
from llmsim.luck import Luck  # noqa: E402
from llmsim.pricing import TokenPrice  # noqa: E402
from llmsim.providers.sim.provider import SimulatedProvider  # noqa: E402
from llmsim.providers.sim.spec import SimProvider  # noqa: E402
from llmsim.stores.simulated import SimulatedStores  # noqa: E402
from llmsim.traffic.workload import Truth, World  # noqa: E402
from llmsim.types import Message, Request  # noqa: E402

RATE, TOKENS = 40.0, 200
PROVIDER = SimProvider(
    ttft=Lognormal(p50=0.4, p99=2.0),
    inter_token=Gamma(mean=0.013, cv=0.4),
    price=TokenPrice(input=1e-7, output=4e-7),
)
TWO = (p.Fallback(order=("a", "b")), p.Retry())
#: Settings of policies that cannot be made without, or that would refuse or repeat something at their defaults.
SETTINGS: dict[str, Any] = {
    "adaptive_admission": p.AdaptiveAdmission(target=60.0),
    "budget": p.Budget(limit=1e6),
    "bulkhead": p.Bulkhead(at_once=1000),
    "cascade": p.Cascade(order=("a", "b")),
    "concurrency_limit": p.ConcurrencyLimit(limit=1000),
    "deadline": p.Deadline(timeout=120.0),
    "fair_queue": p.FairQueue(at_once=1000, queue=p.WaitingLine(limit=10, timeout=60.0)),
    "hedge": p.Hedge(after=30.0),
    "load_shedding": p.LoadShedding(at_once=1000, levels=(p.ShedLevel(priority=0, above=0.9),)),
    "max_tokens": p.MaxTokens(cap=1000),
    "rate_limit": p.RateLimit(tokens=1e6),
    "route": p.Routing(strategy="p2c"),
    "runaway_guard": p.RunawayGuard(max_calls=100),
    "timeout": p.Timeout(ttft=60.0, inter_token=10.0),
    "waiting_room": p.WaitingRoom(at_once=1000, queue=p.WaitingLine(limit=10, timeout=60.0)),
}
#: Those that stand in upstream scope.
UPSTREAM = {
    "adaptive_rate",
    "adaptive_throttling",
    "circuit_breaker",
    "concurrency_limit",
    "cooldown",
    "outlier_ejection",
    "rate_limit",
    "timeout",
}
#: A gateway with everything that a careful team puts into one, besides fallback and retry.
TEN = (
    "waiting_room",
    "budget",
    "cache",
    "deadline",
    "rate_limit",
    "circuit_breaker",
    "concurrency_limit",
    "timeout",
)


def rows() -> dict[str, Gateway]:
    """Every gateway that is measured."""
    singles = {
        kind: SETTINGS[kind] if kind in SETTINGS else cls()
        for kind, cls in policy_kinds().items()
        if cls.__module__.startswith("llmsim.gateway.policies.") and kind not in ("fallback", "retry")
    }
    found = {"nothing": Gateway(), "two layers": Gateway(policies=TWO)}
    for kind, spec in singles.items():
        if kind in UPSTREAM:
            found[kind] = Gateway(policies=TWO, upstream=(spec,))
        elif kind == "route":  # the innermost, for a fallback that has no order
            found[kind] = Gateway(policies=(p.Fallback(), p.Retry(), spec))
        else:
            found[kind] = Gateway(policies=(spec, *TWO))
    outer = tuple(singles[kind] for kind in TEN if kind not in UPSTREAM)
    inner = tuple(singles[kind] for kind in TEN if kind in UPSTREAM)
    found[f"{len(TEN) + 2} layers"] = Gateway(policies=(*outer, *TWO), upstream=inner)
    return found


def request_us(gateway: Gateway, requests: int) -> float:
    """CPU microseconds a request."""

    def start(loop: SimLoop, ended: Callable[[], None]) -> Callable[[int], Coroutine[Any, Any, None]]:
        world, luck = World(), Luck(1)
        providers = [SimulatedProvider(name, PROVIDER, loop=loop, luck=luck, world=world) for name in ("a", "b")]
        running = gateway.open(providers, seed=1, stores=SimulatedStores(world))

        async def user(index: int) -> None:
            name = f"{index}/0/0"
            world.truths[name] = Truth(index, TOKENS, math.inf)
            request = Request(
                name,
                session=f"s{index}",
                user=f"u{index % 97}",
                route="chat",
                messages=(Message("user", f"question {index}"),),
                input_tokens=900,
                max_tokens=400,
            )
            await (await running.send(request)).read()
            del world.truths[name]
            ended()

        return user

    return per_request_us(start, requests, rate_per_s=RATE, during=rare_collections())  # as in a run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="3 rounds instead of 9")
    options = parser.parse_args()
    gateways = rows()
    times: dict[str, list[float]] = {name: [] for name in gateways}
    for gateway in gateways.values():
        request_us(gateway, 500)  # warm: imports, tables
    for _ in range(3 if options.short else 9):
        for name, gateway in gateways.items():
            times[name].append(request_us(gateway, 10_000))
    base = min(times["two layers"])
    for name, values in times.items():
        ratios = [one / two for one, two in zip(values, times["two layers"], strict=True)]
        more = min(values) - base
        print(f"  {name:20s} {statistics.median(ratios):5.2f} x two layers   {more:+6.2f} us a request")
