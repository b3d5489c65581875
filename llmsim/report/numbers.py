"""The numbers of a result: every metric over all replications, in the shape of ``llmsim run --json``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from llmsim.report.verdict import median
from llmsim.telemetry.costs import COST_PARTS, cost_parts
from llmsim.telemetry.metrics import METRICS, evaluate
from llmsim.telemetry.outcomes import HIT
from llmsim.telemetry.rates import upper_bound
from llmsim.telemetry.sample import Sample

__all__ = ["SAFETY", "jsonable", "metrics", "over_replications"]

_LATENCIES = ("ttft", "ttft_ok", "ttft_upstream", "e2e", "e2e_ok", "tpot")
_PERCENTILES = (50, 90, 95, 99)

#: Bugs with a number: all are 0 (the greatest of something: small) in a gateway that behaves.
SAFETY = (
    "leaked_streams",
    "cross_scope_hits",
    "cross_tenant_hits",
    "duplicated_tokens",
    "non_retryable_retries",
    "retry_after_ignored",
    "max_retries_at_once",
    "max_upstream_in_flight",
    "max_spend_per_user",
    "max_spend_per_session",
    "max_steps_per_session",
    "max_in_flight",
)

_SUFFIX = {"s": "_s", "usd": "_usd", "per_s": "_per_s"}


def over_replications(values: Sequence[float], unit: str) -> float:
    """One number for all replications: the mean of amounts, so that parts add up; the median of everything else."""
    if unit not in ("count", "usd"):
        return median(values)
    told = [value for value in values if not math.isnan(value)]
    return math.fsum(told) / len(told) if told else math.nan


def metrics(samples: Sequence[Sample]) -> dict[str, Any]:
    """All metrics, per replication: see `llmsim.telemetry.metrics.METRICS` for what each is.

    Latencies and rates are medians over replications (as in verdicts), counts and money means. NaN: cannot be told.
    """
    for sample in samples:
        sample.count_at_once()
    numbers: dict[str, Any] = {"requests": _one(samples, "requests"), "error_rate": _one(samples, "error_rate")}
    numbers["abandoned_rate"] = _one(samples, "abandoned_rate")
    for name in _LATENCIES:
        numbers[f"{name}_s"] = _latency(samples, name)
    numbers["cost_usd"] = _costs(samples)
    for name in (
        "saved",
        "saved_net",
        "cost_per_ok",
        "cache_hit_rate",
        "exact_hit_rate",
        "semantic_hit_rate",
        "false_hit_rate",
        "false_hits_per_hit",
        "outdated_rate",
        "fallback_rate",
        "fallback_activations",
        "retry_amplification",
    ):
        numbers[_key(name)] = _one(samples, name)
    numbers |= _bounds(samples)
    numbers["retry_amplification_max"] = _one(samples, "retry_amplification", "max")
    numbers["recovery_time_s"] = _one(samples, "recovery_time")
    numbers["goodput_per_s"] = _one(samples, "goodput")
    numbers["safety"] = {_key(name): _one(samples, name) for name in SAFETY}
    numbers["safety"]["sleep_after_last_attempt_s"] = _over(samples, _slept)
    return numbers


def _bounds(samples: Sequence[Sample]) -> dict[str, float]:
    """What the wrong answers of all replications together allow to claim, with 95 % confidence."""
    told = not any(math.isnan(evaluate(sample, "false_hit_rate")) for sample in samples if sample.height)
    requests = sum(sample.height for sample in samples) if told else 0
    counts = [sample.counts(HIT, HIT & pl.col("false_hit")) for sample in samples] if told else []
    hits, wrong = (sum(one[number] for one in counts) for number in (0, 1))
    return {
        "false_hit_rate_upper": upper_bound(wrong, requests),
        "false_hits_per_hit_upper": upper_bound(wrong, hits),
    }


def _key(metric: str) -> str:
    return metric + _SUFFIX.get(METRICS[metric].unit, "")


def _one(samples: Sequence[Sample], metric: str, aggregate: str = "value") -> float:
    return over_replications([evaluate(sample, metric, aggregate) for sample in samples], METRICS[metric].unit)


def _latency(samples: Sequence[Sample], metric: str) -> dict[str, float]:
    numbers = {"mean": median([evaluate(sample, metric, "mean") for sample in samples])}
    for percent in _PERCENTILES:
        numbers[f"p{percent}"] = median([evaluate(sample, metric, "p", percent) for sample in samples])
    return numbers


def _costs(samples: Sequence[Sample]) -> dict[str, float]:
    parts = [cost_parts(sample) for sample in samples]
    return {
        name: over_replications([one[name] for one in parts], "usd") for name in (*COST_PARTS, "total")
    }  # fmt: skip


def _over(samples: Sequence[Sample], compute: Callable[[Sample], float]) -> float:
    return over_replications([compute(sample) for sample in samples], "count")


def _slept(sample: Sample) -> float:
    return float(sample.columns("idle_after_last_attempt_s")["idle_after_last_attempt_s"].sum())


def jsonable(value: Any) -> Any:
    """The same for a strict JSON parser: missing is null, +inf the text ``Infinity`` (as in proto3's JSON).

    Examples
    --------
    >>> jsonable({"p95": float("inf"), "p99": float("nan"), "n": (1, 2.0)})
    {'p95': 'Infinity', 'p99': None, 'n': [1, 2.0]}
    """
    if isinstance(value, dict):
        return {key: jsonable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
