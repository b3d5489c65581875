"""The picture of an explorer: the run before lies where its own numbers are."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from matplotlib.legend import Legend

import llmsim as ls
from llmsim.lab import picture as module
from llmsim.lab.picture import explored
from llmsim.report.plots.bins import outcome_bins
from llmsim.report.result import Result
from llmsim.telemetry.outcomes import CLASSES


@cache
def run(rate: str = "30/s", ttft: str = "300ms", errors: str = "0%") -> Result:
    """Some seconds of constant latency."""
    return ls.run(
        {
            "version": 1,
            "replications": 1,
            "clock": {"duration": "10s"},
            "traffic": {"base_rate": rate},
            "providers": {"openai": {"ttft": ttft, "errors": {"server_error": errors}}},
            "slo": {"ttft": ["p(95) < 2s"]},
        }
    )


def ghost(ax: Any) -> Any:
    """The dashed line of the run before; None if there is none."""
    return next((line for line in ax.lines if line.get_linestyle() == "--" and line.get_color() == "#222222"), None)


@pytest.mark.parametrize(("now", "before"), [("300ms", "20s"), ("20s", "300ms")])
def test_the_run_before_is_on_the_axis_however_far_it_is(now: str, before: str) -> None:
    first = explored(run(ttft=now), run(ttft=before)).axes[1]
    heights = np.asarray(ghost(first).get_ydata())
    wanted = {"300ms": 0.3, "20s": 20.0}[before]
    assert np.nanmin(heights) == pytest.approx(wanted, rel=0.01)
    assert np.nanmax(heights) == pytest.approx(wanted, rel=0.01)
    assert first.get_ylim()[0] < wanted < first.get_ylim()[1]
    assert "never" not in [first.yaxis.get_major_formatter()(tick) for tick in first.get_yticks()]


def test_a_run_before_that_never_answered_is_at_never() -> None:
    first = explored(run(), run(errors="100%")).axes[1]
    places = {first.yaxis.get_major_formatter()(tick): tick for tick in first.get_yticks()}
    assert np.nanmin(ghost(first).get_ydata()) == pytest.approx(places["never"])


def test_without_requests_there_is_no_axis_and_no_run_before() -> None:
    load, first = explored(run(rate="0.001/s"), run()).axes
    assert (ghost(load), ghost(first)) == (None, None)
    assert [ax.texts[0].get_text() for ax in (load, first)] == ["no requests", "too few requests for percentiles"]


def test_the_longest_legend_is_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    bins = outcome_bins(run())
    parts = {one.name: bins.offered * 0.1 for one in CLASSES}
    # Half of them: as many as there are in a bad hour, and the longest names.
    names = sorted(parts, key=lambda name: len(next(one.label for one in CLASSES if one.name == name)))[-6:]
    filled = bins._replace(classes={name: parts[name] for name in names})
    monkeypatch.setattr(module, "outcome_bins", lambda *_: filled)
    picture = explored(run(), run())
    picture.png(50)  # which lays it out
    edge = picture.bbox.x1
    found = [legend for ax in picture.axes for legend in ax.findobj(Legend)]
    assert len(found) >= 3
    assert max(legend.get_window_extent().x1 for legend in found) <= edge
