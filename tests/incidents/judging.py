"""One scenario under two gateways: what the incident's code does to its SLOs, and what the library's policy does."""

import dataclasses

import llmsim as ls


def judged(scenario, policies, *, replications=6):
    """The result of this scenario with these gateway policies."""
    document = {"version": 1, "clock": {"duration": "20s", "drain": "30s"}, "traffic": {"base_rate": "2/s"}, **scenario}
    loaded = ls.load(document)
    gateway = dataclasses.replace(loaded.gateway, policies=tuple(policies))
    return ls.run(loaded.with_gateway(gateway), replications=replications)
