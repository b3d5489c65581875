"""Shipped profiles against the measurements they are made from.

The measurements are not in the repository; where they are not beside it, only the last test runs, on generated ones.
"""

import numpy as np
import pytest
from providers.profiles import write
from providers.profiles.made import MADE
from providers.profiles.sources import DATA

from llmsim.calibrate import bands_of, judge, ks_distance
from llmsim.calibrate.choice import NEEDED, Split
from llmsim.luck import Luck
from llmsim.providers.sim.timing import Timing
from llmsim.scenario.load import read_document
from llmsim.scenario.profiles import defaults_of, read_profile

MEASURED = [name for name, made in MADE.items() if made.fastest or made.perf]
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the public measurements are not beside the repository")


def sample_of(name, what):
    """What a figure is fitted to: times to first token, or paces (mean gap of a paced answer over the median)."""
    made = MADE[name]
    measured = made.measured()
    if what == "ttft":
        return measured.ttft_s
    gaps = write.paced(made, measured)
    return gaps / np.median(gaps)


FIGURES = [(name, what) for name in MEASURED for what in ("ttft", "pace") if MADE[name].generation or what == "ttft"]
#: Of every kind one, for every run of the suite: a fitted family, a table, flushes, the other data set.
QUICK = ("anthropic-claude-3-haiku", "openai-gpt-4-turbo", "bedrock-llama-2-70b", "groq-llama-3-70b")


def most_slow(cases):
    return [pytest.param(*c, marks=() if c[0] in QUICK else [pytest.mark.slow, pytest.mark.long]) for c in cases]


def test_every_profile_is_made_here():
    from llmsim.providers.profiles import profile_names

    assert sorted(MADE) == list(profile_names())
    assert len(MEASURED) >= 14


@needs_data
@pytest.mark.parametrize(("name", "what"), most_slow(FIGURES))
def test_simulated_times_are_like_the_measured_ones(name, what):
    """Draws of the shipped figure lie as near to the data as its own halves to each other: KS, p50 and p95."""
    sample = sample_of(name, what)
    bands = bands_of(sample, write.LUCK)
    draws = getattr(defaults_of(name, ""), what).quantile(Luck(11).series("refit", name).array(0, 8192))
    split = Split(ks_distance(draws, sample), float(np.median(draws)), float(np.quantile(draws, 0.95)))
    assert bands.holds(split) == (True, True, True), (split, bands)


@needs_data
@pytest.mark.parametrize("name", most_slow([(name,) for name in MEASURED if MADE[name].generation]))
def test_simulated_answers_take_as_long_as_the_measured_ones(name):
    """First to last token, flushed and paced together, for answers of the measured lengths."""
    measured = MADE[name].measured()
    spec = defaults_of(name, "")
    timing = Timing(spec)
    n, lengths = 8192, measured.tokens - 1
    luck = Luck(12)
    scale = timing.pace.quantile(luck.series("pace", name).array(0, n))
    picked = lengths[(luck.series("length", name).array(0, n) * len(lengths)).astype(int)]
    simulated = scale * spec.inter_token.value * picked
    real = np.where(measured.flushed & ~np.bool_(MADE[name].pace_of_all), 0.0, measured.generation_s)
    bands = bands_of(real + 1e-9, write.LUCK)
    assert ks_distance(simulated, real) <= bands.ks
    assert np.mean(simulated == 0) == pytest.approx(np.mean(real == 0), abs=0.02)


@needs_data
@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_the_file_is_what_the_measurements_give(name):
    """Refits everything: the families tried, the one chosen, its parameters, and whether it may be called fitted."""
    made = write.content(name)
    file = read_document(write.as_yaml(made))[0].data
    shipped = read_document((write.OUT / f"{name}.yaml").read_text())[0].data
    assert file == shipped


@needs_data
@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("name", "what"), FIGURES)
def test_what_is_called_fitted_passed_on_held_out_halves(name, what):
    source = read_profile(name).figures[what].source
    sample = sample_of(name, what)
    bands = bands_of(sample, write.LUCK)
    chosen = write.choice(name, what)
    assert source.n == len(sample)
    if source.how == "fitted":
        judged = judge(chosen.used.family, sample, bands, write.LUCK)
        assert min(judged.inside) >= NEEDED and judged.passed
        assert source.note.startswith(chosen.used.family)
    else:
        assert source.how == "empirical"
        assert not any(j.passed for j in chosen.judged[:-1])
        assert f"closest: {chosen.closest.family} " in source.note
        # The table of one half is, but for rounding, that half: the data's own yardstick.
        assert min(judge("empirical", sample, bands, write.LUCK).inside) >= 0.8


def test_the_yardstick_refuses_a_profile_that_is_off():
    """With measurements made up from a profile: its own figure passes, one that is 25 % slower does not."""
    truth = defaults_of("anthropic-claude-3-haiku", "").ttft
    sample = truth.quantile(Luck(13).series("made", "up").array(0, 148))
    bands = bands_of(sample, write.LUCK)
    draws = truth.quantile(Luck(11).series("refit").array(0, 8192))
    for factor, right in ((1.0, True), (1.25, False)):
        slower = draws * factor
        split = Split(ks_distance(slower, sample), float(np.median(slower)), float(np.quantile(slower, 0.95)))
        assert all(bands.holds(split)) == right
