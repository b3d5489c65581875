"""Of very many providers: what is left out is said, and names do not run into each other."""

from itertools import pairwise

import pytest
from report.plots.days import busy, busy_scenario
from telemetry.recorded import attempt, replication, request

from llmsim.report.plots.canvas import Picture, style
from llmsim.report.result import Result

NAMES = [f"provider-with-a-long-name-{number:02}" for number in range(12)]


def _many():
    """Twelve, the later ones asked more."""
    rows = [
        (request(session=10 * place + number, served_by=name, first_choice=name), name)
        for place, name in enumerate(NAMES)
        for number in range(place // 3 + 1)
    ]
    attempts = [attempt(session=row["session"], upstream=name) for row, name in rows]
    limits = {"rate_limit": {"requests": "600/min"}}
    scenario = busy_scenario(providers=dict.fromkeys(NAMES, limits), gateway={}, faults=[])
    return Result(scenario, [replication([row for row, _ in rows], attempts)], wall_s=1.0)


def test_bars_are_of_those_that_were_asked_most():
    picture = _many().plot.fallback()
    for panel in picture.axes:
        assert "(8 of 12)" in panel.get_title(loc="left")
        names = {text.get_text().partition("\n")[0] for text in panel.get_yticklabels()}
        assert names >= set(NAMES[6:]), "asked three or four times"
        assert NAMES[0] not in names or NAMES[1] not in names


@pytest.mark.slow
def test_panels_say_how_many_there_are_and_names_keep_apart():
    for picture in (_many().plot.utilisation(), _many().plot.headroom()):
        assert "of 12" in picture.axes[0].get_title(loc="left")
        with style():
            picture.draw_without_rendering()
        boxes = [panel.yaxis.label.get_window_extent() for panel in picture.axes]
        assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))


@pytest.mark.parametrize(
    ("wide", "tall", "across"), [pytest.param(7.0, 5.0, 2, marks=pytest.mark.slow), (3.4, 1.6, 1), (9.0, 1.8, 1)]
)
def test_who_answered_stays_within_small_axes(wide: float, tall: float, across: int) -> None:
    """Beside and below them there are others: names and key used to lie on those."""
    result = busy()
    with style():
        picture = Picture(figsize=(wide, tall))
        axes = picture.subplots(across, across, squeeze=False).ravel()
        for ax in axes:
            result.plot.fallback(ax=ax)
        picture.png(60)  # which lays it out
    for ax in axes:
        box = ax.get_window_extent()
        words = [*ax.texts, ax.get_legend()]
        assert len(words) > 2
        for one in words:
            extent = one.get_window_extent()
            assert box.x0 - 3 <= extent.x0 and extent.x1 <= box.x1
            assert box.y0 - 1 <= extent.y0 and extent.y1 <= box.y1
        names = [one for one in ax.texts if "requests" in one.get_text()]
        key = ax.get_legend().get_window_extent()
        assert all(not key.overlaps(bar.get_window_extent()) for bar in ax.patches)
        assert names
