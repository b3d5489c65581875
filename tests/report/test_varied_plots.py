"""Small multiples and heat maps: what is drawn where, read back from the axes."""

import math

import polars as pl
import pytest
from report.plots.varied import ERRORS, KIND, TTFT, WAIT, varied


@pytest.fixture
def table():
    return varied()


@pytest.mark.slow
def test_a_line_for_each_value_of_the_second_and_never_at_the_top(table):
    from llmsim.report.plots.multiples import multiples

    picture = multiples(table, WAIT, [ERRORS, TTFT], by=KIND, title="story")
    left, right = picture.axes
    assert [list(line.get_xdata()) for line in left.get_lines()] == [[1, 2, 8]] * 2
    assert list(left.get_lines()[1].get_ydata()) == pytest.approx([0.04, 0.02, 0.005])
    assert left.get_xscale() == "log"
    assert [one.get_text() for one in left.get_xticklabels()] == ["1s", "2s", "8s"]
    assert right.get_yticklabels()[-1].get_text() == "never"
    never = right.get_lines()[0].get_ydata()[0]
    assert 4 < never < right.get_ylim()[1], "above all that is finite, and inside the panel"
    assert len(left.collections) == 2, "a band for each line"
    assert "ttft p(95) from 500ms at 1s to never at 1s" in picture.alt
    assert picture.png().startswith(b"\x89PNG")


def test_choices_have_marks_and_no_lines_between(table):
    from llmsim.report.plots.multiples import multiples

    picture = multiples(table.filter(pl.col("wait_s") == 8.0), KIND, [ERRORS])
    (panel,) = picture.axes
    assert [one.get_text() for one in panel.get_xticklabels()] == ["off", "size: 5"]
    (marks,) = panel.containers
    assert list(marks[0].get_xdata()) == [0, 1]


def test_a_map_has_a_cell_for_each_point_hatched_where_an_slo_fails(table):
    from matplotlib.patches import Rectangle

    from llmsim.report.plots.heat import heat

    faster = pl.when((pl.col("kind") == "off") & (pl.col("wait_s") == 8.0)).then(3.0).otherwise("ttft_p95_s")
    picture = heat(table.with_columns(ttft_p95_s=faster), WAIT, KIND, TTFT, title="story")
    panel = picture.axes[0]
    cells = [one for one in panel.patches if isinstance(one, Rectangle)]
    assert [one.get_hatch() for one in cells[:6]] == ["////", "..", "", "////", "..", ""]
    edges = sorted({round(one.get_x(), 6) for one in cells[:6]})
    assert edges == pytest.approx([1 / math.sqrt(2), math.sqrt(2), 4.0]), "halfway in ratios"
    assert [one.get_text() for one in panel.texts[:2]] == ["never", "1s"]
    (frame,) = cells[6:]  # of those that pass
    assert (frame.get_x(), frame.get_y()) == (pytest.approx(4.0), -0.5)
    legend = [one.get_text() for one in picture.legends[0].get_texts()]
    assert legend == ["an SLO fails", "not decided", "never, or without end", "best"]
    assert "best at timeout.wait 8s and cache off, 3s" in picture.alt


def test_a_map_names_no_best_where_all_are_alike(table):
    from llmsim.report.plots.heat import heat

    picture = heat(table, WAIT, KIND, TTFT)  # 4 s at both that pass
    assert "best" not in [one.get_text() for one in picture.legends[0].get_texts()]
    assert "best" not in picture.alt


def test_a_map_is_drawn_into_axes_and_of_dots(table):
    from llmsim.report.plots.canvas import bare
    from llmsim.report.plots.heat import heat

    panel = bare(4, 3).subplots()
    assert heat(table, WAIT, KIND, ERRORS, ax=panel, cells=False) is panel
    assert len(panel.collections) == 7, "six dots and a ring"
