"""One scenario's traffic under every preset, beside its own gateway.

``python tests/benchmarks/bench_presets.py [scenarios/hacker-news-spike.yaml] [--replications 20] [--cache]``

Prints a Markdown table. A run ends when its verdict is clear, so few of them take all replications.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

import llmsim as ls  # noqa: E402 - the line above makes it importable
from llmsim.gateway.presets import preset_names  # noqa: E402


class Row(NamedTuple):
    """What a scenario is like under one gateway, over all its replications."""

    gateway: str
    verdict: str
    broken: tuple[str, ...]  #: SLOs that do not hold
    error_rate: float
    ttft_p95_s: float  #: inf: more than one in twenty never saw a token
    amplification: float
    cost_per_ok_usd: float


def rows(scenario: Any, replications: int, *, cache: bool = False) -> Iterator[Row]:
    """The scenario's own gateway first, then every preset (with the scenario's cache before it, if so wanted)."""
    kept = [policy for policy in scenario.gateway.policies if cache and policy.kind == "cache"]
    yield _row("its own", scenario, replications)
    for name in preset_names():
        under = scenario.with_values({"gateway.preset": name})
        if kept and not any(policy.kind == "cache" for policy in under.gateway.policies):
            under = under.with_values({"gateway.policies": [*kept, *under.gateway.policies]})
        yield _row(name, under, replications)


def _row(name: str, scenario: Any, replications: int) -> Row:
    found = ls.run(scenario, replications=replications).to_dict()
    metrics = found["metrics"]
    return Row(
        name,
        found["verdict"],
        tuple(f"{one['metric']} {one['expression']}" for one in found["slo"] if one["verdict"] == "FAIL"),
        metrics["error_rate"],
        float(metrics["ttft_s"]["p95"]),
        metrics["retry_amplification"],
        metrics["cost_per_ok_usd"],
    )


def table(found: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| Gateway | Verdict | Errors | TTFT p95 | Attempts per request sent | Cost per good answer |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.gateway} | {row.verdict} | {row.error_rate:.2%} | {_seconds(row.ttft_p95_s)} "
        f"| {row.amplification:.2f} | ${row.cost_per_ok_usd:.6f} |"
        for row in found
    ]
    return "\n".join(lines)


def _seconds(value: float) -> str:
    return "never" if value == float("inf") else f"{value:.2f} s"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="?", default=str(ROOT / "scenarios" / "hacker-news-spike.yaml"))
    parser.add_argument("--replications", type=int, default=20)
    parser.add_argument("--cache", action="store_true", help="the scenario's cache before every preset")
    asked = parser.parse_args()
    print(table(list(rows(ls.load(asked.scenario), asked.replications, cache=asked.cache))))


if __name__ == "__main__":
    main()
