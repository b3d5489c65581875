"""What came of a tuning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from llmsim.report.grid import Grid
from llmsim.report.numbers import jsonable
from llmsim.report.paired import Difference
from llmsim.report.verdict import Word
from llmsim.scenario.objectives import Objective
from llmsim.scenario.spec import Scenario
from llmsim.tuning.objective import Goal
from llmsim.tuning.settings_runs import Stop

if TYPE_CHECKING:
    from llmsim.tuning.edges import Edge
    from llmsim.tuning.rivals import Apart
    from llmsim.tuning.tuned_plots import TunedPlots
    from llmsim.tuning.undone import Alone

__all__ = ["Account", "Change", "Held", "LimitHeld", "Sensitive", "Trial", "Tuned", "Verdict"]

Verdict = Literal["better", "worse", "same", "unsure"]


class Trial(NamedTuple):
    """One setting that was tried."""

    settings: dict[str, Any]
    costs: tuple[float, ...]  #: over the replications it got; small is good
    outside: tuple[float, ...]  #: of each limit; at most 0 holds
    replications: int
    stopped: Stop
    limits: Word = "PASS"  #: FAIL: one does not hold in the median


class LimitHeld(NamedTuple):
    """One limit on held-out luck."""

    line: Objective
    scenario: str
    measured: float
    verdict: Word
    likely_needed: int | None = None  #: replications that would probably decide it, where it is UNDECIDED


class Change(NamedTuple):
    """A cost against another setting's, pair by pair; negative is better."""

    change: float  #: median of the differences
    interval: tuple[float, float] | None  #: of it, 95 %; None: too few pairs
    relative: float  #: as a share of what it was
    least: float = 0.0  #: what lies within so much of 0 does not matter

    @property
    def verdict(self) -> Verdict:
        """Whether the whole interval lies to one side of 0, or so near to 0 that it does not matter."""
        if self.interval is None:
            return "unsure"
        low, high = self.interval
        if high < 0 or low > 0:
            return "better" if high < 0 else "worse"
        return "same" if -self.least <= low and high <= self.least else "unsure"


class Held(NamedTuple):
    """One setting on luck that played no part in choosing it."""

    settings: dict[str, Any]
    tuning: tuple[float, ...]  #: costs on the luck it was chosen on
    held_out: tuple[float, ...]  #: costs on the other
    changes: tuple[Change, ...]  #: by goal, against the settings as they are, on held-out luck
    limits: tuple[LimitHeld, ...]
    replications: int  #: of held-out luck that it got
    most: int  #: that it could have

    @property
    def holds(self) -> Word:
        """Of all limits: one that fails fails, all must pass to pass."""
        words = {one.verdict for one in self.limits}
        return "FAIL" if "FAIL" in words else "UNDECIDED" if "UNDECIDED" in words else "PASS"


class Sensitive(NamedTuple):
    """One value beside the tuned one, all others as tuned, on held-out luck."""

    path: str
    value: Any
    change: Change  #: of the first goal, against the tuned settings
    breaks: tuple[str, ...]  #: limits that do not hold with this value, and less so than with the tuned one


class Account(NamedTuple):
    """Replications, by what they were spent on."""

    trials: int
    tuning: int  #: of settings, as many of each as any can have
    grid: int  #: what as many trials cost that all run to their end
    confirming: int  #: beyond those that any setting can have: longer looks where it is open whether limits hold
    held_out: int
    sensitivity: int

    @property
    def share(self) -> float:
        """What the tuning took of the plain grid."""
        return self.tuning / self.grid if self.grid else 1.0


@dataclass(frozen=True, repr=False)
class Tuned:
    """What came of a tuning; it shows itself as tables.

    Parameters
    ----------
    scenarios
        As they were.
    space, now
        Each dimension as a text, and the value that stands there.
    goals
        What was asked for.
    trials
        All settings that were tried, in order.
    best
        The winner, and how it does on held-out luck; None: interrupted before it was known.
    current
        The same of the settings as they are.
    front
        Of several goals, those that no other beats, the winner among them.
    differences
        Every number that is compared, as they are → tuned, on held-out luck of the first scenario.
    sensitivity
        What each parameter alone does around the winner.
    account
        What it took.
    most, held_out
        Replications of a setting, and of held-out luck, at most.
    seed, held_seed
        Of the luck it was tuned on, and of the other: ``llmsim run --seed`` shows it again.
    recipe
        What the recipe is about; empty: none.
    partial
        It was interrupted.
    """

    scenarios: tuple[Scenario, ...]
    space: tuple[str, ...]
    now: dict[str, str]
    goals: tuple[Goal, ...]
    trials: tuple[Trial, ...]
    best: Held | None
    current: Held | None
    front: tuple[Held, ...]
    differences: tuple[Difference, ...]
    sensitivity: tuple[Sensitive, ...]
    account: Account
    most: int
    held_out: int
    seed: int
    held_seed: int
    edges: tuple[Edge, ...] = ()  #: where the best is at an end of its range, and would go further if it could
    apart: Apart | None = None  #: how well the winner is told from other settings; None: of several goals, say
    idle: tuple[str, ...] = ()  #: paths of the recipe that were left out: nothing that happens depends on them
    undone: tuple[Sensitive, ...] = ()  #: each tuned value alone put back to what it is now
    alone: Alone | None = None  #: what is needed of them, without the rest; None: all, or nothing by itself
    given: Any = None  #: the space as it was asked for
    overrides: tuple[str, ...] = ()  #: what was changed before it was tuned, ``path=value``
    recipe: str = ""
    so_far: dict[str, Any] | None = None  #: the best when it was interrupted
    scenario: Scenario | None = None  #: the first one, tuned
    source: Path | None = None
    partial: bool = False
    within_s: float | None = None  #: how long it was given, where that ended the trials
    wall_s: float = 0.0
    study: Any = None  #: Optuna's study, for its own plots; None where every setting was tried

    @property
    def settings(self) -> dict[str, Any]:
        """The tuned values by path; empty: what there is cannot be improved upon."""
        if self.best is not None:
            return dict(self.best.settings)
        return dict(self.so_far or {})

    @property
    def verdict(self) -> Verdict:
        """The first goal of the winner against what there is, on held-out luck."""
        return self.best.changes[0].verdict if self.best is not None else "unsure"

    @property
    def improves(self) -> bool:
        """Whether the winner is to be preferred to what there is, as far as held-out luck tells.

        Its goal is surely better and no limit surely fails; or it holds limits that fail as things are.
        """
        if self.best is None or self.current is None or not self.best.settings or self.best.holds == "FAIL":
            return False
        return self.verdict == "better" or (self.current.holds == "FAIL" and self.best.holds == "PASS")

    @property
    def headline(self) -> str:
        """The answer in a sentence."""
        from llmsim.tuning.tuned_words import headline

        return headline(self)

    @property
    def notes(self) -> list[str]:
        """What else is to be known: optimism, what binds, what it took."""
        from llmsim.tuning.tuned_words import notes

        return notes(self)

    @property
    def binds(self) -> list[str]:
        """Limits without which something cheaper next to the tuned settings could be had."""
        return list(dict.fromkeys(line for one in self.sensitivity if one.change.change < 0 for line in one.breaks))

    @property
    def plot(self) -> TunedPlots:
        """Pictures: ``tuned.plot()`` by trial, ``tuned.plot.front()``, ``tuned.plot.sensitivity()``."""
        from llmsim.tuning.tuned_plots import TunedPlots

        return TunedPlots(self)

    @property
    def grids(self) -> list[Grid]:
        """The tables, the most important first."""
        from llmsim.tuning.tuned_tables import grids

        return grids(self)

    def write(self, place: str | Path) -> Path:
        """Write the first scenario with the tuned values, and everything else as it stands in its file.

        Raises
        ------
        LlmsimError
            The scenario did not come from a file, or there is nothing to write.
        """
        from llmsim.tuning.tuned_files import write

        return write(self, Path(place))

    def report(self, place: str | Path) -> Path:
        """Write the tables as a page: ``.html``, or Markdown whatever else it is called."""
        from llmsim.tuning.tuned_files import report

        return report(self, Path(place))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a strict JSON encoder."""
        from llmsim.tuning.tuned_words import as_dict

        plain: dict[str, Any] = jsonable(as_dict(self))
        return plain

    def __repr__(self) -> str:
        return "\n\n".join(str(grid) for grid in self.grids)

    def _repr_html_(self) -> str:
        return "".join(grid._repr_html_() for grid in self.grids)

    def _repr_markdown_(self) -> str:
        return "\n".join(grid._repr_markdown_() for grid in self.grids)
