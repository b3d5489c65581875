"""Distributions in scenario files: nested ones read, are written back, and say where something is wrong."""

import json

import pytest
from schema import validator

from llmsim.distributions import Constant, Contention, Empirical, LogLogistic, Lognormal, Mixture, Part
from llmsim.errors import ScenarioError
from llmsim.scenario.load import load_scenario, parse_scenario, read_document
from llmsim.scenario.values import from_values, to_values

TEXT = """\
version: 1
traffic: {base_rate: 1/s}
providers:
  a:
    ttft:
      mixture:
        - {weight: 80%, lognormal: {p50: 300ms, p99: 1s}}
        - {weight: 20%, log_logistic: {p50: 2s, shape: 2.5}}
    inter_token: {empirical: {p0: 0, p50: 12ms, p99.9: 80ms}}
    answer_time:
      contention:
        base: {mixture: [{weight: 1, constant: 30ms}]}
        probability: 5%
        extra: 1s
"""


def test_they_read_and_are_written_back():
    scenario = parse_scenario(TEXT)
    provider = scenario.providers["a"]
    assert provider.ttft == Mixture((Part(0.8, Lognormal(0.3, 1.0)), Part(0.2, LogLogistic(2.0, 2.5))))
    assert provider.inter_token == Empirical(((0.0, 0.0), (50.0, 0.012), (99.9, 0.08)))
    assert provider.answer_time == Contention(Mixture((Part(1.0, Constant(0.03)),)), 0.05, 1.0)
    assert from_values(to_values(scenario)) == scenario


def test_a_path_leads_into_a_mixture():
    overridden = load_scenario(read_document(TEXT)[0].data, ["providers.a.ttft.mixture.0.lognormal.p99=2s"])
    assert overridden.providers["a"].ttft.parts[0].of == Lognormal(0.3, 2.0)


@pytest.mark.parametrize(
    ("right", "wrong", "line", "column", "path", "hint"),
    [
        ("p50: 2s, shape", "p50: 2, shape", 8, 45, "mixture[1].log_logistic.p50", "Write it like 250ms"),
        ("weight: 20%, log", "weight: 20%, long", 8, 25, "mixture[1].long_logistic", "Did you mean 'log_logistic'?"),
        ("p99: 1s", "p99: 100ms", 7, 25, "mixture[0].lognormal", "Write the median as p50"),
    ],
)
def test_what_is_wrong_inside_is_pointed_at(right, wrong, line, column, path, hint):
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(TEXT.replace(right, wrong))
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (line, column)
    assert problem.path == f"providers.a.ttft.{path}"
    assert problem.hint.startswith(hint)


def test_the_schema_knows_them():
    document, _ = read_document(TEXT)
    assert [error.message for error in validator().iter_errors(document.data)] == []
    for right, wrong in (("weight: 20%, log", "weight: 20%, long"), ("p50: 2s, shape", "p50: 2, shape")):
        assert not validator().is_valid(read_document(TEXT.replace(right, wrong))[0].data)
    assert not validator().is_valid(read_document(TEXT.replace("p50: 12ms", "median: 12ms"))[0].data)
    schema = validator().schema
    units = ("a-duration", "a-multiplier", "a-number", "a-number-of-tokens")
    assert sorted(schema["definitions"]) == [f"distribution-of-{unit}" for unit in units]
    assert len(json.dumps(schema)) < 500_000  # each place with a distribution written out would be megabytes
