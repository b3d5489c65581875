"""Shared congestion: mean 1, the published correlations, the same whoever looks and when."""

import math

import numpy as np
import pytest

from llmsim.luck import Luck
from llmsim.providers.sim.congestion import SharedCongestion
from llmsim.providers.sim.congestion_spec import PRESETS, Congestion, Shocks

DAY = 86400.0
QUICK = Congestion(p99=1.6, memory=600.0)


def _factors(spec, times, seed=1, group="vendor"):
    congestion = SharedCongestion(spec, Luck(seed), group)
    return np.array([congestion.factors(float(t))[0] for t in times])


def _spearman(a, b):
    return np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1]


def _autocorrelation(values, lag):
    return np.corrcoef(values[lag:], values[:-lag])[0, 1]


#: Sigma of ln TTFT around the median of its model and region.
TOTAL = {"openai-2024-04": 0.366, "anthropic-2024-04": 0.382, "fireworks-2024-04": 0.556, "groq-2024-04": 0.911}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "spearman", "day_to_day"),
    [
        pytest.param("openai-2024-04", 0.32, (0.2, 0.5), marks=pytest.mark.slow),
        pytest.param("anthropic-2024-04", 0.48, (0.2, 0.5), marks=pytest.mark.slow),
        pytest.param("fireworks-2024-04", 0.48, (0.2, 0.5), marks=pytest.mark.slow),
        ("groq-2024-04", 0.23, (-0.06, 0.06)),
    ],
)
def test_models_of_a_vendor_move_together_as_published(preset, spearman, day_to_day):
    """Daily ln TTFT of two models: what they share, and as much of their own as makes up the measured sigma.

    Over 1,500 days a correlation has a standard error of .025, more for what lasts for days.
    """
    shared = np.log(_factors(Congestion(preset=preset), np.arange(1500) * DAY, seed=3))
    own = math.sqrt(TOTAL[preset] ** 2 - PRESETS[preset].sigma ** 2)
    one, other = (shared + np.random.default_rng(n).normal(0, own, 1500) for n in range(2))
    assert _spearman(one, other) == pytest.approx(spearman, abs=0.07)
    assert day_to_day[0] < _autocorrelation(one, 1) < day_to_day[1]


def test_vendors_have_nothing_in_common():
    times = np.arange(40_000) * 60.0  # 4,000 memories
    one, other = (np.log(_factors(QUICK, times, group=group)) for group in ("vendor", "another"))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.07


def test_it_forgets_exponentially():
    times = np.arange(60_000) * 60.0  # 6,000 memories of 10 minutes: standard error of a correlation about .013
    values = np.log(_factors(QUICK, times))
    for minutes in (1, 5, 10, 20, 60):
        assert _autocorrelation(values, minutes) == pytest.approx(math.exp(-minutes / 10), abs=0.04)
    assert values.std() == pytest.approx(math.log(1.6) / 2.326, rel=0.03)
    assert np.exp(np.quantile(values, 0.99) - np.median(values)) == pytest.approx(1.6, rel=0.03)


@pytest.mark.parametrize(
    "spec",
    [
        QUICK,
        pytest.param(Congestion(p99=3.0, memory=60.0, inter_token=0.5), marks=pytest.mark.slow),
        Congestion(p99=1.2, memory=60.0, inter_token=0.5, shocks=Shocks(every=600.0, duration=60.0, factor=4.0)),
        pytest.param(
            Congestion(p99=1.0, memory=60.0, shocks=Shocks(every=200.0, duration=100.0, factor=1.5)),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_its_mean_is_1(spec):
    """All bins of 120 blocks of 1,024, whose means are all but independent."""
    congestion = SharedCongestion(spec, Luck(5), "vendor")
    times = (np.arange(120 * 1024) + 0.5) * congestion.bin_s
    for look_up in (lambda now: congestion.factors(now)[0], lambda now: congestion.factors(now)[1]):
        means = np.array([look_up(t) for t in times.tolist()]).reshape(120, 1024).mean(axis=1)
        error = means.std(ddof=1) / math.sqrt(120)
        assert error < 0.03
        assert means.mean() == pytest.approx(1.0, abs=max(4 * error, 1e-12))


def test_the_variance_between_knots_is_known():
    """The mean of a lognormal needs it; by sampling it would take a million memories to see."""
    congestion = SharedCongestion(Congestion(p99=8.0, memory=3200.0), Luck(6), "vendor")  # knots at 100 s, bins of 60 s
    taps = congestion._taps
    assert float(taps @ taps) == pytest.approx(1.0)
    assert float(taps[50:] @ taps[:-50]) == pytest.approx(math.exp(-50 / 32), rel=1e-5)
    for value, place in zip(congestion._slow(0)[1][:20], np.arange(20) * 0.6, strict=True):
        rest = place % 1
        weights = np.append((1 - rest) * taps, 0.0) + np.append(0.0, rest * taps)
        assert value == pytest.approx(float(weights @ weights))


def test_shocks_go_on_across_blocks():
    """Bin by bin from the same addresses; shocks of 1,200 bins in blocks of 1,024."""
    shocks = Shocks(every=300.0, duration=600.0, factor=3.0)
    congestion = SharedCongestion(Congestion(p99=1.0, memory=10.0, shocks=shocks), Luck(3), "vendor")
    assert congestion.bin_s == 0.5
    bins, early = 6 * 1024, congestion._lookback
    begin, size, length = (
        Luck(3).series(f"congestion.{what}", "vendor").array((1 << 40) - early, bins + early)
        for what in ("shock", "shock_size", "shock_length")
    )
    expected = np.ones(bins)
    for index in np.flatnonzero(begin < 1 - math.exp(-0.5 / 300)):
        lasts = min(1 + math.floor(math.log1p(-length[index]) / math.log(1 - 0.5 / 600)), early)
        expected[max(index - early, 0) : max(index - early + lasts, 0)] *= 1 - 2 * math.log1p(-size[index])
    values = np.array([congestion.factors(0.5 * n)[0] for n in range(bins)])
    assert len(set(expected.tolist())) > 3
    assert values / values.min() == pytest.approx(expected / expected.min())


def test_shocks_are_as_frequent_long_and_large_as_was_asked():
    shocks = Shocks(every=2000.0, duration=100.0, factor=3.0)
    spec = Congestion(p99=1.0, memory=100.0, shocks=shocks)
    congestion = SharedCongestion(spec, Luck(7), "vendor")
    count = 150_000
    values = np.array([congestion.factors((n + 0.5) * congestion.bin_s)[0] for n in range(count)])
    quiet = values.min()
    on = values > quiet * (1 + 1e-9)
    assert quiet == pytest.approx(1 / (1 + 0.05 * 2), rel=0.01), "the rest is that much faster"
    assert on.mean() == pytest.approx(1 - math.exp(-0.05), rel=0.12)
    starts = np.count_nonzero(on[1:] & ~on[:-1])
    assert starts == pytest.approx(count * congestion.bin_s / 2000 * math.exp(-0.05), rel=0.15)
    assert (values[on] / quiet).mean() == pytest.approx(3.0, rel=0.1)
    assert (values[on] / quiet > 5).mean() == pytest.approx(math.exp(-2), rel=0.35), "exponential above 1"


@pytest.mark.slow
def test_presets_have_shocks_for_the_measured_share_of_time():
    spec = Congestion(preset="anthropic-2024-04", p99=1.0)
    values = _factors(spec, np.arange(100_000) * 600.0)  # 1,850 shocks
    assert (values > values.min() * (1 + 1e-9)).mean() == pytest.approx(4 / 72, rel=0.12)


def test_whoever_looks_and_when():
    spec = Congestion(p99=1.6, memory=600.0, shocks=Shocks(every=3600.0, duration=120.0))
    times = np.arange(-3000, 3000) * 31.0
    forwards = _factors(spec, times)
    assert forwards.tolist() == _factors(spec, times[::-1])[::-1].tolist()
    far = SharedCongestion(spec, Luck(1), "vendor")
    far.factors(1e9)[0]
    assert [far.factors(float(t))[0] for t in times[-50:]] == forwards[-50:].tolist()
    shifted = SharedCongestion(spec, Luck(1), "vendor", zero_s=1024.0)
    assert [shifted.factors(float(t) + 1024.0)[0] for t in times[-50:]] == forwards[-50:].tolist()
    assert forwards.tolist() != _factors(spec, times, seed=2).tolist()
    assert forwards.tolist() != _factors(spec, times, group="another").tolist()
    assert len(set(forwards.tolist())) > 1000


def test_it_is_one_value_within_a_bin_and_goes_on_across_blocks():
    congestion = SharedCongestion(QUICK, Luck(1), "vendor")
    assert congestion.bin_s == 30.0
    assert congestion.factors(60.0)[0] == congestion.factors(89.999)[0] != congestion.factors(90.0)[0]
    values = np.log([congestion.factors(30.0 * n)[0] for n in range(-2000, 4000)])
    steps = np.abs(np.diff(values))
    # A step of 30 s has a sigma of .2·√(2·(1 - e^-.05)) = .063: 6,000 of them stay below 5 of that, at edges too.
    assert steps.max() < 5 * 0.063


def test_a_block_is_computed_once(monkeypatch):
    made = []
    make = SharedCongestion._make
    monkeypatch.setattr(SharedCongestion, "_make", lambda self, number: (made.append(number), make(self, number))[1])
    congestion = SharedCongestion(Congestion(preset="openai-2024-04", inter_token=0.3), Luck(1), "vendor")
    for second in range(0, 200_000, 7):
        congestion.factors(float(second))[0]
        congestion.factors(float(second))[1]
    assert made == [0, 1, 2, 3]


def test_token_gaps_have_a_part_of_it():
    congestion = SharedCongestion(Congestion(p99=2.0, memory=600.0, inter_token=0.5), Luck(1), "vendor")
    sigma = math.log(2.0) / 2.3263
    for n in range(2000):
        slow, gaps = math.log(congestion.factors(n * 100.0)[0]), math.log(congestion.factors(n * 100.0)[1])
        assert gaps == pytest.approx(0.5 * slow + sigma**2 / 8, abs=0.002)  # each has its mean at 1
    assert SharedCongestion(QUICK, Luck(1), "vendor").factors(5.0)[1] == 1.0


def test_words():
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(Congestion)
    assert adapter.validate_python({"preset": "openai-2024-04"}).law == PRESETS["openai-2024-04"]
    own = adapter.validate_python(
        {
            "p99": "1.6x",
            "memory": "10m",
            "shocks": {"every": "1h", "duration": "90s", "factor": "3x"},
            "inter_token": "30%",
        }
    )
    assert own == Congestion(
        p99=1.6, memory=600.0, inter_token=0.3, shocks=Shocks(every=3600.0, duration=90.0, factor=3.0)
    )
    assert own.law.sigma == pytest.approx(math.log(1.6) / 2.326, rel=1e-3)
    calm = Congestion(preset="openai-2024-04", shocks=Shocks(every=1.0, duration=1.0, factor=1.0))
    assert calm.law.sigma == PRESETS["openai-2024-04"].sigma
    assert set(np.round(_factors(Congestion(p99=1.0, memory=9.0, shocks=calm.shocks), range(99)), 12)) == {1.0}
    assert adapter.json_schema()
    with pytest.raises(ValidationError, match="at least 1"):
        adapter.validate_python({"p99": "0.5x", "memory": "10m"})
    with pytest.raises(ValueError, match="takes a preset"):
        Congestion(p99=1.6)
