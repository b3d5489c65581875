"""Answers that tenants share: allowed by their cache's scope, and told all the same."""

import llmsim as ls
from llmsim.gateway.policies import Cache
from llmsim.scenario.load import parse_scenario

TWO = """
version: 1
clock: {duration: 15s}
traffic:
  base_rate: 4/s
  mix: [{tenant: north}, {tenant: south}]
  topics: {zipf: {s: 1.0, unique: 5}}
providers: {a: {}}
"""


def hits(scope):
    result = ls.run(parse_scenario(TWO).with_gateway([Cache(scope=scope)]), replications=1)
    told = result.to_dict()["metrics"]["safety"]
    return told["cross_scope_hits"], told["cross_tenant_hits"]


def test_a_cache_for_everybody_crosses_no_scope_and_yet_tenants():
    assert hits("tenant") == (0, 0)
    scope, tenant = hits("global")
    assert scope == 0
    assert tenant > 10
