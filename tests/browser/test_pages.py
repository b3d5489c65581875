"""Pages of a check in a real browser: offline, in light and dark, at 1280 px and in print.

Screenshots and PDFs are in pytest's temporary directory (`--basetemp DIR` to choose it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import reading

from llmsim.api import load, run
from llmsim.report.page import to_page
from llmsim.report.page_index import to_index

ROOT = Path(__file__).parents[2]


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(reading.missing()), reason=reading.missing() or "-")]

CALM = {
    "version": 1,
    "name": "calm",
    "replications": 6,
    "clock": {"duration": "2m"},
    "traffic": {"base_rate": "3/s"},
    "providers": {"openai": {"ttft": "300ms", "price": {"input": "$1/Mtok", "output": "$2/Mtok"}}},
    "slo": {"error_rate": ["value < 1%"]},
}
DARK = {
    **CALM,
    "name": "blackout",
    "clock": {"warm_up": "0s", "duration": "2m"},
    "faults": [{"name": "dark", "provider": "openai", "at": "0s", "duration": "9m", "abort": {"status": 503}}],
    "gateway": {"policies": [{"retry": {"max_attempts": 3, "backoff": {"initial": "200ms"}}}]},
}
SHIPPED = ("article-gateway", "semantic-cache")  # the largest page, and the one with wrong answers
NAMES = ("calm", "blackout", *SHIPPED)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of reports as ``llmsim check --html`` writes it."""
    folder = tmp_path_factory.mktemp("pages")
    told = []
    for name in NAMES:
        source = {"calm": CALM, "blackout": DARK}.get(name) or ROOT / "scenarios" / f"{name}.yaml"
        result = run(load(source), replications=6 if name in SHIPPED else None)
        place = folder / f"{name}.html"
        place.write_text(to_page(result, f"llmsim run {name}.yaml", index="index.html"), encoding="utf-8")
        text = f"{result.verdict} {name}"
        told.append({**result.to_dict(), "file": f"{name}.yaml", "report": str(place), "text": text})
    broken = {"file": "broken.yaml", "verdict": "ERROR", "text": "✗ ERROR  broken", "problems": [{"message": "bad"}]}
    (folder / "index.html").write_text(to_index([*told, broken]), encoding="utf-8")
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_it_reads_well(browser: Any, pages: Path, tmp_path: Path, name: str, scheme: str) -> None:
    reading.reads_well(browser, pages / f"{name}.html", tmp_path / f"{name}-{scheme}.png", scheme)


@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_nothing_is_wider_than_the_page(browser: Any, pages: Path, name: str) -> None:
    reading.fits(browser, pages / f"{name}.html")


@pytest.mark.parametrize("name", NAMES)
def test_words_of_a_drawing_do_not_cover_each_other(browser: Any, pages: Path, name: str) -> None:
    reading.words_apart(browser, pages / f"{name}.html")


@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_it_can_be_used_without_eyes_and_without_a_mouse(browser: Any, pages: Path, name: str) -> None:
    reading.usable(browser, pages / f"{name}.html")


@pytest.mark.parametrize("name", NAMES)
def test_print_cuts_nothing(browser: Any, pages: Path, tmp_path: Path, name: str) -> None:
    reading.prints(browser, pages / f"{name}.html", tmp_path / f"{name}.pdf")


def test_links_lead_from_the_list_to_a_report_and_back(browser: Any, pages: Path) -> None:
    with reading.opened(browser, pages / "index.html") as (page, _):
        assert page.locator("tbody tr").count() == len(NAMES) + 1
        page.locator("table a").first.click()
        page.wait_for_url("**/calm.html")
        page.get_by_role("link", name="All scenarios").click()
        page.wait_for_url("**/index.html")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small(pages: Path, name: str) -> None:
    assert (pages / f"{name}.html").stat().st_size < 2_000_000
