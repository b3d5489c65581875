"""A burn rate over several stretches of time."""

from __future__ import annotations

import polars as pl

from llmsim.telemetry.burn import worst_burn
from llmsim.telemetry.parts import Burn
from llmsim.telemetry.sample import Sample


def test_a_window_does_not_reach_from_one_stretch_into_the_next() -> None:
    # The second stretch lasts 20 s, shorter than the long window: its failures are no 50 s of failing.
    arrivals = [float(n) for n in (*range(60), *range(200, 220))]
    outcome = ["ok"] * 60 + ["server_error"] * 20
    whole = Sample(pl.DataFrame({"arrival_s": arrivals, "outcome": outcome}), pl.DataFrame(), 300.0)
    assert worst_burn(whole.within([(0.0, 60.0), (200.0, 220.0)]), Burn(0.99, 50.0, 10.0)) == 0.0
