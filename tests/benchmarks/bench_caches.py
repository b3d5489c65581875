"""What a hit and a miss of `semantic_cache` cost, against those of `cache`.

::

    python tests/benchmarks/bench_caches.py            # 9 rounds
    python tests/benchmarks/bench_caches.py --short    # 3 rounds, for CI

Each row is 10,000 requests in tasks of their own through one cache, on the simulated loop, in front of an upstream that
has the whole answer at once, so that nearly all there is to measure is the cache. The store compares meanings as the
lab's does (no vectors, no delays). *Hits* ask 50 questions over and over, in the same words; *near* ones in words of
their own, of which three in four are near enough; *misses* something else every time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent)]
from open_loop import per_request_us  # noqa: E402 - beside this file, whoever runs it

from llmsim.engine.collector import rare_collections  # noqa: E402
from llmsim.engine.loop import SimLoop  # noqa: E402
from llmsim.gateway import policies as p  # noqa: E402
from llmsim.gateway.pipeline import Gateway  # noqa: E402
from llmsim.stores.simulated import SimulatedStores  # noqa: E402
from llmsim.traffic.meanings import Meaning  # noqa: E402
from llmsim.traffic.workload import World  # noqa: E402
from llmsim.types import Message, Request, Response, Usage, WholeAnswer  # noqa: E402

REQUESTS, QUESTIONS = 10_000, 50
KINDS: dict[str, tuple[Any, ...]] = {
    "nothing": (),
    "cache": (p.Cache(),),
    "semantic_cache, exact": (p.SemanticCache(backend="exact"),),
    "semantic_cache": (p.SemanticCache(threshold=0.9),),
}


class Instant:
    """Has the whole answer at once."""

    name, model = "a", "m"

    async def send(self, request: Request) -> Response:
        return Response(WholeAnswer("an answer", 200, Usage(900, 200)), upstream="a", model="m")

    def cancelled_usage(self, request: Request) -> Usage:
        return Usage()

    async def aclose(self) -> None:
        """Nothing."""


class Told:
    """Meanings as `Meanings` has them: question by question, a phrase each."""

    def __init__(self, about: str) -> None:
        self._about = about

    def __call__(self, index: int) -> Meaning:
        question = index if self._about == "misses" else index % QUESTIONS
        luck = 0.5 + index % 4 / 8
        return Meaning(question, index, question, luck, 0.01)


def request_us(policies: tuple[Any, ...], about: str) -> float:
    """CPU microseconds a request."""

    def start(loop: SimLoop, ended: Callable[[], None]) -> Callable[[int], Coroutine[Any, Any, None]]:
        world = World()
        world.meanings = Told(about)  # type: ignore[assignment]
        running = Gateway(policies=policies).open([Instant()], seed=1, stores=SimulatedStores(world))

        async def user(index: int) -> None:
            words = index % QUESTIONS if about == "hits" else index
            request = Request(f"{index}/0/0", messages=(Message("user", f"question {words}"),), input_tokens=900)
            await (await running.send(request)).read()
            ended()

        return user

    return per_request_us(start, REQUESTS, rate_per_s=40.0, during=rare_collections())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="3 rounds instead of 9")
    rounds = 3 if parser.parse_args().short else 9
    cells = [(name, about) for name in KINDS for about in ("hits", "near", "misses")]
    took: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
    for _ in range(rounds):
        for cell in cells:
            took[cell].append(request_us(KINDS[cell[0]], cell[1]))
    least = {cell: statistics.median(values) for cell, values in took.items()}
    print(f"{'µs a request':24s}{'hits':>8s}{'near':>8s}{'misses':>8s}   of cache: hits, misses")
    for name in KINDS:
        hits, near, misses = (least[name, about] for about in ("hits", "near", "misses"))
        ratios = f"{hits / least['cache', 'hits']:12.2f}{misses / least['cache', 'misses']:8.2f}"
        print(f"{name:24s}{hits:8.1f}{near:8.1f}{misses:8.1f}{ratios}")
