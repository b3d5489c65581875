"""Every shipped profile loads, has a source for every figure, and a price or a reason for none."""

import dataclasses
import re

import pytest
from pydantic import ValidationError
from schema import validator

from llmsim.distributions import Constant
from llmsim.errors import ScenarioError
from llmsim.pricing import TokenPrice, list_price
from llmsim.providers.dialects import Limits
from llmsim.providers.profiles import profile_from, profile_names
from llmsim.providers.sim.latency import PromptCache
from llmsim.providers.sim.outputs import Output
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.keys import keys_of
from llmsim.scenario.load import load_scenario, parse_scenario, read_document
from llmsim.scenario.profiles import defaults_of, read_profile
from llmsim.scenario.values import from_values, to_values

NAMES = profile_names()


def test_there_are_fast_and_large_ones_of_everybody():
    assert len(NAMES) >= 14
    for vendor in ("openai", "anthropic", "google", "azure", "groq", "together", "bedrock"):
        assert sum(name.startswith(f"{vendor}-") for name in NAMES) >= 2, vendor
    assert any(name.startswith(("fireworks-", "anyscale-")) for name in NAMES)
    assert {"vllm-llama-3.1-8b", "vllm-llama-3.1-70b"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_a_source(name):
    profile = read_profile(name)
    assert profile.name == name and profile.description
    assert re.fullmatch(r"20\d\d(-\d\d){0,2}", profile.date)
    sources = [figure.source for figure in (*profile.figures.values(), *profile.tiers.values())]
    sources += [defects.source for defects in profile.structured_output.values()]
    for source in sources:
        assert source.of and re.search(r"20\d\d", source.date)
        if source.how in ("fitted", "empirical", "measured"):
            assert source.n
        if source.how == "empirical":
            assert "closest: " in source.note  # which family came nearest
    assert set(profile.figures) <= set(keys_of(SimProvider)) - {"profile", "tier"}


@pytest.mark.matrix
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_known_is_said(name):
    profile = read_profile(name)
    have = {*profile.figures, *(["structured_output"] if profile.structured_output else [])}
    assert not have & set(profile.missing)
    wanted = {"ttft", "inter_token", "prefill", "stall", "rate_limit", "errors", "price", "structured_output"}
    assert wanted <= have | set(profile.missing)
    assert all(len(why) > 10 for why in profile.missing.values())
    assert "ttft" in have  # or it would be no profile


@pytest.mark.matrix
@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_can_use_it(name):
    provider = defaults_of(name, "")
    assert provider.model and 0.01 < provider.ttft.mean < 60
    assert (provider.price == TokenPrice()) == ("price" in read_profile(name).missing)
    for tier in read_profile(name).tiers:
        assert isinstance(defaults_of(name, tier).rate_limit, Limits)
    for defects in read_profile(name).structured_output.values():
        assert 0.4 < defects.clean <= 1


def test_structured_output_is_the_studys():
    """StructuredRAG, Sept 2024: gpt-4o with f-strings 99.4 % strict and 87.5 % right; 10.1 % cut under DSPy."""
    found = read_profile("openai-gpt-4o").structured_output
    assert found["fstring"].clean == pytest.approx(0.875, abs=0.001)
    assert found["dspy"].cut == pytest.approx(0.101, abs=0.001)
    llama = read_profile("groq-llama-3-8b").structured_output["fstring"]
    assert llama.prose == pytest.approx(0.272, abs=0.001) and llama.clean == pytest.approx(0.522, abs=0.001)


def test_a_figure_without_a_source_is_refused():
    good = {"of": "somebody", "date": "2026", "how": "quoted"}
    data = {"name": "x", "date": "2026", "description": "x", "figures": {"ttft": {"value": "1s", "source": good}}}
    assert profile_from(data).settings() == {"ttft": "1s"}
    for broken in ({"value": "1s"}, {"value": "1s", "source": {"how": "quoted"}}, {"value": "1s", "source": "me"}):
        with pytest.raises(ValidationError):
            profile_from({**data, "figures": {"ttft": broken}})


TEXT = """\
version: 1
traffic: {base_rate: 1/s}
providers:
  a: {profile: openai-gpt-4o}
"""


def provider_of(line, text=TEXT):
    return parse_scenario(text.replace("{profile: openai-gpt-4o}", line)).providers["a"]


def test_the_keys_beside_it_win():
    plain = provider_of("{profile: openai-gpt-4o}")
    assert plain.model == "gpt-4o"
    assert plain.price == list_price("openai/gpt-4o", "2026-06-24").price
    assert plain.rate_limit is None
    mine = provider_of("{profile: openai-gpt-4o, ttft: 300ms, price: {input: $1/Mtok}, concurrency: 4}")
    assert mine.ttft == Constant(0.3) and mine.price == TokenPrice(input=1e-6) and mine.concurrency == 4
    assert mine.inter_token == plain.inter_token


def test_a_tier_is_a_rate_limit():
    assert provider_of("{profile: openai-gpt-4o, tier: tier-1}").rate_limit == Limits(requests=500 / 60, tokens=500)
    own = provider_of("{profile: openai-gpt-4o, tier: tier-1, rate_limit: {requests: 10/s}}")
    assert own.rate_limit == Limits(requests=10)
    fault = "faults: [{name: cut, provider: a, duration: 10s, rate_limit: {multiplier: 0.5x}}]\n"
    parse_scenario(TEXT.replace("}\n", ", tier: tier-1}\n", 2).replace("1/s, tier: tier-1}", "1/s}") + fault)
    with pytest.raises(ScenarioError, match="has no rate_limit for this fault"):
        parse_scenario(TEXT + fault)


def test_the_prompt_cache_is_completed():
    cache = provider_of("{profile: openai-gpt-4o, prompt_cache: {share: 60%}}").prompt_cache
    assert cache == PromptCache(share=0.6, min_tokens=1024, increment=128, ttl=300.0)


@pytest.mark.parametrize(
    "line",
    [
        "{profile: openai-gpt-4o}",
        "{profile: openai-gpt-4o, tier: tier-1, ttft: 500ms, prompt_cache: {share: 60%, increment: 1}}",
        "{profile: openai-gpt-4o, prompt_cache: null, price: {input: 0, output: 0}}",
        "{profile: vllm-llama-3.1-8b, load: null, concurrency: null}",
        "{profile: anthropic-claude-3-haiku, flush: 0%}",
        "{profile: openai-gpt-4o, output: {refusals: 1%, json_defects: {}}}",
        "{profile: openai-gpt-4o, errors: {server_error: 0%, in_stream: 1%}}",
        "{profile: vllm-llama-3.1-8b, serving: {slots: 8, prefill_token: 20us, decode_sequence: 200us}}",
    ],
)
def test_what_is_written_reads_back(line):
    scenario = parse_scenario(TEXT.replace("{profile: openai-gpt-4o}", line))
    assert from_values(to_values(scenario)) == scenario


def test_what_was_measured_stays_beside_a_word_of_ones_own():
    plain, mine = (
        provider_of("{profile: openai-gpt-4o}"),
        provider_of("{profile: openai-gpt-4o, output: {refusals: 1%}}"),
    )
    assert plain.output.json_defects.wrong_schema > 0.1
    assert mine.output == dataclasses.replace(plain.output, refusals=0.01)
    name = next(name for name in profile_names() if defaults_of(name, "").errors.total)
    measured = defaults_of(name, "").errors
    assert provider_of(f"{{profile: {name}, errors: {{in_stream: 1%}}}}").errors == dataclasses.replace(
        measured, in_stream=0.01
    )


def test_a_serving_engine_takes_the_place_of_measured_times():
    serving = "serving: {slots: 8, prefill_token: 20us, decode_sequence: 200us}"
    mine = provider_of(f"{{profile: vllm-llama-3.1-8b, {serving}}}")
    assert mine.serving.slots == 8 and mine.model == "llama-3.1-8b" and mine.ttft == Constant(0.5)
    with pytest.raises(ScenarioError, match=r"a serving engine has its own timing\. Remove ttft\."):
        provider_of(f"{{profile: vllm-llama-3.1-8b, ttft: 1s, {serving}}}")


def test_a_profile_can_be_swapped():
    scenario = parse_scenario(TEXT.replace("gpt-4o}", "gpt-4o, inter_token: 5ms}"))
    other = scenario.with_values({"providers.a.profile": "groq-llama-3-70b"}).providers["a"]
    assert other == provider_of("{profile: groq-llama-3-70b, inter_token: 5ms}")
    judged = parse_scenario(TEXT.replace("gpt-4o}", "gpt-4o, output: {refusals: 1%}}"))
    swapped = judged.with_values({"providers.a.profile": "groq-llama-3-70b"}).providers["a"]
    assert swapped.output == Output(refusals=0.01), "not the defects of the other model"
    overridden = load_scenario(read_document(TEXT)[0].data, ["providers.a.profile=groq-llama-3-70b"])
    assert overridden.providers["a"] == provider_of("{profile: groq-llama-3-70b}")


@pytest.mark.parametrize(
    ("line", "path", "hint"),
    [
        ("{profile: openai-gpt4o}", "profile", "Did you mean 'openai-gpt-4o'?"),
        ("{profile: 4}", "profile", "Put it in quotes"),
        ("{profile: openai-gpt-4o, tier: tier1}", "tier", "Did you mean 'tier-1'?"),
        ("{profile: groq-llama-3-70b, tier: free}", "tier", "It has none; write rate_limit:"),
        ("{tier: tier-1}", "tier", "Add a profile:"),
        ("{profil: openai-gpt-4o}", "profil", "Did you mean 'profile'?"),
    ],
)
def test_refused(line, path, hint):
    with pytest.raises(ScenarioError) as caught:
        provider_of(line)
    (problem,) = caught.value.problems
    assert problem.path == f"providers.a.{path}" and problem.line == 4
    assert problem.hint.startswith(hint)


@pytest.mark.slow
def test_the_schema_lists_them():
    assert validator().is_valid(read_document(TEXT)[0].data)
    assert not validator().is_valid(read_document(TEXT.replace("4o", "4p"))[0].data)
