"""`Drift`: what changed from one live run to a later one, as far as it can be told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llmsim.errors import LlmsimError
from llmsim.report.figures import figure, share
from llmsim.report.numbers import jsonable
from llmsim.report.reality import notes
from llmsim.report.reality.causes import LATE_S
from llmsim.report.reality.check import LATENCIES, line_dict
from llmsim.report.reality.curves import Sides
from llmsim.report.reality.intervals import pairs_needed
from llmsim.report.reality.pairs import Pairs, pairs_of
from llmsim.report.reality.rows import MORE_IS_WORSE, TOLERANCES, Line, lines_of
from llmsim.report.reality.run_to_run import SHARES, check_baseline, reach_of_runs, reach_told
from llmsim.report.reality.shows import Shows
from llmsim.report.reality.told import MARKS, Table, Told, bursts_told, error_told, interval_told
from llmsim.report.reality.unpaired import Apart, apart_of, unpaired_lines
from llmsim.units import counted

if TYPE_CHECKING:
    from llmsim.report.plots.reality import RealityPlots
    from llmsim.report.result import Result

__all__ = ["Change", "Drift"]

Change = Literal["worse", "better", "changed", "same", "not seen", "unsure", "not judged"]

ERROR = 0.05  #: of calling anything changed where nothing did, over all metrics (Bonferroni)
_LEAST_POINTS = 0.01  #: by which a share must have moved: 5 % of an error rate of 1 % is nobody's concern (chosen)


@dataclass(frozen=True, repr=False, eq=False)
class Drift(Shows):
    """What changed between two live runs; shows itself as a table.

    Parameters
    ----------
    last, this
        The earlier and the later one.
    least_effect
        Share by which a metric must have moved; shares must by a point.
    baseline
        More earlier runs of the same: what they and `last` differ by is no change.
    run_to_run
        Where there are none: what latencies of two runs are known to differ by.
    """

    last: Result
    this: Result
    least_effect: float = 0.05
    baseline: tuple[Result, ...] = ()
    run_to_run: float | None = None

    @classmethod
    def of(
        cls,
        last: Result,
        this: Result,
        *,
        least_effect: float = 0.05,
        baseline: Sequence[Result] = (),
        run_to_run: float | None = None,
    ) -> Drift:
        """Compare two live runs: request by request where they had the same ones, else as two samples.

        Raises
        ------
        LlmsimError
            Nothing was measured in one of them, the effect is not above 0, or the baseline is of something else.
        """
        if not least_effect > 0:
            raise LlmsimError(f"the least effect is {least_effect!r}; use a share above 0, such as 0.05")
        if run_to_run is not None and (baseline or not run_to_run > 0):
            raise LlmsimError(
                "several earlier runs tell themselves what runs differ by; leave run_to_run out"
                if baseline
                else f"run_to_run is {run_to_run!r}; use a share above 0, such as 0.05"
            )
        check_baseline(last, this, baseline)
        found = cls(last, this, least_effect, tuple(baseline), run_to_run)
        if not found.requests[0] or not found.requests[1]:
            raise LlmsimError("one of the two live runs has no measured request; did it end during warm-up?")
        return found

    @cached_property
    def paired(self) -> bool:
        """Whether the two had the same requests at the same times: one seed, traffic and clock."""
        one, other = self.last, self.this
        return (
            one.seed == other.seed
            and one.scenario.traffic == other.scenario.traffic
            and one.scenario.clock == other.scenario.clock
        )

    @cached_property
    def pairs(self) -> Pairs | None:
        """The later and the earlier run in the places of the simulation and the live run, if they can be paired."""
        return pairs_of(self.this, self.last) if self.paired else None

    @cached_property
    def _apart(self) -> tuple[Apart, Apart]:
        return apart_of(self.this), apart_of(self.last)

    @property
    def requests(self) -> tuple[int, int]:
        """Compared, of the earlier and of the later run."""
        if self.pairs is not None:
            return (self.pairs.table.height,) * 2
        this, last = self._apart
        return last.table.height, this.table.height

    @cached_property
    def lines(self) -> list[Line]:
        """Every metric: `sim` of a line is the later run, `live` the earlier, `tolerance` the least effect."""
        allowed = {name: self._effect(name) for name in TOLERANCES}
        miss = ERROR / sum(math.isfinite(one) for one in allowed.values())
        if self.pairs is not None:
            return lines_of(self.pairs, allowed, miss=miss)
        return unpaired_lines(*self._apart, allowed, miss=miss)

    @cached_property
    def reach(self) -> dict[str, float]:
        """By metric, what two runs differ by when nothing changed; empty: nobody knows."""
        return reach_of_runs([self.last, *self.baseline], TOLERANCES, self.run_to_run)

    def _within_reach(self, line: Line) -> bool:
        """Whether runs differ by as much when nothing changed."""
        name = line.name.removesuffix(" a request")
        reach = self.reach.get(name, 0.0)
        if not line.relative or not reach or line.error <= -1:
            return abs(line.error) <= reach
        return abs(math.log1p(line.error)) <= math.log1p(reach)

    def _effect(self, name: str) -> float:
        return _LEAST_POINTS if name in SHARES else self.least_effect

    @cached_property
    def changes(self) -> dict[str, Change]:
        """By metric, what became of it.

        ``worse`` and ``better`` (``changed`` where neither is): significant, beyond what runs differ by as far as that
        is known, and no smaller than the least effect; ``unsure``: as large, but it may be chance, or what runs differ
        by; ``same``: the whole interval is smaller; ``not seen``: it is smaller, and that may be chance.
        """
        return {line.name: self._change(line) for line in self.lines}

    def _change(self, line: Line) -> Change:
        if math.isnan(line.error):
            return "not judged"
        if not abs(line.error) >= self._effect(line.name):
            inside = line.interval is not None and max(map(abs, line.interval)) < self._effect(line.name)
            return "same" if inside else "not seen"
        if line.interval is None or line.interval[0] <= 0 <= line.interval[1] or self._within_reach(line):
            return "unsure"
        more_is_worse = MORE_IS_WORSE.get(line.name.removesuffix(" a request"), True)
        if more_is_worse is None:
            return "changed"
        return "worse" if (line.error > 0) == more_is_worse else "better"

    @property
    def verdict(self) -> Change:
        """The first of worse, changed, better, unsure and not seen that any metric is, or same."""
        found = set(self.changes.values())
        every: tuple[Change, ...] = ("worse", "changed", "better", "unsure", "not seen")
        return next((one for one in every if one in found), "same")

    @cached_property
    def notes(self) -> list[str]:
        """What else decides whether the numbers can be believed."""
        names = ("in the later run", "in the earlier run")
        found = self._differing()
        if self.pairs is not None:
            found += _times_told(self.pairs)
            found += notes.left_out(self.pairs, self.last, names)
        found += notes.errors_told(self.last, self.this, ("then", "now"))
        found.append(reach_told(1 + len(self.baseline), self.reach))
        return found

    def _differing(self) -> list[str]:
        one, other = self.last.scenario, self.this.scenario
        what = [name for name in ("traffic", "clock", "gateway", "providers", "faults")
                if getattr(one, name) != getattr(other, name)]  # fmt: skip
        seed = ["seed"] if self.last.seed != self.this.seed else []
        if not (what or seed):
            return []
        told = f"The two differ in {', '.join([*seed, *what])}"
        unlike = f"{told}: what changed may be due to that." if set(what) - {"clock"} else f"{told}."
        return [unlike if self.paired else f"{unlike} They are compared as samples, not request by request."]

    @property
    def sides(self) -> Sides:
        """What the pictures are drawn from."""
        if self.pairs is not None:
            read = self.pairs.values
            whole = {name: read(name, failures=True)[::-1] for name in LATENCIES}
            answered = {name: read(name)[::-1] for name in LATENCIES}
        else:
            this, last = self._apart
            whole = {name: (last.values(name, failures=True), this.values(name, failures=True)) for name in LATENCIES}
            answered = {name: (last.values(name), this.values(name)) for name in LATENCIES}
        allowed = {f"{name} p(50)": self.least_effect for name in LATENCIES}
        return Sides(self.this.scenario.name, ("then", "now"), whole, answered, allowed)

    @property
    def plot(self) -> RealityPlots:
        """Pictures: ``drift.plot.ecdf("ttft")``, ``drift.plot.qq("e2e")``."""
        from llmsim.report.plots.reality import RealityPlots

        return RealityPlots(self.sides)

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        told = []
        for word in ("worse", "better", "changed"):
            names = [f"{line.name} {error_told(line, line.error)}" for line in self.lines
                     if self.changes[line.name] == word]  # fmt: skip
            if names:
                told.append(f"{word}: {', '.join(names)}")
        calm = {"unsure": "nothing surely changed", "not seen": "no change seen"}.get(self.verdict, "nothing changed")
        return f"{MARKS[self.verdict]} {self.this.scenario.name}, live then and now: {'; '.join(told) or calm}"

    @property
    def results(self) -> dict[str, Result]:
        """The two, by what they are called."""
        return {"then": self.last, "now": self.this}

    @property
    def told(self) -> Told:
        """Everything that it says."""
        runs = ("runs differ by",) if self.reach else ()
        head = ("verdict", "metric", "then", "now", "change", "interval", *runs, "")
        table = Table("", head, [self._row(line) for line in self.lines])
        last, this = self.requests
        how = (
            f"{counted(this, 'pair')} of requests"
            if self.paired
            else f"{counted(last, 'request')} then and {this} now, not paired"
        )
        glance = (
            f"{how}. A metric changed if its interval (95 % over all metrics) leaves 0 out and it moved by at least "
            f"{share(self.least_effect)}, shares by {100 * _LEAST_POINTS:g} point. Percentiles count failures as never."
        )
        return Told(self.headline, self.verdict, glance, [table], [], self.notes)

    def _row(self, line: Line) -> tuple[str, ...]:
        change = self.changes[line.name]
        values = (figure(line.live, line.unit), figure(line.sim, line.unit))
        told: tuple[str, ...] = (error_told(line, line.error), interval_told(line))
        if self.reach:
            reach = self.reach.get(line.name.removesuffix(" a request"))
            told += ("–" if reach is None or math.isinf(reach) else error_told(line, reach).lstrip("+"),)
        return (change, line.name, *values, *told, self._needs(line) if change == "unsure" else "")

    def _needs(self, line: Line) -> str:
        if line.bursts is not None:
            return bursts_told(line.bursts)
        if line.interval is None:
            return f"needs {line.fewest:,} requests"
        if self._within_reach(line):  # no number of requests helps
            return "runs differ by as much"
        # To leave 0 out, as if it were a tolerance of nothing.
        needed = pairs_needed(line.pairs, line.error, line.interval, 0.0)
        return "too near to be told" if needed is None else f"needs about {needed:,} requests"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, JSON-able by a strict encoder."""
        last, this = self.requests
        found: Mapping[str, Any] = {
            "scenario": self.this.scenario.name,
            "paired": self.paired,
            "requests": {"then": last, "now": this},
            "verdict": self.verdict,
            "least_effect": self.least_effect,
            "earlier_runs": 1 + len(self.baseline),
            "runs_differ_by": {name: jsonable(value) for name, value in self.reach.items()},
            "metrics": [_line(line, self.changes[line.name]) for line in self.lines],
            "notes": self.notes,
        }
        return dict(found)


def _times_told(pairs: Pairs) -> list[str]:
    """Whether the same requests were sent at different times, which only a late client does."""
    lag = np.abs(pairs.table["lag_s"].drop_nulls().to_numpy())
    if not len(lag) or (p95 := float(np.quantile(lag, 0.95, method="inverted_cdf"))) <= LATE_S:
        return []
    return [
        f"Client overloaded: the same requests were sent {figure(p95, 's')} apart (p95); once it could not keep up."
    ]


def _line(line: Line, change: Change) -> dict[str, Any]:
    page = line_dict(line)
    kept = ("name", "unit", "relative", "interval")
    return {
        **{key: page[key] for key in kept},
        "then": jsonable(line.live),
        "now": jsonable(line.sim),
        "change": jsonable(line.error),
        "verdict": change,
    }
