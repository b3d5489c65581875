"""Pages of a check in a real browser: offline, in light and dark, at 1280 px and in print.

Screenshots and PDFs are in pytest's temporary directory (`--basetemp DIR` to choose it).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser.lab import FLAGS, chromium

from llmsim.api import load, run
from llmsim.report.page import to_page
from llmsim.report.page_index import to_index

ROOT = Path(__file__).parents[2]


def _missing() -> str:
    if importlib.util.find_spec("playwright") is None:
        return "no playwright in this interpreter (pip install playwright)"
    return "" if chromium() else "no chromium on the path (apt-get install chromium)"


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(_missing()), reason=_missing() or "-")]

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield one
        one.close()


def _open(browser: Any, file: Path, scheme: str = "light", width: int = 1280) -> tuple[Any, list[str]]:
    """A page, and every address that was asked for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: asked.append(f"error: {error}"))
    page.goto(file.as_uri())
    return page, asked


# What text stands on: the first ground that is not transparent, of itself or of what holds it.
CONTRAST = """() => {
  const rgb = text => { const n = text.match(/[\\d.]+/g).map(Number);
    return [n[0], n[1], n[2], n.length > 3 ? n[3] : 1]; };
  const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = c.map(v => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c[3] > 0) return c; } return [255, 255, 255, 1]; };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement;
    if (!node.data.trim() || ["title", "desc", "STYLE"].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const ink = rgb(e.tagName === "text" ? style.fill : style.color);
    const [a, b] = [light(ink.slice(0, 3)), light(ground(e).slice(0, 3))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    found.push([ratio, node.data.trim().slice(0, 40), ink[3] * Number(style.opacity)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_it_reads_well(browser: Any, pages: Path, tmp_path: Path, name: str, scheme: str) -> None:
    page, asked = _open(browser, pages / f"{name}.html", scheme)
    page.screenshot(path=tmp_path / f"{name}-{scheme}.png", full_page=True)
    assert asked == [(pages / f"{name}.html").as_uri()]  # itself and nothing else
    contrasts = page.evaluate(CONTRAST)
    assert len(contrasts) > 10
    assert [one for one in contrasts if one[0] < 4.5 or one[2] < 1] == []
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    page.context.close()


@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_nothing_is_wider_than_the_page(browser: Any, pages: Path, name: str) -> None:
    page, _ = _open(browser, pages / f"{name}.html")
    page.evaluate("() => document.querySelectorAll('details').forEach(one => one.open = true)")
    over = page.evaluate(
        """() => [document.documentElement.scrollWidth, ...[...document.querySelectorAll("body *:not(.skip)")]
            .filter(e => e.getBoundingClientRect().right > innerWidth + .5)
            .map(e => e.tagName + e.textContent.slice(0, 40))]"""
    )
    assert over == [1280]
    cut = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter(e => e.scrollWidth > e.clientWidth + 1
            && getComputedStyle(e).overflowX !== "visible").map(e => e.tagName + e.className)"""
    )
    assert cut == []
    page.context.close()


@pytest.mark.parametrize("name", NAMES)
def test_words_of_a_drawing_do_not_cover_each_other(browser: Any, pages: Path, name: str) -> None:
    page, _ = _open(browser, pages / f"{name}.html")
    touching, beyond = page.evaluate(
        """() => { const touching = [], beyond = [];
            for (const svg of document.querySelectorAll("svg.drawing")) {
                const whole = svg.getBoundingClientRect();
                const boxes = [...svg.querySelectorAll("text")].map(e => [e.textContent, e.getBoundingClientRect()]);
                boxes.forEach(([text, a], n) => {
                    if (a.left < whole.left - 1 || a.right > whole.right + 1) beyond.push(text);
                    if (a.bottom > whole.bottom + 1) beyond.push(text);
                    for (const [other, b] of boxes.slice(n + 1)) {
                        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                        if (wide > 1 && high > 4) touching.push(text + " | " + other);
                    }
                });
            }
            return [touching, beyond]; }"""
    )
    assert touching == []
    assert beyond == []
    page.context.close()


@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_it_can_be_used_without_eyes_and_without_a_mouse(browser: Any, pages: Path, name: str) -> None:
    page, _ = _open(browser, pages / f"{name}.html")
    drawings = page.locator("svg.drawing")
    for number in range(drawings.count()):
        # What the browser tells a screen reader: a picture with a name and a description.
        names = drawings.nth(number).evaluate(
            "e => e.getAttribute('aria-labelledby').split(' ').map(id => document.getElementById(id).textContent)"
        )
        assert len(names) == 2 and all(len(text) > 10 for text in names)
        assert drawings.nth(number).get_attribute("role") == "img"
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    levels = page.evaluate("() => [...document.querySelectorAll('h1,h2,h3')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    heads = page.evaluate("() => [...document.querySelectorAll('th')].map(e => e.scope)")
    assert heads and set(heads) <= {"col", "row"}
    links = page.evaluate("() => [...document.querySelectorAll('a')].map(e => e.getAttribute('href'))")
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    # Every link and every fold is reached with the Tab key, in the order of the page.
    wanted = page.evaluate("() => [...document.querySelectorAll('a, summary')].map(e => e.textContent)")
    page.locator("body").press("Home")
    reached = []
    for _ in wanted:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.textContent"))
    assert reached == wanted
    page.context.close()


@pytest.mark.parametrize("name", NAMES)
def test_print_cuts_nothing(browser: Any, pages: Path, tmp_path: Path, name: str) -> None:
    page, _ = _open(browser, pages / f"{name}.html", "dark")  # whatever the screen is like, paper is white
    # Of A4 landscape without margins, at 96 px an inch: 297 mm - 26 mm, 210 mm - 22 mm.
    wide, high = 1024, 710
    page.set_viewport_size({"width": wide, "height": high})
    page.emulate_media(media="print")
    style = page.evaluate("() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]; }")
    assert style == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= wide
    whole = page.evaluate(
        """() => [...document.querySelectorAll("figure, table, tr, .request")].filter(e => e.getClientRects().length)
            .map(e => [e.tagName, e.getBoundingClientRect().height, getComputedStyle(e).breakInside])"""
    )
    assert len(whole) > 10
    # What may not be broken fits on a sheet, so it is not.
    assert [one for one in whole if one[1] > high or one[2] != "avoid"] == []
    page.pdf(path=tmp_path / f"{name}.pdf", prefer_css_page_size=True)
    assert (tmp_path / f"{name}.pdf").read_bytes().count(b"/Type /Page\n") <= 12
    page.context.close()


def test_links_lead_from_the_list_to_a_report_and_back(browser: Any, pages: Path) -> None:
    page, _ = _open(browser, pages / "index.html")
    assert page.locator("tbody tr").count() == len(NAMES) + 1
    page.locator("table a").first.click()
    page.wait_for_url("**/calm.html")
    page.get_by_role("link", name="All scenarios").click()
    page.wait_for_url("**/index.html")
    page.context.close()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small(pages: Path, name: str) -> None:
    assert (pages / f"{name}.html").stat().st_size < 2_000_000
