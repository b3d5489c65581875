"""What the length of a path costs: the same calls, each many times in a row, or all of them in turn.

::

    python tests/benchmarks/bench_paths.py

N small functions, each of other statements, are called equally often in both orders: as many instructions, on the same
objects. A processor learns a path that comes again at once; a long one it has forgotten by then. A request through the
spike's gateway of six policies is a path of 119 calls of some 90 functions and 3,940 bytecodes, one of plain SimPy's
M/M/10 53 calls of 26 and 1,140 (bench_pipeline.py traced, without faults; functions: of at least every second request):
this is a part of why a request of the one takes longer than its instructions say.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from random import Random
from time import process_time
from typing import Any

STATEMENTS = (
    "x = a.p + x", "a.q = x", "d['k'] = x", "x = d['k']", "t = (x, a, d)", "x = t[0]", "v = [x, 2.0]",
    "x = v[0] * 0.5", "x = same(x)", "x = a.m(x)", "v.append(x)", "x = len(v) + x", "y = d.get('k')", "x = a.c[0]",
    "x = y if y is not None else x", "a.c = t", "x = x if a.s == 'ok' else 0.0", "x = max(x, 1.0)", "x = -x",
    "x = isinstance(x, float) and x or 1.0", "e = [i for i in three]", "x = abs(x)",
)  # fmt: skip
PREAMBLE = """
three = (1.0, 2.0, 3.0)
def same(x): return x
class Thing:
    __slots__ = ("p", "q", "c", "s")
    def __init__(self): self.p, self.q, self.c, self.s = 1.0, 0.0, (1.0,), "ok"
    def m(self, x): return self.p
"""
IN_A_ROW, ROUNDS, CALLS = 100, 9, 20_000


def functions(count: int) -> tuple[list[Callable[..., Any]], Any]:
    """So many functions of 15 statements each, and what they work on."""
    names: dict[str, Any] = {}
    exec(PREAMBLE, names)
    draw = Random(3)
    for number in range(count):
        body = "\n    ".join(draw.choice(STATEMENTS) for _ in range(15))
        start = "x = 1.0; t = (1.0,); v = [1.0]; y = None; d['k'] = x"
        exec(f"def f{number}(a, d):\n    {start}\n    {body}\n    a.c = (1.0,)\n    return x", names)
    return [names[f"f{number}"] for number in range(count)], names["Thing"]()


def cost_ns(calls: list[Callable[..., Any]], thing: Any, times: int) -> float:
    """CPU time of a call."""
    kept: dict[str, float] = {}
    started = process_time()
    for _ in range(times):
        for call in calls:
            call(thing, kept)
    return (process_time() - started) / (times * len(calls)) * 1e9


def main() -> None:
    print(f"Python {sys.version.split()[0]}: median of {ROUNDS} interleaved rounds")
    for count in (3, 10, 30, 60, 120, 240, 1000, 2000):
        each, thing = functions(count)
        row, turn = [f for f in each for _ in range(IN_A_ROW)], each * IN_A_ROW
        times = max(1, CALLS // len(row))
        cost_ns(turn, thing, 2)
        pairs = [(cost_ns(row, thing, times), cost_ns(turn, thing, times)) for _ in range(ROUNDS)]
        ratio = statistics.median(b / a for a, b in pairs)
        a, b = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"  {count:5d} functions: in a row {a:5.0f} ns a call, in turn {b:5.0f}: {ratio:.2f} times")


if __name__ == "__main__":
    main()
