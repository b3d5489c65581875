"""The result says why: one to four sentences computed from the tables, the most telling first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsim.error_words import error_matcher
from llmsim.errors import Rejected
from llmsim.report.figures import clock, count, share, usd
from llmsim.report.recorded import Recorded
from llmsim.report.unaided import unaided
from llmsim.telemetry.costs import WASTED
from llmsim.telemetry.outcomes import CLASSES
from llmsim.telemetry.recorder import rows_of
from llmsim.telemetry.rows import pieces_of
from llmsim.units import format_duration

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["advice"]

_MOST = 4
_KEY = ["replication", "session", "step", "user_retry"]
_TIMEOUTS = next(one.words for one in CLASSES if one.name == "timeouts")

#: More requests than this are not looked into unasked: it takes all their columns at once, 1 kB a request (measured).
_MOST_DIAGNOSED = 1_000_000

_LATENCIES = ("ttft", "ttft_ok", "ttft_upstream", "e2e", "e2e_ok", "tpot")

# Below these shares a fact is not what decided a result, and is not worth a sentence.
_NOTABLE = 0.1
_DOMINANT = 0.25
_FEW = 0.001


def advice(result: Result) -> list[str]:
    """Sentences on what decided the result.

    Parameters
    ----------
    result
        Any result; a partial one is described as far as it goes.
    """
    requests, failed = _of_requests(result)
    if not requests:
        return ["No request arrived in the measured time."]
    if result.verdict == "PASS" or failed.height < _FEW * requests:
        quiet = [*_slow(result), _calm(result, requests, failed), _waste(result)]
        return [sentence for sentence in quiet if sentence][:_MOST]
    attempts = _of_attempts(result)
    failed = _with_ends(failed, attempts, result.events)
    found = [
        partial(_main_failure, result, failed),
        partial(_gave_up_early, failed, requests),
        partial(_not_taken_up, result, failed, requests),
        partial(_retries, attempts, failed),
        partial(_idle, failed),
        partial(_not_recovered, result),
        partial(_waste, result),
    ]
    sentences = _first(chain((ask() for ask in found), chain.from_iterable(map(_slow, [result]))))
    return sentences or [_calm(result, requests, failed)]


def _first(found: Iterable[str]) -> list[str]:
    """As many sentences as are said; for more nothing is computed, and the last ones are the dearest."""
    return list(islice(filter(None, found), _MOST))


def _percent(part: float) -> str:
    """Whole percents are enough in a sentence."""
    return f"{part:.0%}".replace("%", " %") if 0.01 <= part <= 0.99 or part in (0, 1) else share(part)


_MEASURED = pl.col("window") == "measured"
_FAILED = _MEASURED & (pl.col("outcome") != "ok")
_OF_ATTEMPTS = (*_KEY, "attempt", "cause", "upstream", "outcome", "status", "start_s", "end_s", "window")


def _of_requests(result: Result) -> tuple[int, pl.DataFrame]:
    """How many requests were measured, and those of them that failed."""
    if not result.large:
        return result.requests.select(_MEASURED.sum()).item(), result.requests.filter(_FAILED)
    measured, failed = 0, []
    for one in result.replications:
        rows = Recorded(one, "requests", result.scenario.clock.duration)
        which = [
            piece.select(_MEASURED.alias("measured"), _FAILED.alias("failed"))
            for piece in pieces_of(rows, ["window", "outcome"])
        ]
        measured += sum(int(piece["measured"].sum()) for piece in which)
        failed.append(rows.take(np.flatnonzero(pl.concat(which)["failed"].to_numpy())).frame())
    return measured, pl.concat(failed)


def _of_attempts(result: Result) -> pl.DataFrame:
    if not result.large:
        return result.attempts.filter(_MEASURED)
    duration_s = result.scenario.clock.duration
    parts = [Recorded(one, "attempts", duration_s).frame(_OF_ATTEMPTS) for one in result.replications]
    return pl.concat(parts).filter(_MEASURED)


def _with_ends(failed: pl.DataFrame, attempts: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Failed requests, each with its last attempt and with what ended it in words."""
    last = (
        attempts.join(failed.select(_KEY), on=_KEY, how="semi")
        .sort(*_KEY, "attempt")
        .unique(_KEY, keep="last", maintain_order=True)
        .select(
            *_KEY,
            pl.col("upstream").cast(pl.String),
            "status",
            last=pl.col("outcome").cast(pl.String),
            last_s=pl.col("end_s") - pl.col("start_s"),
        )
    )
    outcome = pl.col("outcome").cast(pl.String)
    # Nobody was being asked when the user left: a retry was waiting for its time.
    waited = (outcome == "abandoned") & ~pl.col("last").is_in(["cancelled", "ok"])
    ended = (
        pl.when(waited)
        .then(pl.format("users leaving while the gateway waited after {} from {}", "last", "upstream"))
        .when(outcome == "abandoned")
        .then(pl.format("users leaving while {} had not answered", pl.col("upstream").fill_null("the gateway")))
        .when(outcome == "unfinished")
        .then(pl.lit("requests that had not ended when the drain did"))
        .when(pl.col("by").is_not_null() & (pl.col("last").is_null() | (pl.col("last") != outcome)))
        .then(pl.format("{} by {}", outcome, "by"))
        .when(pl.col("upstream").is_null())
        .then(pl.format("{}, with nothing sent upstream", outcome))
        .when((pl.col("status") >= 400) & ~outcome.is_in([*_TIMEOUTS]))
        .then(pl.format("{} from {}", "status", "upstream"))
        .otherwise(pl.format("{} at {}", outcome, "upstream"))
    )
    failed = failed.join(_turned_away(events), on=["replication", "request_id"], how="left", maintain_order="left")
    return failed.join(last, on=_KEY, how="left", maintain_order="left").with_columns(ended=ended)


def _turned_away(events: pl.DataFrame) -> pl.DataFrame:
    """Which policy turned a request away the last time one did, and why: a gateway may have many that can."""
    upstream = pl.col("upstream").cast(pl.String).fill_null("")
    at = pl.when(upstream == "").then(pl.lit("")).otherwise(pl.format(" at {}", upstream))
    reason = pl.col("detail").str.json_path_match("$.reason").fill_null("no reason given")
    return (
        events.filter(pl.col("kind") == "rejected")
        .unique(["replication", "request_id"], keep="last", maintain_order=True)
        .select("replication", "request_id", by=pl.format("{}{} ({})", pl.col("policy").cast(pl.String), at, reason))
    )


def _main_failure(result: Result, failed: pl.DataFrame) -> str:
    """What most failures were, where from and when."""
    if failed.is_empty():
        return ""
    kinds = failed.group_by("ended").agg(pl.len()).sort("len", "ended", descending=[True, False])
    name, top = kinds.row(0)
    part = top / failed.height
    if part < _DOMINANT:
        return ""
    sentence = f"{_percent(part)} of the failures were {name}{_when(result, failed.filter(pl.col('ended') == name))}"
    if kinds.height > 1 and kinds["len"][1] / failed.height >= _NOTABLE:
        sentence += f"; {_percent(kinds['len'][1] / failed.height)} were {kinds['ended'][1]}"
    return sentence + "."


def _when(result: Result, rows: pl.DataFrame) -> str:
    """``, nine in ten between 2:10 and 3:05 (fault brown-out)``, where they cluster."""
    arrivals = rows["arrival_s"]
    low, high = arrivals.quantile(0.05), arrivals.quantile(0.95)
    if low is None or high is None or rows.height < 10 or high - low > 0.7 * result.scenario.clock.duration:
        return ""
    names = [fault.name for fault in result.scenario.faults if fault.at < high and fault.end_s > low]
    during = f" ({'faults' if len(names) > 1 else 'fault'} {', '.join(names)})" if names else ""
    return f", nine in ten between {clock(low)} and {clock(high)}{during}"


def _gave_up_early(failed: pl.DataFrame, requests: int) -> str:
    """Timeouts after which nothing else was tried: the classic of a gateway that retries only on a status."""
    # A passed deadline is no such case: there was no time left to try anything.
    timed_out = pl.col("outcome").cast(pl.String).is_in([*_TIMEOUTS]) & (pl.col("outcome") != "deadline_exceeded")
    only = failed.filter(timed_out & (pl.col("fallbacks") == 0))
    if only.height < _NOTABLE * failed.height or only.is_empty():
        return ""
    upstream = only["upstream"].drop_nulls().mode().sort()
    where = f" at {upstream[0]}" if len(upstream) else ""
    after = only["last_s"].median()
    limit = f"Timeouts after {format_duration(after)}" if isinstance(after, float) else "Timeouts"
    single = only.filter(pl.col("attempts") <= 1).height / only.height
    tried = "were neither retried nor sent elsewhere" if single > 0.5 else "were not sent elsewhere"
    return f"{limit}{where} {tried}: {count(only.height)} of {count(requests)} requests failed that way."


def _not_taken_up(result: Result, failed: pl.DataFrame, requests: int) -> str:
    """What a policy turned away in front of one upstream, which the fallback does not take to another."""
    specs = result.scenario.gateway.policies
    fallbacks = [spec for spec in specs if getattr(spec, "kind", "") == "fallback"]
    if not fallbacks or any(error_matcher(spec.on)(Rejected()) for spec in fallbacks):
        return ""
    turned = failed.filter(
        pl.col("ended").str.starts_with("rejected by ") & pl.col("by").str.contains(" at ", literal=True)
    )
    if turned.height < _NOTABLE * failed.height or turned.is_empty():
        return ""
    what = f"{count(turned.height)} of {count(requests)} requests were rejected in front of one upstream"
    return f"{what} and not sent to another: rejected is not among the errors of the fallback's on."


def _retries(attempts: pl.DataFrame, failed: pl.DataFrame) -> str:
    """How much of the load was the gateway's own."""
    if attempts.is_empty():
        return ""
    again = attempts.filter(pl.col("cause") == "retry")
    part = again.height / attempts.height
    if part < _NOTABLE:
        return ""
    good = int((again["outcome"] == "ok").sum())
    sentence = f"{_percent(part)} of all attempts were retries; {_percent(good / again.height)} of these were answered"
    gap = _median_gap(attempts)
    if gap is not None:
        sentence += f", after waits of {format_duration(gap)} (median)"
    return sentence + "."


def _median_gap(attempts: pl.DataFrame) -> float | None:
    # Attempts are in the order of their requests: the row before is the attempt before, or another request's.
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in _KEY)
    waits = (
        attempts.select("cause", same=same, wait=pl.col("start_s") - pl.col("end_s").shift(1))
        .filter(pl.col("same") & (pl.col("cause") == "retry") & (pl.col("wait") > 0))
    )["wait"]  # fmt: skip
    middle = waits.median()
    return float(middle) if isinstance(middle, float) else None


def _idle(failed: pl.DataFrame) -> str:
    """Sleeping after the last attempt helps nobody."""
    slept = failed.filter(pl.col("idle_after_last_attempt_s") > 0.05)
    if slept.height < _NOTABLE * failed.height or slept.is_empty():
        return ""
    middle = float(slept["idle_after_last_attempt_s"].median())  # type: ignore[arg-type]
    return (
        f"{count(slept.height)} failed requests sat idle for {format_duration(middle)} (median) between the end of "
        "their last attempt and the error."
    )


def _not_recovered(result: Result) -> str:
    recovery_s = result.metrics["recovery_time_s"]
    if not math.isinf(recovery_s):
        return ""
    last = max(result.scenario.faults, key=lambda fault: fault.end_s)
    return f"The steady state never came back after {last.name} ended at {clock(last.end_s)}."


def _waste(result: Result) -> str:
    costs = result.metrics["cost_usd"]
    wasted = {name: costs[name] for name in WASTED}
    total = costs["total"]
    lost = sum(wasted.values())
    if not total > 0 or lost < _NOTABLE * total:
        return ""
    name = max(wasted, key=lambda part: wasted[part])
    return (
        f"{_percent(lost / total)} of the cost bought nothing ({usd(lost)} of {usd(total)} a replication), "
        f"most of it {name.replace('_', '-')} work."
    )


def _slow(result: Result) -> list[str]:
    """What made answers late, where an SLO on their time did not hold."""
    # What is undecided for want of replications, and was inside its bound in all there are, was not late.
    late = any(
        line.objective.metric in _LATENCIES
        and line.verdict != "PASS"
        and any(not math.isnan(value) and not line.objective.holds(value) for value in line.values)
        for line in result.slo
    )
    if late and sum(rows_of(one.tables["requests"]) for one in result.replications) > _MOST_DIAGNOSED:
        return ["Answers were late; result.diagnosis says which part of them, with all requests in memory."]
    return [*unaided(result), *result.diagnosis] if late else []


def _calm(result: Result, requests: int, failed: pl.DataFrame) -> str:
    """Nothing went wrong: say what came nearest to it."""
    quiet = f"{share(1 - failed.height / requests)} of {count(requests)} requests were answered"
    near = [(line.measured / line.objective.bound, line) for line in result.slo if line.objective.bound > 0]
    near = [(used, line) for used, line in near if line.objective.comparison in ("<", "<=") and math.isfinite(used)]
    if not near:
        return quiet + "."
    _, line = max(near, key=lambda pair: pair[0])
    if line.verdict == "FAIL":
        return f"{quiet}; what is broken most is {line.objective.key} {line.objective.text}, at {line.shown}."
    return f"{quiet}; nearest to its bound is {line.objective.key} {line.objective.text}, at {line.shown}."
