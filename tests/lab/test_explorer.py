"""Explorers without a browser: a move runs, the newest wins, errors stay in place, and nothing is left over."""

from __future__ import annotations

import base64
import gc
import re
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llmsim as ls
from llmsim.errors import LlmsimError
from llmsim.lab import Explorer, explore

SMALL: dict[str, Any] = {
    "version": 1,
    "name": "small",
    "replications": 6,
    "clock": {"duration": "20s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"openai": {"ttft": "300ms", "errors": {"server_error": "20%"}}},
    "gateway": {"policies": [{"retry": {"max_attempts": 2, "backoff": {"initial": "200ms"}}}]},
    "slo": {"error_rate": ["value < 50%"]},
}
PATHS = ["traffic.base_rate", "gateway.retry.max_attempts", "gateway.retry"]


@pytest.fixture
def small() -> Iterator[Explorer]:
    explorer = explore(SMALL, PATHS)
    yield explorer
    explorer.close()


def widget(explorer: Explorer, path: str) -> Any:
    return explorer._panel.turned[path]


def status(explorer: Explorer) -> str:
    return re.sub(r"<[^>]+>", "", explorer._panel.status.value)


def test_moving_a_control_runs_it(small: Explorer) -> None:
    first = small.result
    before = bytes(small._panel.image.value)
    assert first.event_hash == ls.run(SMALL, replications=1).event_hash
    widget(small, "traffic.base_rate").value = "10/s"
    assert small.values["traffic.base_rate"] == "10/s"
    assert small.result.event_hash == ls.run(small.scenario, replications=1).event_hash
    assert small.result.scenario.traffic.base_rate == 10.0
    assert bytes(small._panel.image.value)[:4] == b"\x89PNG"
    assert bytes(small._panel.image.value) != before
    assert small._panel.image.tooltip.startswith("small: up to ")  # its name for who cannot see it
    assert "Before: errors" in small._panel.image.tooltip
    rows = re.findall(r"<tr>(.*?)</tr>", small._panel.numbers.value)
    assert "before" in rows[0]
    errors = next(row for row in rows if ">error_rate<" in row)
    assert len(re.findall(r"\d %<", errors)) == 2  # now and before
    assert "press Judge" in status(small)


@pytest.mark.slow
def test_a_policy_is_a_checkbox(small: Explorer) -> None:
    widget(small, "gateway.retry").value = False
    assert small.scenario.gateway.policies == ()
    assert small.result.metrics["retry_amplification"] == 1.0
    assert repr(small) == "<Explorer small: as it is, without gateway.retry>"


@pytest.mark.slow
def test_the_newest_wins(small: Explorer) -> None:
    small.wait()
    ran: list[float] = []
    show = small._show
    small._show = lambda result: (ran.append(result.scenario.traffic.base_rate), show(result))  # type: ignore[method-assign]
    for rate in ("5.6/s", "6.2/s", "6.8/s", "7.5/s"):
        widget(small, "traffic.base_rate").value = rate
    assert small.result.scenario.traffic.base_rate == 7.5
    assert ran == [7.5]


@pytest.mark.slow
def test_a_run_that_is_outdated_is_cancelled() -> None:
    long = {**SMALL, "clock": {"duration": "24h"}, "traffic": {"base_rate": "50/s"}}
    explorer = explore(long, PATHS)
    handle = explorer._handle
    assert handle is not None
    explorer.set({"traffic.base_rate": "10/s"})
    assert handle.wait(10)
    assert handle.state == "cancelled"
    newer = explorer._handle
    assert newer is not handle
    explorer.cancel()
    assert explorer.wait(10)
    assert "stopped by Cancel" in status(explorer)
    with pytest.raises(LlmsimError, match="nothing has been run yet"):
        _ = explorer.result
    explorer.close()


@pytest.mark.slow
def test_wrong_settings_are_told_in_place_and_the_last_picture_stays() -> None:
    hedged = {
        **SMALL,
        "gateway": {"policies": [{"deadline": {"timeout": "5s"}}], "upstream": [{"timeout": {"total": "4s"}}]},
    }
    explorer = explore(hedged, {"traffic.base_rate": None, "clock.duration": ["20s", "0s"]})
    shown = explorer.result
    picture = bytes(explorer._panel.image.value)
    widget(explorer, "clock.duration").options = ("20s", "0s")
    widget(explorer, "clock.duration").value = "0s"
    assert explorer.wait(10)
    assert "not run" in status(explorer)
    assert "clock.duration" in status(explorer)
    assert bytes(explorer._panel.image.value) == picture
    assert explorer.result is shown
    explorer.reset()
    assert explorer.wait(10)
    assert "not run" not in status(explorer)
    explorer.close()


@pytest.mark.slow
def test_judge_makes_all_replications(small: Explorer) -> None:
    small._panel.judge.click()
    assert len(small.result.replications) == 6
    assert status(small).startswith("PASS")


@pytest.mark.slow
def test_values_between_the_places(small: Explorer) -> None:
    small.set({"traffic.base_rate": "5.05/s"})
    assert small.result.scenario.traffic.base_rate == 5.05
    small.set({"traffic.base_rate": "6.20/s"})  # one of the places, spelled otherwise
    assert small.scenario.traffic.base_rate == 6.2
    small.set({"traffic.base_rate": "5.0/s"})
    assert small.values["traffic.base_rate"] == "5/s"


def test_what_a_control_cannot_be_moves_nothing(small: Explorer) -> None:
    for wrong, told in (
        ({"traffic.rate": "5/s"}, "there is no control"),
        ({"traffic.base_rate": "much"}, "cannot be 'much'; write it like '5/s'"),
        ({"traffic.base_rate": True}, "cannot be True; write it like '5/s'"),
        ({"gateway.retry": "off"}, "cannot be 'off'; write it like True"),
    ):
        with pytest.raises(LlmsimError, match=told):
            small.set({"gateway.retry.max_attempts": "1", **wrong})
    assert small.changes == {}


@pytest.mark.slow
def test_a_run_that_is_enough_for_a_verdict_has_one() -> None:
    for replications, told in ((6, "PASS. 6 replications"), (3, "3 replications")):
        explorer = explore(SMALL, PATHS, replications=replications)
        assert explorer.result.complete == replications
        assert status(explorer).startswith(told)
        assert ("Too few" in status(explorer)) == (replications < 6)
        explorer.close()


@pytest.mark.slow
def test_text_to_take_away(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "version: 1\nclock: {duration: 20s}\ntraffic: {base_rate: 5/s}  # a quiet day\nproviders: {openai: {}}\n"
        "gateway:\n  policies:\n    - retry: {max_attempts: 2}  # once more\n    - cache\n",
        encoding="utf-8",
    )
    explorer = explore(str(file), ["traffic.base_rate", "gateway.retry.max_attempts", "gateway.cache"])
    assert explorer.to_yaml() == file.read_text(encoding="utf-8")
    explorer.set({"traffic.base_rate": "10/s", "gateway.retry.max_attempts": "4", "gateway.cache": False})
    explorer._panel.as_yaml.click()
    text = explorer._panel.text.value
    assert "base_rate: 10/s}  # a quiet day" in text
    assert "max_attempts: 4}  # once more\n" in text
    assert "cache" not in text
    again = tmp_path / "again.yaml"
    again.write_text(text, encoding="utf-8")
    assert ls.load(again) == explorer.scenario
    explorer._panel.as_python.click()
    room: dict[str, Any] = {}
    exec(explorer._panel.text.value, room)
    assert room["scenario"] == explorer.scenario
    assert room["result"].scenario == explorer.scenario
    explorer.close()


@pytest.mark.slow
def test_what_it_shows_without_widgets(small: Explorer) -> None:
    bundle = small._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    page = bundle["text/html"]
    found = re.search(r'<img alt="([^"]+)" src="data:image/png;base64,([^"]+)"', page)
    assert found is not None
    assert found[1].startswith("small: up to ")
    assert base64.b64decode(found[2])[:4] == b"\x89PNG"
    assert "<code>5/s</code>" in page
    assert "<style" not in page


@pytest.mark.slow
def test_who_looks_on_has_the_controls_before_there_is_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmsim.lab.explorer.attended", lambda: True)
    explorer = explore({**SMALL, "clock": {"duration": "24h"}, "traffic": {"base_rate": "50/s"}}, PATHS)
    bundle = explorer._repr_mimebundle_()
    assert explorer._handle is not None and explorer._handle.state == "running"  # it was not waited for
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "<code>50/s</code>" in bundle["text/html"]
    assert "The first run had not ended when this was saved." in bundle["text/html"]
    assert explorer._panel.image.tooltip == "no picture yet"
    assert bytes(explorer._panel.image.value)[:4] == b"\x89PNG"  # of nothing, but no broken image
    explorer.cancel()
    assert explorer.wait(10)
    explorer.close()


def test_every_control_has_a_label(small: Explorer) -> None:
    for one in small._panel.turned.values():
        assert one.description
        assert one.tooltip
    assert all(button.description and button.tooltip for button in small._panel.buttons)


@pytest.mark.slow
def test_two_do_not_meet() -> None:
    one, two = explore(SMALL, PATHS), explore(SMALL, PATHS)
    one.set({"traffic.base_rate": "10/s"})
    assert two.values["traffic.base_rate"] == "5/s"
    assert one.result.event_hash != two.result.event_hash
    one.close()
    two.close()


@pytest.mark.slow
def test_nothing_is_left_of_one_that_is_closed() -> None:
    from ipywidgets import Widget

    from llmsim.report.plots import canvas

    before, settings = len(Widget.get_manager_state()["state"]), dict(canvas.mpl.rcParams)
    threads = threading.active_count()
    explorer = explore(SMALL, PATHS)
    explorer.set({"traffic.base_rate": "10/s"})
    explorer.wait()
    explorer.close()
    gone = weakref.ref(explorer)
    del explorer
    for _ in range(50):  # the run's thread may be in its last line
        gc.collect()
        if gone() is None and threading.active_count() <= threads:
            break
        threading.Event().wait(0.05)
    assert gone() is None
    assert len(Widget.get_manager_state()["state"]) == before
    assert dict(canvas.mpl.rcParams) == settings
