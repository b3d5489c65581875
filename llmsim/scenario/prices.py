"""Prices that change while a scenario runs: what its faults of ``price`` make of its providers' lists."""

from __future__ import annotations

import math
from collections.abc import Mapping

from llmsim.pricing import PriceSteps
from llmsim.providers.ramps import course
from llmsim.scenario.spec import Scenario

__all__ = ["price_steps"]


def price_steps(scenario: Scenario, zero_s: float = 0.0) -> Mapping[str, PriceSteps]:
    """Of each provider whose price changes: from when on which price holds, the first from -inf on.

    Parameters
    ----------
    scenario
        With its faults; overlapping ones multiply.
    zero_s
        What the clock reads that the times are wanted on, where the scenario's reads 0.

    Examples
    --------
    >>> from llmsim.pricing import TokenPrice
    >>> from llmsim.providers.faults import Fault, Scale
    >>> from llmsim.providers.sim.spec import SimProvider
    >>> from llmsim.traffic.spec import Traffic
    >>> dearer = Fault(name="dearer", provider="a", at=60.0, duration=30.0, price=Scale(multiplier=3.0))
    >>> provider = SimProvider(price=TokenPrice(input=1.0, output=2.0))
    >>> scenario = Scenario(version=1, traffic=Traffic(base_rate=1.0), providers={"a": provider}, faults=(dearer,))
    >>> [(start_s, price.output) for start_s, price in price_steps(scenario)["a"]]
    [(-inf, 2.0), (60.0, 6.0), (90.0, 2.0)]
    """
    steps: dict[str, PriceSteps] = {}
    for name, provider in scenario.providers.items():
        changes = [fault for fault in scenario.faults if fault.provider == name and fault.price is not None]
        if not changes:
            continue
        found = [(-math.inf, provider.price)]
        found += [(start_s, provider.price.times(factor)) for start_s, factor in course(changes, "price", zero_s)]
        steps[name] = tuple(found)
    return steps
