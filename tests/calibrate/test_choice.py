"""A family is called fitted when unseen data cannot tell it from the data, and not otherwise."""

import numpy as np
import pytest

from llmsim.calibrate import bands_of, choose, judge
from llmsim.calibrate.choice import Judged, Split, halves
from llmsim.distributions import Constant, Lognormal, Mixture, Part, ShiftedLognormal
from llmsim.luck import Luck

LUCK = Luck("choice")
SAMPLE = ShiftedLognormal(0.25, 0.36, 1.3).quantile(Luck(9).series("sample").array(0, 148))


def test_halves_are_halves_and_the_same_again():
    one, other = halves(SAMPLE, 3, LUCK)
    assert sorted([*one, *other]) == sorted(SAMPLE)
    assert len(one) == len(other) == 74
    assert (halves(SAMPLE, 3, LUCK)[0] == one).all()
    assert (np.sort(halves(SAMPLE, 4, LUCK)[0]) != np.sort(one)).any()


def test_the_bands_hold_what_they_say():
    bands = bands_of(SAMPLE, LUCK)
    ks, p50, p95 = zip(
        *[bands.holds(Split(0.0, *np.quantile(halves(SAMPLE, i, LUCK)[0], [0.5, 0.95]))) for i in range(200)],
        strict=True,
    )
    assert all(ks) and np.mean(p50) == pytest.approx(0.95, abs=0.02) and np.mean(p95) == pytest.approx(0.95, abs=0.02)
    assert bands.holds(Split(bands.ks + 1e-9, 0.0, 99.0)) == (False, False, False)


@pytest.mark.slow
def test_the_right_family_passes_and_a_wrong_one_does_not():
    bands = bands_of(SAMPLE, LUCK)
    assert judge("shifted_lognormal", SAMPLE, bands, LUCK).passed
    assert not judge("exponential", SAMPLE, bands, LUCK).passed
    assert not judge("gamma", SAMPLE, bands, LUCK).passed


def test_the_best_that_passes_is_chosen():
    chosen = choose(SAMPLE, LUCK, ("exponential", "lognormal", "shifted_lognormal"))
    assert chosen.fitted and chosen.used.family == chosen.closest.family == "shifted_lognormal"
    assert chosen.n == 148
    assert [j.family for j in chosen.judged][-1] == "empirical"


@pytest.mark.slow
def test_a_table_where_no_family_passes():
    """Three spikes: as lumpy as a cache, a near and a far data centre."""
    spikes = Mixture((Part(0.4, Constant(0.1)), Part(0.35, Constant(0.5)), Part(0.25, Constant(2.0))))
    sample = spikes.quantile(LUCK.series("spikes").array(0, 200)) * Lognormal(1, 1.05).quantile(
        LUCK.series("noise").array(0, 200)
    )
    chosen = choose(sample, LUCK, ("exponential", "gamma", "lognormal", "shifted_lognormal"))
    assert not chosen.fitted and chosen.used.family == "empirical"
    assert chosen.closest.family in ("exponential", "gamma", "lognormal", "shifted_lognormal")
    assert chosen.used.distribution.quantile(np.array([0.5]))[0] == pytest.approx(np.median(sample))


@pytest.mark.parametrize(
    ("made", "used", "closest"),
    [
        # By Akaike among those that pass, whatever comes nearer to the halves …
        ({"a": (10.0, 0.05, 0.95), "b": (5.0, 0.09, 0.91), "c": (1.0, 0.01, 0.85)}, "b", "b"),
        # … and where none does, the one that was inside most often, then the nearer one.
        ({"a": (1.0, 0.05, 0.6), "b": (5.0, 0.09, 0.8), "c": (9.0, 0.08, 0.8)}, "empirical", "c"),
    ],
)
def test_how_the_choice_is_made(monkeypatch, made, used, closest):
    def judged(family, *_):
        aic, ks, inside = made.get(family, (float("inf"), 0.0, 1.0))
        return Judged(family, aic, ks, (1.0, inside, 1.0), Constant(1.0))

    monkeypatch.setattr("llmsim.calibrate.choice.judge", judged)
    chosen = choose(SAMPLE, LUCK, tuple(made))
    assert (chosen.used.family, chosen.closest.family) == (used, closest)
    assert chosen.fitted == (used != "empirical")
    assert {one.family for one in chosen.judged} == {*made, "empirical"}
