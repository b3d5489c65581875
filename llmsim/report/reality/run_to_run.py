"""How much live runs of the same differ from each other though nothing changed: what a change has to pass to be one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from llmsim.errors import LlmsimError
from llmsim.report.reality.unpaired import apart_of, values_of

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["SHARES", "check_baseline", "reach_of_runs", "reach_told"]

#: Metrics whose change is a difference; that of the others is a ratio.
SHARES = ("error_rate", "cache_hit_rate", "fallback_rate")
_TIMES = ("ttft", "tpot", "max_inter_token", "e2e")


def check_baseline(last: Result, this: Result, baseline: Sequence[Result]) -> None:
    """Refuse earlier runs of something else: what differs between those is no run-to-run variation.

    And a run that is there already: from itself none differs.

    Raises
    ------
    LlmsimError
        One was simulated, is there twice, or of other traffic, gateway or faults.
    """
    seen = {this.event_hash: "the later run", last.event_hash: "the earlier run"} if baseline else {}
    for number, one in enumerate(baseline, 1):
        if not one.live:
            raise LlmsimError(f"baseline {number} was simulated; give live runs of the same scenario")
        known = seen.setdefault(one.event_hash, f"baseline {number}")
        if known != f"baseline {number}":
            raise LlmsimError(f"baseline {number} is {known} itself, which tells nothing of what runs differ by")
        for what in ("traffic", "clock", "gateway", "faults"):
            if getattr(one.scenario, what) != getattr(last.scenario, what):
                raise LlmsimError(
                    f"baseline {number} differs from the earlier run in {what}: what the two differ by is not what "
                    "runs differ by when nothing changed"
                )


def reach_of_runs(earlier: Sequence[Result], names: Iterable[str], told: float | None) -> dict[str, float]:
    """By metric, what two runs differ by 95 times in 100 though nothing changed.

    With s the standard deviation of the metric (of shares as it is, else of its logarithm) between n earlier runs, two
    runs differ by less than ``t · s · √2``; t is Student's for n - 1. Of a metric that is not finite in all of them
    nobody knows: inf.

    Parameters
    ----------
    earlier
        Runs of the same.
    names
        Metrics.
    told
        Where there is one run only: the share by which latencies of two runs are known to differ; None: it is not.

    Returns
    -------
    dict
        Shares, or differences of shares; without those of which no run tells anything.
    """
    from scipy.special import stdtrit

    if len(earlier) < 2:
        times = (name for name in names if name.partition(" ")[0].removesuffix("_ok") in _TIMES)
        return {} if told is None else dict.fromkeys(times, told)
    sides = [values_of(apart_of(one), names) for one in earlier]
    t = float(stdtrit(len(earlier) - 1, 0.975))
    found = {}
    for name in sides[0]:
        values = np.array([side[name] for side in sides])
        if np.isnan(values).all():  # none of them has it, or enough of it
            continue
        if not np.isfinite(values).all():
            found[name] = math.inf
        elif name in SHARES:
            found[name] = t * math.sqrt(2) * float(np.std(values, ddof=1))
        elif (values > 0).all():
            found[name] = math.expm1(t * math.sqrt(2) * float(np.std(np.log(values), ddof=1)))
        else:
            found[name] = math.inf if (values > 0).any() else 0.0
    return found


def reach_told(count: int, reach: Mapping[str, float]) -> str:
    """What was known of it, in a sentence."""
    if count > 1:
        more = "" if count > 3 else f"; with {count} of them that is a lot, each further one makes it less"
        return (
            f"Called a change is only what passes what two runs differ by when nothing changed, going by the {count} "
            f"earlier ones (95 %, Student's t{more})."
        )
    if reach:
        return "Called a change in a latency is only what passes what two runs were said to differ by (--run-to-run)."
    return (
        "One earlier run cannot tell what runs differ by when nothing changed: that the machine or the provider was in "
        "another mood for an hour shows as a change. Give more earlier runs (--baseline), or what is known of it from "
        "llmsim calibrate or a repeated run (--run-to-run 5%), or run it again before acting on a change."
    )
