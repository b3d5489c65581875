"""Units: what is understood, what is refused, and what the refusal says."""

import pytest

from llmsim import units
from llmsim.units import COUNT, DURATION, MULTIPLIER, PRICE, RATE, RATIO


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        (DURATION, "250ms", 0.25),
        (DURATION, "1h30m", 5400.0),
        (DURATION, "1.5s", 1.5),
        (DURATION, 0, 0.0),
        (RATE, "40/s", 40.0),
        (RATE, "4M/min", 4e6 / 60),
        (RATE, "5000 / min", 5000 / 60),
        (RATIO, "2%", 0.02),
        (RATIO, 0.2, 0.2),
        (MULTIPLIER, "10x", 10.0),
        (MULTIPLIER, 0.25, 0.25),
        (COUNT, "4M", 4_000_000),
        (COUNT, "50_000", 50_000),
        (PRICE, "$3/Mtok", 3e-6),
        (PRICE, "$0.5/ktok", 5e-4),
    ],
)
def test_understood(unit, text, value):
    assert unit.parse(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("unit", "text", "says"),
    [
        (DURATION, 30, "write it like 250ms or 30s"),
        (DURATION, "30", "write it like"),
        (DURATION, "-3s", "is not a duration"),
        (DURATION, "3 parsecs", "is not a duration"),
        (RATE, "4", "write it like 40/s"),
        (RATIO, "150%", "at most 1"),
        (RATIO, True, "is not a ratio"),
        (COUNT, "2.5", "whole number"),
        (PRICE, "3/Mtok", "$3/Mtok"),
        (MULTIPLIER, None, "is not a multiplier"),
        (MULTIPLIER, float("nan"), "out of range"),
    ],
)
def test_refused(unit, text, says):
    with pytest.raises(ValueError, match=says.replace("$", r"\$")):
        unit.parse(text)


def test_formatting_reads_back():
    for seconds in (0.0305, 1.25, 90.0, 7200.0, 3661.0):
        assert DURATION.parse(units.format_duration(seconds)) == pytest.approx(seconds)
