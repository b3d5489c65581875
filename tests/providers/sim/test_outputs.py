"""What simulated models answer: cut at max_tokens, refused, in broken JSON, and different after a silent upgrade."""

import asyncio
import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from providers.sim.bench import play

import llmsim as ls
from llmsim.distributions import Constant
from llmsim.providers.faults import Fault, ModelDrift
from llmsim.providers.sim.outputs import JsonDefects, Output, json_text
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.spec import Clock
from llmsim.traffic.spec import Route, Topics, Traffic, Zipf
from llmsim.traffic.workload import JSON_ANSWER, usable
from llmsim.types import Response, WholeAnswer

FAST = {"ttft": Constant(0.1), "inter_token": Constant(0.01)}
DEFECTS = ["prose", "fence", "cut", "bracket", "no_json", "wrong_schema"]


def _ask(bench, number, tokens, max_tokens=None, stream=True):
    request = bench.request(number, tokens=tokens, stream=stream)
    return request._replace(max_tokens=max_tokens)


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_is_cut_at_max_tokens_and_says_so(stream):
    async def script(bench):
        seen = []
        for number, most in enumerate([None, 50, 49, 7]):
            response = await bench.provider.send(_ask(bench, number, 50, most, stream))
            text = await response.read()
            seen.append((response.usage.output_tokens, response.finish_reason, len(text)))
        return seen

    assert play(SimProvider(**FAST), script) == [
        (50, "stop", 200),
        (50, "stop", 200),
        (49, "length", 196),
        (7, "length", 28),
    ]


def test_length_variation_and_refusals_have_their_shares():
    count = 3000

    async def script(bench):
        seen = []
        for number in range(count):
            response = await bench.provider.send(_ask(bench, number, 100))
            await response.read()
            seen.append((response.usage.output_tokens, response.finish_reason))
        return seen

    output = Output(length=1.5, variation=0.1, refusals=0.2)
    seen = play(SimProvider(ttft=Constant(0.1), inter_token=Constant(0.0), output=output), script)
    refused = [tokens for tokens, reason in seen if reason == "refusal"]
    answered = [tokens for tokens, reason in seen if reason == "stop"]
    assert len(refused) / count == pytest.approx(0.2, abs=4 * math.sqrt(0.2 * 0.8 / count))
    assert len(set(refused)) == 1
    mean = sum(answered) / len(answered)
    assert mean == pytest.approx(150, abs=4 * 15 / math.sqrt(len(answered)))
    spread = math.sqrt(sum((tokens - mean) ** 2 for tokens in answered) / len(answered))
    assert spread == pytest.approx(15, rel=0.08)


@given(
    tokens=st.integers(1, 400),
    share=st.floats(0.01, 1.0),
    place=st.floats(0.001, 0.999),
    defect=st.sampled_from(DEFECTS),
)
def test_only_what_is_whole_and_without_a_defect_is_usable(tokens, share, place, defect):
    kept = max(int(tokens * share), 1)
    assert usable(json_text(tokens, tokens, None, place))
    assert not usable(json_text(tokens, tokens, defect, place))
    if kept < tokens:
        assert not usable(json_text(tokens, kept, None, place))
    if tokens > 8:  # shorter ones are mostly brackets
        assert len(json_text(tokens, tokens, None, place)) == pytest.approx(4 * tokens, abs=6)


def test_the_defects_are_what_their_names_say():
    def parse(defect):
        return json.loads(json_text(20, 20, defect, 0.5))

    assert list(parse("wrong_schema")) == ["result"]
    for defect in ("prose", "fence", "cut", "bracket", "no_json"):
        with pytest.raises(ValueError, match="line 1"):
            parse(defect)
    assert json_text(20, 20, "fence", 0.5).startswith("```json\n{")
    assert json.loads(json_text(20, 20, "bracket", 0.5) + "}")
    assert json.loads(json_text(20, 20, "prose", 0.5).partition("\n\n")[2])


def test_a_reader_of_chunks_gets_the_same_text():
    async def script(bench):
        texts = []
        for number in range(2):
            request = _ask(bench, number, 83)._replace(response_schema=JSON_ANSWER)
            response = await bench.provider.send(request)
            texts.append("".join([chunk.text async for chunk in response]) if number else await response.read())
        return texts

    whole, chunks = play(SimProvider(**FAST), script)
    assert whole == chunks
    assert usable(whole)


def _scenario(output, *, faults=(), policies=(), duration=400.0, **route):
    return ls.Scenario(
        version=1,
        replications=1,
        clock=Clock(duration=duration),
        traffic=Traffic(base_rate=10.0, mix=(Route(expects="json", output_tokens=Constant(30), **route),)),
        providers={"a": SimProvider(**FAST, output=output)},
        gateway=ls.Gateway(policies=tuple(policies)),
        faults=tuple(faults),
    )


def _shares(result, start_s=0.0, end_s=math.inf):
    rows = result.requests.filter((result.requests["arrival_s"] >= start_s) & (result.requests["arrival_s"] < end_s))
    return {word: (rows["outcome"] == word).sum() / rows.height for word in ("ok", "bad_output")}, rows.height


@pytest.mark.slow
def test_unusable_json_is_a_failure_at_the_rate_of_the_prompts_style():
    output = Output(
        json_defects=JsonDefects(prose=0.1), json_defects_by_style={"dspy": JsonDefects(fence=0.3, cut=0.1)}
    )
    for style, share in (("", 0.1), ("dspy", 0.4)):
        shares, count = _shares(ls.run(_scenario(output, prompt_style=style)))
        assert shares["bad_output"] == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / count))
        assert shares["ok"] + shares["bad_output"] == pytest.approx(1)


@pytest.mark.slow
def test_a_policy_that_repairs_the_answer_saves_it():
    @ls.policy
    async def unfence(request, call_next):
        response = await call_next(request)
        text = (await response.read()).removeprefix("```json\n").removesuffix("\n```")
        answer = WholeAnswer(text, response.tokens_delivered, response.usage, response.finish_reason)
        return Response(answer, upstream=response.upstream, model=response.model, parents=(response,))

    fenced = Output(json_defects=JsonDefects(fence=0.3))
    broken, _ = _shares(ls.run(_scenario(fenced)))
    repaired, _ = _shares(ls.run(_scenario(fenced, policies=[unfence])))
    assert broken["bad_output"] > 0.2
    assert repaired == {"ok": 1.0, "bad_output": 0.0}


@pytest.mark.slow
def test_a_silent_upgrade_changes_what_is_answered_from_then_on():
    drift = ModelDrift(ttft=2.0, output_tokens=1.5, json_defects=4.0, model="a-2")
    fault = Fault(name="upgrade", provider="a", at=200.0, drift=drift)
    result = ls.run(_scenario(Output(json_defects=JsonDefects(cut=0.05)), faults=[fault]))
    before, count = _shares(result, end_s=199.0)
    after, _ = _shares(result, start_s=200.0)
    assert before["bad_output"] == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / count))
    assert after["bad_output"] == pytest.approx(0.2, abs=4 * math.sqrt(0.2 * 0.8 / count))
    good = result.requests.filter(result.requests["outcome"] == "ok")
    old, new = (good.filter((good["arrival_s"] >= 200) == late) for late in (False, True))
    assert set(old["output_tokens"]) == {30}
    assert set(new.filter(new["arrival_s"] > 201)["output_tokens"]) == {45}
    assert old["ttft_s"].median() == pytest.approx(0.1)
    assert new["ttft_s"].median() == pytest.approx(0.2)


def test_an_answer_that_was_cut_off_is_not_cached():
    traffic = Traffic(
        base_rate=10.0,
        mix=(Route(output_tokens=Constant(30), max_tokens=20),),
        topics=Topics(zipf=Zipf(unique=1), paraphrases=0.0),
    )
    scenario = dataclasses.replace(_scenario(Output(), policies=[ls.Cache()]), traffic=traffic)
    result = ls.run(scenario)
    assert set(result.requests["served_from"]) == {"upstream"}
    assert set(result.requests["finish_reason"]) == {"length"}
    longer = dataclasses.replace(traffic, mix=(Route(output_tokens=Constant(30), max_tokens=30),))
    assert "cache" in set(ls.run(dataclasses.replace(scenario, traffic=longer)).requests["served_from"])


def test_a_refusal_is_cut_like_any_answer_and_still_one():
    async def script(bench):
        seen = []
        for number, most in enumerate([None, 100, 5, 1]):
            response = await bench.provider.send(_ask(bench, number, 50, most))
            await response.read()
            seen.append((response.usage.output_tokens, response.finish_reason))
        return seen

    spec = SimProvider(**FAST, output=Output(refusals=1.0))
    assert play(spec, script) == [(24, "refusal"), (24, "refusal"), (5, "refusal"), (1, "refusal")]


def test_a_drift_without_a_name_leaves_the_one_of_another():
    names = ModelDrift(model="new"), ModelDrift(output_tokens=2.0)
    faults = [Fault(name=f"f{number}", provider="p", drift=drift) for number, drift in enumerate(names)]
    for order in (faults, faults[::-1]):
        seen = play(SimProvider(**FAST, model="old"), lambda bench: bench.go(0, tokens=10), order)[0]
        assert (seen.response.model, seen.tokens) == ("new", 20)


def test_after_an_upgrade_it_has_another_name_whatever_was_asked_for():
    fault = Fault(name="f", provider="p", at=1.0, drift=ModelDrift(model="new"))

    async def script(bench):
        names = []
        for number in range(4):
            asked = bench.request(number)._replace(model="asked" if number % 2 else None)
            names.append((await bench.provider.send(asked)).model)
            await asyncio.sleep(0.4)
        return names

    assert play(SimProvider(**FAST, model="old"), script, [fault]) == ["old", "asked", "new", "new"]


def test_an_upgrade_may_refuse_more_and_be_slower_in_all():
    drift = ModelDrift(refusals=4.0, latency=3.0)
    fault = Fault(name="f", provider="p", at=1000.0, drift=drift)

    async def script(bench):
        seen = []
        for number in range(1600):
            start_s = max(bench.loop.time(), 1000.0 if number == 800 else 0.0)
            await asyncio.sleep(start_s - bench.loop.time())
            response = await bench.provider.send(bench.request(number, tokens=101))
            await response.read()
            seen.append((response.finish_reason == "refusal", bench.loop.time() - start_s))
        return seen

    seen = play(SimProvider(**FAST, output=Output(refusals=0.1)), script, [fault])
    for half, share, time_s in ((seen[:800], 0.1, 1.1), (seen[800:], 0.4, 3.3)):
        refused = sum(refusal for refusal, _ in half) / 800
        assert refused == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 800))
        assert {round(seconds, 6) for refusal, seconds in half if not refusal} == {time_s}
