"""Designs: addressed, evenly spread, and inside what was asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuning.sweeping import SMALL

import llmsim
from llmsim.errors import LlmsimError
from llmsim.luck import Luck
from llmsim.tuning.sweep_points import _latin, _sobol, points_of
from llmsim.tuning.sweep_space import parameters_of

BASE = llmsim.load(SMALL)


def drawn(over, design, points, seed=1):
    return [one.values for one in points_of(parameters_of(BASE, over), design, points, seed)[0]]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 1000))
def test_a_latin_hypercube_has_one_point_in_each_part(points, dimensions, seed):
    shares = _latin(points, dimensions, Luck(seed))
    assert shares.shape == (points, dimensions)
    for column in shares.T:
        assert sorted(np.floor(column * points)) == list(range(points))


@pytest.mark.slow  # scipy.stats takes two seconds to load
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sobol_points_are_even_in_every_power_of_two(seed):
    shares = _sobol(64, 3, Luck(seed))
    for column in shares.T:  # of 64 points, one in every 64th: a digital shift keeps that
        assert sorted(np.floor(column * 64)) == list(range(64))
    # In two dimensions: each of 8 x 8 squares has one (it is a net with t = 0).
    assert len({tuple(place) for place in np.floor(shares[:, :2] * 8)}) == 64
    assert not np.array_equal(shares, _sobol(64, 3, Luck(seed + 10)))


def test_draws_are_addressed_and_more_parameters_shift_none():
    one = drawn({"upstream.timeout.ttft": ("1s", "8s")}, "latin-hypercube", 16)
    assert one == drawn({"upstream.timeout.ttft": ("1s", "8s")}, "latin-hypercube", 16)
    two = drawn({"upstream.timeout.ttft": ("1s", "8s"), "traffic.base_rate": "1/s..9/s"}, "latin-hypercube", 16)
    assert [row[0] for row in two] == [row[0] for row in one]
    assert one != drawn({"upstream.timeout.ttft": ("1s", "8s")}, "latin-hypercube", 16, seed=2)


def test_every_whole_number_and_choice_has_its_share():
    over = {"gateway.retry.max_attempts": (1, 4), "gateway.retry": ["on", "off"], "upstream.timeout.ttft": "1s..8s"}
    rows = drawn(over, "latin-hypercube", 64)
    for place, values in ((0, [1, 2, 3, 4]), (1, ["on", "off"])):
        counts = [sum(row[place] == value for row in rows) for value in values]
        assert counts == [64 // len(values)] * len(values)


def test_ranges_by_ratio_are_even_in_ratios():
    rows = drawn({"upstream.timeout.ttft": ("100ms", "10s", "log")}, "latin-hypercube", 50)
    assert sum(value < 1.0 for (value,) in rows) == 25
    assert all(0.1 <= value <= 10 for (value,) in rows)
    (five,) = parameters_of(BASE, {"upstream.timeout.ttft": "100ms..10s in 3 log"})
    assert five.levels == (0.1, 1.0, 10.0)
    assert five.log
    (whole,) = parameters_of(BASE, {"gateway.retry.max_attempts": "1..4 in 9"})
    assert whole.levels == (1, 2, 3, 4)
    (bursts,) = parameters_of(BASE, {"gateway.retry.max_attempts": ("1", "100", "log")})
    assert np.median([bursts.at(share) for share in np.linspace(0.001, 0.999, 999)]) == pytest.approx(10, abs=3)


@pytest.mark.parametrize(
    ("path", "given", "column", "shown"),
    [
        ("upstream.timeout.ttft", ["250ms", 2.0], "upstream.timeout.ttft_s", ["250ms", "2s"]),
        ("traffic.base_rate", ["5/s", 600.0], "traffic.base_rate_per_s", ["5/s", "600/s"]),
        ("gateway.retry.max_attempts", [1, 2], "gateway.retry.max_attempts", ["1", "2"]),
        ("gateway.retry.budget", ["20%", 0.5], "gateway.retry.budget", ["20%", "50 %"]),
        ("gateway.retry.backoff.jitter", ["full", "none"], "gateway.retry.backoff.jitter", ["full", "none"]),
        ("providers.openai.price.input", ["$3/Mtok"], "providers.openai.price.input_usd_per_token", ["$3/Mtok"]),
    ],
)
def test_columns_carry_the_unit(path, given, column, shown):
    (one,) = parameters_of(BASE, {path: given})
    assert one.column == column
    assert [one.shown(level) for level in one.levels] == shown


@pytest.mark.parametrize(
    "over",
    [
        {"upstream.timeout.ttft": ("0.3s", "7s", "log"), "traffic.base_rate": "1/s..9/s"},
        {"providers.openai.price.input": "$1/Mtok..$9/Mtok", "gateway.retry.max_attempts": (1, 9)},
    ],
)
def test_a_point_can_be_typed_again(over):
    parameters = parameters_of(BASE, over)
    for point in points_of(parameters, "latin-hypercube", 12, 3)[0]:
        typed = llmsim.load(SMALL, point.settings)
        assert typed == BASE.with_values(dict(zip(over, point.values, strict=True)))


@pytest.mark.parametrize(
    ("design", "points", "said"),
    [("sobol", None, "needs points"), ("grid", 5, "points are for"), ("random", 5, "use grid, latin-hypercube, sobol")],
)
def test_designs_that_do_not_fit_are_told(design, points, said):
    with pytest.raises(LlmsimError, match=said):
        points_of(parameters_of(BASE, {"gateway.retry.max_attempts": [1, 2]}), design, points, 1)


def test_a_grid_is_every_combination_once_and_never_millions():
    parameters = parameters_of(BASE, {"gateway.retry.max_attempts": [1, 2, 2], "upstream.timeout.ttft": ["1s", "2s"]})
    found, alike = points_of(parameters, "grid", None, 1)
    assert (len(found), alike) == (4, 2)
    many = parameters_of(BASE, {"gateway.retry.max_attempts": list(range(400)), "traffic.base_rate": list(range(400))})
    with pytest.raises(LlmsimError, match="160,000 points"):
        points_of(many, "grid", None, 1)
