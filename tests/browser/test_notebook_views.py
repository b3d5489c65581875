"""What results show of themselves in a notebook: readable with all styles stripped (GitHub), and on black.

Screenshots are in pytest's temporary directory (`--basetemp DIR` to choose it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import reading
from calibrate.made_calls import engine
from chaos.spaces import CHECKOUT
from report.reality.runs import as_live, simulated
from report.test_frontier import SCENARIO as BOT
from tuning.test_capacity import BUCKET

import llmsim as ls
from llmsim.calibrate.upstream import fit_upstream
from llmsim.providers.sim.serving_spec import Serving
from llmsim.report.frontier import frontier

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(reading.missing()), reason=reading.missing() or "-")]

#: As a notebook in dark mode sets them, and nothing else.
DARK = "<style>body { background: #111; color: #eee; }</style>"
NAMES = ("result", "comparison", "reality", "drift", "fitted", "capacity", "frontier", "searched")


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """Something of every kind that shows itself."""
    sim, bad = simulated(), simulated({"errors": "{server_error: 8%}"}, gateway__policies="[]")
    live = as_live(bad)
    spec = Serving(slots=2, prefill_step=0.0, prefill_token=0.01, decode_sequence=0.03)
    return {
        "result": ls.run(BUCKET),
        "comparison": ls.compare(sim, bad),
        "reality": ls.compare(sim, live),
        "drift": ls.compare(as_live(sim), live),
        "fitted": fit_upstream(engine(spec, 40, 1, rate=0.2, alone=20, noise=0.05), slots=2),
        "capacity": ls.capacity(BUCKET, tolerance=0.5),
        "frontier": frontier(ls.load(BOT), thresholds=(0.75, 0.95), replications=2),
        "searched": ls.search(ls.load(CHECKOUT).with_gateway([]), budget=60, slo=["error_rate"], jobs=1),
    }


@pytest.mark.parametrize("name", NAMES)
def test_with_all_styles_stripped(browser: Any, shown: dict[str, Any], tmp_path: Path, name: str) -> None:
    html = shown[name]._repr_html_()
    assert "style" not in html and "<script" not in html and "http" not in html
    file = tmp_path / f"{name}.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><title>{name}</title>{html}", encoding="utf-8")
    with reading.opened(browser, file) as (page, asked):
        page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
        assert asked == [file.as_uri()]
        # Words of neighbouring cells are apart, and a row is one line: columns can be told from each other.
        gaps = page.evaluate(
            """() => [...document.querySelectorAll("tr")].flatMap(row => {
                const boxes = [...row.cells].filter(cell => cell.textContent.trim()).map(cell => {
                    const range = document.createRange(); range.selectNodeContents(cell);
                    return range.getBoundingClientRect(); });
                return boxes.slice(1).map((box, n) => box.left - boxes[n].right); })"""
        )
        assert gaps and min(gaps) >= 8
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
        alike = page.evaluate(
            """() => [...document.querySelectorAll("table")].every(table =>
                new Set([...table.rows].map(row => row.cells.length)).size === 1)"""
        )
        assert alike


@pytest.mark.parametrize("name", NAMES)
def test_on_black(browser: Any, shown: dict[str, Any], tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.html"
    html = f"<!doctype html><meta charset=utf-8>{DARK}<body>{shown[name]._repr_html_()}</body>"
    file.write_text(html, encoding="utf-8")
    with reading.opened(browser, file, "dark") as (page, _):
        page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
        found = reading.contrasts(page)
        assert len(found) > 5
        assert [one for one in found if one[0] < 4.5 or one[2] < 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_its_text_is_no_dump(shown: dict[str, Any], name: str) -> None:
    text = repr(shown[name])
    assert len(text.splitlines()) > 2
    assert [word for word in ("array(", "Candidate(", "Difference(", "Probe(", "object at") if word in text] == []
