"""Units: what is understood, what is refused, and what the refusal says."""

import pytest

from llmsim import units
from llmsim.units import (
    BYTE_PRICE,
    BYTES,
    COUNT,
    DURATION,
    EVENT_PRICE,
    GROWTH,
    MULTIPLIER,
    PRICE,
    RATE,
    RATIO,
    STORAGE_PRICE,
)


@pytest.mark.matrix
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
        (BYTES, "2kB", 2000.0),
        (BYTES, "1.5 MiB", 1.5 * 1024**2),
        (BYTES, 0, 0.0),
        (BYTE_PRICE, "$0.50/GB", 0.5e-9),
        (BYTE_PRICE, "$0.50/GiB", 0.5 / 1024**3),
        (STORAGE_PRICE, "$0.33/GB-month", 0.33e-9 / (730 * 3600)),
        (EVENT_PRICE, "$16/M", 16e-6),
        (EVENT_PRICE, "$0.4 / k", 4e-4),
        (GROWTH, "2%/day", 0.02),
        (GROWTH, "-1.5 % / d", -0.015),
        (GROWTH, "14%/week", 1.14 ** (1 / 7) - 1),
        (GROWTH, "10%/month", 1.1 ** (24 / 730) - 1),
        (GROWTH, 0, 0.0),
    ],
)
def test_understood(unit, text, value):
    assert unit.parse(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("unit", "text", "says"),
    [
        (DURATION, 30, "write it like 250ms or 30s"),
        (DURATION, "30", "write it like"),
        (DURATION, "-3s", "is not a duration"),
        (DURATION, "3 parsecs", "is not a duration"),
        (RATE, "4", "write it like 40/s"),
        (RATIO, "150%", "at most 1\\Z"),
        (RATIO, 30, "at most 1 \\(did you mean 30%\\?\\)"),
        (RATIO, 101, "at most 1\\Z"),
        (GROWTH, "2%", "write it like 2%/day"),
        (GROWTH, "-100%/day", "at least -0.9"),
        (GROWTH, "2/day", "is not a growth"),
        (RATIO, True, "is not a ratio"),
        (COUNT, "2.5", "whole number"),
        (PRICE, "3/Mtok", "$3/Mtok"),
        (BYTES, 2000, "write it like 2kB"),
        (BYTES, "2iB", "is not a size in bytes"),
        (BYTES, "2GB-month", "is not a size in bytes"),
        (BYTE_PRICE, "$0.33/GB-month", "is not a price per byte"),
        (BYTE_PRICE, "0.5/GB", "$0.50/GB"),
        (STORAGE_PRICE, "$0.33/GB", "write it like $0.33/GB-month"),
        (EVENT_PRICE, "$16", "write it like $16/M"),
        (EVENT_PRICE, "$16/", "is not a price per number"),
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
