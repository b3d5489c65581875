"""A burn rate over several stretches of time."""

from __future__ import annotations

import polars as pl
import pytest

from llmsim.telemetry.burn import worst_burn
from llmsim.telemetry.parts import Burn
from llmsim.telemetry.sample import Sample


def test_a_window_does_not_reach_from_one_stretch_into_the_next() -> None:
    # The second stretch lasts 20 s, shorter than the long window: its failures are no 50 s of failing.
    arrivals = [float(n) for n in (*range(60), *range(200, 220))]
    outcome = ["ok"] * 60 + ["server_error"] * 20
    whole = Sample(pl.DataFrame({"arrival_s": arrivals, "outcome": outcome}), pl.DataFrame(), 300.0)
    assert worst_burn(whole.within([(0.0, 60.0), (200.0, 220.0)]), Burn(0.99, 50.0, 10.0)) == 0.0


def test_a_long_window_as_long_as_the_stretch_is_the_stretch() -> None:
    # One fault of 20 s, one request a second, of which every second one fails: nobody comes at the end of it.
    arrivals = [float(n) for n in range(100)]
    outcome = ["server_error" if 40 <= n < 60 and n % 2 else "ok" for n in range(100)]
    whole = Sample(pl.DataFrame({"arrival_s": arrivals, "outcome": outcome}), pl.DataFrame(), 100.0)
    assert worst_burn(whole.between(40.0, 60.0), Burn(0.9, 20.0, 10.0)) == pytest.approx(5.0)
    assert worst_burn(whole.between(30.0, 50.0), Burn(0.9, 20.0, 10.0)) == pytest.approx(2.5)
    silent_at_the_end = Sample(pl.DataFrame({"arrival_s": [0.0], "outcome": ["server_error"]}), pl.DataFrame(), 20.0)
    assert worst_burn(silent_at_the_end, Burn(0.9, 20.0, 10.0)) == 0.0
