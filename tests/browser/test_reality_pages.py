"""Pages of comparisons with live runs in a real browser, as those of results: good ones, bad ones, and drifts.

Screenshots and PDFs are in pytest's temporary directory (`--basetemp DIR` to choose it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import reading
from report.reality.runs import as_live, simulated

import llmsim as ls

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(reading.missing()), reason=reading.missing() or "-")]

SLOW = {"ttft": "{lognormal: {p50: 375ms, p99: 1.25s}}"}
BAD = {**SLOW, "errors": "{server_error: 8%}"}
NAMES = ("good", "off", "drift", "unpaired", "nothing-answered")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pages as ``llmsim compare --html`` writes them."""
    folder = tmp_path_factory.mktemp("reality")
    sim, live = simulated(), as_live(simulated())
    bad = as_live(simulated(BAD, gateway__policies="[]"))
    dead = as_live(simulated({"errors": "{server_error: 100%}"}, gateway__policies="[]"))
    found = {
        "good": ls.compare(sim, live),
        "off": ls.compare(sim, bad, again=as_live(simulated(SLOW, gateway__policies="[]"))),
        "drift": ls.compare(live, bad),
        "unpaired": ls.compare(live, as_live(simulated(SLOW, seed=6))),
        "nothing-answered": ls.compare(sim, dead),
    }
    for name, one in found.items():
        (folder / f"{name}.html").write_text(one.to_page("llmsim compare before after"), encoding="utf-8")
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_it_reads_well(browser: Any, pages: Path, tmp_path: Path, name: str, scheme: str) -> None:
    reading.reads_well(browser, pages / f"{name}.html", tmp_path / f"{name}-{scheme}.png", scheme)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wider_than_the_page(browser: Any, pages: Path, name: str) -> None:
    reading.fits(browser, pages / f"{name}.html")


@pytest.mark.parametrize("name", NAMES)
def test_words_of_a_drawing_do_not_cover_each_other(browser: Any, pages: Path, name: str) -> None:
    reading.words_apart(browser, pages / f"{name}.html")


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_used_without_eyes_and_without_a_mouse(browser: Any, pages: Path, name: str) -> None:
    reading.usable(browser, pages / f"{name}.html")


@pytest.mark.parametrize("name", NAMES)
def test_print_cuts_nothing(browser: Any, pages: Path, tmp_path: Path, name: str) -> None:
    reading.prints(browser, pages / f"{name}.html", tmp_path / f"{name}.pdf")
