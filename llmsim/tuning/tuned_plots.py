"""Pictures of a tuning: what they need, as `llmsim.report.plots` takes it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import polars as pl

from llmsim.errors import LlmsimError
from llmsim.report.varied import Shown
from llmsim.tuning.settings_runs import told
from llmsim.tuning.space import shown

if TYPE_CHECKING:
    from llmsim.report.plots.canvas import Picture
    from llmsim.tuning.tuned import Held, Trial, Tuned

__all__ = ["TunedPlots"]

_FATES = ("holds", "open", "breaks")  # the best first


class TunedPlots:
    """``tuned.plot()``, ``tuned.plot.front()`` and ``tuned.plot.sensitivity()``."""

    def __init__(self, found: Tuned) -> None:
        self._found = found

    def __call__(self, goal: str | None = None) -> Picture:
        """An objective by trial, and the best so far: what broke a limit and what stopped early is marked.

        Parameters
        ----------
        goal
            By name, of several; default: the first.
        """
        from llmsim.report.plots.tuning import trials

        found, number = self._found, self._number(goal)
        if not found.trials:
            raise LlmsimError("nothing was tried yet, so there is nothing to draw")
        seek = found.goals[number]
        rows, best = [], (_FATES.index("breaks"), math.inf)
        for at, trial in enumerate(found.trials, 1):
            fate = self._fate(trial)
            if fate in ("holds", "open"):  # what passes is preferred to what is cheaper, as in the search
                best = min(best, (_FATES.index(fate), trial.costs[number]))
            rows.append((at, self._value(number, trial.costs[number]), fate, self._value(number, best[1])))
        table = pl.DataFrame(rows, ["trial", "value", "fate", "best"], orient="row", schema_overrides={
            "value": pl.Float64, "best": pl.Float64
        })  # fmt: skip
        now = self._value(number, found.current.tuning[number]) if found.current is not None else math.nan
        return trials(table, self._shown(number), now=now, low_is_good=seek.low_is_good, title=self._title("trials"))

    def front(self, x: str | None = None, y: str | None = None) -> Picture:
        """Two objectives of the settings that no other beats, on held-out luck, with what there is.

        Bars are 95 % intervals of the paired difference from what there is, laid from its figure.

        Parameters
        ----------
        x, y
            By name; default: the first two.
        """
        from llmsim.report.plots.tuning import front

        found = self._found
        if len(found.goals) < 2:
            raise LlmsimError("a front needs two goals; name another one to minimize or maximize")
        if found.current is None:
            raise LlmsimError("the tuning was interrupted before anything was run on held-out luck")
        first = self._number(x)
        second = self._number(y) if y is not None else next(n for n in range(len(found.goals)) if n != first)
        if first == second:
            raise LlmsimError(f"{found.goals[first].name} cannot be both x and y")
        chosen = [*found.front, *(one for one in (found.best, found.current) if one not in found.front)]
        rows = [self._point(one, found.current, (first, second)) for one in chosen if one is not None]
        pairs = [[self._value(n, trial.costs[n]) for n in (first, second)] for trial in found.trials]
        cloud = pl.DataFrame(pairs, ["x", "y"], orient="row", schema_overrides={"x": pl.Float64, "y": pl.Float64})
        table = pl.DataFrame(rows, infer_schema_length=None)
        axes = [self._shown(n)._replace(column=column) for n, column in ((first, "x"), (second, "y"))]
        return front(table, cloud, *axes, title=self._title("held-out luck"))

    def sensitivity(self) -> Picture:
        """What each parameter alone does to the first objective, around what won, on held-out luck."""
        from llmsim.report.plots.tuning import sensitivity

        found = self._found
        best = found.best
        if best is None or not found.sensitivity:
            raise LlmsimError("no neighbour of the tuned settings was run, so there is nothing to draw")
        sign = 1.0 if found.goals[0].low_is_good else -1.0
        rows = []
        for one in found.sensitivity:
            change = one.change
            scale = 1 / abs(best.held_out[0]) if best.held_out[0] else 0.0
            ends = sorted(sign * end * scale for end in change.interval or ())
            tuned = found.settings.get(one.path)
            rows.append({
                "path": one.path, "value": shown(one.value),
                "tuned": shown(tuned) if tuned is not None else found.now.get(one.path, "as it is"),
                "change": sign * change.change * scale if change.change else 0.0,
                "low": ends[0] if ends else None, "high": ends[1] if ends else None, "breaks": ", ".join(one.breaks),
            })  # fmt: skip
        table = pl.DataFrame(rows, infer_schema_length=None)
        base = "the tuned value" if found.settings else "what it is now"  # of a front nothing may be better in all
        return sensitivity(table, self._shown(0), base=base, title=self._title("one parameter at a time"))

    # -- their parts -------------------------------------------------------------------------------------------

    def _number(self, goal: str | None) -> int:
        names = [one.name for one in self._found.goals]
        if goal is None:
            return 0
        if goal not in names:
            raise LlmsimError(f"{goal!r} was not asked for; {', '.join(names)} {'was' if len(names) == 1 else 'were'}")
        return names.index(goal)

    def _value(self, goal: int, cost: float) -> float:
        return self._found.goals[goal].value(cost)  # over several scenarios a share of what it is now

    def _fate(self, trial: Trial) -> str:
        if trial.stopped == "infeasible" or (trial.limits == "FAIL" and not trial.stopped):
            return "breaks"
        if trial.stopped:
            return "stopped"
        return "holds" if trial.limits == "PASS" else "open"

    def _shown(self, goal: int) -> Shown:
        one, several = self._found.goals[goal], len(self._found.scenarios) > 1
        label = f"{one.name}, times what it is now" if several else one.name
        return Shown("value", label, "factor" if several else one.unit, low_is_good=one.low_is_good)

    def _title(self, what: str) -> str:
        return f"{' + '.join(one.name for one in self._found.scenarios)}: {what}"

    def _point(self, one: Held, current: Held, goals: tuple[int, int]) -> dict[str, Any]:
        kind = "now" if not one.settings else "best" if one == self._found.best else "front"
        row: dict[str, Any] = {"name": told(one.settings), "kind": kind, "verdict": one.holds}
        for column, number in zip("xy", goals, strict=True):
            row[column] = self._value(number, one.held_out[number])
            row[f"{column}_tuning"] = self._value(number, one.tuning[number])
            interval = one.changes[number].interval
            ends = [self._value(number, current.held_out[number] + end) for end in interval or ()]
            row[f"{column}_low"], row[f"{column}_high"] = sorted(ends) if ends and one.settings else (None, None)
        return row
