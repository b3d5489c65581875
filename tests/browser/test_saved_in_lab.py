"""What a notebook's file keeps of widgets whose run takes longer than their cell: saved by JupyterLab, then read."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from browser.lab import lab, page_of
from browser.reading import missing

pytestmark = [pytest.mark.slow, pytest.mark.clock, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

#: Some seconds of work each, which nobody waits for.
CELLS = (
    """\
import llmsim as ls

story = {
    "version": 1,
    "name": "slow",
    "replications": 1,
    "clock": {"duration": "1h"},
    "traffic": {"base_rate": "20/s"},
    "providers": {"openai": {"ttft": "300ms"}},
}
one = ls.lab.explore(story, {"traffic.base_rate": None, "clock.duration": ["60s", "1h"]})
one
""",
    "ls.lab.watch(story)\n",
)


def _saved(page: Any, file: Path) -> list[dict[str, Any]]:
    """The output of each cell, as the file has it once it is saved."""
    import nbformat

    before = file.stat().st_mtime_ns
    page.locator(".jp-Notebook").click()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    until = time.monotonic() + 20
    notebook = None
    while notebook is None:
        assert time.monotonic() < until, "it was not saved"
        time.sleep(0.1)
        if file.stat().st_mtime_ns != before:
            with suppress(nbformat.reader.NotJSONError):  # it is being written
                notebook = nbformat.read(file, as_version=4)
    return [dict(output.data) for cell in notebook.cells for output in cell.outputs if "data" in output]


def test_what_came_later_is_in_the_file_and_the_widgets_go_on(tmp_path: Path) -> None:
    import nbformat

    errors: list[str] = []
    root = tmp_path / "root"
    root.mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    file = root / "later.ipynb"
    nbformat.write(notebook, file)
    with lab(root, tmp_path) as server, page_of(server.url(file.name)) as page:
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.locator(".jp-CodeCell .cm-content").first.click()
        for _ in CELLS:
            page.keyboard.press("Shift+Enter")
        shown = page.locator(".jp-OutputArea-output .llmsim-explorer.widget-vbox")
        shown.get_by_text(re.compile("replication 1 of")).first.wait_for(timeout=60_000)
        early = _saved(page, file)
        assert "The first run had not ended when this was saved." in early[0]["text/html"]
        shown.get_by_text(re.compile("simulated in")).first.wait_for(timeout=120_000)
        watched = page.locator(".jp-OutputArea-output .llmsim-watch")
        watched.locator(".llmsim-result").wait_for(timeout=120_000)
        page.screenshot(path=tmp_path / "ended.png")
        late = _saved(page, file)
        # It is still one output each, and the widgets that are on the page are those that were there before.
        assert len(late) == len(early) == len(CELLS)
        assert (shown.count(), watched.count()) == (1, 1)
        assert '<img alt="slow: up to' in late[0]["text/html"]
        assert "llmsim-result" in late[1]["text/html"]
        view = "application/vnd.jupyter.widget-view+json"
        assert [one[view] for one in late] == [one[view] for one in early]
        source = shown.locator("img").get_attribute("src")
        shown.locator(".widget-inline-hbox", has_text="clock.duration").get_by_role("combobox").select_option("60s")
        page.wait_for_function(
            "([image, old]) => image.src !== old && image.complete", arg=[shown.locator("img").element_handle(), source]
        )
        page.screenshot(path=tmp_path / "moved.png")
    assert errors == []
