"""Runs in the background: they end, are cancelled, fail, and say so; several go on at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import llmsim as ls
from llmsim.errors import ScenarioError, SimulationInterrupted
from llmsim.lab import RunHandle, start

SHORT: dict[str, Any] = {
    "version": 1,
    "name": "short",
    "replications": 1,
    "clock": {"duration": "20s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"openai": {"ttft": "300ms"}},
}
#: Some minutes of work, if nobody stops it.
LONG = {**SHORT, "name": "long", "replications": 50, "clock": {"duration": "24h"}, "traffic": {"base_rate": "20/s"}}


def until_it_runs(handle: RunHandle) -> None:
    running = threading.Event()
    handle.tell(lambda one: running.set() if one.progress is not None and one.progress.requests else None)
    assert running.wait(30)


def test_it_gives_what_run_gives() -> None:
    handle = start(SHORT, seed=3)
    assert handle.get().event_hash == ls.run(SHORT, seed=3).event_hash
    assert handle.state == "done"
    assert handle.result is handle.get()
    assert repr(handle) == "<RunHandle short: done>"


def test_cancelling_leaves_what_there_is() -> None:
    handle = start(LONG)
    until_it_runs(handle)
    assert handle.state == "running"
    assert handle.result is None
    handle.cancel()
    assert handle.wait(5)
    assert handle.state == "cancelled"
    assert handle.result is not None
    assert handle.result.partial
    assert handle.result.requests.height > 0
    with pytest.raises(SimulationInterrupted) as caught:
        handle.get()
    assert caught.value.partial is handle.result


def test_it_fails_as_run_does() -> None:
    handle = start({**SHORT, "clock": {"duraton": "20s"}})
    assert handle.wait(30)
    assert handle.state == "failed"
    assert handle.result is None
    with pytest.raises(ScenarioError, match="duration"):
        handle.get()


def test_the_end_is_told_once_also_to_those_who_come_late() -> None:
    handle, told = start(SHORT), []
    handle.tell(lambda one: told.append(one.state) if one.state != "running" else None)
    handle.get()
    handle.tell(lambda one: told.append("late"))
    assert told == ["done", "late"] or told == ["late", "done"]


def test_two_at_once_do_not_meet() -> None:
    alone = {seed: ls.run(SHORT, seed=seed).event_hash for seed in (1, 2)}
    handles = {seed: start(SHORT, seed=seed) for seed in (1, 2)}
    assert {seed: handle.get().event_hash for seed, handle in handles.items()} == alone
