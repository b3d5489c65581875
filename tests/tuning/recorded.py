"""Real simulations of every setting of a finite space, run once; tunings then race over parts of them.

Replication *r* of every setting is under the same luck. A tuning is given some of the replications, in an order of its
own; the others are luck that it has not seen, and tell what its winner is worth.
"""

import random
from typing import NamedTuple

from llmsim.report.verdict import median
from llmsim.tuning.journal import Journal
from llmsim.tuning.objective import centre, goals_of, limits_of, violation
from llmsim.tuning.running import Measured
from llmsim.tuning.settings_runs import Runs
from llmsim.tuning.space_words import parse_space
from llmsim.tuning.stages import Plan, Stages


class Raced(NamedTuple):
    """What came of one tuning."""

    regret: float  #: of the winner, on unseen luck, against the best setting there
    share: float  #: of the plain grid's replications
    outside: float  #: how far the winner is outside of the limits there


class Recorded:
    """All settings of a space, run."""

    def __init__(self, scenario, space, goal, subject_to=(), *, replications):
        self.scenario, self.count = scenario, replications
        self.space = parse_space(space, scenario)
        self.goals, self.limits = goals_of(scenario, goal, ()), limits_of(scenario, subject_to)
        work = Measured((self.goals[0].line, *self.limits))
        self.rows = {}
        for settings in self.space.all():
            settled = self.space.settled(scenario, settings)
            self.rows[repr(settled.gateway)] = [work(settled, number) for number in range(replications)]

    def stood(self, gateway, numbers):
        """How far a setting is outside of its limits, and its cost, over some replications."""
        rows = [self.rows[gateway][number] for number in numbers]
        over = [max(0.0, median([violation(line, row[1 + n]) for row in rows])) for n, line in enumerate(self.limits)]
        return sum(over), centre(self.goals[0], [row[0] for row in rows])

    def race(self, seed, *, trials, most):
        """Tune on `most` of the replications, and look at the winner on the others."""
        order = list(range(self.count))
        random.Random(seed).shuffle(order)

        def work(lines, held):
            return lambda scenario, number, progress=None: [
                *self.rows[repr(scenario.gateway)][order[number]],
                *(() if held else (repr(scenario.gateway),)),
            ]

        runs = Runs([self.scenario], self.space, Journal(None, {}), jobs=1, tick=lambda: None, work=work)
        stages = Stages(Plan(self.goals, (self.limits,), None, seed, trials, most, 6), runs, None)
        stages._baseline()
        stages._effects()
        stages._trials()
        stages._last_race()
        share = stages.account().share
        winner = stages.question.best([one for one in stages.race.finished if stages._whole(one)])
        fresh = order[most:]
        outside, cost = self.stood(repr(self.space.settled(self.scenario, winner.settings).gateway), fresh)
        best = min(self.stood(gateway, fresh) for gateway in self.rows)[1]
        return Raced(cost / best - 1, share, outside)


def told(found):
    """The figures of several tunings in a line."""
    regrets, shares = sorted(one.regret for one in found), sorted(one.share for one in found)
    lost = sum(one > 0.02 for one in regrets)
    return (
        f"{len(found)} seeds: regret > 2 % in {lost}, median {regrets[len(found) // 2]:.2%}, most {regrets[-1]:.2%}; "
        f"share of the plain grid {shares[0]:.1%} to {shares[-1]:.1%}, median {shares[len(found) // 2]:.1%}"
    )
