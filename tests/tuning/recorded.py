"""Real simulations of the settings of a finite space, each run once, when it is asked for; tunings race over them.

Replication *r* of every setting is under the same luck. A tuning is given some of the replications, in an order of its
own that begins with four of the first `FRONT`: most settings get no more than these. What it looks at longer in the end
(a setting whose limits are undecided, `llmsim.tuning.confirming`) gets replications beyond them. Beside it stands the
plain grid: every setting with all replications, and the same look in the end; but for settings so far from the best
that they cannot win, which count as if they had been run.

What a winner is worth tells luck that no tuning meets: of it there are as many replications as are asked for, run for
winners and for what comes near the best, once for all tunings.
"""

import dataclasses
import random
from functools import cached_property
from typing import NamedTuple

from llmsim.report.verdict import median
from llmsim.tuning.journal import Journal
from llmsim.tuning.objective import centre, goals_of, limits_of, violation
from llmsim.tuning.running import Measured
from llmsim.tuning.settings_runs import Runs
from llmsim.tuning.space_words import parse_space
from llmsim.tuning.stages import Plan, Stages

FRONT = 8
FRESH = 1_000_000  # number of the first replication that no tuning meets
#: What cannot win is more than so much dearer over the first replications than the best there, or so far outside.
FAR, BEYOND = 1.25, 0.3
#: What may be the best on fresh luck, among others that can win: no more than so much dearer over half of it.
NEAR = 1.05


class Raced(NamedTuple):
    """What came of one tuning."""

    regret: float  #: of the winner, on fresh luck, against the best setting there
    share: float  #: of the plain grid's replications, without `confirming`
    confirming: float  #: replications of the look at undecided limits in the end, in the same share
    outside: float  #: how far the winner is outside of the limits on fresh luck


class Recorded:
    """All settings of a space, run."""

    def __init__(self, scenario, space, goal, subject_to=(), *, replications, fresh):
        self.scenario, self.count, self.fresh = scenario, replications, fresh
        self.space = parse_space(space, scenario)
        self.goals, self.limits = goals_of(scenario, goal, ()), limits_of(scenario, subject_to)
        self._work = Measured((self.goals[0].sum,), self.limits)
        self.rows, self._true = {}, {}
        self.settled = [self.space.settled(scenario, settings) for settings in self.space.all()]

    def row(self, settled, number):
        """Of one replication, run if it was not."""
        key = repr(settled.gateway), number
        if key not in self.rows:
            self.rows[key] = self._work(dataclasses.replace(settled, seed=self.scenario.seed), number)
        return self.rows[key]

    def stood(self, settled, numbers):
        """How far a setting is outside of its limits, and its cost, over some replications."""
        rows = [self.row(settled, number) for number in numbers]
        over = [max(0.0, median([violation(line, row[1 + n]) for row in rows])) for n, line in enumerate(self.limits)]
        return sum(over), centre(self.goals[0], [row[0] for row in rows])

    def true(self, settled):
        """The same over fresh luck."""
        key = repr(settled.gateway)
        if key not in self._true:
            self._true[key] = self.stood(settled, range(FRESH, FRESH + self.fresh))
        return self._true[key]

    @cached_property
    def able(self):
        """Settings that can win."""
        stood = [self.stood(settled, range(FRONT)) for settled in self.settled]
        over, cost = min(stood)
        within = [one[0] <= over + BEYOND and one[1] <= FAR * cost for one in stood]
        return [settings for settings, near in zip(self.space.all(), within, strict=True) if near]

    @cached_property
    def best(self):
        """What the best setting costs on fresh luck."""
        able = [self.space.settled(self.scenario, settings) for settings in self.able]
        half = [self.stood(one, range(FRESH, FRESH + self.fresh // 2)) for one in able]
        over, cost = min(half)
        near = [one for one, at in zip(able, half, strict=True) if at[0] <= over + BEYOND and at[1] <= NEAR * cost]
        return min(self.true(one) for one in near)[1]

    def stages(self, seed, order, *, trials, most):
        """A tuning whose replications are those of `order`, and then others that are in no order."""

        def work(sums, lines, held):
            def one(scenario, number, progress=None):
                at = order[number] if number < most else self.count + number
                return [*self.row(scenario, at), *(() if held else (repr(scenario.gateway),))]

            return one

        runs = Runs([self.scenario], self.space, Journal(None, "study", {}), jobs=1, tick=lambda: None, work=work)
        # The seed is only that of what is proposed: which luck is met says `order`.
        return Stages(Plan(self.goals, (self.limits,), None, seed, trials, most, 6), runs, None)

    def raced(self, stages):
        """What a tuning's winner is worth."""
        outside, cost = self.true(self.space.settled(self.scenario, stages.winner.settings))
        account, grid = stages.account(), (self.space.size + 1) * stages.plan.most
        return Raced(cost / self.best - 1, account.tuning / grid, account.confirming / grid, outside)

    def race(self, seed, *, trials, most):
        """Tune on `most` of the replications."""
        stages = self.stages(seed, self.order(seed), trials=trials, most=most)
        stages.choose()
        return self.raced(stages)

    def grid(self, seed, *, most):
        """The same without racing: every setting gets all replications."""
        stages = self.stages(seed, self.order(seed), trials=self.space.size, most=most)
        stages.tried = [stages.tuning.entry(settings) for settings in self.able]
        stages.tuning.ensure([stages.current, *stages.tried], most)
        stages._confirm()
        return self.raced(stages)._replace(share=1.0)

    def order(self, seed):
        """Of the replications, for one tuning."""
        luck = random.Random(seed)
        first = luck.sample(range(FRONT), 4)
        rest = [number for number in range(self.count) if number not in first]
        return first + luck.sample(rest, len(rest))


def told(found):
    """The figures of several tunings in a line."""
    regrets, shares = sorted(one.regret for one in found), sorted(one.share for one in found)
    lost = sum(one > 0.02 for one in regrets)
    return (
        f"{len(found)} seeds: regret > 2 % in {lost}, median {regrets[len(found) // 2]:.2%}, most {regrets[-1]:.2%}; "
        f"outside of a limit in {sum(one.outside > 0 for one in found)}; "
        f"share of the plain grid {shares[0]:.1%} to {shares[-1]:.1%}, median {shares[len(found) // 2]:.1%}, "
        f"and at most {max(one.confirming for one in found):.1%} for limits that were undecided"
    )
