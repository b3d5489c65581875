"""Ways through the phase plane: what is written beside them can be read."""

import numpy as np
from report.plots.days import busy_scenario
from telemetry.recorded import replication, request

from llmsim.report.plots.canvas import style
from llmsim.report.result import Result


def test_times_stand_beside_the_way_where_all_is_answered():
    luck = np.random.default_rng(4)
    arrivals = np.sort(luck.uniform(0, 100, 600)).tolist()
    rows = [request(session=number, arrival_s=at, ttft_s=0.2, e2e_s=1.0) for number, at in enumerate(arrivals)]
    picture = Result(busy_scenario(faults=[]), [replication(rows, [])], wall_s=1.0).plot.phase()
    with style():
        picture.draw_without_rendering()
    (panel,) = picture.axes
    way = panel.lines[1].get_xydata()
    steps = np.linspace(way[:-1], way[1:], 50).reshape(-1, 2)
    places = panel.transData.transform(steps)
    told = [text for text in panel.texts if ":" in text.get_text()]
    assert {"start 0:00", "end 1:40"} <= {part for text in told for part in text.get_text().split(", ")}
    for text in told:
        box = text.get_window_extent()
        inside = (places[:, 0] > box.x0) & (places[:, 0] < box.x1) & (places[:, 1] > box.y0) & (places[:, 1] < box.y1)
        assert not inside.any(), text.get_text()
        assert box.x1 <= panel.get_window_extent().x1 + 1, text.get_text()


def test_the_only_moment_is_not_written_over():
    result = Result(busy_scenario(faults=[], clock={"duration": "1s"}), [replication([request(arrival_s=0.5)], [])])
    picture = result.plot.phase()
    with style():
        picture.draw_without_rendering()
    one, other = (text.get_window_extent() for text in picture.axes[0].texts)
    assert not one.overlaps(other)
