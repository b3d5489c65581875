"""Whether ``calibration.py`` would see a machine that is far from as fast as it was: without a machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from live import calibration as long_form
from live.test_calibration import SPEED

import llmsim

SERVING = {"slots": 2, "prefill_token": 0.002, "decode_sequence": 0.03}


def _what(factor: float) -> dict[str, Any]:
    times = {name: f"{value * factor:.6f}s" for name, value in SERVING.items() if isinstance(value, float)}
    return {
        "version": 1,
        "clock": {"duration": "30s", "drain": "60s"},
        "traffic": {"base_rate": "0.5/s", "mix": [{"input_tokens": 100, "output_tokens": 20}]},
        "providers": {"local": {"serving": {**SERVING, **times}, "price": long_form.PRICE}},
    }


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.6, 1.0, 1.8])
def test_a_machine_of_another_speed_is_found_out(factor: float) -> None:
    fitted: Any = SimpleNamespace(settings={"serving": SERVING})
    found, apart = long_form.at_its_speed(_what(1.0), fitted, llmsim.run(_what(factor), replications=1))
    assert found == pytest.approx(factor, rel=0.03)
    assert (1 / SPEED <= found <= SPEED) is (factor == 1.0)
    assert apart["e2e_s"][0].mdape < 0.05
