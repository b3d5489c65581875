"""The stages of a tuning: what there is, what has an effect, trials, held-out luck, the neighbourhood."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Literal, NamedTuple

from llmsim.errors import LlmsimError, ScenarioError
from llmsim.luck import Luck as Chance
from llmsim.report.verdict import MINIMUM, Word, looks, median
from llmsim.scenario.objectives import Objective
from llmsim.tuning.common_luck import unlike
from llmsim.tuning.confirming import confirm
from llmsim.tuning.edges import Edge, edges
from llmsim.tuning.effects import idle, without
from llmsim.tuning.held_out import around, decided, differences, held, sensitive
from llmsim.tuning.objective import Goal
from llmsim.tuning.proposing import Answer, proposer
from llmsim.tuning.question import Question, Reference, same
from llmsim.tuning.racing import Race
from llmsim.tuning.rivals import Apart, told_apart
from llmsim.tuning.settings_runs import Entry, Runs, told
from llmsim.tuning.space import Dimension
from llmsim.tuning.time_left import left_s, time_is_up
from llmsim.tuning.tuned import Account, Held, Sensitive, Trial
from llmsim.tuning.undone import Alone, alone, put_back

__all__ = ["Plan", "Stage", "Stages", "TuneProgress"]

Stage = Literal["baseline", "trials", "last race", "limits", "held-out luck", "sensitivity"]

BATCH = 8  # settings that are asked for at once, whatever the number of processes
_FINALISTS = 4  # at most, that had been halved away, and get another chance in the end
_SPARE = 6  # at most, that get all replications because what was cheaper does not pass
_BUDGET = 0.35  # of the plain grid: the last race, and what is run after it, are as large as that allows
_MOST_FRONT = 8  # settings of a front that are held out
_FRONT_BUDGET = 2  # of held-out luck: each of a front gets as much divided by this, as they may be many
_AROUND = 10  # replications of a neighbour: enough for an interval (6), and no verdict hangs on it
_MISFITS = 5  # settings that do not fit, for each trial: then the space is as good as empty
_SEEDS = 2**31
_WORDS: tuple[Word, ...] = ("PASS", "UNDECIDED", "FAIL")  # of limits, by `Standing.doubt`


class TuneProgress(NamedTuple):
    """Where a tuning is, for whoever draws it."""

    stage: Stage
    trial: int  #: settings that were tried
    trials: int
    replications: int  #: simulated or read from the journal
    best: str  #: the best so far and its cost; empty: nothing
    wall_s: float
    left_s: float | None  #: about; None while there is too little to tell by


class Plan(NamedTuple):
    """What a tuning is to do."""

    goals: tuple[Goal, ...]
    limits: tuple[tuple[Objective, ...], ...]
    weights: tuple[float, ...] | None
    seed: int
    trials: int
    most: int  #: replications of a setting
    held_out: int
    optional: frozenset[str] = frozenset()  #: paths that may be left out where they have no effect
    within_s: float = math.inf  #: how long it may take


class Stages:
    """One call of `llmsim.tune`, as far as it got.

    Parameters
    ----------
    plan
        What is to be done.
    runs
        Who simulates.
    report
        Called with a `TuneProgress`.
    """

    def __init__(self, plan: Plan, runs: Runs, report: Callable[[TuneProgress], object] | None) -> None:
        self.plan, self.runs, self._report = plan, runs, report
        count = len(runs.scenarios)
        self.held_seed = int(Chance(plan.seed).uniform("tune held-out luck") * _SEEDS)
        common = (plan.goals, plan.limits)
        self.tuning = runs.luck("tuning", _seeds(plan.seed, count), plan.most, *common)
        self.fresh = runs.luck("held out", _seeds(self.held_seed, count), plan.held_out, *common, held=True)
        scales = tuple(tuple(1.0 for _ in plan.goals) for _ in range(count))
        self.question = Question(plan.goals, plan.limits, plan.most, plan.weights, scales)
        self.race = Race(self.question, self.tuning)
        self.proposer = proposer(runs.space, len(plan.goals), plan.seed, plan.trials)
        self.stage: Stage = "baseline"
        self.idle: list[Dimension] = []  #: that were left out
        self.tried: list[Entry] = []
        self.cut = False  #: there was no time for more trials
        self.misfits = 0  #: settings whose values do not fit together
        self.current = self.tuning.entry({})
        self.winner: Entry | None = None
        self.apart: Apart | None = None  #: how well it is told from the others; None: it cannot be
        self.front: list[Entry] = []
        self.held: dict[int, Held] = {}
        self.sensitivity: list[Sensitive] = []
        self.edges: list[Edge] = []
        self.undone: list[Sensitive] = []  #: each tuned value alone put back
        self.alone: Alone | None = None  #: what is needed of them, without the rest
        self._started = perf_counter()
        self._spent = (0, 0)  # replications of held-out luck, and of the neighbourhood

    def all(self) -> None:
        """Every stage."""
        self.choose()
        self.stage = "held-out luck"
        self._hold_out()
        self.stage = "sensitivity"
        self._look_around()

    def choose(self) -> None:
        """Up to the winner: all that is run on the luck settings are chosen by."""
        self._baseline()
        self._effects()
        self.stage = "trials"
        self._trials()
        self.stage = "last race"
        self._last_race()
        self.stage = "limits"
        self._confirm()

    # -- before ------------------------------------------------------------------------------------------------

    def _baseline(self) -> None:
        """The settings as they are: what everything is compared with, and whether what is asked can be told."""
        self.tuning.ensure([self.current], self.plan.most)
        question, current = self.question, self.current
        untold = [
            f"{line.key} {line.text}"
            for values, (*_, line) in zip(question.values(current), question.places(), strict=True)
            if all(map(math.isnan, values))
        ]
        untold += [
            goal.name
            for n, goal in enumerate(self.plan.goals)
            if all(math.isnan(row[n]) for rows in current.rows for row in rows)
        ]
        if untold:
            raise LlmsimError(
                f"{', '.join(untold)} cannot be told here in any replication, so nothing can be tuned by it; "
                "`llmsim run` says why"
            )
        if len(self.runs.scenarios) > 1:
            self._scale()

    def _scale(self) -> None:
        """Several scenarios: costs become shares of what they are now, so that a dear one does not outweigh all."""
        scales = []
        for index in range(len(self.runs.scenarios)):
            costs = [
                median([goal.cost(rows[index][n]) for rows in self.current.rows])
                for n, goal in enumerate(self.plan.goals)
            ]
            scales.append(tuple(abs(one) if one and math.isfinite(one) else 1.0 for one in costs))
        self.question = self.question._replace(scales=tuple(scales))
        self.race = Race(self.question, self.tuning)

    def _effects(self) -> None:
        """That every dimension changes something that happens; of a recipe's, those that do not are left out."""
        space = self.runs.space
        self.idle = idle(space, self.tuning)
        if self.idle:
            self.runs.space = without(space, self.idle, self.plan.optional)
            self.proposer = proposer(self.runs.space, len(self.plan.goals), self.plan.seed, self.plan.trials)

    # -- trials ------------------------------------------------------------------------------------------------

    def _trials(self) -> None:
        own = self.runs.space.current(self.runs.scenarios[0])
        if own is not None and len(self.runs.scenarios) == 1:
            self.proposer.tell([self._answer(self.current, own)])
        while len(self.tried) < self.plan.trials and not self.cut:
            best = self.best_so_far() if len(self.plan.goals) == 1 else None
            here = (best.settings or own) if best is not None else None
            asked = self.proposer.ask(min(BATCH, self.plan.trials - len(self.tried)), here)
            if not asked:
                break
            batch = [self.tuning.entry(settings) for settings in asked if self._fits(settings)]
            self.race.run(batch)
            self.tried += batch
            reference = self.race.reference
            self.proposer.tell([self._answer(entry, dict(entry.settings), reference) for entry in batch])
            self.cut = len(self.tried) < self.plan.trials and time_is_up(
                self, perf_counter() - self._started, batch=BATCH, again=_FINALISTS, around=_AROUND
            )

    def _fits(self, settings: dict[str, Any]) -> bool:
        """Whether values that fit each for itself fit together; if not, that is an answer too, and costs nothing."""
        try:
            self.tuning.check(settings)
        except ScenarioError:
            nowhere = tuple(math.inf for _ in self.plan.goals), tuple(1.0 for _ in self.question.places())
            self.proposer.tell([Answer(settings, *nowhere)])
            self.misfits += 1
            if self.misfits > _MISFITS * self.plan.trials:
                raise
            return False
        return True

    def _answer(self, entry: Entry, settings: dict[str, Any], reference: Reference | None = None) -> Answer:
        return Answer(settings, self.costs(entry), tuple(self.question.outside(entry, reference)))

    def costs(self, entry: Entry) -> tuple[float, ...]:
        """What a setting would cost over all replications.

        With fewer than all it is what the settings as they are cost over all, and the differences so far: whether the
        first replications were lucky ones drops out, as far as they were for both.
        """
        if entry.done >= self.plan.most:
            return self.question.centres(entry)
        found = []
        own, full = self.question.centres(entry), self.question.centres(self.current)
        costs = zip(self.question.costs(entry), self.question.costs(self.current, self.plan.most), strict=True)
        for n, (mine, theirs) in enumerate(costs):
            changes = unlike(mine, theirs, self.race.cost_share(n))
            adjusted = full[n] + math.fsum(changes) / len(changes)
            found.append(adjusted if math.isfinite(adjusted) else own[n])
        return tuple(found)

    def _last_race(self) -> None:
        """Those that were halved away while others looked better, once more and to the end."""
        halved = [entry for entry in self.tuning.entries if entry.stopped == "halved"]
        reference = self.race.reference
        halved.sort(key=lambda entry: (self.question.standing(entry, reference).outside, self.costs(entry)))
        chosen, left = [], self._room()
        for entry in halved[:_FINALISTS]:
            left -= (self.plan.most - entry.done) * len(self.runs.scenarios)
            if left >= 0:
                chosen.append(entry)
        self.race.run(chosen, halve=False)

    def _confirm(self) -> None:
        """Whether the limits of what would win hold, and so what wins."""
        confirm(self.question, self.tuning, self.finished)
        self._rescue()
        self.front = self.question.front(self.finished) if len(self.plan.goals) > 1 else []
        self.winner = self.question.best(self.finished)
        if self.winner is not None:
            self.apart = told_apart(self.question, self.winner, self.finished)

    def _rescue(self) -> None:
        """What was given up for something cheaper that does not hold after all, if its own limits may hold.

        The cheapest to the end, one after another, as long as nothing passed without a longer look that is as cheap,
        and nothing passed at all that is cheaper by what matters; once something passed, within what settings may take
        in all. Without limits nothing was given up for that.
        """
        if not any(self.plan.limits):
            return
        given_up = [one for one in self.tried if 0 < one.done < self.plan.most and self.race.may_hold(one)]
        for entry in sorted(given_up, key=self.costs)[:_SPARE]:
            passed = any(self.question.standing(one).doubt == 0 for one in self.finished)
            if passed and (self.plan.most - entry.done) * len(self.runs.scenarios) > self._room():
                continue
            if any(self._instead(one, entry) for one in self.finished):
                continue
            self.tuning.ensure([entry], self.plan.most)
            entry.stopped = ""
            confirm(self.question, self.tuning, self.finished)

    def _room(self) -> float:
        """Replications that are left of what settings may take in all."""
        account = self.account()
        return _BUDGET * account.grid - account.tuning

    def _instead(self, one: Entry, other: Entry) -> bool:
        """Whether a setting passes and makes it needless to look at another."""
        mine, theirs = self.costs(one), self.costs(other)
        if self.question.standing(one).doubt > 0 or any(a > b for a, b in zip(mine, theirs, strict=True)):
            return False
        return one.done <= self.plan.most or not same(theirs, mine)

    @property
    def finished(self) -> list[Entry]:
        """Settings of all dimensions, and the one that is there, with all replications."""
        whole = {one.path for one in self.runs.space.dimensions}
        return [entry for entry in self.race.finished if not entry.settings or set(entry.settings) == whole]

    # -- after -------------------------------------------------------------------------------------------------

    def _hold_out(self) -> None:
        assert self.winner is not None
        self._until_decided([self.winner], self.plan.held_out)
        front = [one for one in self.front[:_MOST_FRONT] if one not in (self.winner, self.current)]
        self._until_decided(front, max(MINIMUM, self.plan.held_out // _FRONT_BUDGET))
        self._spent = (self.fresh.made, 0)

    def _until_decided(self, chosen: Sequence[Entry], most: int) -> None:
        """Look at settings on held-out luck, and at what there is beside them, as long as more of it would tell."""
        names = [one.name for one in self.runs.scenarios]
        now, unsure = self.fresh.entry({}), list(chosen)
        for look in looks(most) if unsure else ():
            fresh = [self.fresh.entry(one.settings) for one in unsure]
            self.fresh.ensure(list(dict.fromkeys([now, *fresh])), look.replications)
            current = held(self.question, self.current, now, now, names, most)
            if self.winner in chosen:
                self.held[id(self.current)] = current
            for entry, mine in zip(unsure, fresh, strict=True):
                self.held[id(entry)] = held(self.question, entry, mine, now, names, most)
            unsure = [entry for entry in unsure if not decided(self.held[id(entry)], current)]
            if not unsure:
                return

    def _look_around(self) -> None:
        assert self.winner is not None
        best = self.fresh.entry(self.winner.settings)
        settings = dict(best.settings) or self.runs.space.current(self.runs.scenarios[0])
        if settings is None:
            return  # what there is lies outside of the space: it has no neighbours there
        beside = [(path, value, self.fresh.entry(other)) for path, value, other in around(self.runs.space, settings)]
        back = [
            (path, self.fresh.entry(other))
            for path, other in put_back(self.runs.space, self.runs.scenarios, self.winner.settings)
        ]
        upto = min(_AROUND, self.plan.held_out)
        self.fresh.ensure([*(entry for *_, entry in beside), *(entry for _, entry in back)], upto)
        for path, value, entry in beside:
            self.sensitivity.append(sensitive(self.question, best, entry, path, value))
        self.undone = [sensitive(self.question, best, entry, path, None) for path, entry in back]
        self.alone = alone(self.question, self.fresh, best, self.undone, upto)
        self.edges = edges(self.runs.space, self.runs.scenarios[0], settings, self.sensitivity)
        self._spent = (self._spent[0], self.fresh.made - self._spent[0])

    # -- what is told ------------------------------------------------------------------------------------------

    def best(self) -> Held | None:
        """The winner, once it is held out."""
        return self.held.get(id(self.winner)) if self.winner is not None else None

    def best_so_far(self) -> Entry | None:
        """The best setting with all replications."""
        return self.winner or self.question.best(self.finished)

    def compared(self) -> list[Any]:
        """Every number, as it is and as tuned, on held-out luck."""
        if self.winner is None or not self.held or not self.winner.settings:
            return []
        return differences(self.question, self.fresh.entry({}), self.fresh.entry(self.winner.settings))

    def trials(self) -> list[Trial]:
        """All that were tried."""
        return [
            Trial(
                dict(one.settings), self.costs(one), tuple(self.question.outside(one)), one.done, one.stopped,
                self.limits(one),
            )
            for one in self.tried
            if one.done
        ]  # fmt: skip

    def limits(self, entry: Entry) -> Word:
        """How the limits of a setting stand."""
        return _WORDS[self.question.standing(entry).doubt]

    def account(self) -> Account:
        """What it took."""
        count = len(self.runs.scenarios)
        tried = sum(1 for one in self.tried if one.done)
        made = count * sum(min(one.done, self.plan.most) for one in self.tuning.entries)
        return Account(tried, made, (tried + 1) * self.plan.most * count, self.tuning.made - made, *self._spent)

    @property
    def before_s(self) -> float:
        """How long it took before anything was simulated: what a study knew."""
        return 0.0 if self.runs.began is None else max(0.0, self.runs.began - self._started)

    def moved(self) -> None:
        """Tell where this is."""
        if self._report is None:
            return
        wall_s = perf_counter() - self._started
        self._report(
            TuneProgress(
                self.stage, len(self.tried), self.plan.trials, len(self.runs.journal.known), self._shown_best(), wall_s,
                left_s(self, wall_s, around=_AROUND),
            )
        )  # fmt: skip

    def _shown_best(self) -> str:
        best = self.best_so_far()
        if best is None or best.done < self.plan.most:
            return ""
        value = self.question.centres(best)[0]
        shown = self.plan.goals[0].shown(value, share=len(self.runs.scenarios) > 1)
        return f"{shown} ({told(best.settings)})" if best.settings else f"{shown} (as it is)"


def _seeds(seed: int, count: int) -> list[int]:
    return [seed] * count
