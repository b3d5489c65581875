"""A bound that a provider's own first tokens miss: then no load is too high, and no setting is at fault."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import polars as pl

from llmsim.report.telemetry import answers
from llmsim.telemetry.outcomes import HIT
from llmsim.units import format_duration

if TYPE_CHECKING:
    from llmsim.report.result import Result
    from llmsim.report.slo import SloResult

__all__ = ["unaided"]

_METRICS = ("ttft", "ttft_ok", "ttft_upstream")
_MAIN = 0.5  # of the answers: the upstream that a quantile over all of them is about
_BEYOND = 5  # answers above a quantile, or it is the luck of a few


def unaided(result: Result) -> list[str]:
    """At most one sentence: the upstream that gives most answers is slower by itself than a broken bound on TTFT.

    By itself is from the slot to the first token, of requests that came while no fault was on: without its queue, and
    without waits, retries and fallbacks before. Where that depends on how busy it is (`load`, `serving`), or nobody
    knows what of it is a queue (live), nothing is said. The bound would be missed by all answers together, too: those
    of other upstreams took no longer than by themselves, those of a cache and those that came whole no time at all.
    Asked of broken lines ``p(q) < bound`` over all requests of the whole run, the highest quantile first.
    """
    lines = [line for line in result.slo if _asks(line)]
    if not lines or not result.samples or result.live:
        return []
    calm = answers(result).filter(pl.col("outcome") == "ok")
    for fault in result.scenario.faults:
        calm = calm.filter((pl.col("arrival_s") < fault.at) | (pl.col("arrival_s") >= fault.end_s))
    own = calm.filter(pl.col("prefill_s").is_not_null())
    if own.is_empty():
        return []
    name, rows = own.group_by("served_by").agg(pl.len()).sort("len", descending=True).row(0)
    if rows < _MAIN * own.height or _depends_on_load(result.scenario.providers.get(name)):
        return []
    times = own.filter(pl.col("served_by") == name)["prefill_s"]
    for line in sorted(lines, key=lambda line: -(line.objective.percentile or 0.0)):
        asked = line.objective
        share = (asked.percentile or 0.0) / 100
        whole = calm.filter(~HIT) if asked.metric == "ttft_upstream" else calm
        least = whole["prefill_s"].fill_null(0.0).quantile(share, "higher")
        time = times.quantile(share, "higher")
        if time is None or least is None or rows * (1 - share) < _BEYOND:
            continue
        if min(time, least) > asked.bound:
            took = f"{format_duration(time)} to a first token at p({asked.percentile:g})"
            alone = f"{name} by itself (no queue, retry or fallback before) takes {took}"
            return [f"{alone}: {asked.key} {asked.text} needs a faster first choice, a hedge, or a higher bound."]
    return []


def _depends_on_load(provider: Any) -> bool:
    return any(getattr(provider, key, None) is not None for key in ("load", "serving"))


def _asks(line: SloResult) -> bool:
    asked = line.objective
    whole = not asked.tags and asked.phase is None and asked.window_s is None
    bounded = asked.percentile is not None and asked.comparison in ("<", "<=") and math.isfinite(asked.bound)
    return line.verdict == "FAIL" and asked.metric in _METRICS and whole and bounded
