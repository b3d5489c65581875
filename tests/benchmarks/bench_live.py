"""What a gateway with a live adapter adds to a call, against a bare httpx call in the same run.

::

    python tests/benchmarks/bench_live.py            # the table: 50 requests/s, 40 s a row
    python tests/benchmarks/bench_live.py --short    # 6 s a row

A server on loopback, in a process of its own, answers at once with 16 chunks in one write. At 50 requests/s, open loop,
every other call is a bare one: `httpx.AsyncClient`, the stream read to its end and its events parsed by nobody. The
others go through what the row says. Both kinds meet the same machine in the same second, keep their connections, and
are timed from when they begin to their last byte. Each row prints the medians, their difference, and the ratio. The
gateway's share, the median over pairs of neighbours of their difference, should stay below 3 ms; that is judged by
``tests/providers/live/test_overhead.py``. On a busy machine others' work is in these times; the last two columns are
this process's own CPU time a call, of calls one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import math
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import httpx

import llmsim as ls
from llmsim.providers.live import OpenAIChat
from llmsim.types import Message, Request

RATE_PER_S = 50.0
CHUNKS = 16
LIMIT_MS = 3.0
ASK = Request("r", messages=(Message("user", "hi " * 200),), input_tokens=200, max_tokens=CHUNKS)
Call = Callable[[int], Awaitable[None]]


def serve() -> None:
    """Answer until standard input closes."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from loopback import Answer, LoopbackServer, completion, stream

    steps = [step for step in stream(*["tok "] * CHUNKS).steps if isinstance(step, bytes)]
    streamed = Answer([b"".join(steps)], headers={"Content-Type": "text/event-stream"}, chunked=True)
    whole = completion("tok " * CHUNKS, usage=(200, CHUNKS))
    with LoopbackServer(lambda seen: streamed if seen.body["stream"] else whole) as server:
        print(server.url, flush=True)
        sys.stdin.read()


@contextlib.contextmanager
def server_url() -> Iterator[str]:
    """`serve` in a process of its own; where it answers."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()


def bare(client: httpx.AsyncClient, url: str, *, stream: bool) -> Call:
    """A call of httpx's own."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi " * 200}], "stream": stream}

    async def call(_: int) -> None:
        async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
            async for _ in response.aiter_raw():
                pass

    return call


def sent_to(target: Any, *, stream: bool) -> Call:
    """A call of a provider or an open gateway."""

    async def call(number: int) -> None:
        response = await target.send(ASK._replace(id=f"r{number}", stream=stream))
        async for _ in response:
            pass

    return call


async def measured(first: Call, second: Call, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of both, called in turn: the n-th of both are neighbours."""
    count = 2 * int(RATE_PER_S * seconds / 2)
    found = [0.0] * (count // 2), [0.0] * (count // 2)
    start = perf_counter() + 0.2

    async def one(number: int) -> None:
        due = start + number / RATE_PER_S
        await asyncio.sleep(due - perf_counter())
        began = perf_counter()
        await (first, second)[number % 2](number)
        found[number % 2][number // 2] = (perf_counter() - began) * 1e3

    await asyncio.gather(*(one(number) for number in range(count)))
    return found


def added_ms(theirs: list[float], ours: list[float]) -> tuple[float, float, float]:
    """Median of the differences between neighbours, and its 95 % interval by order statistics."""
    apart = sorted(b - a for a, b in zip(theirs, ours, strict=True))
    half = 1.96 * math.sqrt(len(apart)) / 2
    middle = (len(apart) - 1) / 2
    low, high = max(0, math.floor(middle - half)), min(len(apart) - 1, math.ceil(middle + half))
    return statistics.median(apart), apart[low], apart[high]


async def cpu_ms(first: Call, second: Call, rounds: int) -> tuple[float, float]:
    """CPU milliseconds of a call of each, in turn."""
    spent = [0.0, 0.0]
    for number in range(2 * rounds):
        began = process_time()
        await (first, second)[number % 2](number)
        await asyncio.sleep(0)  # what it left to the loop is its work too
        spent[number % 2] += process_time() - began
    return spent[0] / rounds * 1e3, spent[1] / rounds * 1e3


async def warm(first: Call, second: Call) -> None:
    """Connections, imports, caches."""
    for number in range(20):
        await (first, second)[number % 2](-number)
    gc.collect()


def gateway() -> ls.Gateway:
    """The policies most gateways have."""
    return ls.Gateway(
        policies=(ls.Deadline(timeout=30.0), ls.Fallback(order=("primary",)), ls.Retry(max_attempts=3)),
        upstream=(ls.Timeout(ttft=5.0, inter_token=2.0), ls.CircuitBreaker(failure_rate=0.5)),
    )


def options_for(url: str) -> dict[str, Any]:
    """Of a provider that calls the server."""
    return {"base_url": url, "model": "m", "api_key_env": None}


async def rows(url: str, seconds: float) -> bool:
    """Print them; whether all are within the limit."""
    options = options_for(url)
    within = True
    print(f"{'':34}{'bare':>9}{'this':>9}{'added':>9}{'ratio':>7}{'p95':>9}{'CPU bare':>10}{'this':>7}   ms")
    async with httpx.AsyncClient(trust_env=False) as client, OpenAIChat("primary", **options) as provider:
        opened = gateway().open([provider])
        for name, target, stream in (
            ("bare httpx again, streamed", None, True),
            ("adapter alone, streamed", provider, True),
            ("gateway of 5 policies, streamed", opened, True),
            ("gateway of 5 policies, whole", opened, False),
        ):
            peer = bare(client, url, stream=stream)
            this = peer if target is None else sent_to(target, stream=stream)
            await warm(peer, this)
            theirs, ours = await measured(peer, this, seconds)
            was, took = statistics.median(theirs), statistics.median(ours)
            added = added_ms(theirs, ours)[0]
            late = statistics.quantiles(ours, n=20)[-1]
            spent = await cpu_ms(peer, this, 100)
            print(
                f"{name:34}{was:9.2f}{took:9.2f}{added:9.2f}{took / was:7.2f}{late:9.2f}"
                f"{spent[0]:10.2f}{spent[1]:7.2f}",
                flush=True,
            )
            within = within and added <= LIMIT_MS
    return within


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="6 s a row")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve()
        return 0
    with server_url() as url:
        within = asyncio.run(rows(url, 6.0 if given.short else 40.0))
    print(f"{'within' if within else 'NOT within'} {LIMIT_MS:g} ms added at p50")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
