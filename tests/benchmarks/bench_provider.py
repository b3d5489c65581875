"""What realism costs: a simulated provider with everything on against the plain one, per request, in the same run.

::

    python tests/benchmarks/bench_provider.py            # 9 rounds
    python tests/benchmarks/bench_provider.py --short    # 3 rounds, for CI

Every row is 20,000 requests of 200 tokens that arrive at 40/s, each in a task of its own that reads all of it; no
gateway, nothing recorded. *Plain* is what the first version had: time to first token, gaps, slots, a token bucket.
*Everything* adds a vendor's dialect with settled limits and headers, network, prefill by prompt length, prompt cache,
load curve, paced and flushed answers, stalls, congestion, lengths that vary, refusals, and failures of all kinds.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent)]
from open_loop import per_request_us  # noqa: E402 - beside this file, whoever runs it

from llmsim.distributions import Gamma, Lognormal, Uniform  # noqa: E402
from llmsim.engine.loop import SimLoop  # noqa: E402
from llmsim.errors import GatewayError  # noqa: E402
from llmsim.luck import Luck  # noqa: E402
from llmsim.providers.dialects import ErrorRates, Limits  # noqa: E402
from llmsim.providers.sim.congestion_spec import Congestion  # noqa: E402
from llmsim.providers.sim.latency import Load, LoadPoint, Prefill, PromptCache, StreamStall  # noqa: E402
from llmsim.providers.sim.outputs import JsonDefects, Output  # noqa: E402
from llmsim.providers.sim.provider import SimulatedProvider  # noqa: E402
from llmsim.providers.sim.serving_spec import Serving  # noqa: E402
from llmsim.providers.sim.spec import SimProvider  # noqa: E402
from llmsim.traffic.workload import Truth, World  # noqa: E402
from llmsim.types import Request  # noqa: E402

RATE, TOKENS = 40.0, 200
TTFT = {"ttft": Lognormal(p50=0.4, p99=2.0), "inter_token": Gamma(mean=0.013, cv=0.4), "concurrency": 400}
PLAIN = SimProvider(**TTFT, rate_limit=Limits(tokens=1e6))
EVERYTHING = SimProvider(
    **TTFT,
    dialect="anthropic",
    rate_limit=Limits(requests=100.0, input_tokens=1e6, output_tokens=1e6),
    network=Uniform(0.02, 0.08),
    prefill=Prefill(per_1k=0.012, per_1k_squared=1e-5),
    prompt_cache=PromptCache(share=0.5),
    load=Load(points=(LoadPoint(at=0.3), LoadPoint(at=1.0, ttft=3.0, inter_token=1.5))),
    pace=Uniform(0.7, 1.3),
    flush=0.2,
    stall=StreamStall(probability=0.02, per="answer", duration=Lognormal(p50=1.0, p99=5.0)),
    congestion=Congestion(preset="openai-2024-04"),
    output=Output(variation=0.05, refusals=0.005, json_defects=JsonDefects(prose=0.05)),
    errors=ErrorRates(server_error=0.002, overloaded=0.002, in_stream=0.001),
)
STEPS = Serving(slots=64, prefill_step=0.002, prefill_token=2e-6, decode_step=0.004, decode_sequence=5e-5)
ROWS = {
    "plain": PLAIN,
    "everything": EVERYTHING,
    "serving engine": SimProvider(serving=STEPS, rate_limit=Limits(tokens=1e6)),
}


def request_us(spec: SimProvider, requests: int) -> float:
    """CPU microseconds a request."""

    def start(loop: SimLoop, ended: Callable[[], None]) -> Callable[[int], Coroutine[Any, Any, None]]:
        world = World()
        provider = SimulatedProvider("p", spec, loop=loop, luck=Luck(1), world=world)

        async def user(index: int) -> None:
            name = f"{index}/0/0"
            world.truths[name] = Truth(index, TOKENS, math.inf)
            with suppress(GatewayError):
                response = await provider.send(Request(name, route="chat", input_tokens=4000))
                await response.read()
            del world.truths[name]
            ended()

        return user

    return per_request_us(start, requests, rate_per_s=RATE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="3 rounds instead of 9")
    options = parser.parse_args()
    count = 20_000
    times: dict[str, list[float]] = {name: [] for name in ROWS}
    for spec in ROWS.values():
        request_us(spec, 1000)  # warm: imports, tables
    for _ in range(3 if options.short else 9):
        for name, spec in ROWS.items():
            times[name].append(request_us(spec, count))
    for name, values in times.items():
        ratios = [one / plain for one, plain in zip(values, times["plain"], strict=True)]
        print(f"  {name:16s} {statistics.median(ratios):5.2f} x plain   [{min(ratios):.2f} … {max(ratios):.2f}]")
