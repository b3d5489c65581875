"""Held-out luck: looked at as verdicts are, until it is decided or the budget is used, and told which."""

import math

import pytest
from tuning.spaces import DIALS, pretended, shop

from llmsim.report.verdict import looks
from llmsim.tuning.held_out import change_of
from llmsim.tuning.standing import standing

SHOP = shop()


def better(scenario):
    """A fifth less at 200 ms than anywhere else."""
    return 0.8 if standing(scenario, "gateway.retry.backoff.initial") == pytest.approx(0.2) else 1.0


def held(true, settings=None, *, goals=("cost_per_ok",), **options):
    """Stages whose winner is given, held out."""
    stages = pretended(SHOP, DIALS, true, goals=goals, **{"noise": 0.05, "held_out": 40, **options})
    stages.tuning.ensure([stages.current], stages.plan.most)
    chosen = settings if settings is not None else at(200)
    stages.winner = stages.tuning.entry(chosen)
    stages.tuning.ensure([stages.winner], stages.plan.most)
    return stages


def at(initial_ms, rate=0.5):
    return {"gateway.retry.backoff.initial": f"{initial_ms}ms", "upstream.circuit_breaker.failure_rate": rate}


def out(stages):
    stages._hold_out()
    return stages.best()


def test_what_is_clear_ends_after_the_first_look():
    stages = held(better)
    best = out(stages)
    assert (best.replications, best.most, best.changes[0].verdict) == (10, 40, "better")
    assert stages.account().held_out == 20


def test_a_comparison_that_is_not_clear_goes_on_and_ends_when_it_is():
    # Of luck of its own, a fifth less is seen in six of seven pairs or so: too few for ten, enough for more.
    found = [out(held(better, noise=0.1, own=1.5, seed=seed)) for seed in range(6)]
    assert {one.changes[0].verdict for one in found} == {"better"}
    assert max(one.replications for one in found) > 10


def test_no_difference_ends_at_the_budget_or_where_it_does_not_matter():
    best = out(held(lambda _: 1.0, noise=0.1, own=2.0))
    assert (best.replications, best.changes[0].verdict) == (40, "unsure")
    # A ten-thousandth of its own luck: the whole interval is nearer to 0 than half a percent.
    best = out(held(lambda _: 1.0, noise=0.05, own=0.002))
    assert (best.replications, best.changes[0].verdict) == (10, "same")


def test_a_limit_near_its_bound_goes_on_for_its_verdict():
    limit = {"limit": lambda _: 0.09, "subject_to": ["error_rate < 10%"], "noise": 0.09, "own": 0.0}
    found = [out(held(better, **limit, seed=seed)) for seed in range(6)]
    assert {one.holds for one in found} == {"PASS"}
    assert max(one.replications for one in found) > 10
    over = out(held(better, **{**limit, "limit": lambda _: 0.3}))
    assert (over.holds, over.replications) == ("FAIL", 10)


def test_others_of_a_front_get_half_of_it():
    stages = held(lambda _: 1.0, noise=0.1, own=2.0, goals=("cost_per_ok", "error_rate"))
    other = stages.tuning.entry(at(400))
    stages.tuning.ensure([other], stages.plan.most)
    stages.front = [stages.winner, other]
    stages._hold_out()
    best, beside = stages.held[id(stages.winner)], stages.held[id(other)]
    assert (best.replications, beside.replications, beside.most) == (40, 20, 20)
    # The settings as they are were run once for both.
    assert stages.account().held_out == 40 + 40 + 20


def test_looking_often_does_not_find_what_is_not_there():
    """Two settings that are alike are told apart by any of three looks in 5 % of all lucks, not in 5 % at each."""
    wrong, lucks = 0, 400
    for seed in range(lucks):
        changes = noise(seed)
        for look in looks(40):
            change = change_of(
                [1.0] * look.replications, [1.0 + one for one in changes[: look.replications]], 1.0, look
            )
            if change.verdict in ("better", "worse"):
                wrong += 1
                break
    # Binomial, three standard errors above 5 %.
    assert wrong / lucks <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / lucks)


def noise(seed):
    import numpy as np

    return np.random.default_rng(seed).normal(0, 0.1, 40).tolist()
