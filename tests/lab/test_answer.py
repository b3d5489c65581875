"""How long an explorer takes to answer, as CPU time: of the simulation and of the drawing, each on its own.

The browser test measures the whole way, from the release of a slider to the picture. There, half a second more of one
part would hide in what the other has left; here it does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from browser.yardstick import work

import llmsim as ls
from llmsim.lab.picture import DPI, explored
from llmsim.lab.shown import numbers

SPIKE = Path(__file__).parents[2] / "scenarios" / "hacker-news-spike.yaml"
#: Multiples of `work`: 3.6 and 1.9 were measured for them (2026; 0.39 and 0.20 s).
SIMULATED, DRAWN = 6.0, 3.5


def least(made: Callable[[], object], times: int = 5) -> float:
    """CPU seconds, of the quickest of some."""
    found = []
    for _ in range(times):
        start = time.process_time()
        made()
        found.append(time.process_time() - start)
    return min(found)


@pytest.mark.slow
@pytest.mark.clock
def test_neither_simulation_nor_drawing_is_slow() -> None:
    spike = ls.load(SPIKE)
    result = ls.run(spike, replications=1)
    assert result.requests.height <= 10_000
    unit = least(work)
    simulated = least(lambda: ls.run(spike, replications=1))
    drawn = least(lambda: (explored(result, result).png(DPI), numbers(result, result)))
    print(f"simulated {simulated:.2f} s, drawn {drawn:.2f} s, the yardstick {unit:.2f} s of CPU time")
    assert simulated <= SIMULATED * unit
    assert drawn <= DRAWN * unit
