"""The network is what is left of the time to first token, where the server says what it took."""

from __future__ import annotations

import numpy as np
import pytest
from calibrate.made_calls import hosted

import llmsim
from llmsim.calibrate.calls import calls_of
from llmsim.calibrate.network import network_of
from llmsim.calibrate.profile_file import profile_document, write_profile
from llmsim.calibrate.upstream import fit_upstream
from llmsim.luck import Luck


def far(n, seed, *, p50=0.08, sigma=0.3):
    """A provider of which the server's own times are known, behind a network."""
    served = hosted(n, seed)
    way_s = p50 * np.exp(np.random.default_rng([seed, 1]).normal(0, sigma, n))
    return served._replace(ttft_s=served.ttft_s + way_s, e2e_s=served.e2e_s + way_s, server_s=served.ttft_s)


@pytest.mark.slow
def test_the_network_is_told_apart_from_the_server():
    calls = far(60, 1)
    found, near = fit_upstream(calls), fit_upstream(hosted(60, 1))
    low, high = found.intervals["network"]
    assert low < np.median(calls.ttft_s - calls.server_s) < high
    assert 0.07 < low < high < 0.1
    for word in ("ttft", "inter_token"):  # as if there were no network
        assert found.intervals[word] == pytest.approx(near.intervals[word], rel=0.01)
    assert "network" not in found.missing
    # What is judged is still what a caller sees.
    assert found.held_out.ttft_s.mean() == pytest.approx(calls.ttft_s.mean())


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say():
    inside = []
    for seed in range(40):
        low, high = network_of(far(30, seed), Luck(seed)).interval
        inside.append(low <= 0.08 <= high)
    assert np.mean(inside) >= 0.87  # 95 % promised; of 40 draws, fewer than 87 % happen 1 time in 50


@pytest.mark.slow
def test_a_scenario_with_the_profile_has_both(tmp_path):
    document = profile_document(fit_upstream(far(60, 1)), name="far", date="2026-11-26", of="a test")
    path = write_profile(document, tmp_path / "far.yaml")
    scenario = {"version": 1, "seed": 1, "clock": {"duration": "2000s"}, "providers": {"local": {"profile": str(path)}},
                "traffic": {"base_rate": "0.1/s", "mix": [{"input_tokens": 400, "output_tokens": 16}]}}  # fmt: skip
    found = calls_of([llmsim.run(scenario, replications=1)], "local")
    assert np.median(found.ttft_s) == pytest.approx(0.5 + 0.08 + 2e-5 * 400, rel=0.06)
    assert llmsim.load(scenario).providers["local"].network.mean == pytest.approx(0.083, rel=0.1)


def test_why_it_cannot_be_told():
    calls = hosted(30, 1)
    assert network_of(calls, Luck(0)).why == "a caller cannot tell it from the time to first token, which has it"
    connected = calls._replace(connect_s=np.where(np.arange(30) < 9, 0.02, 0.0))
    assert network_of(connected, Luck(0)).why.endswith("; a new connection took 20ms (median of 9)")
    few = calls._replace(server_s=np.where(np.arange(30) < 9, calls.ttft_s - 0.01, np.nan))
    assert network_of(few, Luck(0)).why.startswith("only 9 calls")
    longer = calls._replace(server_s=calls.ttft_s + 0.1)
    assert "took longer than its caller waited in 100 % of calls" in network_of(longer, Luck(0)).why
    # In company the wait for a slot would count as network.
    together = calls._replace(server_s=calls.ttft_s - 0.01, sent_s=calls.sent_s / 1000)
    assert "only" in network_of(together, Luck(0)).why or "cannot tell" in network_of(together, Luck(0)).why
