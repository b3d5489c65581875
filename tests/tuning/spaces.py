"""A small scenario with a dial or two, and a tuning over an objective that costs nothing."""

import math

from llmsim.luck import Luck
from llmsim.scenario.load import load_scenario
from llmsim.tuning.journal import Journal
from llmsim.tuning.objective import goals_of, limits_of
from llmsim.tuning.settings_runs import Runs
from llmsim.tuning.space_words import parse_space
from llmsim.tuning.stages import Plan, Stages

SHOP = {
    "version": 1,
    "name": "shop",
    "seed": 3,
    "replications": 8,
    "clock": {"duration": "20s", "drain": "30s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"a": {"ttft": {"lognormal": {"p50": "300ms", "p99": "6s"}}, "errors": {"server_error": "20%"}}},
    "gateway": {
        "policies": [{"retry": {"max_attempts": 2, "backoff": {"initial": "100ms"}, "budget": "50%"}}],
        "upstream": [{"timeout": {"ttft": "5s"}}, "circuit_breaker"],
    },
    "slo": {"error_rate": ["value < 20%"]},
}

DIALS = {"gateway.retry.backoff.initial": ("10ms", "10s", "log"), "upstream.circuit_breaker.failure_rate": (0.05, 0.95)}


def shop(**changes):
    return load_scenario({**SHOP, **changes})


def pretended(scenario, space, true, *, noise, own=0.3, limit=None, subject_to=(), goals=("cost_per_ok",), **plan):
    """Stages over ``true(scenario) -> cost`` under common luck (`noise`) and luck of each setting's own.

    Both scale with the cost, as they do in simulations.
    """
    parsed = parse_space(space, scenario)

    def work(sums, lines, held):
        def one(scenario, number, progress=None):
            luck = Luck.of(scenario.seed, number)

            def measured(metric):
                value = true(scenario) if limit is None or metric == "cost_per_ok" else limit(scenario)
                shared = luck.uniform("shared", "", metric) - 0.5
                mine = luck.uniform("own", "", metric, repr(scenario.gateway)) - 0.5
                return value * math.exp(noise * (shared + own * mine) * math.sqrt(12))

            found = [wanted.value([measured(part.metric) for part in wanted.metrics]) for wanted in sums]
            found += [measured(line.metric) for line in lines]
            return [*found, *(() if held else (repr(scenario.gateway),))]

        return one

    wanted = Plan(
        goals_of(scenario, goals, ()),
        (limits_of(scenario, subject_to),),
        None,
        plan.pop("seed", scenario.seed),
        plan.pop("trials", 60),
        plan.pop("most", 16),
        plan.pop("held_out", 10),
    )
    runs = Runs(
        [scenario],
        parsed,
        plan.pop("journal", None) or Journal(None, "study", {}),
        jobs=1,
        tick=lambda: None,
        work=work,
    )
    return Stages(wanted, runs, plan.pop("report", None))
