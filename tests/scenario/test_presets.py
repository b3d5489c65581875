"""Presets: their files, and what a scenario makes of them."""

from dataclasses import replace

import pytest
from command_line import invoke
from schema import validator

import llmsim as ls
from llmsim.errors import ScenarioError
from llmsim.gateway.presets import preset, preset_names, read_preset
from llmsim.scenario.load import load_scenario, parse_scenario
from llmsim.scenario.values import from_values, to_values

TEXT = """\
version: 1
traffic: {base_rate: 4/s}
providers: {openai: {}, other: {}}
gateway:
  preset: openai-sdk
"""
BASE = {"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"openai": {}, "other": {}}}


def scenario(*overrides, text=TEXT, beside=""):
    return parse_scenario(text + beside, "s.yaml", overrides)


def retry_of(found):
    return next(policy for policy in found.gateway.policies if policy.kind == "retry")


def leaves(preset_gateway):
    """Paths of all settings of a preset, as its sources name them."""
    for scope, prefix in (("policies", ""), ("upstream", "upstream.")):
        for entry in preset_gateway.get(scope, ()):
            ((kind, settings),) = entry.items()
            name = settings.get("name", kind)
            for key, value in settings.items():
                if key == "name":
                    continue
                if isinstance(value, dict):
                    yield from (f"{prefix}{name}.{key}.{inner}" for inner in value)
                else:
                    yield f"{prefix}{name}.{key}"


def covers(source, leaf):
    return leaf == source or leaf.startswith(source + ".")


class TestFiles:
    @pytest.mark.matrix
    @pytest.mark.parametrize("name", preset_names())
    def test_every_figure_has_a_source_and_every_source_a_figure(self, name):
        found = read_preset(name)
        paths = list(leaves(found.gateway))
        assert [leaf for leaf in paths if not any(covers(source, leaf) for source in found.sources)] == []
        assert [source for source in found.sources if not any(covers(source, leaf) for leaf in paths)] == []
        assert found.name == name
        assert found.differs, "a preset without a difference from the real one has not been looked at"

    @pytest.mark.matrix
    @pytest.mark.parametrize("providers", [("openai",), ("a", "b"), ("a", "b", "c", "d")])
    @pytest.mark.parametrize("name", preset_names())
    def test_is_for_any_providers_and_one_and_the_same_from_a_file_and_from_python(self, name, providers):
        found = load_scenario({**BASE, "providers": {one: {} for one in providers}, "gateway": {"preset": name}})
        assert found.gateway == preset(name) == ls.policies.preset(name)
        assert found.gateway.preset == name

    def test_the_units_are_those_of_a_file(self):
        assert retry_of(scenario()).backoff.initial == 0.5
        assert scenario().gateway.upstream[0].ttft == 600.0


class TestKeysBesideIt:
    def test_override_it_one_by_one_and_lists_as_a_whole(self):
        found = scenario(beside="  replicas: 3\n  policies: [retry: {max_attempts: 2}]\n")
        assert found.gateway.replicas == 3
        assert [policy.kind for policy in found.gateway.policies] == ["retry"]
        assert retry_of(found).on == ("rate_limited", "server_error", "timeout", "connection_failed")
        assert found.gateway.upstream == preset("openai-sdk").upstream

    def test_nothing_left_of_it_is_refused(self):
        with pytest.raises(ScenarioError, match=r"nothing of the preset 'openai-sdk'\. Remove preset"):
            scenario(beside="  policies: []\n  upstream: []\n")
        with pytest.raises(ValueError, match=r"write llmsim.policies.preset\('openai-sdk'\)"):
            ls.Gateway(preset="openai-sdk")
        with pytest.raises(LookupError, match="did you mean 'openai-sdk'"):
            ls.Gateway(preset="openai-skd", policies=(ls.Retry(),))

    def test_an_unknown_name_is_told_with_the_nearest_and_its_line_and_once(self):
        with pytest.raises(ScenarioError) as caught:
            scenario(text=TEXT.replace("openai-sdk", "openai-skd"))
        (problem,) = caught.value.problems
        assert (problem.line, problem.column) == (5, 11)
        assert problem.hint == "Did you mean 'openai-sdk'?"

    def test_a_problem_in_what_it_brought_is_told_at_the_gateway(self):
        with pytest.raises(ScenarioError, match=r"two policies here are called 'timeout'") as caught:
            scenario(beside="  upstream: [timeout: {ttft: 1s}, timeout: {ttft: 2s}]\n")
        assert caught.value.problems[0].line == 6

    def test_the_schema_knows_the_names(self):
        document = {"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"a": {}}}
        assert validator().is_valid({**document, "gateway": {"preset": "envoy"}})
        assert not validator().is_valid({**document, "gateway": {"preset": "envoi"}})


class TestPaths:
    def test_lead_into_its_policies(self):
        found = scenario("gateway.retry.max_attempts=5", "upstream.timeout.ttft=3s")
        assert retry_of(found).max_attempts == 5
        assert retry_of(found).max_retry_after == 120.0
        assert found.gateway.upstream[0].ttft == 3.0
        assert scenario().with_values({"gateway.retry.backoff.initial": 0.1}) == scenario(
            "gateway.retry.backoff.initial=100ms"
        )

    @pytest.mark.parametrize("order", [1, -1])
    def test_another_preset_takes_the_place_of_all_policies_in_whatever_order(self, order):
        overrides = ["gateway.preset=litellm-fallbacks", "gateway.fallback.max_fallbacks=2"][::order]
        found = scenario(*overrides, beside="  replicas: 3\n  upstream: [timeout: {ttft: 1s}]\n")
        expected = preset("litellm-fallbacks")
        assert found.gateway.upstream == expected.upstream
        assert found.gateway.policies == (replace(expected.policies[0], max_fallbacks=2), *expected.policies[1:])
        assert (found.gateway.preset, found.gateway.replicas) == ("litellm-fallbacks", 3)

    def test_also_where_there_was_none(self):
        plain = scenario(text=TEXT.partition("gateway:")[0])
        assert plain.with_values({"gateway.preset": "envoy"}).gateway == preset("envoy")
        own = load_scenario({**BASE, "gateway": {"policies": ["cache"], "stream": False}})
        assert own.with_values({"gateway.preset": "envoy"}).gateway == replace(preset("envoy"), stream=False)

    def test_from_one_to_another_leaves_nothing_of_the_first(self):
        found = load_scenario({**BASE, "gateway": {"preset": "article-snippet"}})
        assert found.gateway.stream is False
        assert found.with_values({"gateway.preset": "envoy"}).gateway == preset("envoy")

    def test_a_whole_gateway_may_be_a_preset(self):
        found = scenario("gateway.retry.max_attempts=4", "gateway={preset: portkey}")
        assert (found.gateway.preset, retry_of(found).max_attempts) == ("portkey", 4)

    def test_unknown_ones_are_told(self):
        with pytest.raises(ScenarioError, match=r"there is no preset 'portky'\. Did you mean 'portkey'\?"):
            scenario("gateway.preset=portky")
        with pytest.raises(ScenarioError, match=r"gateway\.preset: .*not 3"):
            scenario("gateway.preset=3")
        with pytest.raises(ScenarioError, match="has no policy 'cache'"):
            scenario("gateway.cache.ttl=5m")

    def test_a_wrong_value_is_told_by_the_path_that_was_typed(self):
        with pytest.raises(ScenarioError, match=r"--set: gateway\.retry\.max_attempts: "):
            scenario("gateway.retry.max_attempts=0")


class TestValues:
    @pytest.mark.parametrize("name", preset_names())
    def test_say_no_more_than_its_name(self, name):
        found = load_scenario({**BASE, "gateway": {"preset": name}})
        assert to_values(found)["gateway"] == {"preset": name}
        assert from_values(to_values(found)) == found

    def test_and_the_lists_that_differ(self):
        found = scenario("gateway.retry.max_attempts=5", "gateway.replicas=2")
        values = to_values(found)["gateway"]
        assert values.keys() == {"preset", "policies", "replicas"}
        assert from_values(to_values(found)) == found

    def test_a_gateway_from_python_is_one_with_that_name(self):
        found = scenario().with_gateway(ls.policies.preset("envoy"))
        assert to_values(found)["gateway"] == {"preset": "envoy"}
        assert from_values(to_values(found)) == found

    def test_an_emptied_list_stays_empty(self):
        found = scenario(beside="  upstream: []\n")
        assert to_values(found)["gateway"]["upstream"] == []
        assert from_values(to_values(found)) == found


class TestCommand:
    def test_lists_all(self):
        text = invoke("presets").output
        assert all(name in text for name in preset_names())

    @pytest.mark.matrix
    @pytest.mark.parametrize("name", preset_names())
    def test_shows_one_ready_to_paste(self, name):
        shown = invoke("presets", name).output
        pasted = parse_scenario(TEXT.partition("gateway:")[0] + shown)
        assert replace(pasted.gateway, preset=name) == preset(name)
        assert max(map(len, shown.splitlines())) <= 125

    def test_names_the_nearest(self):
        result = invoke("presets", "envoi")
        assert result.exit_code == 2
        assert "did you mean 'envoy'?" in result.stderr
