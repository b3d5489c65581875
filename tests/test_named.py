"""Names that users look up: what they are told when there is no such name."""

import copy
import json
import pickle

import pytest

import llmsim as ls
from llmsim.errors import PolicyError
from llmsim.named import Named, UnknownName

SCENARIO = {
    "version": 1,
    "replications": 1,
    "clock": {"duration": "20s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"openai": {"ttft": "300ms"}, "anthropic": {}},
}


@pytest.fixture(scope="module")
def result():
    return ls.run(SCENARIO)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ttft", "there is no metric 'ttft'; did you mean ['ttft_s'], ['ttft_ok_s'] or ['ttft_upstream_s']?"),
        ("ttft_p95", "there is no metric 'ttft_p95'; did you mean ['ttft_s']['p95']?"),
        ("eror_rate", "there is no metric 'eror_rate'; did you mean ['error_rate']?"),
    ],
)
def test_metrics_name_what_is_near(result, name, says):
    with pytest.raises(KeyError) as caught:
        result.metrics[name]
    assert str(caught.value) == says
    assert isinstance(result.metrics["ttft_s"]["p95"], float)


def test_within_a_metric_too(result):
    with pytest.raises(UnknownName, match=r"no part of ttft_s 'p94'; did you mean \['p9"):
        result.metrics["ttft_s"]["p94"]
    with pytest.raises(UnknownName, match=r"no part of cost_usd 'totl'; did you mean \['total'\]"):
        result.metrics["cost_usd"]["totl"]


def test_providers_of_a_scenario():
    scenario = ls.load(SCENARIO)
    with pytest.raises(KeyError, match=r"no provider 'opnai'; did you mean \['openai'\]"):
        scenario.providers["opnai"]
    with pytest.raises(KeyError, match=r"no provider 'x'; known: openai, anthropic"):
        scenario.providers["x"]
    assert scenario.with_gateway([]).providers == scenario.providers


def test_providers_of_a_gateway_of_ones_own():
    async def mine(request, providers):
        return await providers["opnai"].send(request)

    with pytest.raises(PolicyError, match=r"there is no provider 'opnai'; did you mean \['openai'\]\?"):
        ls.run(ls.load(SCENARIO).with_gateway(mine))


def test_it_stays_a_dict(result):
    for other in (copy.deepcopy(result.metrics), pickle.loads(pickle.dumps(result.metrics))):
        assert repr(other) == repr(result.metrics)
        with pytest.raises(UnknownName, match="no metric"):
            other["nope"]
    assert "nope" not in result.metrics
    assert result.metrics.get("nope") is None
    assert json.loads(json.dumps(Named("thing", {"a": 1}))) == {"a": 1}


def test_a_policy_that_is_not_in_the_flat_namespace():
    with pytest.raises(AttributeError, match=r"no attribute 'Hedge'; write llmsim\.policies\.Hedge"):
        ls.Hedge
    with pytest.raises(AttributeError, match=r"no attribute 'hedge'$"):
        ls.hedge


def test_a_scenario_is_looked_for_where_they_are(tmp_path, monkeypatch):
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios/launch-day.yaml").write_text("version: 1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ls.ScenarioError, match=r"Did you mean scenarios/launch-day\.yaml\?"):
        ls.load("launch-day")
