"""Racing: limits that cover, clearly worse settings that stop after two, and winners that lose next to nothing."""

import math

import numpy as np
import pytest
from tuning.spaces import DIALS, pretended, shop

from llmsim.tuning.racing import lower_limit, rungs
from llmsim.tuning.standing import standing

SHOP = shop()


def bowl(scenario):
    """Smallest, 1, at 200 ms and 0.4; the ends of the space are several times that."""
    initial = standing(scenario, "gateway.retry.backoff.initial")
    rate = standing(scenario, "upstream.circuit_breaker.failure_rate")
    return 1 + 0.3 * math.log(initial / 0.2) ** 2 + 4 * (rate - 0.4) ** 2


@pytest.mark.parametrize("n", [2, 4, 16])
def test_the_lower_limit_is_above_the_mean_as_rarely_as_it_says(n):
    rng = np.random.default_rng(5)
    draws, error = 4000, 0.05
    above = sum(lower_limit(list(rng.normal(0, 1, n)), 1.0, error) > 0 for _ in range(draws))
    # Binomial: three standard errors of a share of 5 % in 4,000 are 1 %. A prior that is right makes it no more.
    assert above / draws < error + 0.011
    alone = sum(lower_limit(list(rng.normal(0, 1, n)), None, error) > 0 for _ in range(draws))
    assert abs(alone / draws - error) < 0.011


def test_a_prior_tells_with_two_what_alone_takes_many():
    close = [1.0, 1.1]
    assert lower_limit(close, 0.01, 0.01) > 0 > lower_limit(close, None, 0.01)
    assert lower_limit([math.inf, 1.0], 0.01, 0.01) == -math.inf
    assert lower_limit([math.inf, math.inf], None, 0.01) == math.inf


def test_rungs_double():
    assert rungs(16) == (2, 4, 8, 16)
    assert rungs(3) == (2, 3)


def test_a_clearly_worse_setting_stops_after_two():
    stages = pretended(SHOP, DIALS, bowl, noise=0.05)
    stages.tuning.ensure([stages.current], 16)
    far = stages.tuning.entry({"gateway.retry.backoff.initial": "10s", "upstream.circuit_breaker.failure_rate": 0.9})
    near = stages.tuning.entry({"gateway.retry.backoff.initial": "200ms", "upstream.circuit_breaker.failure_rate": 0.4})
    stages.race.run([far, near])
    assert (far.stopped, far.done) == ("worse", 2)
    assert (near.stopped, near.done) == ("", 16)
    assert stages.race.leaders == [near]


def test_a_clearly_infeasible_setting_stops_after_two_however_cheap_it_is():
    def errors(scenario):
        return 0.01 if standing(scenario, "upstream.circuit_breaker.failure_rate") > 0.3 else 0.5

    stages = pretended(SHOP, DIALS, bowl, noise=0.05, limit=errors, subject_to=["error_rate < 10%"])
    stages.tuning.ensure([stages.current], 16)
    cheap = stages.tuning.entry(
        {"gateway.retry.backoff.initial": "200ms", "upstream.circuit_breaker.failure_rate": 0.2}
    )
    stages.race.run([cheap])
    assert (cheap.stopped, cheap.done) == ("infeasible", 2)


def test_a_tie_is_not_worth_its_replications():
    stages = pretended(SHOP, DIALS, lambda scenario: 1.0, noise=0.05, own=0.001)
    stages.tuning.ensure([stages.current], 16)
    same = stages.tuning.entry({"gateway.retry.backoff.initial": "200ms", "upstream.circuit_breaker.failure_rate": 0.2})
    stages.race.run([same])
    assert same.done == 2


def test_nothing_that_differs_says_nothing():
    """Two replications without an error under either setting do not say that they have the same errors."""
    assert lower_limit([0.0, 0.0], None, 0.01) == -math.inf
    stages = pretended(SHOP, DIALS, lambda scenario: 1.0, noise=0.05, own=0.0)
    stages.tuning.ensure([stages.current], 16)
    same = stages.tuning.entry({"gateway.retry.backoff.initial": "200ms", "upstream.circuit_breaker.failure_rate": 0.2})
    stages.race.run([same])
    assert same.done == 16


def errors(scenario):
    """Grows as the bowl falls towards a high rate: the best that holds is on the bound."""
    return 0.1 * standing(scenario, "upstream.circuit_breaker.failure_rate") / 0.5


def slope(scenario):
    return 2 - standing(scenario, "upstream.circuit_breaker.failure_rate")


def at(stages, rate):
    return stages.tuning.entry({"upstream.circuit_breaker.failure_rate": rate})


RATE = {"upstream.circuit_breaker.failure_rate": (0.05, 0.95)}


@pytest.mark.slow
def test_what_breaks_a_bound_too_often_to_pass_stops_once_there_is_one_that_passes():
    # Of the own luck of a setting just beyond the bound, some replications are inside.
    stages = pretended(SHOP, RATE, slope, noise=0.2, own=3.0, limit=errors, subject_to=["error_rate < 10%"], most=20)
    stages.tuning.ensure([stages.current, near := at(stages, 0.1)], 20)
    assert stages.question.standing(near).doubt == 0
    beyond = at(stages, 0.7)
    stages.race.run([beyond], halve=False)
    assert beyond.stopped == "infeasible"
    assert beyond.done < 20
    assert any(one <= 0 for one in stages.question.violations(beyond)[0]), "not clearly outside: some of it is inside"


def test_two_bad_replications_to_begin_with_do_not_stop_what_should_hold():
    """Luck is common, so what they say of a setting is what it has beyond the best so far, which has met them, too."""
    stages = pretended(SHOP, RATE, slope, noise=0.1, limit=errors, subject_to=["error_rate < 10%"], most=10)
    luck = [1.6, 1.7, *(0.9 + 0.01 * n for n in range(8))]
    best, near, beyond = at(stages, 0.5), at(stages, 0.52), at(stages, 0.6)
    best.rows = [[[1.0, 0.08 * one, ""]] for one in luck]
    near.rows = [[[0.9, 0.09 * one, ""]] for one in luck[:2]]
    beyond.rows = [[[0.8, 0.15 * one, ""]] for one in luck[:2]]
    question, race = stages.question, stages.race
    assert min(question.violations(near)[0]) > 0, "both are bad ones"
    known = race._known(best)
    assert [question.standing(near).doubt, question.standing(near, known).doubt] == [2, 1]
    assert question.standing(beyond, known).doubt == 2
    assert (race._behind(near, best, 2), race._stop(near, [best], 2)) == (False, "")
    assert race._behind(beyond, best, 2)
    assert len(question.expected(near, known)[0]) == 10


def confirmed(seed, noise, own, monkeypatch=None):
    if monkeypatch is not None:
        monkeypatch.setattr("llmsim.tuning.stages.confirm", lambda *_: None)
        monkeypatch.setattr("llmsim.tuning.stages.Stages._rescue", lambda _: None)
    noisy = {"noise": noise, "own": own, "limit": errors, "subject_to": ["error_rate < 10%"]}
    stages = pretended(SHOP, RATE, slope, **noisy, seed=seed, trials=40, most=10)
    stages.choose()
    rate = standing(stages.runs.space.settled(SHOP, stages.winner.settings), "upstream.circuit_breaker.failure_rate")
    return rate, stages


@pytest.mark.slow
def test_a_better_setting_whose_limit_is_undecided_is_looked_at_longer(monkeypatch):
    """The bound is at 0.5. A PASS of ten replications takes nine inside, so without more of them one stays away."""
    seeds, luck = range(8), (0.3, 0.5)
    more = [confirmed(seed, *luck) for seed in seeds]
    assert sum(stages.winner.done > 10 for _, stages in more) >= 4
    for _, stages in more:
        assert stages.winner.done in (10, 20, 40)
        assert stages.question.standing(stages.winner).doubt == 0
        assert stages.account().confirming <= 4 * 30
    few = [confirmed(seed, *luck, monkeypatch) for seed in seeds]
    passed = [
        (one, other) for one, other in zip(more, few, strict=True)
        if other[1].question.standing(other[1].winner).doubt == 0
    ]  # fmt: skip
    assert len(passed) >= 4
    # What passes with ten is given up only for what passes, too, and was measured to cost no more.
    assert all(one.costs(one.winner) <= other.costs(other.winner) for (_, one), (_, other) in passed)
    assert all(rate >= other for (rate, _), (other, _) in passed)
    assert sum(rate - other for (rate, _), (other, _) in passed) > 0.1


@pytest.mark.long
def test_where_luck_is_each_settings_own_it_is_not_taken_off(monkeypatch):
    """Nine tenths of the variance are: plain differences tell less of a limit than a setting's own replications."""
    learned = [confirmed(seed, 0.15, 3.0)[0] for seed in range(24)]
    monkeypatch.setattr("llmsim.tuning.common_luck.CommonLuck.share", lambda *_: 1.0)
    believed = [confirmed(seed, 0.15, 3.0)[0] for seed in range(24)]
    assert sum(0.5 - rate for rate in learned) < sum(0.5 - rate for rate in believed)
    assert max(learned) <= 0.5


def rows(luck):
    return [[[1.0, 0.1 * one, ""]] for one in luck]


def test_bad_luck_that_is_a_settings_own_is_not_taken_off():
    """What others say of the first replications counts as far as their luck is the same."""
    stages = pretended(SHOP, RATE, slope, noise=0.1, limit=errors, subject_to=["error_rate < 10%"], most=8)
    bad = [1.5, 1.6, 0.7, 0.8, 0.7, 0.8, 0.7, 0.8]
    best, other = at(stages, 0.5), at(stages, 0.52)
    best.rows, other.rows = rows(bad), rows(bad[:2])
    question, race = stages.question, stages.race
    assert question.standing(other, race._known(best)).doubt == 1, "believed to be common, while nothing is known"
    independent = [[1.0, 0.7], [0.7, 1.0], [0.9, 1.1], [1.1, 0.9]] * 8
    for one in independent:
        race._common.learn("limit 0", [value - 1 for value in one], [0.35, 0.4])
    assert race._known(best).shares[0] < 0.1
    assert question.standing(other, race._known(best)).doubt == 2


def test_beside_an_infinite_cost_pairs_are_compared_and_scatter_as_pairs_do():
    """Otherwise differences of pairs would be held against the scatter of what shares no luck."""
    stages = pretended(SHOP, RATE, slope, noise=0.1, most=4)
    race, best, other = stages.race, at(stages, 0.5), at(stages, 0.52)
    for mine, theirs in [([1.0, 0.7], [1.0, 1.4]), ([0.7, 1.0], [1.0, 1.4])] * 9:  # luck of their own
        race._common.learn("goal 0", mine, theirs)
    other.rows = [[[1.0, ""]], [[1.1, ""]]]
    for last, common in ((1.2, False), (math.inf, True)):
        best.rows = [[[1.0, ""]], [[1.4, ""]], [[1.0, ""]], [[last, ""]]]
        pairs = race._changes(other, best, 2)[0] == pytest.approx([0.0, -0.3])
        assert pairs is common
        assert (race._prior(0, best, 2) == race._common.variance("goal 0")) is common


@pytest.mark.parametrize("subject_to", [[], ["error_rate < 10%"]])
def test_what_was_given_up_gets_another_chance_only_where_limits_may_have_decided(subject_to):
    """Beyond the budget of the race, and told as replications that limits took."""
    stages = pretended(SHOP, RATE, slope, noise=0.1, limit=errors, subject_to=subject_to, most=4)
    given_up, row = at(stages, 0.1), [1.0, *(0.05 for _ in subject_to), ""]
    stages.current.rows = [[[3.0, *row[1:]]]] * 4
    given_up.rows, stages.tried = [[row]] * 2, [given_up]
    stages._rescue()
    assert (given_up.done > 2) == bool(subject_to)


def test_of_a_tie_what_passed_without_a_longer_look_is_preferred():
    """What took one is near its bound, and may not pass on other luck."""
    stages = pretended(SHOP, RATE, slope, noise=0.1, limit=errors, subject_to=["error_rate < 10%"], most=10)
    stages.current.rows = [[[1.0, 0.05, ""]]] * 10
    near, far = at(stages, 0.5), at(stages, 0.2)
    near.rows = [[[1.0, 0.11 if n % 4 == 0 else 0.099, ""]] for n in range(40)]
    question = stages.question
    for cost, preferred in ((1.004, far), (1.006, near)):
        far.rows = [[[cost, 0.05, ""]]] * 10
        assert [question.standing(one).doubt for one in (near, far)] == [0, 0]
        assert question.best([near, far]) is preferred
        far.rows = far.rows[:2]  # it was given up early
        assert stages._instead(near, far) is (preferred is near)


@pytest.mark.parametrize(("error_rate", "runs"), [(0.05, False), (0.15, True)], ids=["something passes", "nothing"])
def test_once_something_passes_what_was_given_up_has_no_more_than_settings_may_take(error_rate, runs):
    """Of two settings, ten replications each, 35 % are seven: those of what there is alone are ten."""
    stages = pretended(SHOP, RATE, slope, noise=0.02, limit=errors, subject_to=["error_rate < 10%"], most=10)
    stages.current.rows = [[[2.0, error_rate, ""]]] * 10
    given_up = at(stages, 0.2)
    given_up.rows, given_up.stopped = [[[1.8, 0.04, ""]]] * 2, "halved"
    stages.tried = [given_up]
    assert stages.race.may_hold(given_up)
    stages._confirm()
    assert (given_up.done, given_up.stopped) == ((10, "") if runs else (2, "halved"))
    assert stages.account().tuning == 10 + given_up.done  # it counts among what settings took
    assert stages.winner is (given_up if runs else stages.current)


@pytest.mark.slow
def test_where_nothing_passes_what_was_given_up_for_its_cost_does():
    """Few trials near a bound: all that raced to the end are too cheap to hold, and dearer ones were halved away."""
    many = 8
    noisy = {"noise": 0.1, "limit": errors, "subject_to": ["error_rate < 10%"], "trials": 12, "most": 6}
    found = [pretended(SHOP, RATE, slope, **noisy, seed=seed) for seed in range(many)]
    for stages in found:
        stages.all()
    assert [stages.question.standing(stages.winner).doubt for stages in found] == [0] * many
    assert sum(stages.account().confirming > 0 for stages in found) >= 2


def outcome(seed):
    """Regret, and the share of the plain grid's replications, over an objective that is known."""
    stages = pretended(SHOP, DIALS, bowl, noise=0.15, seed=seed, trials=80)
    stages.all()
    won = stages.runs.space.settled(SHOP, stages.winner.settings)
    account = stages.account()
    return bowl(won) - 1, account.share


@pytest.mark.slow
def test_racing_spends_little_and_loses_little():
    regret, share = outcome(1)
    assert regret <= 0.02
    assert share <= 0.35


@pytest.mark.long
@pytest.mark.slow
def test_racing_spends_little_and_loses_little_under_twenty_lucks():
    found = [outcome(seed) for seed in range(20)]
    assert sum(regret <= 0.02 for regret, _ in found) >= 19, found
    assert max(share for _, share in found) <= 0.35, found
