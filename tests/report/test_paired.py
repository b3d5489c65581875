"""Two results under the same luck: what is called a change, and how often wrongly."""

import math

import numpy as np
import pytest
from report.results import scenario, spike
from scipy.stats import binomtest

from llmsim.errors import LlmsimError
from llmsim.report.compare import compare
from llmsim.report.comparison import Comparison
from llmsim.report.paired import COMPARED, interval_of_median, paired, values_by_metric
from llmsim.report.parting import Parting
from llmsim.report.result import Result
from llmsim.report.verdict import median
from llmsim.telemetry.metrics import evaluate


def only(name, before, after, **options):
    (found,) = paired({name: before}, {name: after}, **options)
    return found


def test_a_metric_that_moves_in_every_pair():
    before = [1.0, 1.1, 1.3, 0.9, 1.2, 1.0, 1.4, 1.1]
    worse = only("ttft p(95)", before, [value * 1.2 for value in before])
    assert (worse.verdict, worse.pairs) == ("worse", 8)
    assert worse.p == pytest.approx(2 / 2**8)
    low, high = worse.interval
    assert 0.18 <= low <= worse.change <= high <= 0.29
    assert only("ttft p(95)", before, [value * 0.8 for value in before]).verdict == "better"
    assert only("goodput", before, [value * 0.8 for value in before]).verdict == "worse"
    assert only("fallback_rate", before, [value * 0.8 for value in before]).verdict == "changed"


def test_what_is_too_small_to_matter():
    before = [1.0] * 12
    assert only("error_rate", before, [1.02] * 12).verdict == "same"
    assert only("error_rate", before, [1.02] * 12, least_effect=0.01).verdict == "worse"
    # From nothing to something has no share; it is large enough.
    assert only("error_rate", [0.0] * 12, [0.001] * 12).verdict == "worse"


def test_the_interval_is_shown_with_signs_and_units():
    worse = only("ttft p(95)", [1.0] * 6, [1.25, 1.5, 1.5, 1.5, 1.5, math.inf])
    assert worse.between() == "+250ms … never"
    assert only("error_rate", [0.2] * 9, [0.1] * 9).between() == "−10 % … −10 %"
    assert only("ttft p(95)", [1.0] * 5, [1.25] * 5).between() == "–"


def test_never_is_a_value():
    never = [math.inf] * 8
    assert only("ttft p(99)", never, never).verdict == "same"
    assert only("ttft p(99)", [1.0] * 8, never).verdict == "worse"
    assert only("ttft p(99)", never, [1.0] * 8).verdict == "better"


def test_what_cannot_be_told_is_no_pair():
    before = [1.0, math.nan, 1.0, 1.0]
    assert only("ttft p(99)", before, [2.0, 2.0, math.nan, 2.0, 2.0]).pairs == 2
    assert paired({"ttft p(99)": [math.nan]}, {"ttft p(99)": [1.0]}) == []


def test_the_sign_test_is_the_binomial_test():
    luck = np.random.default_rng(5)
    for _ in range(50):
        changes = np.rint(luck.normal(0.3, 1.0, int(luck.integers(1, 25)))).tolist()
        found = only("error_rate", [0.0] * len(changes), changes)
        up, n = sum(one > 0 for one in changes), sum(one != 0 for one in changes)
        assert found.p == pytest.approx(binomtest(up, n).pvalue if n else 1.0)


def test_over_all_metrics_one_in_twenty_at_most_is_called_changed_by_chance():
    luck, called = np.random.default_rng(6), 0
    for _ in range(400):
        draws = luck.lognormal(0, 0.3, (2, len(COMPARED), 20))
        before, after = ({name: one[n].tolist() for n, name in enumerate(COMPARED)} for one in draws)
        called += any(found.verdict != "same" for found in paired(before, after, least_effect=0.0))
    # 400 trials at 5 %: 20 expected, 33 is three standard deviations up
    assert called <= 33


@pytest.mark.slow
def test_of_results():
    calm = Result(scenario(), [spike(number, failing=0.0) for number in range(10)])
    storm = Result(scenario(), [spike(number, failing=0.9) for number in range(10)])
    found = {one.name: one for one in paired(values_by_metric(calm), values_by_metric(storm))}
    assert found["error_rate"].verdict == "worse"
    assert found["error_rate"].before == 0.0
    assert all(one.verdict == "same" for one in paired(values_by_metric(calm), values_by_metric(calm)))
    before, after, change = found["error_rate"].shown()
    assert before == "0 %" and after.endswith("%") and change.startswith("+")


def test_the_interval_of_a_median_takes_what_is_missing_for_anything():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert interval_of_median(values) == (2.0, 8.0)
    assert interval_of_median([math.nan, *values[1:]]) == (2.0, 9.0)
    assert all(math.isnan(end) for end in interval_of_median([math.nan, math.nan, *values[2:]]))


def test_too_few_pairs_are_said_to_be():
    results = {
        (pairs, failing): Result(scenario(), [spike(number, failing=failing) for number in range(pairs)])
        for pairs in (2, 9)
        for failing in (0.0, 0.9)
    }
    few, enough = (compare(results[pairs, 0.0], results[pairs, 0.9]) for pairs in (2, 9))
    told = "2 pairs cannot tell a change from chance, however large it is: it takes 9"
    assert told in str(few) and told in few._repr_html_() and told in few._repr_markdown_()
    assert {one.name: one.verdict for one in few.differences}["error_rate"] == "same"
    assert [row[0] for row in few.grid.rows if row[1] == "error_rate"] == ["not told"]
    assert "cannot tell" not in str(enough) and "not told" not in enough._repr_html_()
    assert {one.name: one.verdict for one in enough.differences}["error_rate"] == "worse"
    for shown in (str(enough), enough._repr_html_(), enough._repr_markdown_()):
        assert "95 %" in shown
        assert "p (Holm)" in shown
        assert "adjusted over the metrics (Holm)" in shown
    same = compare(results[2, 0.0], results[2, 0.0])
    assert "cannot tell" not in str(same), "these are the same, whatever chance does"
    assert [row[0] for row in same.grid.rows if row[1] == "error_rate"] == ["  same"]


def test_more_metrics_take_more_pairs():
    """With p = 2 / 2**9 each, 13 of them come to 5.1 %: nine pairs cannot call any changed."""
    names = [f"m{number}" for number in range(13)]
    for metrics, pairs, verdict in [(12, 9, "worse"), (13, 9, "same"), (13, 10, "worse"), (6, 8, "worse")]:
        compared = dict.fromkeys(names[:metrics], COMPARED["error_rate"])
        before, after = ({name: [value] * pairs for name in compared} for value in (0.1, 0.9))
        found = paired(before, after, compared=compared)
        assert {one.verdict for one in found} == {verdict}
        shown = Comparison("s", pairs, tuple(found), Parting(0, 1.0, "1/0/0", "ok", "error"))
        assert {row[0] for row in shown.grid.rows} == {"not told" if verdict == "same" else "✗ worse"}
        assert ("9 pairs cannot tell a change from chance, however large it is: it takes 10" in str(shown)) is (
            verdict == "same"
        )


def test_what_is_asked_for_besides_is_compared_in_pairs_too():
    calm = Result(scenario(), [spike(number, failing=0.0) for number in range(2)])
    storm = Result(scenario(), [spike(number, failing=0.9) for number in range(2)])
    wanted = ["error_rate during brown-out", "cost_per_ok+0.02*error_rate"]
    found = {one.name: one for one in compare(calm, storm, metrics=wanted).differences}
    assert list(found)[-2:] == ["error_rate during brown-out", "cost_per_ok + 0.02*error_rate"]
    priced = found["cost_per_ok + 0.02*error_rate"]
    assert priced.unit == "usd" and priced.shown()[0].startswith("$")
    values = [
        median([evaluate(one, "cost_per_ok") + 0.02 * evaluate(one, "error_rate") for one in result.samples])
        for result in (calm, storm)
    ]
    assert (priced.before, priced.after) == pytest.approx(values)
    assert priced.after > found["cost_per_ok"].after
    with pytest.raises(LlmsimError, match=r"metric 'eror_rate': unknown metric.*Did you mean 'error_rate'"):
        compare(calm, storm, metrics=["eror_rate"])
