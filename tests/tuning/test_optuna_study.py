"""The file for Optuna: loaded by Optuna itself, it names the same best trial, and resuming writes the same again."""

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState
from tuning.spaces import DIALS, pretended, shop

from llmsim.errors import LlmsimError, SimulationInterrupted
from llmsim.tuning.journal import Journal
from llmsim.tuning.optuna_study import check_place, write_study
from llmsim.tuning.space import shown
from llmsim.tuning.tune import tune

SPACE = {**DIALS, "gateway.retry.max_attempts": (1, 5), "gateway.retry.backoff.jitter": ["none", "full"]}


def cost(scenario):
    retry, breaker = scenario.gateway.policies[0], scenario.gateway.upstream[1]
    return 1 + abs(retry.backoff.initial - 1) + abs(breaker.failure_rate - 0.3) + retry.max_attempts / 10


def loaded(place):
    return optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(place))))


def content(study):
    """All but when it was written."""
    return [
        (t.number, t.state, t.values, t.params, t.distributions, t.user_attrs, t.intermediate_values, t.constraints)
        for t in study.trials
    ], study.user_attrs, study.directions, study.metric_names  # fmt: skip


@pytest.fixture(scope="module")
def stages():
    found = pretended(
        shop(), SPACE, cost, noise=0.1, trials=12, most=6,
        limit=lambda scenario: 0.02 / cost(scenario), subject_to=["error_rate < 0.8%"],
    )  # fmt: skip
    found.all()
    return found


def test_optuna_finds_the_same_best_trial(stages, tmp_path):
    write_study(tmp_path / "trials.log", stages)
    study = loaded(tmp_path / "trials.log")
    assert study.study_name == "llmsim tune shop"
    best = study.best_trial
    assert best.user_attrs["winner"] is True
    assert study.user_attrs["winner"]["trial"] == best.number
    assert study.user_attrs["winner"]["values"] == [best.value]
    assert study.user_attrs["as_it_is"]["trial"] == 0
    assert best.value == pytest.approx(stages.question.centres(stages.winner)[0])
    settings = stages.winner.settings
    assert best.params["gateway.retry.max_attempts"] == settings["gateway.retry.max_attempts"]
    assert f"{best.params['gateway.retry.backoff.initial (ms)']:g}ms" == settings["gateway.retry.backoff.initial"]
    assert best.params["gateway.retry.backoff.jitter"] == settings["gateway.retry.backoff.jitter"]
    assert best.constraints["error_rate value < 0.8%"] <= 0
    low, high = best.user_attrs["interval"]["cost_per_ok"]
    assert low < best.value < high
    assert best.user_attrs["held_out"][0] == pytest.approx(best.value, rel=0.5)
    seen = [(one.values or one.user_attrs["so_far"], one) for one in study.trials]
    cheaper = [one for (value,), one in seen if value < best.value]
    assert cheaper and all(max(one.constraints.values()) > 0 for one in cheaper), "else the limit plays no part"


def test_every_setting_is_a_trial_and_one_that_was_stopped_is_pruned(stages, tmp_path):
    write_study(tmp_path / "trials.log", stages)
    study = loaded(tmp_path / "trials.log")
    assert [one.user_attrs.get("as_it_is") for one in study.trials] == [True] + [None] * 12
    assert [one.user_attrs["replications"] for one in study.trials[1:]] == [one.done for one in stages.tried]
    for one, trial in zip(stages.tried, study.trials[1:], strict=True):
        assert (trial.state == TrialState.PRUNED) == bool(one.stopped) == ("stopped" in trial.user_attrs)
        assert sorted(trial.intermediate_values) == list(range(1, min(one.done, 6) + 1))
    assert {one.state for one in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert study.metric_names == ["cost_per_ok"]
    assert study.user_attrs["held_out_seed"] == stages.held_seed


def test_the_winner_is_found_where_what_there_is_is_no_trial(tmp_path):
    """It lies outside of the space and is better than all of it: no trial can be it, and the study says so."""
    outside = {**DIALS, "gateway.retry.max_attempts": (3, 5)}

    def dear(scenario):
        return cost(scenario) + 9 * (scenario.gateway.policies[0].max_attempts > 2)

    found = pretended(
        shop(), outside, dear, noise=0.01, trials=4, most=2, limit=lambda _: 0.01, subject_to=["error_rate < 20%"]
    )
    found.all()
    assert found.winner is found.current
    write_study(tmp_path / "trials.log", found)
    study = loaded(tmp_path / "trials.log")
    assert len(study.trials) == 4 and not any("winner" in one.user_attrs for one in study.trials)
    for name in ("winner", "as_it_is"):
        told = study.user_attrs[name]
        assert (told["trial"], told["settings"], told["winner"]) == (None, "as it is", True)
        assert told["values"][0] == pytest.approx(found.question.centres(found.current)[0])
        assert "held_out" in told and "interval" in told and told["constraints"]["error_rate value < 20%"] is not None


def test_the_end_of_a_range_that_was_run_for_its_effect_can_win(tmp_path):
    """With one dimension an end is a whole setting, and where nothing differs at first it has two replications."""
    dial = "gateway.retry.backoff.initial"
    found = pretended(shop(), {dial: ("1s", "9s")}, cost, noise=0.0, trials=1, most=2)
    found.tuning.ensure([found.tuning.entry({dial: "1s"})], 2)
    found.all()
    assert found.winner not in found.tried
    write_study(tmp_path / "trials.log", found)
    study = loaded(tmp_path / "trials.log")
    number = study.user_attrs["winner"]["trial"]
    assert study.trials[number].user_attrs["winner"] is True
    assert study.user_attrs["winner"]["settings"] == {dial: shown(found.winner.settings[dial])}


def test_what_there_is_is_no_trial_where_it_differs_between_scenarios(stages, tmp_path, monkeypatch):
    other = shop(name="other").with_values({"gateway.retry.max_attempts": 4})
    monkeypatch.setattr(stages.runs, "scenarios", (*stages.runs.scenarios, other))
    write_study(tmp_path / "trials.log", stages)
    study = loaded(tmp_path / "trials.log")
    assert study.user_attrs["as_it_is"]["trial"] is None
    assert not any("as_it_is" in one.user_attrs for one in study.trials)


def test_two_goals_one_of_them_to_be_large(tmp_path):
    found = pretended(shop(), DIALS, cost, noise=0.1, trials=4, most=2, goals=("cost_per_ok", "error_rate"))
    found.plan = found.plan._replace(goals=(found.plan.goals[0], found.plan.goals[1]._replace(low_is_good=False)))
    found.question = found.question._replace(goals=found.plan.goals)
    found.race._question = found.question
    found.all()
    write_study(tmp_path / "trials.log", found)
    study = loaded(tmp_path / "trials.log")
    assert [one.name for one in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert all(value > 0 for one in study.best_trials for value in one.values)
    assert sum(one.user_attrs.get("winner", False) for one in study.trials) == 1


def test_resumed_it_is_the_same_study(tmp_path):
    asked = {"noise": 0.1, "trials": 4, "most": 2, "held_out": 6}
    studies = []
    for _ in range(2):
        journal = Journal(tmp_path / "study.jsonl", "study", {})
        found = pretended(shop(), DIALS, cost, journal=journal, **asked)
        found.all()
        journal.close()
        write_study(tmp_path / "trials.log", found)
        studies.append(content(loaded(tmp_path / "trials.log")))
    assert journal.fresh == 0
    assert studies[0] == studies[1]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["study.jsonl", "trials.log"]


def test_something_else_is_not_written_over(tmp_path):
    place = tmp_path / "trials.log"
    optuna.create_study(storage=JournalStorage(JournalFileBackend(str(place))), study_name="mine")
    with pytest.raises(LlmsimError, match="is no Optuna study of llmsim"):
        check_place(place)
    place.write_text("version: 1\n")
    with pytest.raises(LlmsimError, match="is no Optuna study of llmsim"):
        tune(shop(), DIALS, minimize="error_rate", optuna=place)
    assert place.read_text() == "version: 1\n"


@pytest.mark.parametrize(
    ("optuna", "said"), [("kept.log", "finished replications are kept"), ("nowhere/trials.log", "there is no folder")]
)
def test_what_could_not_be_written_in_the_end_is_told_in_the_beginning(tmp_path, optuna, said):
    with pytest.raises(LlmsimError, match=said):
        tune(shop(), DIALS, minimize="error_rate", study=tmp_path / "kept.log", optuna=tmp_path / optuna)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_interrupt_leaves_what_there_is(tmp_path):
    def interrupt(at):
        if at.trial >= 8:
            raise KeyboardInterrupt

    place, tiny = tmp_path / "trials.log", shop(clock={"duration": "5s", "drain": "10s"}, replications=2)
    with pytest.raises(SimulationInterrupted):
        tune(tiny, {"gateway.retry.backoff.initial": ("10ms", "5s", "log")}, minimize="ttft_ok mean", subject_to=(),
             trials=16, held_out=6, optuna=place, progress=interrupt)  # fmt: skip
    study = loaded(place)
    assert len(study.trials) == 9
    assert not any("winner" in one.user_attrs for one in study.trials)
    assert study.user_attrs["winner"] is None
