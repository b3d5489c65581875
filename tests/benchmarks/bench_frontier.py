"""What twenty thresholds in one pass cost, against one run of the scenario; and whether that is linear in requests.

::

    python tests/benchmarks/bench_frontier.py            # 5 rounds
    python tests/benchmarks/bench_frontier.py --short    # 1 round

A support bot at 10/s: Zipf(1.0) over 5,000 questions, 30 % in words of their own, 3 % traps, a semantic cache and a
retry in front of one provider. *Run* is `replicate`, once, at threshold 0.92; *frontier* is everything that
`llmsim.report.frontier.frontier` does for one replication. Both in CPU time of this process, alternating. *Short life*
and *little room* are the same where entries expire and are evicted, which takes the replays longer.

The target: at most 2.5 times a run.
"""

from __future__ import annotations

import argparse
import gc
import statistics
from time import process_time
from typing import Any

from llmsim.api import load
from llmsim.report.frontier import THRESHOLDS, frontier
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Scenario

TARGET = 2.5
SETTINGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "short life": {"gateway.semantic_cache.ttl": 120.0},
    "little room": {"gateway.semantic_cache.capacity": 500},
}


def bot(minutes: float, **changes: Any) -> Scenario:
    """About 600 requests a minute."""
    answer = {"lognormal": {"p50": 150, "p99": 600}}
    scenario = load(
        {
            "version": 1,
            "name": "support-bot",
            "seed": 3,
            "replications": 1,
            "clock": {"warm_up": "60s", "duration": f"{minutes}m", "drain": "60s"},
            "traffic": {
                "base_rate": "10/s",
                "topics": {"zipf": {"s": 1.0, "unique": 5000}, "paraphrases": "30%", "traps": "3%"},
                "mix": [{"route": "chat", "input_tokens": 300, "output_tokens": answer}],
            },
            "providers": {
                "llm": {
                    "ttft": {"lognormal": {"p50": "450ms", "p99": "2.5s"}},
                    "price": {"input": "$0.15/Mtok", "output": "$0.60/Mtok"},
                }
            },
            "gateway": {
                "policies": [{"semantic_cache": {"threshold": 0.92, "ttl": "1h"}}, {"retry": {"max_attempts": 3}}]
            },
        }
    )
    return scenario.with_values(changes)


def cpu_s(work: Any) -> float:
    """CPU seconds of this process."""
    gc.collect()
    started = process_time()
    work()
    return process_time() - started


def measure(scenario: Scenario, rounds: int) -> tuple[float, float]:
    """Median CPU seconds of a run and of a frontier."""
    runs, passes = [], []
    for _ in range(rounds):
        runs.append(cpu_s(lambda: replicate(scenario, 0)))
        passes.append(cpu_s(lambda: frontier(scenario, thresholds=THRESHOLDS)))
    return statistics.median(runs), statistics.median(passes)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="one round")
    rounds = 1 if parser.parse_args().short else 5
    measure(bot(1), 1)  # everything is imported
    print(f"{len(THRESHOLDS)} thresholds, about 12,600 requests, median of {rounds}")
    for name, changes in SETTINGS.items():
        run_s, pass_s = measure(bot(20, **changes), rounds)
        verdict = "" if pass_s <= TARGET * run_s else f"  above {TARGET}"
        print(f"  {name:<12} run {run_s:6.2f} s   frontier {pass_s:6.2f} s   ratio {pass_s / run_s:.2f}{verdict}")
    small, large = measure(bot(10), rounds)[1], measure(bot(40), rounds)[1]
    print(f"  40 minutes against 10: {large / small:.2f} times as long (41 / 11 minutes with warm-up: {41 / 11:.2f})")


if __name__ == "__main__":
    main()
