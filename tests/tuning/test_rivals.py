"""What replications leave open: the bound covers what the winner loses, and is told with what to type."""

from types import SimpleNamespace

import numpy as np
import pytest
from tuning.spaces import DIALS, pretended, shop

from llmsim.scenario.objectives import parse_objective
from llmsim.scenario.sum_text import parse_sum
from llmsim.tuning.objective import Goal
from llmsim.tuning.question import Question
from llmsim.tuning.rivals import Apart, Rival, told_apart
from llmsim.tuning.settings_runs import Entry
from llmsim.tuning.tuned_words import notes

COST = Goal(parse_sum("cost_per_ok"), low_is_good=True)
LIMIT = parse_objective("error_rate", "value < 10%")


def entries(costs, noise, most, seed, errors=None):
    """Settings with these true costs under common luck and luck of their own."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 0.1, most)
    found = []
    for number, cost in enumerate(costs):
        values = cost * (1 + shared + rng.normal(0, noise, most))
        broken = errors[number] if errors is not None else []
        found.append(Entry({"number": number}, [[[v, *broken[n : n + 1]]] for n, v in enumerate(values.tolist())]))
    return found


def apart(costs, noise, most, seed, errors=None):
    question = Question((COST,), ((LIMIT,) if errors is not None else (),), most)
    tried = entries(costs, noise, most, seed, errors)
    winner = question.best(tried)
    return winner.settings["number"], told_apart(question, winner, tried)


def test_what_the_winner_loses_is_covered_although_it_was_chosen_for_its_luck():
    costs, draws = [1.0, 1.0, 1.01, 1.01, 1.02, 1.03, 1.05], 200
    missed, wide = 0, 0
    for seed in range(draws):
        won, told = apart(costs, 0.04, 10, seed)
        missed += (costs[won] - min(costs)) / costs[won] > told.most
        wide += bool(told.rivals)
        assert told.compared == len(costs) - 1
    # Binomial: three standard errors above 5 % of 200. It has to be a bound that says something, too.
    assert missed / draws <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
    assert wide / draws > 0.9


@pytest.mark.parametrize("most", [2, 4, 10])
def test_with_as_many_as_it_says_they_are_told_apart(most):
    """Half of the time 20 are enough here, and 40 nearly always: so it says, however few it has to tell by."""
    costs, draws = [1.0, 1.005, 1.02, 1.05], 60
    enough, asked = 0, []
    for seed in range(draws):
        _, told = apart(costs, 0.04, most, seed)
        needed = max((one.needed for one in told.rivals), default=most)
        assert needed > most or not told.rivals
        assert told.most <= 1, "no cost falls by more than all of it"
        enough += not apart(costs, 0.04, needed, draws + seed)[1].rivals
        asked.append(needed)
    assert enough / draws >= 0.5
    assert np.median(asked) <= 40


def test_a_cheaper_one_whose_limits_are_open_is_named_with_them():
    inside, half = [0.05] * 10, [0.05] * 7 + [0.2] * 3
    won, told = apart([1.0, 0.8], 0.001, 10, 1, [inside, half])
    assert won == 0
    (rival,) = told.rivals
    assert rival.limits == ("error_rate value < 10%",)
    assert rival.better == pytest.approx(0.2, abs=0.02)
    assert rival.needed in (20, 40)
    # Where it is dearer its limits do not matter, and one that fails is not in question.
    assert not apart([0.8, 1.0], 0.001, 10, 1, [inside, half])[1].rivals
    assert not apart([1.0, 0.8], 0.001, 10, 1, [inside, [0.2] * 10])[1].rivals


def test_the_same_twice_and_several_goals_are_not_compared():
    question = Question((COST,), ((),), 10)
    (one,) = entries([1.0], 0.04, 10, 1)
    twin = Entry({"number": 1}, one.rows)
    assert told_apart(question, one, [one, twin]) == Apart(10, 0, 0.0, ())
    assert told_apart(question._replace(goals=(COST, COST)), one, [one, twin]) is None


def test_a_tuning_tells_it_and_what_to_type():
    flat = pretended(shop(), DIALS, lambda _: 1.0, noise=0.1, own=1.0, trials=8, most=4)
    flat.all()
    assert flat.apart.rivals
    assert flat.apart.rivals[0].needed > 4
    told = words(flat.apart)
    assert "4 replications do not tell the best settings apart to within 2 %" in told
    assert f"--replications {max(one.needed for one in flat.apart.rivals)} would probably tell" in told


def words(found):
    """The notes of a tuning of which only this is known."""
    account = SimpleNamespace(tuning=1, trials=1, grid=0, confirming=0, held_out=0, sensitivity=0)
    best = SimpleNamespace(settings={}, limits=(), holds="PASS")
    tuned = SimpleNamespace(
        best=best, current=None, idle=(), apart=found, edges=(), binds=[], sensitivity=(), account=account
    )
    rest = {"scenarios": (), "front": (), "recipe": "", "improves": False, "partial": True, "within_s": None}
    return "\n".join(notes(SimpleNamespace(**vars(tuned), **rest)))


@pytest.mark.parametrize(
    ("rivals", "says"),
    [
        (
            (),
            "No other setting that ran to its end (3 with limits as good) is better than the winner by more than 1.2 %",
        ),
        ((Rival({"a": 1}, 0.034, (), 40), Rival({"a": 2}, 0.03, (), 80)), "by up to 3.4 %, and 1 other by less. --rep"),
        ((Rival({"a": 1}, 0.034, ("e < 1%",), None),), "whether e < 1% holds is open. It is too close to tell."),
    ],
)
def test_its_words(rivals, says):
    assert says in words(Apart(10, 3, 0.012, rivals))
