"""What limits cost per call: admitting, settling, headers and refusals of each dialect, against one bare `TokenBucket`.

``python tests/benchmarks/bench_dialects.py [--rounds 15] [--calls 20000]``

A round runs all contenders; the ratio is taken within the round (CPU time of the dialect / CPU time of asking and
drawing on one bucket), and the median over rounds is shown, with the least time per call in microseconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from llmsim.algorithms.buckets import TokenBucket  # noqa: E402 - the line above makes it importable
from llmsim.providers.dialects import DIALECTS, Limits, Refused  # noqa: E402
from llmsim.types import Usage  # noqa: E402

PLENTY = {
    "generic": {"requests": 1e4, "tokens": 1e8},
    "openai": {"requests": 1e4, "tokens": 1e8},
    "azure": {"requests": 1e4, "tokens": 1e8},
    "anthropic": {"requests": 1e4, "input_tokens": 1e8, "output_tokens": 1e8},
    "gemini": {"requests": 1e4, "input_tokens": 1e8, "requests_per_day": 10**9},
    "bedrock": {"requests": 1e4, "tokens": 1e8},
    "groq": {"requests": 1e4, "tokens": 1e8},
    "vllm": {},
}
USED = Usage(900, 200, 0)


def bucket(calls: int) -> None:
    one, now = TokenBucket(1e4, 6e5), 0.0
    for _ in range(calls):
        now += 0.01
        if one.wait_s(1.0, now) == 0.0:
            one.take(1.0, now)


def admit_and_settle(name: str) -> Callable[[int], None]:
    def run(calls: int) -> None:
        account, now = DIALECTS[name].account(Limits(**PLENTY[name])), 0.0
        for _ in range(calls):
            now += 0.01
            ticket = account.admit(900, 500, 0, now)
            account.settle(ticket, USED, now)
        assert not isinstance(ticket, Refused)

    return run


def headers(name: str) -> Callable[[int], None]:
    dialect = DIALECTS[name]
    account = dialect.account(Limits(**PLENTY[name]))
    ticket = account.admit(900, 500, 0, 0.0)

    def run(calls: int) -> None:
        for _ in range(calls):
            dialect.success(account, ticket)

    return run


def refuse(name: str) -> Callable[[int], None]:
    dialect = DIALECTS[name]
    account = dialect.account(Limits(**PLENTY[name]))
    account.rescale(1e-9, 0.0)

    def run(calls: int) -> None:
        for _ in range(calls):
            refused = account.admit(900, 500, 0, 0.0)
            dialect.refusal(account, refused, model="m").error("p")

    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=20_000)
    options = parser.parse_args()
    runs: dict[str, Callable[[int], None]] = {"bare bucket": bucket}
    for name in DIALECTS:
        runs[f"{name}: admit + settle"] = admit_and_settle(name)
    runs["openai: headers, not looked at"] = headers("openai")
    for name in ("generic", "openai", "anthropic"):
        runs[f"{name}: refusal with its error"] = refuse(name)
    ratios: dict[str, list[float]] = {name: [] for name in runs}
    least = dict.fromkeys(runs, float("inf"))
    for _ in range(options.rounds):
        spent = {}
        for name, run in runs.items():
            start = time.process_time()
            run(options.calls)
            spent[name] = (time.process_time() - start) / options.calls * 1e6
            least[name] = min(least[name], spent[name])
        for name, each in spent.items():
            ratios[name].append(each / spent["bare bucket"])
    for name, found in ratios.items():
        print(f"{name:32} {statistics.median(found):6.2f}x  {least[name]:6.2f} us")


if __name__ == "__main__":
    main()
