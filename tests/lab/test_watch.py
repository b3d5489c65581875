"""Watching background runs: how far they are, cancelling, what comes of them; live runs too."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from llmsim.errors import SimulationInterrupted
from llmsim.lab import RunHandle, start, watch
from llmsim.lab.watch import where
from llmsim.live_run import LiveProgress

SHORT: dict[str, Any] = {
    "version": 1,
    "name": "short",
    "replications": 1,
    "clock": {"duration": "20s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"openai": {"ttft": "300ms"}},
}
LONG = {**SHORT, "name": "long", "replications": 50, "clock": {"duration": "24h"}, "traffic": {"base_rate": "20/s"}}


def until(true: Any) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_run_to_its_end() -> None:
    found = watch(SHORT)
    result = found.result
    until(lambda: found._result.value)
    assert found._bar.value == 1.0
    assert found._text.value == "done"
    assert "short: no SLO" in found._result.value
    assert found._cancel.disabled
    assert repr(found) == "<Watch short: done>"
    found.cancel()  # too late
    assert found._text.value == "done"
    assert result is found.handle.result
    found.close()


@pytest.mark.slow
def test_cancelling_by_the_button() -> None:
    found = watch(start(LONG))
    until(lambda: "replication 1 of at most 50" in found._text.value)
    assert 0 < found._bar.value < 1
    found._cancel.click()
    with pytest.raises(SimulationInterrupted):
        _ = found.result
    until(lambda: found._result.value)
    assert found._text.value.startswith("stopped by Cancel")
    assert "partial: interrupted" in found._result.value
    found.close()


@pytest.mark.slow
def test_what_an_interrupt_does_is_told_apart() -> None:
    found = watch(start(LONG))
    until(lambda: found._bar.value > 0)
    found.handle.interrupt()
    until(lambda: found._result.value)
    assert found._text.value.startswith("stopped by Kernel → Interrupt")
    found.close()


def test_failures_are_told() -> None:
    found = watch({**SHORT, "clock": {"duraton": "20s"}})
    until(lambda: found.handle.state == "failed" and found._bar.bar_style)
    assert "duraton" in found._text.value
    assert "picture" not in found._text.value  # there is none
    found.close()


@pytest.mark.slow
def test_one_that_is_closed_takes_its_own_run_along() -> None:
    found = watch(LONG)
    found.close()
    assert found.handle.wait(10)
    handle = start(LONG)
    watch(handle).close()
    assert handle.state == "running"
    handle.cancel()
    handle.wait(10)


def test_where_a_live_run_is() -> None:
    share, text = where(LiveProgress(30.0, 120.0, 41, 3, 0.0125, 0.004, 2.0))
    assert share == 0.25
    assert text == (
        "live, 0:30 of 2:00, 41 requests, 3 in flight, $0.0125 of $2.00 spent (and at most $0.004 by calls under way), "
        "at most 1:30 left"
    )


def test_options_are_for_scenarios() -> None:
    handle = start(SHORT)
    assert isinstance(handle, RunHandle)
    with pytest.raises(TypeError, match="seed"):
        watch(handle, seed=3)
    handle.wait(10)


def test_without_widgets_the_result_is_there() -> None:
    found = watch(SHORT)
    found.handle.wait(10)
    bundle = found._repr_mimebundle_()
    assert "short: no SLO" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert re.match(r"<Watch short: done>", bundle["text/plain"])
    found.close()
