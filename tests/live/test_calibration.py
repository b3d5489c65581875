"""The short form of ``calibration.py``: a real model is probed, and a simulation with the profile predicts its runs.

Two minutes, and alone on the machine (CI gives it a step of its own): what is judged is judged against what the machine
itself repeats, printed beside. A shared machine can be a third slower for half a minute, which a probe before and one
after may both have missed. So times are judged as they are where neither the probes nor the runs say that its speed
changed, and else at the speed that it had: one factor for all of them, and the factor apart. A wrong model is not
mended by it. It is the factor with which times to the end have no bias: judged with it, theirs could not fail.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from live import calibration as long_form
from live.served import MARKS, served

pytestmark = [
    *MARKS,
    pytest.mark.slow,  # and judged by a clock: not beside other tests
]

#: Asked for is 1.5 times what the machine repeats. On a machine that repeats to 2 % that would be 3 %, less than
#: a probe of 20 calls can know: the recorded calls of live-smollm2 lie 9 to 12 % off their own best line.
FACTOR, KNOWABLE = 1.5, 0.15
BIAS = 0.10  #: of the medians
#: Between the probes and the run. The same machine among other jobs was 1.12 to 1.18 times slower for a run of some
#: minutes, and 1.5 times for half a minute (the long form, and the calls of its probes).
SPEED = 1.5
STEADY = 0.05  #: the most that its speed may have changed to be judged as it is; half of the bias that is asked for


def test_a_calibrated_simulation_predicts_a_real_model(tmp_path: Path) -> None:
    (name,) = long_form.names(long_form.SHORT)
    with served() as url:
        found = long_form.rehearsed(url, long_form.SHORT, name, tmp_path)
    print("\n".join(long_form.told(found)))
    assert found.fitted.chosen == "serving"
    assert found.sim["ttft_s"].by_request.pairs >= 5
    for what in ("input_tokens", "output_tokens", "cost_usd"):
        assert abs(found.sim[what].by_request.bias) <= 0.02
        assert found.sim[what].by_request.mdape <= 0.02
    if found.changed <= STEADY:
        for what in ("ttft_s", "e2e_s"):
            repeats = FACTOR * found.again[what].by_request.mdape
            assert found.sim[what].by_request.mdape <= max(repeats, KNOWABLE), what
            assert abs(found.sim[what].by_request.bias) <= max(repeats, BIAS), what
    assert 1 / SPEED <= found.speed <= SPEED
    for what in ("ttft_s", "e2e_s"):
        assert found.at_speed[what].by_request.mdape <= max(FACTOR * found.again[what].by_request.mdape, KNOWABLE), what
    assert abs(found.at_speed["ttft_s"].by_request.bias) <= max(FACTOR * found.again["ttft_s"].by_request.mdape, BIAS)
