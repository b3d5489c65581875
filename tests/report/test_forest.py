"""The forest plot: what is drawn where, what is not told, and what is refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from matplotlib.figure import Figure

import llmsim as ls
from llmsim.errors import LlmsimError
from llmsim.lab import PolicyComparison, compare_policies
from llmsim.report.paired import paired, values_by_metric
from llmsim.report.plots.canvas import Picture, style
from llmsim.report.plots.forest import differences, forest
from llmsim.report.result import Result

BASE: dict[str, Any] = {
    "version": 1,
    "name": "flaky",
    "replications": 9,
    "clock": {"duration": "20s"},
    "traffic": {"base_rate": "8/s"},
    "providers": {"openai": {"ttft": "300ms", "errors": {"server_error": "20%"}, "price": {"input": "$1/Mtok"}}},
    "slo": {"error_rate": ["value < 10%"]},
}


@cache
def results() -> dict[str, Result]:
    found = compare_policies(
        {"nothing": [], "a retry": [ls.Retry(max_attempts=3)], "a cache": [ls.Cache()]}, BASE, replications=9
    )
    assert found.base == "nothing"
    return found.results


@pytest.mark.slow
def test_differences_are_those_of_the_pairs() -> None:
    found = differences(results())
    assert list(found) == ["a retry", "a cache"]
    wanted = paired(values_by_metric(results()["nothing"]), values_by_metric(results()["a retry"]))
    assert list(found["a retry"].values()) == wanted
    assert found["a retry"]["error_rate"].verdict == "better"
    assert found["a cache"]["error_rate"].verdict == "same"  # nobody asks the same thing twice


def test_a_row_for_each_and_a_panel_for_each_metric() -> None:
    picture = forest(results(), ["error_rate", "ttft p(95)", "cost_per_ok"])
    assert isinstance(picture, Picture)
    panels = picture.axes
    assert [panel.get_title(loc="left").split("  ")[0] for panel in panels] == [
        "error_rate",
        "ttft p(95)",
        "cost_per_ok",
    ]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["a retry", "a cache"]
    assert panels[0].yaxis_inverted()  # the first on top
    change = differences(results())["a retry"]["error_rate"]
    marks = [line for line in panels[0].lines if line.get_marker() == "o"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks] == [(change.change, 0)]
    bars = [line for line in panels[0].lines if len(line.get_xdata()) == 2 and list(line.get_ydata()) == [0, 0]]
    assert tuple(bars[0].get_xdata()) == change.interval
    assert "a retry: error_rate −" in picture.alt
    assert "(better)" in picture.alt
    assert "ttft p(95) was never (better)" in picture.alt
    # 20 % of errors make p95 of nobody come: with a retry it comes, and that is infinitely better.
    assert any(text.get_text() == "was never" for text in panels[1].texts)
    assert "ttft p(95) was never (" in picture.alt


def test_no_label_lies_on_the_line_at_0() -> None:
    picture = forest(results(), ["error_rate", "goodput", "cost_per_ok"])
    assert isinstance(picture, Picture)
    with style():
        picture.draw_without_rendering()
    labels = [(panel.transData.transform((0, 0))[0], text.get_window_extent()) for panel in picture.axes
              for text in panel.texts]  # fmt: skip
    assert len(labels) == 6
    assert all(not box.x0 <= zero <= box.x1 for zero, box in labels)


def test_into_axes_and_against_another_base() -> None:
    ax = Figure().subplots()
    assert forest(results(), "goodput", base="a retry", ax=ax) is ax
    assert [label.get_text() for label in ax.get_yticklabels()] == ["nothing", "a cache"]
    assert ax.get_title(loc="left") == "goodput  better →"


def test_few_pairs_are_said_to_be_few() -> None:
    some = {name: Result(result.scenario, result.replications[:3]) for name, result in results().items()}
    picture = forest(some, ["error_rate"])
    assert isinstance(picture, Picture)
    assert "fewer than 9 pairs" in picture._suptitle.get_text()  # type: ignore[attr-defined]
    assert not [line for line in picture.axes[0].lines if len(line.get_xdata()) == 2 and line.get_linewidth() > 2]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(LlmsimError, match="two results or more"):
        forest({"one": results()["nothing"]})
    with pytest.raises(LlmsimError, match="Did you mean 'error_rate'"):
        forest(results(), ["error_rat"])
    with pytest.raises(LlmsimError, match="there is no result 'noting'"):
        forest(results(), base="noting")
    other = Result(results()["nothing"].scenario, results()["nothing"].replications, seed=5)
    with pytest.raises(LlmsimError, match="differ in seed"):
        forest({"one": results()["nothing"], "other": other})


@pytest.mark.slow
def test_a_dashboard_compares_with_whom_one_chooses() -> None:
    found = PolicyComparison(results(), "nothing")
    page, chosen, apart, over_time = found.dashboard().children
    assert "a retry" in page.value
    assert apart.tooltip == found.forest().alt
    assert over_time.tooltip == found.timelines().alt
    before = bytes(apart.value)
    chosen.value = "a cache"
    assert bytes(apart.value) != before
    assert apart.tooltip.startswith("Differences from a cache. nothing: ")


@pytest.mark.slow
def test_the_lowest_of_each_column_has_the_times() -> None:
    four = {**results(), "another": results()["a cache"]}
    picture = PolicyComparison(four, "nothing").timelines()
    picture.png(50)
    seen = [ax for ax in picture.axes if ax.get_visible()]
    assert [any(label.get_visible() for label in ax.get_xticklabels()) for ax in seen] == [False, True, True, True]
    assert len([at for at in seen[3].get_xticks() if 0 <= at <= 20]) >= 3


@pytest.mark.slow
def test_the_comparison_shows_itself() -> None:
    found = compare_policies({"nothing": [], "a retry": [ls.Retry()]}, {**BASE, "replications": 40}, replications=10)
    assert [one.complete for one in found.results.values()] == [10, 10]  # a verdict that is clear ends nothing
    assert [one.verdict for one in found.results.values()] == ["FAIL", "PASS"]
    assert "a retry  ✓ PASS" in repr(found)
    assert "data:image/png" in found._repr_html_()
    assert str(found.against("a retry")).startswith("flaky: 10 pairs")
    ticks = {panel.get_ylim() for panel in found.timelines().axes}
    assert len(ticks) == 1
    told: list[str] = []
    compare_policies({"a": [], "b": []}, BASE, replications=1, progress=lambda name, at: told.append(name))
    assert told == ["a", "b"] or set(told) == {"a", "b"}


def test_gateways_that_do_not_fit_are_refused_before_anything_runs() -> None:
    with pytest.raises(LlmsimError, match="say on what it is to run"):
        compare_policies({"one": [], "two": []})
    other = ls.load({**BASE, "seed": 3})
    with pytest.raises(LlmsimError, match="differ in seed"):
        compare_policies({"one": [], "two": other}, BASE)
    with pytest.raises(LlmsimError, match="two gateways or more"):
        compare_policies({"one": []}, BASE)
    with pytest.raises(LlmsimError, match="base is 'three'"):
        compare_policies({"one": [], "two": []}, BASE, base="three")


def test_a_list_goes_by_names_of_its_own() -> None:
    found = compare_policies([[], [ls.Cache(), ls.Retry()]], {**BASE, "replications": 2}, replications=2)
    assert list(found.results) == ["no policies", "cache → retry"]
    with pytest.raises(LlmsimError, match="two of them go by the name 'retry'"):
        compare_policies([[ls.Retry()], [ls.Retry(max_attempts=5)]], BASE)
