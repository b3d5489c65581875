"""The readers and the statistics against real traces: the figures that were computed from the files by other code."""

import numpy as np
import pytest
from traffic.measured import data, statistics

from llmsim.traffic.servegen import read_clients
from llmsim.traffic.trace_stats import describe
from llmsim.traffic.traces import load_trace


def fit(found, family):
    return next(one for one in found["gaps"]["fits"] if one["family"] == family)


def quantiles(found, side):
    about = found[f"{side}_tokens"]
    return [round(about[name]) for name in ("mean", "p50", "p95", "p99", "max")]


@pytest.mark.slow
def test_azure_conversation():
    trace = load_trace(data("azure-llm-2023/AzureLLMInferenceTrace_conv.csv"))
    assert (trace.format, len(trace)) == ("azure", 19_366)
    found = describe(trace)
    assert found["rate_per_s"] == pytest.approx(5.53, abs=0.005)
    assert found["gaps"]["cv"] == pytest.approx(1.09, abs=0.005)
    assert found["gaps"]["local_cv"] == pytest.approx(1.04, abs=0.005)
    for family, name, value, ks in (
        ("gamma", "shape", 0.871, 0.017),
        ("weibull", "shape", 0.922, 0.017),
        ("lognormal", None, None, 0.091),
        ("exponential", None, None, 0.022),
    ):
        assert fit(found, family)["ks"] == pytest.approx(ks, abs=5e-4)
        assert name is None or fit(found, family)[name] == pytest.approx(value, abs=1e-3)
    # Published with the last window counted though it is shorter; so are these, and without it 3.86, 16.1 and .854.
    told = statistics(trace.times_s, trace.span_s)
    assert [told[f"idc_{w}"] for w in (1, 10, 60)] == pytest.approx([1.39, 4.0, 20.6], rel=0.01)
    assert told["autocorrelation"] == pytest.approx(0.83, abs=0.005)
    assert found["index_of_dispersion"]["60s"] == pytest.approx(16.1, abs=0.05)
    assert found["minutes"]["autocorrelation"] == pytest.approx(0.854, abs=1e-3)
    assert quantiles(found, "input") == [1155, 1020, 4083, 4142, 14050]
    assert quantiles(found, "output") == [211, 129, 451, 601, 1000]
    assert found["input_tokens"]["lognormal"]["mu"] == pytest.approx(6.633, abs=1e-3)
    assert found["input_tokens"]["lognormal"]["ks"] == pytest.approx(0.159, abs=1e-3)
    assert found["input_tokens"]["mixture"]["ks"] <= 0.117, "as near as the published mixture of three"
    assert found["output_tokens"]["mixture"]["ks"] <= 0.057
    assert found["token_rank_correlation"] == pytest.approx(0.07, abs=0.005)
    assert found["suggestion"].startswith("{drift: {cv: 0.25, memory: 10m"), "what the docstring of Drift says"
    assert not found["on_off"]["detected"]


@pytest.mark.slow
def test_mooncake():
    found = describe(load_trace(data("mooncake/conversation_trace.jsonl")))
    assert (found["format"], found["requests"]) == ("mooncake", 12_031)
    assert found["rate_per_s"] == pytest.approx(3.40, abs=0.005)
    assert found["gaps"]["zero_ratio"] == pytest.approx(0.902, abs=5e-4)
    assert found["gaps"]["batch_s"] == pytest.approx(3.0, abs=0.01)
    assert found["gaps"]["fits"] == [], "nothing is fitted to the gaps of batches"
    assert any("grid of 3s" in note for note in found["notes"])
    assert found["index_of_dispersion"]["10s"] == pytest.approx(2.09, abs=0.02)
    assert found["minutes"]["peak_to_mean"] == pytest.approx(1.21, abs=0.005)
    assert quantiles(found, "input") == [12035, 6909, 39550, 85400, 126195]
    assert found["output_tokens"]["mixture"]["ks"] <= 0.022


@pytest.mark.slow
def test_ragpulse():
    trace = load_trace(data("ragpulse/0_trace.jsonl"))
    found = describe(trace)
    assert (found["format"], found["requests"], found["sessions"]["number"]) == ("ragpulse", 7_106, 3_990)
    assert found["gaps"]["cv"] == pytest.approx(3.06, abs=0.005)
    for family, ks in (("gamma", 0.124), ("weibull", 0.079), ("lognormal", 0.029), ("exponential", 0.196)):
        assert fit(found, family)["ks"] == pytest.approx(ks, abs=6e-4)
    assert found["minutes"]["peak_to_mean"] == pytest.approx(14.2, abs=0.05)
    shares = np.array(found["hours"]["factors"]) / 24
    assert (shares.max(), shares.min()) == (pytest.approx(0.069, abs=0.004), pytest.approx(0.0028, abs=0.001))
    assert found["output_tokens"]["mixture"]["ks"] <= 0.0125


def test_burstgpt_slice():
    found = describe(load_trace(data("burstgpt3-slice/burstgpt3_first_rows.csv")))
    assert (found["format"], found["requests"]) == ("burstgpt", 188)
    assert found["failed_ratio"] == pytest.approx(1 / 188)
    assert found["routes"]["GPT-4"] == pytest.approx(62 / 188, abs=0.006)


@pytest.mark.slow
def test_servegen_m_small():
    folder = data("servegen/language/m-small")
    clients = read_clients(folder)
    totals = clients.rates_per_s.sum(axis=0)
    assert clients.rates_per_s.shape == (43, 2016)
    assert totals.mean() == pytest.approx(1174, abs=1)
    assert totals.max() == pytest.approx(3880, rel=0.01)
    shares = np.sort(clients.rates_per_s.sum(axis=1))[::-1].cumsum() / clients.rates_per_s.sum()
    assert [shares[0], shares[4], shares[9]] == pytest.approx([0.30, 0.77, 0.93], abs=0.006)
    assert (shares < 0.8).sum() + 1 == 6
    cvs = clients.cvs[clients.rates_per_s > 0.02]
    assert np.percentile(cvs, [10, 50, 90, 99]) == pytest.approx([1.00, 1.21, 5.53, 26.8], rel=0.01)
    # What is drawn keeps the rate of every client, and its burstiness.
    trace = load_trace(folder, from_s=3 * 86400.0, to_s=3 * 86400.0 + 1800, rate=0.1)
    window = clients.rates_per_s[:, 432:435].mean(axis=1) * 0.1 * 1800
    counts = np.bincount(trace.client, minlength=43)
    sure = window > 2000
    assert sure.sum() >= 4
    assert counts[sure] == pytest.approx(window[sure], rel=0.15)
    big = int(np.argmax(window))
    gaps = np.diff(trace.times_s[(trace.client == big) & (trace.times_s < 600)])
    assert gaps.std() / gaps.mean() == pytest.approx(float(clients.cvs[big, 432]), rel=0.1)
