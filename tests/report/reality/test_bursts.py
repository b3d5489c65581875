"""Lines of comparisons whose requests came in bursts: drawn whole, or told how many bursts it takes."""

from __future__ import annotations

import polars as pl
from report.reality.test_intervals import of_bursts

from llmsim.report.reality.pairs import Pairs
from llmsim.report.reality.rows import Line, lines_of
from llmsim.report.reality.told import needed_told
from llmsim.report.reality.unpaired import Apart, unpaired_lines

ALLOWED = {"ttft p(50)": 0.1, "ttft p(95)": 0.25}


def lines(*, at_once: bool) -> list[list[Line]]:
    """Of pairs and of two samples: the same requests at random times, or in ten bursts."""
    sim, live, at = of_bursts(10, 15, 3)
    at = at if at_once else 1000 * pl.Series(range(len(at))).to_numpy() / len(at)
    table = pl.DataFrame({"arrival_s_live": at, "ttft_sim": sim, "ttft_live": live})
    table = table.with_columns(outcome_sim=pl.lit("ok"), outcome_live=pl.lit("ok"))
    sides = [Apart(pl.DataFrame({"arrival_s": at, "ttft": values, "outcome": "ok"})) for values in (sim, live)]
    return [lines_of(Pairs(table, 0, 0, 0), ALLOWED), unpaired_lines(*sides, ALLOWED, miss=0.05)]


def width(line: Line) -> float:
    assert line.interval is not None
    return line.interval[1] - line.interval[0]


def test_a_comparison_knows_when_its_requests_came() -> None:
    for (median, tail), (apart, tail_apart) in zip(lines(at_once=True), lines(at_once=False), strict=True):
        assert width(median) != width(apart)  # bursts in place of the blocks that neighbours make
        assert (median.bursts, apart.bursts, tail_apart.bursts) == (None, None, None)
        assert tail.interval is None
        assert tail_apart.interval is not None
        assert tail.bursts is not None
        there, takes = tail.bursts
        assert there == 10
        assert takes > 72
        assert needed_told(tail) == f"needs about {takes} bursts like these 10"
        assert tail.needed == 15 * takes
