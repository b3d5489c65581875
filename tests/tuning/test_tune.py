"""`llmsim.tune` from end to end on real simulations: what is asked, what is told, and that it is the same again."""

import json
import os
import random
import signal
from pathlib import Path

import pytest
from tuning.killing import Killer
from tuning.spaces import SHOP, shop

import llmsim
from llmsim.errors import LlmsimError, ScenarioError, SimulationInterrupted
from llmsim.tuning.tune import tune

#: 100 requests, milliseconds a replication.
TINY = {**SHOP, "clock": {"duration": "10s", "drain": "20s"}, "replications": 4}
SPACE = {"gateway.retry.max_attempts": [1, 2, 3], "upstream.timeout.ttft": ("500ms", "8s", "log")}
ASKED = {"minimize": "error_rate", "subject_to": ["ttft_ok mean < 5s"], "trials": 8, "held_out": 6}


@pytest.fixture(scope="module")
def found():
    return tune(TINY, {"gateway.retry.max_attempts": [1, 2, 3, 4]}, **ASKED)


def test_it_is_a_public_name():
    assert llmsim.tune is tune


def test_everything_of_a_small_space_is_tried(found):
    assert [trial.settings["gateway.retry.max_attempts"] for trial in found.trials] != [1, 2, 3, 4]  # not in order
    assert sorted(trial.settings["gateway.retry.max_attempts"] for trial in found.trials) == [1, 2, 3, 4]
    assert found.study is None


def test_the_answer_is_told_with_both_lucks(found):
    # Every attempt fails a fifth of the time: 4 % of the requests after two, 0.8 % and less after more.
    assert found.settings["gateway.retry.max_attempts"] > 2
    assert found.verdict == "better"
    assert found.best.holds == "PASS"
    text = repr(found)
    for word in ("now, tuning luck", "tuned, held out", "luck it has not seen", f"seed {found.held_seed}"):
        assert word in text
    assert found.held_seed != found.seed
    assert found.scenario.gateway.policies[0].max_attempts == found.settings["gateway.retry.max_attempts"]
    page = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert page["account"]["trials"] == 4
    assert page["settings"] == found.settings
    assert "<table" in found._repr_html_()
    assert found._repr_markdown_().startswith("**")


def test_what_is_held_out_is_what_run_says_with_that_seed(found):
    again = llmsim.run(found.scenario, seed=found.held_seed, replications=found.held_out)
    values = {line.objective.key: line.measured for line in again.slo}
    assert values["error_rate"] == found.best.held_out[0]


@pytest.mark.slow  # the command says so in any case
def test_nothing_better_is_said_as_plainly():
    best = shop(**TINY).with_values({"gateway.retry.max_attempts": 4})
    found = tune(best, {"gateway.retry.max_attempts": [1, 2, 4]}, **ASKED)
    assert not found.improves
    assert "what you have is the best" in found.headline or "no better than what you have" in found.headline


@pytest.mark.parametrize(
    ("space", "options", "says"),
    [
        ({"gateway.retry.max_retry_after": ["10s", "60s"]}, {}, "has no effect"),
        (SPACE, {"trials": 0}, "trials is 0"),
        (SPACE, {"replications": 1}, "2 or more"),
        (SPACE, {"held_out": 3}, "use 6 or more"),
        (SPACE, {"weights": [1.0, 2.0]}, "one a scenario"),
        (SPACE, {"subject_to": ["ttft p(99.9) < 60s"]}, "cannot be told here"),
        (SPACE, {"recipe": "backof"}, "Did you mean 'backoff'"),
        (None, {"recipe": "limits"}, "has nothing of the kind"),
    ],
)
def test_what_cannot_be_done_is_said(space, options, says):
    with pytest.raises((LlmsimError, ScenarioError), match=says):
        tune(TINY, space, **{**ASKED, **options})


@pytest.mark.slow
def test_more_processes_and_a_second_time_change_nothing(tmp_path):
    many = {**ASKED, "trials": 24}  # so many that steps from the best are among them
    one = tune(TINY, SPACE, **many, study=tmp_path / "one.jsonl")
    told = []
    two = tune(TINY, SPACE, **many, study=tmp_path / "two.jsonl", jobs=2, progress=told.append)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    assert one.to_dict() == two.to_dict()
    assert told[-1].trial == 24
    assert any(at.best for at in told)
    before = (tmp_path / "one.jsonl").read_bytes()
    again = tune(TINY, SPACE, **many, study=tmp_path / "one.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == before  # nothing was run again
    assert again.to_dict() == one.to_dict()
    assert repr(again) == repr(one)


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_known(tmp_path):
    def interrupt(at):
        if at.trial >= 8:
            raise KeyboardInterrupt

    with pytest.raises(SimulationInterrupted, match=r"after 8 trials.*in the study") as caught:
        tune(TINY, SPACE, **{**ASKED, "trials": 16}, study=tmp_path / "study.jsonl", progress=interrupt)
    partial = caught.value.partial
    assert partial.partial
    assert len(partial.trials) == 8
    assert "interrupted after 8 trials" in partial.headline
    assert partial.settings  # the best so far
    assert "best so far" in repr(partial)


@pytest.mark.slow
def test_with_no_time_for_more_trials_what_was_found_is_checked_all_the_same(tmp_path):
    asked = {**ASKED, "trials": 16, "study": tmp_path / "study.jsonl", "jobs": 1}
    short = tune(TINY, SPACE, **asked, within_s=1e-6)
    assert short.account.trials == 8  # a batch: of none there is nothing to check
    assert not short.partial
    assert short.best is not None
    assert short.account.held_out > 0
    assert "There was no time for more trials in" in repr(short)
    whole = tune(TINY, SPACE, **asked)  # goes on with the study, and knows nothing of the time
    assert whole.account.trials == 16
    assert [trial.settings for trial in whole.trials][:8] == [trial.settings for trial in short.trials]
    assert "no time for more trials" not in repr(whole)
    assert (short.to_dict()["within_s"], whole.to_dict()["within_s"]) == (1e-6, None)


@pytest.mark.slow
def test_several_scenarios_are_tuned_for_the_worst():
    calm = shop(**{**TINY, "name": "calm", "providers": {"a": {"ttft": "300ms"}}})
    found = tune([shop(**TINY), calm], SPACE, **ASKED)
    assert [one.name for one in found.scenarios] == ["shop", "calm"]
    assert {limit.scenario for limit in found.best.limits} == {"shop", "calm"}
    assert "x" in found.headline  # costs are shares of what they are now
    even = tune([shop(**TINY), calm], SPACE, **ASKED, weights=[1.0, 0.0])
    alone = tune(shop(**TINY), SPACE, **ASKED)
    # All the weight on one is that one, up to the unit.
    assert [one.settings for one in even.trials[:8]] == [one.settings for one in alone.trials[:8]]


@pytest.mark.slow
def test_a_front_of_two_goals():
    found = tune(TINY, SPACE, **{**ASKED, "minimize": ["error_rate", "retry_amplification"], "trials": 12})
    assert found.front
    assert found.best.settings in [one.settings for one in found.front] or found.best in found.front
    costs = [one.tuning for one in found.front]
    for one in costs:
        assert not any(a[0] <= one[0] and a[1] <= one[1] and a != one for a in costs)


@pytest.mark.slow  # pages with pictures; the command writes one in any case
def test_files(found, tmp_path):
    with pytest.raises(LlmsimError, match="did not come from a file"):
        found.write(tmp_path / "tuned.yaml")
    page = found.report(tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count("<img alt=") == 2, "by trial, and around the winner"
    assert "|" in found.report(tmp_path / "page.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "tries"), [(1, 5), (2, 2)])
def test_killed_at_any_moment_it_ends_with_the_same_bytes_and_repeats_nothing(tmp_path, jobs, tries):
    call = f"json.dumps(tune(TINY, SPACE, **ASKED, study=place, jobs={jobs}).to_dict(), sort_keys=True)"
    imports = (
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "import json, optuna, polars\n"
        "from tuning.test_tune import ASKED, SPACE, TINY\n"
        "from llmsim.tuning.tune import tune"
    )
    moments = random.Random(jobs)
    with Killer(imports, call) as killer:
        told = killer.whole(tmp_path / "whole.jsonl")
        whole = (tmp_path / "whole.jsonl").read_bytes()
        study = tmp_path / "killed.jsonl"
        lines, kills = 0, 0
        for _ in range(tries):
            kept = study.read_bytes() if study.exists() else b""
            lines = min(kept.count(b"\n") + moments.randint(0, 12), whole.count(b"\n") - 1)
            kills += killer.killed(study, study, lines, moments.uniform(0, 0.03))
            # A journal is only ever added to, so what is in front is neither lost nor run again.
            assert whole.startswith(kept[: kept.rfind(b"\n") + 1])
            assert study.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
        assert kills >= tries - 1
        assert killer.whole(study) == told
    assert study.read_bytes() == whole


@pytest.mark.slow
def test_a_worker_that_is_killed_is_said_and_what_was_finished_is_kept(tmp_path):
    study = tmp_path / "study.jsonl"
    ended, seen = [], set()

    def kill(at):
        if at.stage == "trials":
            seen.add(at.replications)
        if len(seen) > 3 and not ended:  # in the middle of a batch of 16
            from joblib.externals.loky import get_reusable_executor

            ended.append(next(iter(get_reusable_executor(reuse=True)._processes)))
            os.kill(ended[0], signal.SIGKILL)

    with pytest.raises(LlmsimError, match="a worker process ended"):
        tune(TINY, SPACE, **ASKED, study=study, jobs=2, progress=kill)
    kept = study.read_bytes()
    assert kept.count(b"\n") >= max(seen)
    found = tune(TINY, SPACE, **ASKED, study=study, jobs=1)
    assert study.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    assert found.best is not None
