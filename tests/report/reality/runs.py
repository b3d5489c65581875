"""A scenario of two routes and two providers, and its simulation with changes."""

from __future__ import annotations

from collections.abc import Mapping

import llmsim as ls
from llmsim.scenario.load import parse_scenario

TEXT = """
version: 1
seed: 5
clock: {warm_up: 5s, duration: 60s}
traffic:
  base_rate: 5/s
  mix:
    - route: chat
      weight: 70%
      input_tokens: {uniform: {low: 50, high: 150}}
      output_tokens: {uniform: {low: 10, high: 60}}
    - {route: rag, weight: 30%, input_tokens: 400, output_tokens: 20}
providers:
  a: {ttft: {lognormal: {p50: 300ms, p99: 1s}}, inter_token: 20ms, price: {input: $1/Mtok, output: $2/Mtok}}
  b: {ttft: {lognormal: {p50: 300ms, p99: 1s}}, inter_token: 20ms, price: {input: $1/Mtok, output: $2/Mtok}}
gateway: {policies: [{fallback: {order: [a, b]}}]}
"""


def simulated(changes: Mapping[str, str] | None = None, seed: int = 5, **paths: str) -> ls.Result:
    """A run; `changes` are those of provider a, `paths` (dots written ``__``) anything else's."""
    overrides = [f"providers.a.{key}={value}" for key, value in (changes or {}).items()]
    overrides += [f"{key.replace('__', '.')}={value}" for key, value in paths.items()]
    return ls.run(parse_scenario(TEXT, overrides=overrides), seed=seed, replications=1)


def as_live(result: ls.Result) -> ls.Result:
    """The same run saying that it is live: the truth that a simulation is to find."""
    one = result.replications[0]
    counters = {**one.counters, "live": 1.0, "spent_usd": 0.1}
    return ls.Result(result.scenario, [one._replace(counters=counters)], seed=result.seed)
