import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from llmsim.report.verdict import ERROR, judge, look_at, looks, median, next_look


def run(values, bound, most):
    """Look by look until decided, as a run does."""
    for look in looks(most):
        judged = judge(values, [value < bound for value in values], look)
        if judged.verdict != "UNDECIDED":
            break
    return judged


@pytest.mark.slow
@pytest.mark.parametrize("most", [6, 7, 10, 12, 20, 40, 80, pytest.param(200, marks=pytest.mark.slow)])
def test_a_metric_on_its_bound_is_rarely_judged(most):
    """The promise itself: 1,000 runs of a metric whose median is the bound; wrong PASSes and wrong FAILs each."""
    luck = np.random.default_rng(most)
    verdicts = [run(luck.lognormal(0, 1, most), 1.0, most).verdict for _ in range(1000)]
    assert verdicts.count("PASS") / 1000 <= 0.05
    assert verdicts.count("FAIL") / 1000 <= 0.05


@pytest.mark.parametrize("most", [6, 10, 15, 20, 40, 80, pytest.param(200, marks=pytest.mark.slow)])
def test_the_error_over_all_looks_is_what_was_promised(most):
    """Exactly, by walking every number of heads: no simulation noise."""
    alive, crossed, done = {0: 1.0}, 0.0, 0
    for look in looks(most):
        fresh = look.replications - done
        moved: dict[int, float] = {}
        for heads, chance in alive.items():
            for more in range(fresh + 1):
                moved[heads + more] = moved.get(heads + more, 0.0) + chance * binom.pmf(more, fresh, 0.5)
        crossed += sum(chance for heads, chance in moved.items() if heads >= look.needed)
        alive = {heads: chance for heads, chance in moved.items() if heads < look.needed}
        done = look.replications
        assert crossed <= ERROR / 2 * math.sqrt(done / most) + 1e-12
        # And nothing was given away: one rank more would have been too much.
        wider = sum(chance for heads, chance in moved.items() if heads == look.needed - 1)
        assert crossed + wider > ERROR / 2 * math.sqrt(done / most)


def test_a_clear_case_is_decided_at_the_first_look():
    luck = np.random.default_rng(0)
    for most in (6, 10, 20, 40):
        assert run(luck.normal(1.0, 0.1, most), 2.0, most).verdict == "PASS"
        assert run(luck.normal(3.0, 0.1, most), 2.0, most).verdict == "FAIL"
    assert run(luck.normal(1.0, 0.1, 40), 2.0, 40).replications == 10


def test_power_grows_with_replications():
    luck = np.random.default_rng(3)
    shares = []
    for most in (10, 20, 40, 80):
        values = [run(luck.normal(1.0, 1.0, most), 1.6, most).verdict for _ in range(300)]
        shares.append(values.count("PASS") / 300)
        assert "FAIL" not in values
    assert all(more > less for less, more in pairwise(shares))


@given(st.lists(st.floats(0, 10) | st.just(math.inf), min_size=6, max_size=60), st.floats(0, 10))
def test_a_verdict_is_an_interval_within_or_without_the_bound(values, bound):
    look = looks(len(values))[-1]
    judged = judge(values, [value < bound for value in values], look)
    low, high = judged.interval
    assert low <= judged.measured <= high
    assert (judged.verdict == "PASS") == (high < bound)
    assert (judged.verdict == "FAIL") == (low >= bound)


@pytest.mark.parametrize("replications", [6, 10, 20, 40])
def test_the_interval_covers_the_median(replications):
    luck = np.random.default_rng(replications)
    look = looks(replications)[-1]
    covered = 0
    for _ in range(1000):
        low, high = judge(luck.exponential(1.0, replications), [True] * replications, look).interval
        covered += low <= math.log(2) <= high
    assert covered / 1000 >= 0.94  # nominally ≥ 0.95


@pytest.mark.parametrize("few", [1, 2, 3, 4, 5])
def test_fewer_than_six_replications_never_decide(few):
    judged = judge([0.0] * few, [True] * few, looks(few)[-1])
    assert judged.verdict == "UNDECIDED"
    assert judged.interval is None
    assert judged.likely_needed >= 6


def test_six_that_agree_decide():
    assert judge([0.0] * 6, [True] * 6, looks(6)[-1]).verdict == "PASS"
    assert judge([math.inf] * 6, [False] * 6, looks(6)[-1]).verdict == "FAIL"
    assert judge([0.0] * 5 + [math.inf], [True] * 5 + [False], looks(6)[-1]).verdict == "UNDECIDED"


def test_infinite_values_are_values():
    judged = judge([1.0] * 18 + [math.inf] * 2, [True] * 18 + [False] * 2, looks(20)[-1])
    assert (judged.verdict, judged.interval, judged.measured) == ("PASS", (1.0, 1.0), 1.0)


def test_what_could_not_be_told_is_neither_inside_nor_outside():
    nan = math.nan
    look = looks(10)[-1]  # 9 of 10 are needed
    judged = judge([1.0] * 9 + [nan], [True] * 10, look)
    assert (judged.verdict, judged.missing, judged.interval) == ("PASS", 1, (1.0, 1.0))
    judged = judge([1.0] * 8 + [nan] * 2, [True] * 10, look)
    assert judged.verdict == "UNDECIDED"
    assert all(math.isnan(end) for end in judged.interval)
    judged = judge([nan] * 10, [False] * 10, look)
    assert (judged.verdict, judged.likely_needed) == ("UNDECIDED", None)


def test_how_many_more_would_decide():
    look = looks(10)[-1]
    near = judge(range(10), [True] * 8 + [False] * 2, look)
    far = judge(range(10), [True] * 6 + [False] * 4, look)
    tie = judge(range(10), [True] * 5 + [False] * 5, look)
    assert 11 <= near.likely_needed < far.likely_needed
    assert tie.likely_needed is None
    # What it says is about right: with the shrunken share, so many are decided in most runs.
    luck = np.random.default_rng(0)
    share = 9 / 12
    decided = [run(luck.random(near.likely_needed), share, near.likely_needed).verdict == "PASS" for _ in range(300)]
    assert 0.6 <= sum(decided) / 300 <= 0.95


def test_when_to_look():
    assert [next_look(done, 40) for done in (0, 9, 10, 11, 20, 39, 40)] == [10, 10, 20, 20, 40, 40, None]
    assert next_look(0, 3) == 3
    assert look_at(9, 40) is None
    assert look_at(25, 40).replications == 20
    assert [look.replications for look in looks(1000)] == [10, 20, 40, 80, 160, 320, 640, 1000]


def test_ranks_do_not_underflow():
    assert looks(5000)[-1].rank > 2000


def test_median_survives_infinity():
    assert median([1.0, 2.0, math.inf, math.inf]) == math.inf
    assert median([1.0, 2.0, 3.0, math.inf]) == 2.5
    assert median([math.inf, math.inf]) == math.inf
    assert math.isnan(median([math.nan]))


@pytest.mark.parametrize("spread", [0.05, 0.1])
def test_ten_percent_from_the_bound_is_mostly_decided(spread):
    """1,000 verdicts each, 40 replications at most; replications spread by 5 or 10 % of the bound.

    The shipped scenarios' percentiles of TTFT spread by 1 to 8 % of their median from replication to replication.
    """
    luck = np.random.default_rng(int(spread * 100))
    for true, right, wrong in ((0.9, "PASS", "FAIL"), (1.1, "FAIL", "PASS")):
        verdicts = [run(luck.normal(true, spread, 40), 1.0, 40).verdict for _ in range(1000)]
        share, error = verdicts.count(right) / 1000, verdicts.count(wrong) / 1000
        # 95 % intervals of both shares (Wald; at most 1.6 points either way)
        assert share - 1.96 * math.sqrt(share * (1 - share) / 1000) > 0.8, share
        assert error + 3 / 1000 <= 0.05, error


def share_of(count, total):
    """A share and its exact 95 % interval (Clopper and Pearson 1934)."""
    interval = binomtest(count, total).proportion_ci(0.95, method="exact")
    return count / total, interval.low, interval.high


#: By how much a metric strays from its true median, from replication to replication, as a share of it.
STRAYS = {
    "normal, 5 %": lambda luck, size: luck.normal(1.0, 0.05, size),
    "normal, 10 %": lambda luck, size: luck.normal(1.0, 0.1, size),
    "lognormal, 8 %": lambda luck, size: luck.lognormal(0.0, 0.08, size),
    "skewed: 5 % and more at times": lambda luck, size: 1.0 + 0.07 * (luck.exponential(1.0, size) - math.log(2)),
    "one in twelve is infinite": lambda luck, size: np.where(
        luck.random(size) < 1 / 12, np.inf, _median_of_rest(luck.normal(0.0, 0.06, size))
    ),
}


def _median_of_rest(values):
    """Moved down so far that the median of all is 1 when a twelfth of them is +inf: 6/11 of the rest are below 1."""
    return 1.0 + values - norm.ppf(0.5 / (11 / 12)) * 0.06


@pytest.mark.slow
@pytest.mark.parametrize("stray", STRAYS)
def test_a_thousand_verdicts_inside_on_and_outside_the_bound(stray):
    """At most 5 % are wrong and at least 80 % are decided at 10 %, also at the worse end of the shares' intervals."""
    luck = np.random.default_rng(2026)
    found = {}
    for place, true in (("10 % inside", 0.9), ("on the bound", 1.0), ("10 % outside", 1.1)):
        verdicts = [run(true * STRAYS[stray](luck, 40), 1.0, 40).verdict for _ in range(1000)]
        found[place] = {word: share_of(verdicts.count(word), 1000) for word in ("PASS", "FAIL", "UNDECIDED")}
    table = "\n".join(
        f"{stray}, {place}: "
        + ", ".join(f"{word} {share:.1%} ({low:.1%} … {high:.1%})" for word, (share, low, high) in shares.items())
        for place, shares in found.items()
    )
    print(table)
    wrong = [
        found["10 % inside"]["FAIL"],
        found["10 % outside"]["PASS"],
        *(found["on the bound"][word] for word in ("PASS", "FAIL")),
    ]
    assert max(high for _, _, high in wrong) <= 0.05, table
    assert found["10 % inside"]["PASS"][1] >= 0.8 and found["10 % outside"]["FAIL"][1] >= 0.8, table
