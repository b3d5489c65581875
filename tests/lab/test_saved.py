"""What is shown before it is done is replaced once, where it was shown; what is done is let alone."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from llmsim import load
from llmsim.lab import Explorer, explore, start, watch

STORY: dict[str, Any] = {
    "version": 1,
    "name": "small",
    "replications": 1,
    "clock": {"duration": "20s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"openai": {"ttft": "300ms"}},
}
LONG = {**STORY, "clock": {"duration": "24h"}, "traffic": {"base_rate": "50/s"}}


class Displayed:
    """A notebook that remembers what its file has."""

    def __init__(self) -> None:
        self.pages: list[str] = []
        self.updates = 0

    def display(self, bundle: dict[str, Any], *, raw: bool, display_id: bool) -> Any:
        assert raw and display_id
        self.pages.append(bundle["text/html"])
        place, notebook = len(self.pages) - 1, self

        class Handle:
            def update(self, bundle: dict[str, Any], *, raw: bool) -> None:
                assert raw
                notebook.updates += 1
                notebook.pages[place] = bundle["text/html"]

        return Handle()


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Displayed:
    found = Displayed()
    monkeypatch.setattr("IPython.display.display", found.display)
    return found


@pytest.mark.slow
def test_an_explorer_keeps_its_first_picture_however_late_it_is(
    notebook: Displayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmsim.lab.explorer.attended", lambda: True)
    monkeypatch.setattr("llmsim.lab.explorer.GLANCE_S", 0.05)
    explorer: Explorer = explore(LONG, {"traffic.base_rate": None, "clock.duration": ["20s", "24h"]})
    explorer._ipython_display_()
    assert "had not ended when this was saved" in notebook.pages[0]
    explorer.set({"clock.duration": "20s"})
    explorer.wait()
    assert '<img alt="small: up to' in notebook.pages[0]
    assert "<code>20s</code>" in notebook.pages[0]
    explorer.set({"traffic.base_rate": "10/s"})  # what moves later would take the slider from under the hand
    explorer.wait()
    assert notebook.updates == 1
    explorer._ipython_display_()
    assert notebook.updates == 1
    assert "<img" in notebook.pages[1]
    explorer.close()


def test_of_a_run_that_failed_its_error_is_kept() -> None:
    async def gateway(request: Any, providers: Any) -> Any:
        raise RuntimeError("out of order")

    explorer = explore(load(STORY).with_gateway(gateway), {"traffic.base_rate": None})
    html = explorer._repr_mimebundle_()["text/html"]
    assert "out of order" in html
    assert "had not ended" not in html
    explorer.close()


@pytest.mark.slow
def test_a_watched_run_keeps_what_came_of_it(notebook: Displayed) -> None:
    found = watch(start(LONG))
    found._ipython_display_()
    assert "llmsim-result" not in notebook.pages[0]
    found.cancel()
    assert found.handle.wait(10)
    for _ in range(100):
        if notebook.updates:
            break
        found.handle._thread.join(0.05)
    assert "llmsim-result" in notebook.pages[0]
    found._ipython_display_()
    assert notebook.updates == 1
    found.close()


def test_a_watch_that_is_taken_away_while_its_run_ends_is_let_alone(
    notebook: Displayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = watch(start(STORY))
    assert found.handle.wait(10)
    found._saved.show({"text/html": "running"}, final=False)

    def slow(_: Any) -> str:
        found.close()
        return "all of it"

    monkeypatch.setattr(sys.modules[type(found).__module__], "to_html", slow)
    found._end(found.handle)
    assert (notebook.pages, notebook.updates) == (["running"], 0)
    assert found._repr_mimebundle_()["text/plain"] == "<Watch small: done>"
