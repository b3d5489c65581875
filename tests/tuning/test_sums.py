"""Sums as goals: what is found is least in the sum, in one scenario and in several, and tables and files say which."""

import pytest
from optuna import load_study
from optuna.storages.journal import JournalFileBackend, JournalStorage
from tuning.spaces import DIALS, pretended, shop
from tuning.sweeping import SMALL

import llmsim
from llmsim.errors import LlmsimError
from llmsim.telemetry.metrics import evaluate
from llmsim.tuning.held_out import differences
from llmsim.tuning.optuna_study import write_study
from llmsim.tuning.standing import standing
from llmsim.tuning.sweep_metrics import measured_of

RATE = "upstream.circuit_breaker.failure_rate"
PRICED = "cost_per_ok + 2*error_rate"
CACHED = {
    **SMALL,
    "name": "cached",
    "replications": 2,
    "traffic": {"base_rate": "5/s", "topics": {"zipf": {"s": 1.0, "unique": 20}, "paraphrases": "60%", "traps": "30%"}},
    "gateway": {"policies": [{"semantic_cache": {"threshold": 0.92}}]},
    "providers": {"openai": {"ttft": "300ms", "price": {"input": "$1/Mtok", "output": "$2/Mtok"}}},
    "slo": {},
}
THRESHOLD = "gateway.semantic_cache.threshold"


def cheap_if_careless(scenario):
    return 1.0 + standing(scenario, RATE)


def wrong_if_careless(scenario):
    return 1.0 - standing(scenario, RATE)


def searched(goals):
    found = pretended(
        shop(), {RATE: [0.1, 0.5, 0.9]}, cheap_if_careless, limit=wrong_if_careless, goals=goals, noise=0.02,
        own=0.1, most=2, held_out=6,
    )  # fmt: skip
    found.all()
    return found


@pytest.fixture(scope="module")
def dear():
    return searched((PRICED,))


def test_a_price_moves_the_best_setting(dear):
    """1 + rate + price * (1 - rate): a price above 1 turns it round."""
    free = searched(("cost_per_ok + 0.1*error_rate",))
    assert (dear.winner.settings[RATE], free.winner.settings[RATE]) == (0.9, 0.1)
    assert dear.best().held_out[0] == pytest.approx(1 + 0.9 + 2 * 0.1, rel=0.05)


def test_the_file_for_optuna_names_the_sum(dear, tmp_path):
    write_study(tmp_path / "trials.log", dear)
    study = load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(tmp_path / "trials.log"))))
    assert study.metric_names == [PRICED]
    assert study.best_trial.user_attrs["winner"] and PRICED in study.best_trial.user_attrs["interval"]
    assert study.best_trial.value == pytest.approx(dear.question.centres(dear.winner)[0])


def test_parts_that_nothing_else_shows_are_compared():
    found = pretended(shop(), DIALS, cheap_if_careless, noise=0.1, goals=("cost_per_ok + 2*saved",), most=2)
    question, entry = found.question, found.fresh.entry({})
    entry.rows = [[[1.0] * 2 + [float(n)] * 12] for n in range(10)]  # goal, limit, eleven numbers and `saved`
    names = [one.name for one in differences(question, entry, entry)]
    assert len(names) == 12 and names[-1] == "saved"


def test_in_a_sweep_a_sum_is_a_column_with_the_unit_last():
    found = llmsim.sweep(
        CACHED, {THRESHOLD: [0.8, 0.95]}, replications=2,
        metrics=[
            "cost_per_ok", "false_hit_rate", "cost_per_ok + 0.02*false_hit_rate", "2*false_hit_rate",
            "goodput + 2*error_rate",
        ],
    )  # fmt: skip
    table = found.table
    priced = table["(cost_per_ok + 0.02*false_hit_rate)_usd"]
    assert priced.to_list() == (table["cost_per_ok_usd"] + 0.02 * table["false_hit_rate"]).to_list()
    assert table["(2*false_hit_rate)"].to_list() == (2 * table["false_hit_rate"]).to_list()
    assert table["false_hit_rate"].sum() > 0, "else the price plays no part"
    assert "cost_per_ok + 0.02*false_hit_rate" in str(found)
    best = found.best("cost_per_ok+0.02*false_hit_rate")
    assert not any("do not agree" in text for text in best.warnings)
    assert "do not agree whether less is better" in repr(found.best("goodput + 2*error_rate"))
    assert (best.metric, best.unit) == ("cost_per_ok + 0.02*false_hit_rate", "usd")
    assert found.compared[1][2].name == "cost_per_ok + 0.02*false_hit_rate"
    assert "wrong" not in str(found)


def test_metrics_of_a_sweep_that_are_none():
    scenario = shop()
    with pytest.raises(LlmsimError, match=r"metric 'cost_per_ok \+ ttft p\(95\)': cost_per_ok is in dollars"):
        measured_of(scenario, ["cost_per_ok + ttft p(95)"])
    with pytest.raises(LlmsimError, match="no route 'chatt'"):
        measured_of(scenario, ["cost_per_ok + 2*error_rate{route:chatt}"])
    (one,) = measured_of(scenario, ["error_rate window 10s"])
    assert one.column == "error_rate_window_10s"


@pytest.mark.slow
def test_a_tuning_weighs_wrong_answers_and_run_says_the_same():
    asked = {"minimize": "cost_per_ok + 0.02*false_hit_rate", "trials": 6, "held_out": 6}
    found = llmsim.tune(CACHED, {THRESHOLD: [0.75, 0.85, 0.92, 0.97]}, **asked)
    free = llmsim.tune(CACHED, {THRESHOLD: [0.75, 0.85, 0.92, 0.97]}, **asked | {"minimize": "cost_per_ok"})
    assert standing(found.scenario, THRESHOLD) > standing(free.scenario, THRESHOLD)
    again = llmsim.run(found.scenario, seed=found.held_seed, replications=found.best.replications)
    wrong = [evaluate(sample, "false_hit_rate") for sample in again.samples]
    priced = again.metrics["cost_per_ok_usd"] + 0.02 * sum(wrong) / len(wrong)
    assert found.best.held_out[0] == pytest.approx(priced)
    assert "minimize cost_per_ok + 0.02*false_hit_rate" in repr(found)


@pytest.mark.slow
def test_several_scenarios_are_weighed_as_shares_of_the_sum():
    other = {**CACHED, "name": "other", "seed": 9}
    found = llmsim.tune(
        [CACHED, other], {THRESHOLD: [0.75, 0.92, 0.97]}, minimize="cost_per_ok + 0.02*false_hit_rate", trials=4,
        held_out=6,
    )  # fmt: skip
    assert found.current.tuning[0] == pytest.approx(1.0, rel=0.2)
    assert found.goals[0].name in found.headline
