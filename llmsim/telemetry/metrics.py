"""What every metric is, in one table: over which requests, of what, in which unit.

Three rules hold everywhere. Only requests that *arrived* in the measured time count, with all their attempts. A
request that failed, was rejected, was left by its user, or had no answer when the drain ended is a **failure**:
its latency is +inf and it is an error (a gateway that stalls until its users leave must not look better than one that
says no). What cannot be told (no request, or fewer samples than a percentile needs) is NaN, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.telemetry.at_once import most_calls, most_retries
from llmsim.telemetry.burn import worst_burn
from llmsim.telemetry.costs import CACHE_PARTS, cost_parts
from llmsim.telemetry.outcomes import ANSWERED_ELSEWHERE, UNMATCHED_HIT, UNTOLD_HIT
from llmsim.telemetry.percentiles import percentile
from llmsim.telemetry.phases import MIN_WINDOW_REQUESTS, in_phase, windows_of
from llmsim.telemetry.recovery import recovery_time
from llmsim.telemetry.sample import Condition, Sample, counted
from llmsim.telemetry.scopes import CROSSINGS_KNOWN, TENANTS_KNOWN
from llmsim.telemetry.spenders import most_steps, per_session, per_user

__all__ = ["METRICS", "WINDOW_S", "Metric", "evaluate", "evaluate_condition", "values"]

WINDOW_S = 10.0  #: length of the windows that ``max`` and recovery look at

Unit = Literal["s", "ratio", "factor", "count", "usd", "per_s"]


class Metric(NamedTuple):
    """One row of `METRICS`."""

    unit: Unit
    meaning: str
    expression: pl.Expr | None = None  #: trends: one value per request; null: it has none
    value: Callable[[Sample], float] | None = None  #: all others: one value for the sample
    peak: Callable[[Sample], float] | None = None  #: what ``max`` means for a value
    of_calls: bool = False  #: about calls: ``provider`` is the upstream they were sent to, not who answered

    @property
    def trend(self) -> bool:
        """Whether it is a distribution over requests, with percentiles."""
        return self.expression is not None

    @property
    def aggregates(self) -> tuple[str, ...]:
        """What can be asked of it."""
        if self.trend:
            return ("p", "mean", "med", "min", "max")
        return ("value", "rate", *(("max",) if self.peak is not None else ()))


_OK = counted(pl.col("outcome") == "ok")
_UPSTREAM = counted(pl.col("attempts") > 0)
_ATTEMPTS = counted(pl.col("attempts"))
_HIT = _OK & (pl.col("served_from") == "cache")
_HIT_OF_NOBODY = counted(_HIT & (pl.col("made_for") == ""))


def _or_inf(column: str) -> pl.Expr:
    return pl.when(_OK).then(pl.col(column)).otherwise(pl.lit(math.inf))


def _if_ok(column: str) -> pl.Expr:
    return pl.when(_OK).then(pl.col(column))


def _count(sample: Sample, which: pl.Expr) -> int:
    return sample.counts(which)[0]


def _share(which: pl.Expr, of: pl.Expr | None = None) -> Callable[[Sample], float]:
    both = counted(which if of is None else which & counted(of))

    def value(sample: Sample) -> float:
        part, whole = (_count(sample, both), sample.height) if of is None else sample.counts(both, of)
        return part / whole if whole else math.nan

    return value


def _sum(column: str) -> Callable[[Sample], float]:
    whole = counted(pl.col(column))
    return lambda sample: float(_count(sample, whole))


def _saved(sample: Sample) -> float:
    return float(sample.columns("saved_usd")["saved_usd"].sum())


def _per_ok(sample: Sample) -> float:
    good = _count(sample, _OK)
    if not sample.height:
        return math.nan
    return cost_parts(sample)["total"] / good if good else math.inf


def _goodput(sample: Sample) -> float:
    return _count(sample, _OK) / sample.duration_s if sample.duration_s > 0 else math.nan


def _amplification(sample: Sample) -> float:
    attempts, sent = sample.counts(_ATTEMPTS, _UPSTREAM)
    return attempts / sent if sent else math.nan


def _worst_amplification(sample: Sample) -> float:
    windows = (
        sample.columns("arrival_s", "attempts")
        .filter(_UPSTREAM)
        .group_by(((pl.col("arrival_s") - sample.start_s) / WINDOW_S).floor())
        .agg(pl.col("attempts").mean(), pl.len())
        .filter(pl.col("len") >= MIN_WINDOW_REQUESTS)
    )
    return math.nan if windows.is_empty() else float(windows["attempts"].max())  # type: ignore[arg-type]


def _if_known(value: Callable[[Sample], float], unknown: pl.Expr = UNTOLD_HIT) -> Callable[[Sample], float]:
    counted(unknown)  # unknown is not 0
    return lambda sample: math.nan if _count(sample, unknown) else value(sample)


def _counter(name: str) -> Callable[[Sample], float]:
    return lambda sample: float(sample.counters.get(name, math.nan))


_hit_rate = _share(_HIT)


def _saved_net(sample: Sample) -> float:
    parts = cost_parts(sample)
    return math.fsum(chain(sample.values(pl.col("saved_usd")), (-parts[name] for name in CACHE_PARTS)))


def _crossed(column: str, known_of: str) -> Callable[[Sample], float]:
    crossed = counted(pl.col(column))

    def value(sample: Sample) -> float:
        # Missing, not 0, where nothing tells whom an answer was made for.
        unknown = _count(sample, _HIT_OF_NOBODY)
        known = sample.counters.get(known_of, 0.0) > 0
        return float(_count(sample, crossed)) if known or not unknown else math.nan

    return value


METRICS: dict[str, Metric] = {
    "ttft": Metric("s", "arrival to first chunk at the caller; failures count as +inf", _or_inf("ttft_s")),
    "ttft_ok": Metric("s", "the same, successes only", _if_ok("ttft_s")),
    "ttft_upstream": Metric(
        "s",
        "ttft without answers from the cache; failures count as +inf",
        pl.when(~_HIT).then(_or_inf("ttft_s")),
    ),
    "e2e": Metric("s", "arrival to last chunk at the caller; failures count as +inf", _or_inf("e2e_s")),
    "e2e_ok": Metric("s", "the same, successes only", _if_ok("e2e_s")),
    "tpot": Metric(
        "s",
        "(e2e - ttft) / (output tokens - 1); failures count as +inf; answers that came whole have none",
        _or_inf("tpot_s"),
    ),
    "max_inter_token": Metric(
        "s", "longest gap between tokens of an answer; failures count as +inf", _or_inf("max_inter_token_s")
    ),
    "sleep_after_last_attempt": Metric(
        "s",
        "failures that were sent upstream: from the end of the last attempt to the error",
        pl.when(~_OK).then(pl.col("idle_after_last_attempt_s")),
    ),
    "requests": Metric("count", "requests that arrived", value=lambda sample: float(sample.height)),
    "error_rate": Metric("ratio", "failures (abandoned and unfinished ones too) / requests", value=_share(~_OK)),
    "abandoned_rate": Metric(
        "ratio", "requests whose user left / requests", value=_share(pl.col("outcome") == "abandoned")
    ),
    "fallback_rate": Metric(
        "ratio",
        "answered by an upstream other than their first choice / requests sent upstream",
        value=_share(ANSWERED_ELSEWHERE, _UPSTREAM),
    ),
    "fallback_activations": Metric("count", "times a request was routed to another upstream", value=_sum("fallbacks")),
    "cache_hit_rate": Metric("ratio", "answered from the cache / requests", value=_hit_rate),
    "exact_hit_rate": Metric(
        "ratio",
        "cache hits by exact match / requests",
        value=_if_known(_share(_HIT & (pl.col("cache_match") == "exact")), UNMATCHED_HIT),
    ),
    "false_hit_rate": Metric(
        "ratio",
        "wrong answers from the cache / requests",
        value=_if_known(_share(_HIT & pl.col("false_hit"))),
    ),
    "semantic_hit_rate": Metric(
        "ratio",
        "cache hits by meaning, in other words / requests",
        value=_if_known(_share(_HIT & (pl.col("cache_match") == "semantic")), UNMATCHED_HIT),
    ),
    "false_hits_per_hit": Metric(
        "ratio",
        "wrong answers from the cache / answers from the cache",
        value=_if_known(_share(pl.col("false_hit"), _HIT)),
    ),
    "outdated_rate": Metric(
        "ratio",
        "answers from the cache that were right once, and no longer / requests; part of false_hit_rate",
        value=_if_known(_share(_HIT & (pl.col("false_hit_reason") == "outdated"))),
    ),
    "retry_amplification": Metric(
        "factor",
        "attempts / requests sent upstream; max: in the worst 10 s window with at least 10 of them",
        value=_amplification,
        peak=_worst_amplification,
    ),
    "recovery_time": Metric(
        "s",
        "end of the last fault to the first of 3 consecutive 10 s windows in the steady state; never is +inf",
        value=lambda sample: recovery_time(sample, evaluate_condition),
    ),
    "goodput": Metric("per_s", "successes / measured time", value=_goodput),
    "cost": Metric(
        "usd",
        "billed for all attempts, wasted ones included, and for what comes beside tokens",
        value=lambda sample: cost_parts(sample)["total"],
    ),
    "cost_per_ok": Metric("usd", "cost / successes; +inf without any", value=_per_ok),
    "saved": Metric("usd", "what answers from the cache would have cost", value=_saved),
    "saved_net": Metric(
        "usd",
        "the same less what the cache itself cost: embeddings, vector store, verification",
        value=_saved_net,
    ),
    "leaked_streams": Metric(
        "count", "responses neither read nor closed by the policies", value=_sum("leaked_streams")
    ),
    "duplicated_tokens": Metric(
        "count",
        "tokens the caller had of an attempt that then failed and was tried again",
        value=_sum("duplicated_tokens"),
    ),
    "non_retryable_retries": Metric(
        "count", "retries after an error that retrying cannot cure", value=_sum("non_retryable_retries")
    ),
    "retry_after_ignored": Metric(
        "count",
        "attempts sent to an upstream before the time was over for which it had asked this request to wait",
        value=_sum("retry_after_ignored"),
    ),
    "max_retries_at_once": Metric(
        "count", "most retries that one upstream got within 10 ms", None, most_retries, most_retries, of_calls=True
    ),
    "max_upstream_in_flight": Metric(
        "count", "most calls under way at one upstream at once", None, most_calls, most_calls, of_calls=True
    ),
    "max_spend_per_user": Metric(
        "usd", "most billed for one user of one tenant, in the measured time", value=per_user, peak=per_user
    ),
    "max_spend_per_session": Metric(
        "usd", "most billed for one conversation or agent, in the measured time", value=per_session, peak=per_session
    ),
    "max_steps_per_session": Metric(
        "count",
        "most turns of one conversation, or calls of one agent, in the measured time",
        value=most_steps,
        peak=most_steps,
    ),
    "cross_scope_hits": Metric(
        "count",
        "answers from the cache made for somebody they may not be shared with; of caches of one's own: at least",
        value=_crossed("cross_scope", CROSSINGS_KNOWN),
    ),
    "cross_tenant_hits": Metric(
        "count",
        "answers from the cache made for another tenant, whatever its scope says; of caches of one's own: at least",
        value=_crossed("cross_tenant", TENANTS_KNOWN),
    ),
    "max_in_flight": Metric(
        "count",
        "most requests in the gateway at once",
        value=_counter("max_in_flight"),
        peak=_counter("max_in_flight"),
    ),
}


def values(sample: Sample, metric: str) -> NDArray[np.float64]:
    """The sorted values of a trend, one per request that has one.

    Raises
    ------
    KeyError
        For a metric that does not exist or is no trend.
    """
    key = ("values", metric)
    known = sample.cache.get(key)
    if isinstance(known, np.ndarray):
        return known
    expression = METRICS[metric].expression
    if expression is None:
        raise KeyError(f"{metric} is one value, not one per request")
    ascending = sample.values(expression)
    ascending.sort()
    if metric in ("tpot", "max_inter_token") and _nothing_streamed(sample, ascending):
        ascending = ascending[:0]
    if not isinstance(sample.asked, pl.DataFrame):  # of a large sample, those of one metric at a time
        for old in [one for one in sample.cache if isinstance(one, tuple) and one[:1] == ("values",)]:
            del sample.cache[old]
    sample.cache[key] = ascending
    return ascending


def _nothing_streamed(sample: Sample, ascending: NDArray[np.float64]) -> bool:
    """Answers came, but none of them as a stream: failures alone would make the pace +inf."""
    return bool(len(ascending)) and math.isinf(ascending[0]) and _count(sample, _OK) > 0


def evaluate(
    sample: Sample,
    metric: str,
    aggregate: str = "value",
    percent: float | None = None,
    tags: tuple[tuple[str, str], ...] = (),
) -> float:
    """A metric of one replication. NaN where it cannot be told.

    Parameters
    ----------
    sample
        The measured part of one replication.
    metric
        A key of `METRICS`.
    aggregate
        ``p``, ``mean``, ``med``, ``min`` or ``max`` of a trend; ``value`` (or ``rate``) and, where the metric has
        one, ``max`` of the others. ``rate`` of a share or of goodput is its value, of a count or of money per second.
    percent
        For ``p``, in (0, 100).
    tags
        Which requests; of a metric about calls, ``provider`` is the upstream that they were sent to.

    Raises
    ------
    KeyError
        For an unknown metric or tag.
    ValueError
        For an aggregate that the metric does not have.
    """
    definition = METRICS[metric]
    if aggregate not in definition.aggregates:
        raise ValueError(f"{metric} has no {aggregate!r}; it has {', '.join(definition.aggregates)}")
    part = sample.tagged(tags, of_calls=definition.of_calls)
    if definition.trend:
        return _aggregate(values(part, metric), aggregate, percent)
    compute = definition.peak if aggregate == "max" else definition.value
    assert compute is not None
    value = float(compute(part))
    if aggregate == "rate" and definition.unit in ("count", "usd"):
        return value / part.duration_s if part.duration_s > 0 else math.nan
    return value


def _aggregate(ascending: NDArray[np.float64], aggregate: str, percent: float | None) -> float:
    if not len(ascending):
        return math.nan
    if aggregate == "p":
        assert percent is not None
        return percentile(ascending, percent)
    if aggregate == "med":
        return percentile(ascending, 50.0)
    if aggregate == "mean":
        return float(ascending.mean())
    return float(ascending[0 if aggregate == "min" else -1])


def evaluate_condition(sample: Sample, condition: Condition) -> float:
    """The measured value that a bound is about; of a bound on every window, that of the worst one."""
    part = in_phase(sample, condition.phase) if condition.phase is not None else sample
    if part is None:
        return math.nan
    if condition.burn is not None:
        return worst_burn(part.tagged(condition.tags), condition.burn)
    if condition.window_s is None:
        return evaluate(part, condition.metric, condition.aggregate, condition.percentile, condition.tags)
    tagged = part.tagged(condition.tags, of_calls=METRICS[condition.metric].of_calls)
    in_windows = [
        evaluate(window, condition.metric, condition.aggregate, condition.percentile)
        for window in windows_of(tagged, condition.window_s)
    ]
    told = [value for value in in_windows if not math.isnan(value)]
    if not told:
        return math.nan
    return max(told) if condition.low_is_good else min(told)
