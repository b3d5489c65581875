"""How busy providers were: what is beyond the axis is said."""

import re

import numpy as np
from matplotlib.figure import Figure
from report.plots.days import busy, busy_scenario

from llmsim.report.result import Result

CUT = {"name": "cut", "provider": "openai", "at": "50s", "duration": "20s", "rate_limit": {"multiplier": "0.05x"}}


def _cut():
    """A busy day in the middle of which a limit is a twentieth of what it was."""
    return Result(busy_scenario(faults=[CUT]), busy().replications, wall_s=1.0)


def test_a_burst_is_told_by_its_number_and_leaves_the_rest_to_be_read():
    picture = _cut().plot.utilisation()
    panel = picture.axes[0]
    drawn = np.concatenate([line.get_ydata() for line in panel.lines if len(line.get_xdata()) > 2])
    assert drawn.max() > 5
    assert panel.get_ylim() == (0, 2.16)
    told = [float(re.fullmatch(r"↑ ([\d,]+) %", text.get_text())[1].replace(",", "")) for text in panel.texts]
    assert max(told) == round(100 * drawn.max())
    assert f"up to {100 * drawn.max():.3g} %" in picture.alt
    assert [text for other in picture.axes[1:] for text in other.texts if "↑" in text.get_text()] == []


def test_so_it_is_in_axes_of_ones_own():
    ax = Figure().subplots()
    _cut().plot.utilisation(ax=ax)
    assert ax.get_ylim() == (0, 2.16)
    assert any("↑" in text.get_text() for text in ax.texts)


def test_nothing_is_cut_off_where_nothing_is_beyond():
    panel = busy().plot.utilisation().axes[0]
    assert panel.texts == [] or not any("↑" in text.get_text() for text in panel.texts)


def test_a_limit_of_a_second_may_be_the_one_that_is_used_most():
    def told(**limits):
        providers = {"openai": {"rate_limit": {"tokens": "900000000/min", **limits}}, "anthropic": {}, "local": {}}
        return Result(busy_scenario(providers=providers), busy().replications, wall_s=1.0).plot.utilisation().alt

    assert "openai: tokens up to" in told()
    assert "openai: requests per second up to" in told(requests_per_second=1)
    assert "openai: tokens up to" in told(requests_per_second=100_000_000)
