"""Gateways side by side where somebody looks on: runs go on in the background, are waited for, watched or stopped."""

from __future__ import annotations

import time
from typing import Any

import pytest

import llmsim as ls
from llmsim.errors import SimulationInterrupted
from llmsim.lab import compare_policies

SHORT: dict[str, Any] = {
    "version": 1,
    "name": "short",
    "clock": {"duration": "20s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"openai": {"ttft": "300ms", "errors": {"server_error": "20%"}}},
}
LONG = {**SHORT, "name": "long", "clock": {"duration": "24h"}, "traffic": {"base_rate": "20/s"}}
GATEWAYS = {"nothing": [], "a retry": [ls.Retry()]}


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if somebody sat in front of it."""
    monkeypatch.setattr("llmsim.lab.policies.attended", lambda: True)


def until(true: Any) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_in_the_background_comes_what_would_come_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    before = compare_policies(GATEWAYS, SHORT, replications=2)
    assert before._handle is None
    monkeypatch.setattr("llmsim.lab.policies.attended", lambda: True)
    found = compare_policies(GATEWAYS, SHORT, replications=2)
    assert found._handle is not None
    assert list(found.results) == ["nothing", "a retry"]
    assert [one.event_hash for one in found.results.values()] == [one.event_hash for one in before.results.values()]
    bundle = found._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert "data:image/png" in bundle["text/html"]
    for shown in bundle.values():
        assert "p (Holm)" in shown
        assert "95 %" in shown
    assert {(row[0], row[-1]) for row in found.differences.rows} <= {("a retry", "same"), ("a retry", "not told")}
    found.close()


@pytest.mark.slow
@pytest.mark.usefixtures("looked_at")
def test_runs_that_take_long_are_watched_and_stopped() -> None:
    found = compare_policies(GATEWAYS, LONG, replications=10)
    bundle = found._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"] == "nothing against a retry: the runs had not ended when this was saved"
    (shown,) = found._dashboards
    until(lambda: "replication 1 of at most 20" in shown._text.value)  # ten of each
    shown._cancel.click()
    with pytest.raises(SimulationInterrupted):
        _ = found.results
    until(lambda: "by Cancel" in shown._text.value)
    assert shown._cancel.disabled
    found.close()


@pytest.mark.slow
@pytest.mark.usefixtures("looked_at")
def test_an_interrupt_while_the_line_is_drawn_stops_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    found = compare_policies(GATEWAYS, {**LONG, "clock": {"duration": "1h"}}, replications=1)
    monkeypatch.setattr("llmsim.lab.policies.NotebookProgress.__call__", pressed)
    with pytest.raises(SimulationInterrupted):
        _ = found.results
    assert found._handle is not None
    assert (found._handle.state, found._handle.interrupted) == ("cancelled", True)
    found.close()


@pytest.mark.slow
@pytest.mark.usefixtures("looked_at")
def test_a_dashboard_is_filled_when_there_is_something() -> None:
    from ipywidgets import Widget

    before = len(Widget.get_manager_state()["state"])
    found = compare_policies(GATEWAYS, {**SHORT, "traffic": {"base_rate": "50/s"}}, replications=2)
    root = found.dashboard()
    assert len(root.children) == 1  # how far it is
    until(lambda: len(root.children) == 4)
    page, chosen, apart, _ = root.children
    assert "a retry" in page.value
    assert chosen.value == "nothing"
    assert apart.tooltip == found.forest().alt
    found.close()
    assert len(Widget.get_manager_state()["state"]) == before  # nothing of it is left


@pytest.mark.slow
@pytest.mark.usefixtures("looked_at")
def test_what_goes_wrong_is_told_in_place() -> None:
    @ls.policy
    async def broken(request: Any, call_next: Any) -> Any:
        return 5

    found = compare_policies({"nothing": [], "broken": [broken]}, SHORT, replications=1)
    root = found.dashboard()
    until(lambda: "failed" in root.children[0].children[0].value)
    with pytest.raises(ls.LlmsimError):
        _ = found.results
    found.close()


@pytest.mark.usefixtures("looked_at")
def test_a_backend_that_is_none_is_said_at_once() -> None:
    with pytest.raises(ls.LlmsimError, match="backend is 'ray'; use processes or dask"):
        compare_policies(GATEWAYS, SHORT, backend="ray")
    with pytest.raises(ls.LlmsimError, match="needs the address of a scheduler"):
        compare_policies(GATEWAYS, SHORT, backend="dask")
