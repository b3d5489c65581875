"""Which model is chosen, what it says in a provider's words, and that a scenario with these words behaves alike."""

import dataclasses
import math
from functools import cache

import numpy as np
import polars as pl
import pytest
from calibrate.made_calls import calls_from, engine, hosted, recorded
from schema import validator

import llmsim
from llmsim.calibrate.calls import calls_of
from llmsim.calibrate.profile_file import profile_document, profile_yaml, write_profile
from llmsim.calibrate.upstream import fit_upstream
from llmsim.calibrate.words import seen
from llmsim.errors import LlmsimError
from llmsim.providers.sim.serving_spec import Serving
from llmsim.scenario.profiles import read_profile_file

CPU = Serving(slots=4, prefill_step=0.03, prefill_token=0.0076, decode_sequence=0.0168)
ABOUT = {"name": "local", "date": "2026-11-26", "of": "a test"}


@cache
def _fitted():
    """A provider whose calls never meet."""
    return fit_upstream(hosted(60, 1))


def _scenario(profile, **traffic):
    return {
        "version": 1,
        "seed": 5,
        "clock": {"duration": "600s", "drain": "120s"},
        "traffic": {"base_rate": "0.3/s", "mix": [{"route": "chat", **traffic}]},
        "providers": {"local": {"profile": str(profile)}},
    }


@pytest.mark.slow
def test_a_line_is_enough_where_calls_do_not_meet():
    found = _fitted()
    assert found.chosen == "line"
    assert found.held_out.ttft.mdape < 0.25
    assert abs(found.held_out.ttft.bias) < 0.1
    assert "load was not tried" in " ".join(found.notes)
    assert "no two calls were under way" in " ".join(found.notes)


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say():
    inside = []
    for seed in range(12):
        low, high = fit_upstream(hosted(60, seed, base=0.5, token=1e-4)).intervals["prefill.per_1k"]
        inside.append(low <= 0.1 <= high)
    assert sum(inside) >= 9  # of 12 at 95 %: fewer than 9 happen 1 time in 5,000


@pytest.mark.slow
def test_an_engine_is_chosen_where_calls_get_in_each_others_way():
    found = fit_upstream(engine(CPU, 120, 2, rate=0.3, alone=20, noise=0.08))
    assert found.chosen == "serving"
    assert found.settings["serving"]["slots"] == 4
    assert found.candidates[0].name == "serving"
    assert found.held_out.e2e.mdape < 0.15


@pytest.mark.slow
def test_told_slots_make_an_engine_of_calls_that_never_met():
    calls = engine(CPU, 1, 3, rate=1.0, alone=30, noise=0.05)
    assert fit_upstream(calls).chosen == "line"
    assert fit_upstream(calls, slots=4).settings["serving"]["slots"] == 4


@pytest.mark.slow
def test_recorded_calls_choose_the_engine():
    found = fit_upstream(recorded("seq", "r0.15", "r0.3", "r0.5", "seq2"))
    assert found.chosen == "serving"
    assert found.held_out.ttft.mdape <= 0.12
    assert found.held_out.e2e.mdape <= 0.10
    ks_ttft, ks_e2e, band = found.held_out.ks
    assert max(ks_ttft, ks_e2e) < band


@pytest.mark.slow
def test_the_seed_decides_the_folds_and_nothing_else():
    calls = hosted(60, 4)
    one, same, other = fit_upstream(calls, seed=1), fit_upstream(calls, seed=1), fit_upstream(calls, seed=2)
    assert (one.held_out.predicted_ttft_s == same.held_out.predicted_ttft_s).all()
    assert one.intervals == same.intervals
    assert (one.held_out.predicted_ttft_s != other.held_out.predicted_ttft_s).any()
    assert one.settings["inter_token"] == other.settings["inter_token"]


def test_a_server_that_got_slower_meanwhile_is_told_of():
    assert "took as long as the earlier one, to within the" in _fitted().notes[-1]
    calls = hosted(60, 1, noise=0.1)
    slower = np.where(np.arange(60) < 30, 1.0, 1.3)
    note = fit_upstream(calls._replace(ttft_s=calls.ttft_s * slower, e2e_s=calls.e2e_s * slower)).notes[-1]
    moved = float(note.partition("took ")[2].partition(" %")[0])
    assert 20 <= moved <= 40
    assert "longer than the earlier one" in note
    assert f"--run-to-run {math.ceil(moved)}%" in note


def _told(note):
    """By how much the later half took longer, as a factor."""
    share = float(note.partition("took ")[2].partition(" %")[0].replace(",", "")) / 100
    return 1 + share if "longer" in note else 1 - share


@pytest.mark.parametrize("factor", [1.1, pytest.param(1.5, marks=pytest.mark.slow), 2.5])
def test_how_much_slower_it_got_is_told_as_it_was(factor):
    """What was held out of a fit to both halves said 4.6 for 2.5: it is of one half here, and of the other there."""
    calls = hosted(60, 1, noise=0.05)
    slower = np.where(np.arange(60) < 30, 1.0, factor)
    note = fit_upstream(calls._replace(ttft_s=calls.ttft_s * slower, e2e_s=calls.e2e_s * slower)).notes[-1]
    assert _told(note) == pytest.approx(factor, rel=0.05)


def test_what_is_within_chance_is_not_told_as_a_change():
    """Here what was held out is beyond chance, 1.9 %, and by one fit to all calls it is not."""
    calls = hosted(60, 11, noise=0.05)
    slower = np.where(np.arange(60) < 30, 1.0, 1.02)
    note = fit_upstream(calls._replace(ttft_s=calls.ttft_s * slower, e2e_s=calls.e2e_s * slower)).notes[-1]
    assert note == "the later half of the calls took as long as the earlier one, to within the 1.9 % of chance"


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.1, 1.5, 2.5])
def test_waits_that_grow_out_of_slowness_are_not_taken_for_slowness_once_more(factor):
    """An engine that is 2.5 times slower keeps its callers 13 times longer at this load, and is 2.5 times slower."""
    steps = {name: factor * getattr(CPU, name) for name in ("prefill_step", "prefill_token", "decode_sequence")}
    one, other = (
        engine(spec, 80, seed, rate=0.1, alone=20, noise=0.08)
        for spec, seed in ((CPU, 1), (dataclasses.replace(CPU, **steps), 51))
    )
    columns = ("sent_s", "ttft_s", "e2e_s", "input_tokens", "output_tokens")
    later = other._replace(sent_s=other.sent_s + one.sent_s[-1] + 7200)
    calls = calls_from(*(np.concatenate([getattr(one, name), getattr(later, name)]) for name in columns))
    assert _told(fit_upstream(calls).notes[-1]) == pytest.approx(factor, rel=0.06)


def test_what_two_runs_may_differ_by_holds_either_way():
    """A server that took 40 % less takes 67 % more when it is slow again."""
    calls = hosted(60, 1, noise=0.1)
    faster = np.where(np.arange(60) < 30, 1.0, 0.6)
    note = fit_upstream(calls._replace(ttft_s=calls.ttft_s * faster, e2e_s=calls.e2e_s * faster)).notes[-1]
    less = float(note.partition("took ")[2].partition(" % less")[0]) / 100
    percent = int(note.partition("--run-to-run ")[2].removesuffix("%"))
    assert percent == pytest.approx(100 * (1 / (1 - less) - 1), abs=1.5)


def test_too_few_or_not_streamed():
    with pytest.raises(LlmsimError, match="14 answered calls are too few to fit local to; it takes 15"):
        fit_upstream(hosted(14, 1))
    calls = hosted(40, 1)
    with pytest.raises(LlmsimError, match="came all at once"):
        fit_upstream(calls._replace(e2e_s=calls.ttft_s))


@pytest.mark.slow
def test_answers_that_came_whole_are_left_out_and_said_so():
    calls = hosted(60, 1)
    whole = np.arange(60) < 20
    calls = calls._replace(ttft_s=np.where(whole, 50.0, calls.ttft_s), e2e_s=np.where(whole, 50.0, calls.e2e_s))
    found = fit_upstream(calls)
    assert found.held_out.ttft.mdape < 0.3
    assert "20 answers came all at once" in " ".join(found.notes)


# -- words -------------------------------------------------------------------------------------------------------------


def _with_failures(n=100):
    calls = hosted(n, 6)
    outcome = ["server_error" if i % 20 == 0 else "stream_broken" if i == 7 else "timeout" if i == 8 else "ok"
               for i in range(n)]  # fmt: skip
    return calls._replace(outcome=tuple(outcome))


@pytest.mark.slow
def test_failures_by_chance_have_shares_and_others_are_named():
    word = fit_upstream(_with_failures()).words["errors"]
    assert word.value == {"server_error": 0.05, "in_stream": 0.01}
    assert "server_error: 5 of 100 (95 %: 1.6" in word.note
    assert "1 timeout" in word.note


def test_no_failure_is_not_no_risk():
    told = _fitted().missing["errors"]
    assert told == "none of 60 calls failed by chance, which does not rule out 5.96 % of all"


@pytest.mark.slow
def test_the_price_is_what_calls_cost():
    calls = hosted(60, 7)
    cost = 1.5e-7 * calls.input_tokens + 6e-7 * calls.output_tokens
    assert fit_upstream(calls._replace(cost_usd=cost)).words["price"].value == pytest.approx(
        {"input": 1.5e-7, "output": 6e-7}
    )
    odd = cost * np.where(np.arange(60) % 3, 1, 1.5)
    assert "no price per token" in fit_upstream(calls._replace(cost_usd=odd)).missing["price"]
    assert _fitted().missing["price"] == "nobody said what the calls cost"


@pytest.mark.slow
def test_prices_that_cannot_be_told_apart():
    n = 40
    cost = [1e-4] * n
    calls = calls_from(60.0 * np.arange(n), [0.5] * n, [1.0] * n, [100] * n, [10] * n, cost=cost)
    assert "cannot be told apart" in fit_upstream(calls).missing["price"]


def test_lengths_that_were_seen():
    assert seen(calls_from([0], [1], [2], [100], [7])) == {"input_tokens": 100, "output_tokens": 7}


@pytest.mark.slow
def test_a_spread_that_grows_with_the_prompt_is_one_of_reading():
    """All of the noise is in reading: as an additive base time, a third of it would be below zero."""
    rng = np.random.default_rng(8)
    n = 200
    inputs = rng.choice([50, 400, 1500], n)
    ttft = 0.01 + 0.008 * inputs * np.exp(rng.normal(0, 0.2, n))
    calls = calls_from(100.0 * np.arange(n), ttft, ttft + 0.5, inputs, np.full(n, 11))
    words = fit_upstream(calls).settings
    assert words["prefill"]["per_1k"] == pytest.approx(8, rel=0.1)
    (family,) = words["prefill"]["pace"].values()
    assert 1.4 < family.get("p99", 1.6) < 1.9
    additive = fit_upstream(hosted(200, 8)).settings
    assert "pace" not in additive.get("prefill", {})


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_profile_is_read_as_it_was_written(tmp_path):
    found = fit_upstream(engine(CPU, 120, 2, rate=0.3, alone=20))
    document = profile_document(found, **ABOUT)
    path = write_profile(document, tmp_path / "local.yaml")
    profile = read_profile_file(path)
    assert profile.name == "local"
    assert profile.figures["serving"].source.n == int(found.calls.alone.sum())
    assert "95 %" in profile.figures["serving"].source.note
    assert profile.notes[-1].endswith("seed 0")
    assert profile_yaml(document, path) == path.read_text()
    spec = llmsim.load(_scenario(path)).providers["local"]
    assert spec.serving.slots == 4
    assert spec.serving.prefill_token == pytest.approx(found.settings["serving"]["prefill_token"], rel=1e-3)
    assert spec.profile == ""  # the figures are the scenario's own from here on


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["line", "load", "serving"])
def test_a_scenario_with_the_profile_behaves_like_the_server(tmp_path, kind):
    """Calibrated on one run of a made-up provider, a profile gives the TTFTs and ends of another run of it."""
    true = {
        "line": {"ttft": {"lognormal": {"p50": "400ms", "p99": "1s"}}, "prefill": {"per_1k": "200ms"}},
        "load": {"ttft": "400ms", "concurrency": 20, "prefill": {"per_1k": "200ms"},
                 "load": {"points": [{"at": "5%"}, {"at": "55%", "ttft": "6x", "inter_token": "3x"}]}},
        "serving": {"serving": {"slots": 4, "prefill_token": "3ms", "decode_sequence": "25ms"}},
    }[kind]  # fmt: skip
    if kind != "serving":
        true["inter_token"] = "30ms"
    lengths = {
        "input_tokens": {"lognormal": {"p50": 400, "p99": 1500}},
        "output_tokens": {"uniform": {"low": 5, "high": 90}},
    }

    def run(provider, seed):
        scenario = _scenario("", **lengths) | {"seed": seed, "providers": {"local": provider}}
        scenario["traffic"]["base_rate"] = "0.15/s" if kind == "serving" else "0.5/s"
        scenario["clock"]["duration"] = "1800s" if kind == "serving" else "600s"
        return calls_of([llmsim.run(scenario, replications=1)], "local")

    found = fit_upstream(run(true, 1))
    assert found.chosen == kind
    path = write_profile(profile_document(found, **ABOUT), tmp_path / "p.yaml")
    truth, told = run(true, 2), run({"profile": str(path)}, 2)
    assert (truth.input_tokens == told.input_tokens).all()
    for what in ("ttft_s", "e2e_s"):
        for share in (0.5, 0.9):
            one, other = (np.quantile(getattr(calls, what), share) for calls in (told, truth))
            assert one == pytest.approx(other, rel=0.12), (what, share)


def test_a_profile_file_is_relative_to_its_scenario_and_its_errors_are_told(tmp_path, monkeypatch):
    (tmp_path / "s").mkdir()
    monkeypatch.chdir(tmp_path)
    write_profile(profile_document(_fitted(), **ABOUT), tmp_path / "s" / "p.yaml")
    text = "version: 1\ntraffic: {base_rate: 1/s}\nproviders: {local: {profile: p.yaml, ttft: 2s}}\n"
    (tmp_path / "s" / "s.yaml").write_text(text)
    spec = llmsim.load("s/s.yaml").providers["local"]
    assert spec.ttft.mean == 2.0  # what stands beside it goes first
    assert spec.inter_token.mean == pytest.approx(0.02, rel=0.1)
    for content, message in (
        (None, "there is no such file"),
        ("version: 1\ntraffic: {}\n", "this is a scenario"),
        ("a: 1\n", "no profile"),
        ("name: a\ndate: b\ndescription: c\nfigures: {ttft: 3s}\n", "needs a mapping"),
    ):
        (tmp_path / "s" / "p.yaml").unlink(missing_ok=True)
        if content is not None:
            (tmp_path / "s" / "p.yaml").write_text(content)
        with pytest.raises(llmsim.ScenarioError, match=message) as caught:
            llmsim.load("s/s.yaml")
        assert caught.value.problems[0].path == "providers.local.profile"


def test_a_saved_result_does_not_need_the_file_any_more(tmp_path):
    path = write_profile(profile_document(_fitted(), **ABOUT), tmp_path / "p.yaml")
    result = llmsim.run(_scenario(path), replications=1, overrides=["clock.duration=30s"])
    result.save(tmp_path / "out")
    path.unlink()
    again = llmsim.load_result(tmp_path / "out")
    assert again.scenario.providers["local"] == result.scenario.providers["local"]
    assert again.attempts.equals(result.attempts)
    assert isinstance(again.attempts, pl.DataFrame)


@pytest.mark.slow
def test_editors_know_profiles_by_name_and_by_file():
    def accepts(profile):
        return validator().is_valid(
            {"version": 1, "traffic": {"base_rate": "1/s"}, "providers": {"a": {"profile": profile}}}
        )

    assert accepts("local.yaml")
    assert accepts("groq-llama-3-70b")
    assert not accepts("groq-llama")
