"""What a page has to stand: light and dark, 1280 px, no eyes, no mouse, and paper."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from browser.lab import chromium

__all__ = ["contrasts", "fits", "missing", "opened", "prints", "reads_well", "usable", "words_apart"]


def missing() -> str:
    """What is not installed, as the reason for skipping; empty if nothing is."""
    if importlib.util.find_spec("playwright") is None:
        return "no playwright in this interpreter (pip install playwright)"
    return "" if chromium() else "no chromium on the path (apt-get install chromium)"


@contextmanager
def opened(browser: Any, file: Path, scheme: str = "light", width: int = 1280) -> Iterator[tuple[Any, list[str]]]:
    """A page, and every address that was asked for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: asked.append(f"error: {error}"))
    page.goto(file.as_uri())
    try:
        yield page, asked
    finally:
        context.close()


# What text stands on: the first ground that is not transparent, of itself or of what holds it.
_CONTRAST = """() => {
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


def contrasts(page: Any) -> list[list[Any]]:
    """Of every piece of text: its contrast to the ground, what it says, and how opaque it is."""
    found: list[list[Any]] = page.evaluate(_CONTRAST)
    return found


def reads_well(browser: Any, file: Path, picture: Path, scheme: str) -> None:
    """It asks for nothing else, text stands out from its ground, and the ground is that of the scheme."""
    with opened(browser, file, scheme) as (page, asked):
        page.screenshot(path=picture, full_page=True)
        assert asked == [file.as_uri()]  # itself and nothing else
        found = contrasts(page)
        assert len(found) > 10
        assert [one for one in found if one[0] < 4.5 or one[2] < 1] == []
        ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def fits(browser: Any, file: Path) -> None:
    """Nothing is wider than the page, and nothing is cut, folds opened."""
    with opened(browser, file) as (page, _):
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


def words_apart(browser: Any, file: Path) -> None:
    """The words of a drawing do not cover each other, and stay inside it."""
    with opened(browser, file) as (page, _):
        touching, beyond = page.evaluate(
            """() => { const touching = [], beyond = [];
                for (const svg of document.querySelectorAll("svg.drawing")) {
                    const whole = svg.getBoundingClientRect();
                    const boxes = [...svg.querySelectorAll("text")]
                        .map(e => [e.textContent, e.getBoundingClientRect()]);
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


def usable(browser: Any, file: Path) -> None:
    """A screen reader is told of every drawing, headings are in order, and Tab reaches every link and fold."""
    with opened(browser, file) as (page, _):
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
        # In the order of the page.
        wanted = page.evaluate("() => [...document.querySelectorAll('a, summary')].map(e => e.textContent)")
        page.locator("body").press("Home")
        reached = []
        for _ in wanted:
            page.keyboard.press("Tab")
            reached.append(page.evaluate("() => document.activeElement.textContent"))
        assert reached == wanted


def prints(browser: Any, file: Path, pdf: Path) -> None:
    """Paper is white whatever the screen is like; nothing is cut at its edge, and no row, table or drawing in two."""
    # Of A4 landscape without margins, at 96 px an inch: 297 mm - 26 mm, 210 mm - 22 mm.
    wide, high = 1024, 710
    with opened(browser, file, "dark") as (page, _):
        page.set_viewport_size({"width": wide, "height": high})
        page.emulate_media(media="print")
        style = page.evaluate(
            "() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]; }"
        )
        assert style == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
        assert page.evaluate("() => document.documentElement.scrollWidth") <= wide
        whole = page.evaluate(
            """() => [...document.querySelectorAll("figure, table, tr, .request")]
                .filter(e => e.getClientRects().length)
                .map(e => [e.tagName, e.getBoundingClientRect().height, getComputedStyle(e).breakInside])"""
        )
        assert len(whole) > 10
        # What may not be broken fits on a sheet, so it is not.
        assert [one for one in whole if one[1] > high or one[2] != "avoid"] == []
        page.pdf(path=pdf, prefer_css_page_size=True)
        assert pdf.read_bytes().count(b"/Type /Page\n") <= 12
