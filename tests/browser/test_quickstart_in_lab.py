"""The quickstart in a real JupyterLab in a real browser: run it, look at it, interrupt it.

Screenshots are in pytest's temporary directory (`--basetemp DIR` to choose it).
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser.lab import chromium, lab, page_of

ROOT = Path(__file__).parents[2]


def _missing() -> str:
    if importlib.util.find_spec("playwright") is None:
        return "no playwright in this interpreter (pip install playwright)"
    return "" if chromium() else "no chromium on the path (apt-get install chromium)"


pytestmark = [pytest.mark.slow, pytest.mark.clock, pytest.mark.skipif(bool(_missing()), reason=_missing() or "-")]

LONG = """\
import llmsim as ls

{policy}
result = ls.run({{
    "version": 1,
    "name": "long",
    "replications": 50,
    "clock": {{"duration": "24h"}},
    "traffic": {{"base_rate": "20/s"}},
    "providers": {{"openai": {{"ttft": "300ms"}}}},
    "gateway": {{"policies": [{use}]}},
}})
"""

SPIN = """\
@ls.policy
class Spin:
    def start(self, run):
        seen = 0

        async def handle(request, call_next):
            nonlocal seen
            seen += 1
            while seen > 20_000:
                pass
            return await call_next(request)

        return handle
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what a person opens."""
    for folder in ("notebooks", "scenarios"):
        shutil.copytree(ROOT / folder, tmp_path / "project" / folder)
    return tmp_path / "project"


def _menu(page: Any, menu: str, item: str) -> None:
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=re.compile(f"^{item}")).click()  # its shortcut may follow


def _until_it_runs(page: Any, number: int, start: Callable[[], object]) -> None:
    """Do what makes cell `number` run, again if need be: a kernel that has just come up may not have listened."""
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").nth(number)
    for _ in range(20):
        start()
        for _ in range(10):
            time.sleep(0.2)
            if prompt.inner_text().strip("[]: "):
                return
    raise AssertionError("the cell does not run")


def _run_cell(page: Any, number: int) -> None:
    def start() -> None:
        page.locator(".jp-CodeCell .cm-content").nth(number).click()
        page.keyboard.press("Shift+Enter")

    _until_it_runs(page, number, start)


def _ended(page: Any, cells: int) -> None:
    """Wait until `cells` code cells have run."""
    page.wait_for_function(
        """cells => {
            const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")].map(e => e.textContent);
            return prompts.length === cells && prompts.every(text => /\\d/.test(text));
        }""",
        arg=cells,
        timeout=180_000,
    )


def _looked_at(page: Any, tmp_path: Path, name: str) -> list[str]:
    """What a reader sees of the outputs, and a screenshot of each kind; the verdicts."""
    results = page.locator(".jp-OutputArea-output .llmsim-result")
    results.nth(5).wait_for()
    assert results.count() == 6
    assert page.locator('.jp-OutputArea-output[data-mime-type*="stderr"]').count() == 0
    assert page.locator(".jp-OutputArea-output progress").count() == 0  # nothing is left of the progress line
    pictures = page.locator(".jp-OutputArea-output img")
    assert pictures.count() == 2
    assert all(pictures.nth(number).evaluate("picture => picture.naturalWidth") > 500 for number in range(2))
    for number, place in enumerate([results.nth(0), pictures.nth(1), results.nth(4)]):
        place.scroll_into_view_if_needed()
        page.screenshot(path=tmp_path / f"{name}-{number}.png")
    page.screenshot(path=tmp_path / f"{name}-end.png")
    return [results.nth(number).locator("strong").first.inner_text().split(": ")[1] for number in range(6)]


def test_as_it_is_committed_and_run_again_in_the_dark(project: Path, tmp_path: Path) -> None:
    """Run with one replication of each gateway, too few for a verdict: its story is a test of its own."""
    import nbformat

    file = project / "notebooks" / "01_quickstart.ipynb"
    notebook = nbformat.read(file, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.source = re.sub("^RUNS = .*", "RUNS = 1", cell.source)
    nbformat.write(notebook, file)
    errors: list[str] = []
    with lab(project, tmp_path, "Dark") as server, page_of(server.url(f"notebooks/{file.name}")) as page:
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        assert _looked_at(page, tmp_path, "committed") == ["PASS", "FAIL", "FAIL", "FAIL", "FAIL", "PASS"]
        _menu(page, "Edit", "Clear Outputs of All Cells")
        page.locator(".jp-OutputArea-output .llmsim-result").first.wait_for(state="detached")
        start = time.monotonic()
        _until_it_runs(page, 0, lambda: _menu(page, "Run", "Run All Cells"))
        _ended(page, len(cells))
        print(f"run all: {time.monotonic() - start:.1f} s")
        assert _looked_at(page, tmp_path, "run") == ["UNDECIDED"] * 6
    assert errors == []


def test_interrupt(project: Path, tmp_path: Path) -> None:
    """A run, and a policy that spins; the notebook is of another kernel, as when starting one takes a page too long."""
    import nbformat

    codes = (LONG.format(policy="", use=""), LONG.format(policy=SPIN, use='{"spin": {}}'), "6 * 7")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in codes])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "of-another-machine"}
    nbformat.write(notebook, project / "long.ipynb")
    with lab(project, tmp_path) as server, page_of(server.url("long.ipynb")) as page:
        for number, name in enumerate(("a run", "a policy that spins")):
            cell = page.locator(".jp-CodeCell").nth(number)
            _run_cell(page, number)
            cell.locator(".jp-OutputArea-output progress").wait_for()  # the progress line
            time.sleep(3)
            page.screenshot(path=tmp_path / f"running-{number}.png")
            start = time.monotonic()
            _menu(page, "Kernel", "Interrupt Kernel")
            page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
            seconds = time.monotonic() - start
            cell.locator(".jp-OutputArea-output .llmsim-result").wait_for()
            shown = cell.locator(".jp-OutputArea-output").all_inner_texts()
            page.screenshot(path=tmp_path / f"interrupted-{number}.png")
            assert any("long: no SLO to judge (partial: interrupted)" in text for text in shown)
            assert any("SimulationInterrupted" in text for text in shown)
            print(f"{name}: control back after {seconds:.2f} s, the click and the page included")
            assert seconds < 3.0
        _run_cell(page, len(codes) - 1)
        page.wait_for_function("() => document.body.innerText.includes('\\n42')")
