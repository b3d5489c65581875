"""What every representation of a result shows, before it is text, HTML or Markdown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import polars as pl

from llmsim.report.figures import MISSING, count, figure, share, sparkline, usd
from llmsim.report.slo import Overall
from llmsim.report.verdict import Word
from llmsim.telemetry.costs import WASTED
from llmsim.units import format_duration

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = [
    "MARKS", "Series", "common_reason", "headline", "key_numbers", "partly", "provenance", "series", "slo_rows",
]  # fmt: skip

#: Words carry the verdict, marks only help the eye: neither depends on colour.
MARKS: dict[Overall | Word | Literal["EXPECTED"], str] = {
    "PASS": "✓",
    "FAIL": "✗",
    "UNDECIDED": "?",
    "NONE": "·",
    "EXPECTED": "✓",
}


class Series(NamedTuple):
    """A row of the overview: a metric over the measured time, mean of all replications."""

    label: str
    bars: str
    peak: str


def headline(result: Result) -> str:
    """What was run, and what came of it."""
    verdict = {
        "PASS": "PASS",
        "FAIL": "FAIL",
        "UNDECIDED": "UNDECIDED",
        "NONE": "no SLO to judge",
    }[result.verdict]
    return f"{MARKS[result.verdict]} {result.scenario.name}: {verdict}{partly(result)}"


def partly(result: Result) -> str:
    """Why there is less than there should be; empty: all is there."""
    why = {"": "", "budget": "the budget was used up", "interrupted": "interrupted"}[result.stopped]
    return why and f" (partial: {why})"


def provenance(result: Result) -> str:
    """How much was simulated, how fast, and how to get the same again."""
    made = len(result.replications)
    most = f" of at most {result.requested}" if result.requested > made else ""
    speed = f" in {format_duration(result.wall_s)}" if result.wall_s > 0 else ""
    if result.live:
        spent = result.replications[0].counters["spent_usd"]
        return f"live, {format_duration(result.wall_s)}, at most {usd(spent)} spent, seed {result.seed}"
    return (
        f"{made} replication{'s' if made != 1 else ''}{most}, {format_duration(result.simulated_s)} simulated{speed}, "
        f"seed {result.seed}, hash {result.event_hash[:12]}"
    )


def common_reason(result: Result) -> str:
    """What stands between every SLO line and a verdict, where it is the same for all: it is said once."""
    reasons = {line.reason for line in result.slo}
    return reasons.pop() if len(reasons) == 1 and len(result.slo) > 1 else ""


def slo_rows(result: Result) -> list[tuple[str, str, str, str, str, str]]:
    """Mark, SLO, measured, interval, verdict, reason."""
    common = common_reason(result)
    return [
        (
            MARKS[line.verdict],
            f"{line.objective.key}  {line.objective.text}",
            line.shown,
            line.shown_interval,
            line.verdict,
            "" if common else line.reason,
        )
        for line in result.slo
    ]


def key_numbers(result: Result) -> list[tuple[str, str]]:
    """Label and text of what most readers look for; what did not happen is left out."""
    numbers = result.metrics
    rows = [
        (
            "requests",
            f"{count(numbers['requests'])} a replication, {figure(numbers['goodput_per_s'], 'per_s')} answered",
        ),
        ("errors", f"{share_or_dash(numbers['error_rate'])}{_part(numbers['abandoned_rate'], 'user left')}"),
        ("ttft", _latency(numbers["ttft_s"])),
        ("ttft of successes", _latency(numbers["ttft_ok_s"])),
        ("ttft without cache", _latency(numbers["ttft_upstream_s"]) if numbers["cache_hit_rate"] > 0 else ""),
        ("end to end", _latency(numbers["e2e_s"])),
        ("time per token", _latency(numbers["tpot_s"])),
        ("cost", _cost(numbers)),
        ("wasted", _wasted(numbers["cost_usd"])),
        ("sessions", _sessions(result)),
        ("cache", _cache(numbers)),
        ("fallback", _fallback(numbers)),
        ("retry amplification", _amplification(numbers)),
        ("recovery", figure(numbers["recovery_time_s"], "s")),
        ("safety", _safety(numbers["safety"])),
    ]
    return [(label, text) for label, text in rows if text and text.strip(MISSING)]


def share_or_dash(value: float) -> str:
    """A ratio in percent, or a dash."""
    return figure(value, "ratio")


def _part(value: float, what: str) -> str:
    return f" (of all requests, {share(value)}: {what})" if value > 0 else ""


def _latency(numbers: dict[str, float]) -> str:
    told = [name for name in ("p50", "p90", "p95", "p99") if not math.isnan(numbers[name])]
    return ", ".join(f"{name} {figure(numbers[name], 's')}" for name in told) or MISSING


def _cost(numbers: dict[str, Any]) -> str:
    total = numbers["cost_usd"]["total"]
    if not total > 0:
        return ""
    difference = numbers["cost_usd"]["fallback_difference"]
    dearer = (
        f" (fallbacks {'+' if difference > 0 else ''}{usd(difference)})" if abs(difference) >= 0.005 * total else ""
    )
    return f"{usd(total)} a replication{dearer}, {usd(numbers['cost_per_ok_usd'])} per success"


def _wasted(costs: dict[str, float]) -> str:
    parts = {name: costs[name] for name in WASTED}
    wasted = sum(parts.values())
    if not wasted > 0:
        return ""
    listed = ", ".join(f"{name.replace('_', '-')} {usd(value)}" for name, value in parts.items() if value > 0)
    return f"{share(wasted / costs['total'])} of the cost: {listed}"


def _sessions(result: Result) -> str:
    sessions = result.shown_sessions
    if sessions is None:
        return ""
    began = sessions.filter(pl.col("window") == "measured")
    steps: list[int] = began["steps"].to_list()
    longest = max(steps, default=1)
    if longest == 1:
        return ""
    ends = began.group_by(pl.col("outcome").cast(pl.String)).len().sort("len", "outcome", descending=[True, False])
    told = ", ".join(f"{share(many / began.height)} {word.replace('_', ' ')}" for word, many in ends.iter_rows())
    each = f"{sum(steps) / len(steps):.3g} steps each, at most {count(longest)}"
    return f"{count(len(steps) / len(result.replications))} a replication, {each}; {told}"


def _cache(numbers: dict[str, Any]) -> str:
    if not numbers["cache_hit_rate"] > 0:
        return ""
    false, most = numbers["false_hit_rate"], numbers["false_hit_rate_upper"]
    wrong = "wrong answers unknown" if math.isnan(false) else f"{share(false)} wrong (95 %: below {share(most)})"
    if false > 0:
        outdated = f", {share(numbers['outdated_rate'])} outdated" if numbers["outdated_rate"] > 0 else ""
        wrong += f", {share(numbers['false_hits_per_hit'])} of hits{outdated}"
    kinds = ""
    if numbers["semantic_hit_rate"] > 0:
        exact, semantic = numbers["exact_hit_rate"], numbers["semantic_hit_rate"]
        kinds = f" ({share(exact)} exact, {share(semantic)} by meaning)"
    saved, net = numbers["saved_usd"], numbers["saved_net_usd"]
    own = f", {usd(net)} net of what it costs itself" if abs(net - saved) > 0.0005 * saved else ""
    return f"{share(numbers['cache_hit_rate'])} of requests{kinds}, {wrong}; saved {usd(saved)}{own}"


def _fallback(numbers: dict[str, Any]) -> str:
    if not numbers["fallback_activations"] > 0:
        return ""
    entered = count(numbers["fallback_activations"])
    return f"{share_or_dash(numbers['fallback_rate'])} of requests sent upstream, entered {entered} times"


def _amplification(numbers: dict[str, Any]) -> str:
    worst = numbers["retry_amplification_max"]
    overall = figure(numbers["retry_amplification"], "factor")
    return overall if math.isnan(worst) else f"{overall}, {figure(worst, 'factor')} in the worst 10 s"


def _safety(numbers: dict[str, float]) -> str:
    bad = (
        "leaked_streams",
        "cross_scope_hits",
        "duplicated_tokens",
        "non_retryable_retries",
        "retry_after_ignored",
    )
    told = [f"{count(numbers[name])} {name.replace('_', ' ')}" for name in bad if numbers[name] > 0]
    slept = numbers["sleep_after_last_attempt_s"]
    if slept > 0.05:
        told.append(f"{format_duration(slept)} slept after last attempts")
    return ", ".join(told)


def series(result: Result) -> list[Series]:
    """Offered load, failures and TTFT over the measured time."""
    windows = result.windows
    if windows.is_empty():
        return []
    mean = windows.group_by("start_s", maintain_order=True).agg(
        pl.col("offered_per_s", "error_rate").mean(), pl.col("ttft_ok_p50_s", "retry_amplification").median()
    )
    mean = mean.sort("start_s").fill_null(float("nan"))
    wanted = (
        ("offered", "offered_per_s", "per_s"),
        ("errors", "error_rate", "ratio"),
        ("ttft of successes, p50", "ttft_ok_p50_s", "s"),
        ("attempts / request", "retry_amplification", "factor"),
    )
    rows = []
    for label, column, unit in wanted:
        values = mean[column].to_list()
        told = [value for value in values if not math.isnan(value)]
        if told and max(told) > 0:
            rows.append(Series(label, sparkline(values), f"up to {figure(max(told), unit)}"))
    return rows
