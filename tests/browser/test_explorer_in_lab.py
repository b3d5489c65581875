"""Explorers in a real JupyterLab in a real browser: keys and mouse, plots that answer, runs that are stopped.

Screenshots are in pytest's temporary directory (`--basetemp DIR` to choose it). What it prints (``-s``) says how long
it is from a key or the release of the mouse to the new picture, and what of that is simulation and what drawing.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from browser.flicker import Frames
from browser.lab import lab, page_of
from browser.reading import missing
from browser.yardstick import slowness

ROOT = Path(__file__).parents[2]
ANSWER_S = 1.5  #: from the release of a slider to the new picture, on a machine that does nothing else

pytestmark = [pytest.mark.slow, pytest.mark.clock, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

TWO = """\
import dataclasses

import llmsim as ls

spike = ls.load("scenarios/hacker-news-spike.yaml")
one = ls.lab.explore(dataclasses.replace(spike, replications=2))
one
"""
OTHER = """\
two = ls.lab.explore("scenarios/semantic-cache.yaml", ["traffic.base_rate", "gateway.semantic_cache.threshold"])
two
"""
DASHBOARD = """\
ls.lab.compare_policies({"nothing": [], "a cache": [ls.Cache()]}, spike, replications=2).dashboard()
"""
BEGIN = "import time\n\nbegun = time.monotonic()"
FREE = "print('free after', time.monotonic() - begun)"
#: Some seconds of work, or as much as one likes.
SLOW = """\
import llmsim as ls

{name} = ls.lab.explore(
    {{
        "version": 1,
        "clock": {{"duration": "{hours}h"}},
        "traffic": {{"base_rate": "20/s"}},
        "providers": {{"openai": {{"ttft": "300ms"}}}},
    }},
    {{"traffic.base_rate": None, "clock.duration": ["60s", "{hours}h"]}},
)
{name}
"""
LONG = """\
import llmsim as ls

shown = ls.lab.watch({
    "version": 1,
    "name": "long",
    "replications": 50,
    "clock": {"duration": "24h"},
    "traffic": {"base_rate": "20/s"},
    "providers": {"openai": {"ttft": "300ms"}},
})
shown
"""


def _notebook(folder: Path, *cells: str) -> Path:
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    shutil.copytree(ROOT / "scenarios", folder / "scenarios")
    nbformat.write(notebook, folder / "explorers.ipynb")
    return folder


def _menu(page: Any, menu: str, item: str) -> None:
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=re.compile(f"^{item}")).click()


def _run_all(page: Any) -> None:
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt")
    for _ in range(10):  # a kernel that has just come up may not have listened
        _menu(page, "Run", "Run All Cells")
        for _ in range(15):
            time.sleep(0.2)
            if prompts.first.inner_text().strip("[]: "):
                return
    raise AssertionError("the cells do not run")


class Shown:
    """One explorer on the page."""

    def __init__(self, page: Any, number: int) -> None:
        self.page = page
        self.root = page.locator(".jp-OutputArea-output .llmsim-explorer.widget-vbox").nth(number)

    def told(self, text: str) -> str:
        """The line about the run, once it says this."""
        line = self.root.locator(".widget-html-content", has_text=re.compile(text)).first
        line.wait_for(timeout=150_000)
        return str(line.inner_text())

    def press(self, button: str) -> None:
        self.root.get_by_role("button", name=button).click()

    def numbers(self) -> str:
        return str(self.root.locator("table.llmsim-numbers").inner_text())

    def picture(self) -> str:
        """A hash of the picture's bytes, as the browser has them."""
        script = """async image => {
            const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
            return Array.from(bytes).map(byte => String.fromCharCode(byte)).join('');
        }"""
        return hashlib.sha256(self.root.locator("img").evaluate(script).encode("latin-1")).hexdigest()

    def slider(self, path: str) -> Any:
        return self.root.locator(".widget-inline-hbox", has_text=path).first

    def readout(self, path: str) -> str:
        return str(self.slider(path).locator(".widget-readout").inner_text())

    def until_new(self, source: str) -> None:
        """Until the picture is another one."""
        handle = self.root.locator("img").element_handle()
        self.page.wait_for_function("([image, old]) => image.src !== old && image.complete", arg=[handle, source])

    def source(self) -> str:
        return str(self.root.locator("img").get_attribute("src"))


def _seconds(told: str) -> tuple[float, float]:
    simulated, drawn = (
        float(value) / (1000 if unit == "ms" else 1)
        for value, unit in re.findall(r"(?:simulated|drawn) in ([\d.]+)(ms|s)", told)
    )
    return simulated, drawn


def _by_key(shown: Shown, path: str, key: str) -> float:
    source = shown.source()
    shown.slider(path).locator(".noUi-handle").focus()
    start = time.monotonic()
    shown.page.keyboard.press(key)
    shown.until_new(source)
    return time.monotonic() - start


def _by_mouse(shown: Shown, path: str, share: float) -> float:
    source = shown.source()
    handle = shown.slider(path).locator(".noUi-handle").bounding_box()
    track = shown.slider(path).locator(".noUi-base").bounding_box()
    shown.page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    shown.page.mouse.down()
    shown.page.mouse.move(track["x"] + share * track["width"], track["y"] + track["height"] / 2, steps=6)
    start = time.monotonic()
    shown.page.mouse.up()
    shown.until_new(source)
    return time.monotonic() - start


def _first_look(shown: Shown) -> None:
    """Its controls and its picture are in view, and the picture has a name."""
    shown.told("simulated in")
    shown.root.evaluate("root => root.scrollIntoView({block: 'start'})")
    assert shown.root.get_by_role("img", name=re.compile("up to .* offered, errors .*p95")).count() == 1


def _moved(shown: Shown) -> list[tuple[float, float, float, float]]:
    """Three moves: seconds of each, of that simulated and drawn, and how many times slower the machine was."""
    pictures, tables, took = [shown.picture()], [shown.numbers()], []
    for move in (
        lambda: _by_key(shown, "traffic.base_rate", "ArrowRight"),
        lambda: _by_mouse(shown, "height of the spike", 0.75),
        lambda: _by_key(shown, "upstream.timeout.ttft", "ArrowLeft"),
    ):
        before = slowness()
        seconds = move()
        took.append((seconds, *_seconds(shown.told("simulated in")), statistics.mean((before, slowness()))))
        pictures.append(shown.picture())
        tables.append(shown.numbers())
    assert shown.readout("traffic.base_rate") == "4.3/s"
    assert float(shown.readout("height of the spike").rstrip("x")) > 10
    assert len(set(pictures)) == len(pictures)
    assert len(set(tables)) == len(tables)
    return took


def test_the_notebook_of_the_spike(tmp_path: Path) -> None:
    """Notebook 02 from a fresh kernel, with one replication of each gateway: its story is a test of its own."""
    import nbformat

    errors: list[str] = []
    project = tmp_path / "project"
    for folder in ("notebooks", "scenarios"):
        shutil.copytree(ROOT / folder, project / folder)
    file = project / "notebooks" / "02_front_page_spike.ipynb"
    notebook = nbformat.read(file, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.source = re.sub("^RUNS = .*", "RUNS = 1", cell.source)
        cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, file)
    with lab(project, tmp_path) as server, page_of(server.url(f"notebooks/{file.name}")) as page:
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        _run_all(page)
        page.wait_for_function(
            """cells => [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")]
                .filter(prompt => /\\d/.test(prompt.textContent)).length === cells""",
            arg=len(cells), timeout=300_000,
        )  # fmt: skip
        assert page.locator('.jp-OutputArea-output[data-mime-type*="stderr"]').count() == 0
        shown = Shown(page, 0)
        _first_look(shown)
        assert shown.readout("height of the spike") == "20x"  # as its last cell leaves it
        source = shown.source()
        shown.press("Reset")
        shown.until_new(source)
        frames = Frames(page, shown.root.locator("img"))
        took = _moved(shown)
        frames.held(tmp_path)
        page.screenshot(path=tmp_path / "spike-moved.png")
        for number, (stop, told) in enumerate(
            [
                (lambda: shown.press("Cancel"), "stopped by Cancel"),
                (lambda: _menu(page, "Kernel", "Interrupt Kernel"), "stopped by Kernel → Interrupt"),
            ]
        ):
            shown.press("Judge")
            shown.told("judging: ")
            start = time.monotonic()
            stop()
            shown.told(told)
            print(f"{told} after {time.monotonic() - start:.2f} s")
            page.screenshot(path=tmp_path / f"spike-stopped-{number}.png")
            _by_key(shown, "traffic.base_rate", "ArrowRight")  # and it answers as before
        assert shown.readout("traffic.base_rate") == "5.1/s"
    assert errors == []
    for whole, simulated, drawn, slow in took:
        print(
            f"from release to picture {whole:.2f} s: {simulated:.2f} s simulated, {drawn:.2f} s drawn; "
            f"the machine {slow:.1f} times slower than idle, so {whole / slow:.2f} s"
        )
    assert statistics.median(whole / slow for whole, _, _, slow in took) <= ANSWER_S


@pytest.mark.parametrize("theme", [pytest.param("Light", marks=pytest.mark.long), "Dark"])
def test_two_explorers_and_a_dashboard(tmp_path: Path, theme: str) -> None:
    errors: list[str] = []
    (tmp_path / "root").mkdir()
    root = _notebook(tmp_path / "root", TWO, OTHER, DASHBOARD)
    with lab(root, tmp_path, theme) as server, page_of(server.url("explorers.ipynb")) as page:
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        _run_all(page)
        one, two = Shown(page, 0), Shown(page, 1)
        two.told("simulated in")
        dashboard = page.locator(".jp-OutputArea-output .llmsim-dashboard.widget-vbox")
        dashboard.wait_for()
        _first_look(one)
        page.screenshot(path=tmp_path / f"{theme}-first.png")
        others = (two.picture(), two.numbers())
        frames = Frames(page, one.root.locator("img"))
        _moved(one)
        frames.held(tmp_path)
        assert (two.picture(), two.numbers()) == others  # what one shows is no business of the other
        page.screenshot(path=tmp_path / f"{theme}-moved.png")
        one.press("Copy as YAML")
        area = one.root.locator("textarea")
        area.wait_for(state="visible")
        page.wait_for_function("area => area.value.includes('base_rate: 4.3/s')", arg=area.element_handle())
        assert "# about the mean of the Azure conversation trace" in area.input_value()
        one.press("Judge")
        one.told("UNDECIDED")  # two replications are few
        page.screenshot(path=tmp_path / f"{theme}-judged.png")
        two.root.scroll_into_view_if_needed()
        _by_key(two, "gateway.semantic_cache.threshold", "ArrowLeft")
        page.screenshot(path=tmp_path / f"{theme}-second.png")
        dashboard.get_by_role("combobox").select_option("a cache")
        dashboard.get_by_role("img", name=re.compile("^Differences from a cache")).wait_for()
        assert dashboard.get_by_role("img", name=re.compile("^Outcomes over time")).count() == 1
        dashboard.evaluate("root => root.scrollIntoView({block: 'start'})")
        page.screenshot(path=tmp_path / f"{theme}-dashboard.png")
    assert errors == []


def test_the_controls_come_before_the_picture(tmp_path: Path) -> None:
    """Nobody waits for a first run that takes long: the kernel is free, the run says how far it is, and is stopped."""
    errors: list[str] = []
    (tmp_path / "root").mkdir()
    cells = [SLOW.format(name="slow", hours=0.5), SLOW.format(name="slower", hours=100)]
    root = _notebook(tmp_path / "root", BEGIN, *cells, FREE)
    with lab(root, tmp_path) as server, page_of(server.url("explorers.ipynb")) as page:
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        _run_all(page)
        one, other = Shown(page, 0), Shown(page, 1)
        free = page.locator(".jp-OutputArea-output", has_text=re.compile("^free after")).inner_text()
        print(free)
        assert float(free.split()[-1]) < 15  # it was 20 and more for the slower one alone
        assert other.readout("traffic.base_rate") == "20/s"
        assert "replication 1 of at most 1" in other.told("replication 1 of")
        assert other.root.locator("progress").count() == 1
        empty = other.root.get_by_role("img", name="no picture yet")
        assert empty.evaluate("image => image.complete && image.naturalWidth") == 1  # no broken image
        box = empty.bounding_box()
        page.screenshot(path=tmp_path / "before-the-picture.png")
        one.told("simulated in")  # and then it is there, without anybody's doing
        one.root.get_by_role("img", name=re.compile("up to .* offered, errors")).wait_for()
        other.press("Cancel")
        other.told("stopped by Cancel")
        source = other.source()
        other.slider("clock.duration").get_by_role("combobox").select_option("60s")
        other.until_new(source)
        other.told("simulated in")
        found = other.root.get_by_role("img").bounding_box()
        assert (found["width"], found["height"]) == (box["width"], box["height"])  # its room was kept
        page.screenshot(path=tmp_path / "after-it.png")
    assert errors == []


def test_a_long_run_is_stopped(tmp_path: Path) -> None:
    errors: list[str] = []
    (tmp_path / "root").mkdir()
    root = _notebook(tmp_path / "root", LONG, LONG.replace('"long"', '"longer"').replace("shown", "other"), "6 * 7")
    with lab(root, tmp_path) as server, page_of(server.url("explorers.ipynb")) as page:
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        _run_all(page)
        first, second = (page.locator(".jp-OutputArea-output .llmsim-watch").nth(number) for number in (0, 1))
        for one in (first, second):
            one.locator(".widget-html-content", has_text="replication 1 of at most 50").wait_for()
        page.wait_for_function("() => document.body.innerText.includes('\\n42')")  # the kernel is not held up
        page.screenshot(path=tmp_path / "watched.png")
        start = time.monotonic()
        first.get_by_role("button", name="Cancel").click()
        first.locator(".widget-html-content", has_text="stopped by Cancel").wait_for()
        print(f"cancelled in {time.monotonic() - start:.2f} s")
        assert time.monotonic() - start < 5
        assert "long: no SLO to judge (partial: interrupted)" in first.inner_text()
        assert "replication 1 of" in second.inner_text()  # that one goes on
        start = time.monotonic()
        _menu(page, "Kernel", "Interrupt Kernel")  # no cell is executing
        second.locator(".widget-html-content", has_text="stopped by Kernel → Interrupt").wait_for()
        print(f"interrupted in {time.monotonic() - start:.2f} s")
        assert time.monotonic() - start < 5
        assert "longer: no SLO to judge (partial: interrupted)" in second.inner_text()
        page.screenshot(path=tmp_path / "stopped.png")
        page.locator(".jp-CodeCell .cm-content").nth(2).click()  # and the kernel is as good as before
        page.keyboard.press("Control+End")
        page.keyboard.type(" + 1")
        page.keyboard.press("Shift+Enter")
        page.wait_for_function("() => document.body.innerText.includes('\\n43')")
    assert errors == []
