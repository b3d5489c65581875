"""Page, notebook and pictures of a comparison: they say what the table says, and stand alone."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import llmsim as ls
from llmsim.errors import LlmsimError
from llmsim.report.reality.curves import Axis, ecdf, label_places, quantiles


@pytest.fixture(scope="module")
def failing(sim: ls.Result, as_if_live: Any) -> Any:
    return ls.compare(sim, as_if_live({"errors": "{server_error: 8%}"}, gateway__policies="[]"))


class Seen(HTMLParser):
    """Addresses, and the texts of cells, items and the heading."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.inside = False
        self.addresses: list[str] = []
        self.cells: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.addresses += [value for name, value in attrs if name in ("src", "href") and not value.startswith("#")]
        if tag in ("td", "th", "li", "h1"):
            self.cells.append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th", "li", "h1")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


@pytest.mark.slow
def test_the_page_stands_alone_and_says_what_the_table_says(failing: Any) -> None:
    page = failing.to_page("llmsim compare a b")
    seen = Seen(page)
    assert seen.addresses == ["data:,"]
    assert "<script" not in page
    cells = {cell.strip() for cell in seen.cells}
    assert failing.headline in cells
    for table in failing.told.tables:
        for row in table.rows:
            assert {cell for cell in row[1:] if cell} <= cells, row
    assert set(failing.notes) <= cells
    assert "llmsim compare a b" in page
    drawings = page.split('<svg class="drawing"')[1:]
    assert len(drawings) == 4
    for drawing in drawings:
        tree = ET.fromstring(f'<svg class="drawing"{drawing.split("</svg>")[0]}</svg>')
        assert tree.find("desc").text.count("p95") == 2
        words = "".join(tree.itertext())
        assert "live:" in words and "never" in words and "band: ±10 %" in words
        assert "nan" not in words
    assert failing.to_page() == failing.to_page()


@pytest.mark.slow
def test_the_notebook_shows_the_same(failing: Any) -> None:
    shown = failing._repr_html_()
    cells = {cell.strip() for cell in Seen(shown).cells}
    assert all({cell for cell in row[1:] if cell} <= cells for table in failing.told.tables for row in table.rows)
    assert "style" not in shown


@pytest.mark.slow
def test_names_are_escaped(as_if_live: Any, slow: ls.Result) -> None:
    import dataclasses

    live = as_if_live()
    odd = dataclasses.replace(live.scenario, name="<b>&", description="<script>alert(1)</script>")
    drift = ls.compare(slow, ls.Result(odd, live.replications))
    for page in (drift.to_page(), drift._repr_html_()):
        assert "<script" not in page
        assert "<b>&" not in page


@pytest.mark.parametrize("kind", ["ecdf", "qq"])
def test_pictures(failing: Any, kind: str) -> None:
    picture = getattr(failing.plot, kind)("ttft")
    (axes,) = picture.axes
    assert "log scale" not in axes.get_xlabel()  # 0.1 s to 1.3 s
    assert ("p95" in picture.alt) == (kind == "ecdf")
    assert "time to first token" in picture.alt
    names = {text.get_text() for text in axes.texts}
    if kind == "ecdf":
        assert {"simulated", "live"} <= names
        live = failing.sides.whole["ttft"][1]
        assert axes.lines[1].get_ydata()[-1] == pytest.approx(np.isfinite(live).mean())  # what failed never gets there
    else:
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("live", "simulated")
        one, other = (np.sort(side) for side in failing.sides.answered["ttft"])
        assert axes.lines[1].get_xdata() == pytest.approx(other)
        assert axes.lines[1].get_ydata() == pytest.approx(one)
    from matplotlib.figure import Figure

    own = Figure().subplots()
    assert getattr(failing.plot, kind)("e2e", ax=own) is own


def test_what_cannot_be_drawn(failing: Any) -> None:
    with pytest.raises(LlmsimError, match="no picture of 'cost'"):
        failing.plot.ecdf("cost")


def test_curves() -> None:
    xs, ys = ecdf(np.array([3.0, 1.0, np.inf, 2.0]))
    assert (xs.tolist(), ys.tolist()) == ([1.0, 2.0, 3.0], [0.25, 0.5, 0.75])
    assert len(ecdf(np.arange(1.0, 5001.0))[0]) == 300
    one, other = quantiles(np.arange(10.0), np.array([0.0, 5.0]))
    assert (one.tolist(), other.tolist()) == ([2.0, 7.0], [0.0, 5.0])  # 25 % and 75 % of ten
    wide = Axis.of(np.array([0.001, 1.0]))
    assert wide.log
    assert (wide.place(0.001), wide.place(1.0)) == pytest.approx((0.02, 0.98), abs=0.01)
    narrow = Axis.of(np.array([0.5, 1.0, np.inf]))
    assert not narrow.log
    assert narrow.marks == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert not Axis.of(np.array([0.0, 1.0])).log  # there is no logarithm of 0
    fast, slow = np.linspace(1, 2, 50), np.linspace(2, 4, 50)
    assert [side for *_, side in label_places((fast, slow), Axis.of(fast, slow))] == [-1, 1]
    assert [side for *_, side in label_places((slow, fast), Axis.of(fast, slow))] == [1, -1]
