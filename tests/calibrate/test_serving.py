"""A serving engine's parameters from sequential requests, and whether they predict a loaded server.

Measured on ``live-smollm2`` (SmolLM2-135M on a llama.cpp server with 4 slots, open-loop Poisson arrivals): median
absolute percentage error of TTFT / of total time, parameters from the 15 sequential requests sent before the runs:

===================================================  ===========  ===========  ===========
model                                                0.15/s (20)  0.3/s (40)   0.5/s (40)
===================================================  ===========  ===========  ===========
step engine, Theil-Sen: what `fit_serving` does      10.3 /  8.6  10.4 /  8.8  11.5 /  9.4
queue only: slots, then a + b·prompt, gaps·active    10.3 /  9.5  17.5 / 37.5  69.4 / 73.5
independent lognormal TTFT and gaps, as if unloaded  66.4 / 45.7  73.4 / 71.0  87.4 / 87.5
===================================================  ===========  ===========  ===========

How much of that is the estimator: with ordinary least squares the engine misses 12 % at 0.5/s (15.4 % of TTFT), with
relative least squares by 0.4 points. With the 15 requests measured *after* the runs added, when the machine was 6 %
faster, it is 11.6 / 8.5, 12.4 / 9.4 and 12.6 / 8.3; 30 requests show what context costs (9.2 us a token), 15 do not.
The sequential requests themselves lie 8.9 % (median) off their own line, so there is little left for any model to
explain.
"""

import csv
from heapq import heappop, heappush
from pathlib import Path

import numpy as np
import pytest
from providers.sim.serving_oracle import SMALL

import llmsim
from llmsim.calibrate.serving import Measured, fit_serving, predict_serving
from llmsim.errors import LlmsimError
from llmsim.providers.sim.serving_spec import Serving

_DATA = Path(llmsim.__file__).parents[2] / "shared" / "data" / "live-smollm2" / "openloop.csv"
_LOADS = ("r0.15", "r0.3", "r0.5")


def _measured():
    if not _DATA.exists():
        pytest.skip("the measurements of live-smollm2 are not beside this checkout")
    runs = {}
    with _DATA.open() as file:
        for row in csv.DictReader(file):
            sizes = int(row["prompt_tokens"]), int(row["completion_tokens"])
            one = Measured(float(row["t_submit"]), *sizes, float(row["ttft"]), float(row["total"]))
            runs.setdefault(row["label"], []).append(one)
    return {label: sorted(rows) for label, rows in runs.items()}


def _error(predicted, actual):
    """Median absolute percentage error."""
    return 100 * float(np.median(np.abs(np.asarray(predicted) - actual) / actual))


def _errors(predicted, rows):
    ttft_s, e2e_s = predicted
    actual = np.array(rows)
    return _error(ttft_s, actual[:, 3]), _error(e2e_s, actual[:, 4])


def _engine(spec, rows):
    return predict_serving(
        spec, [r.sent_s for r in rows], [r.input_tokens for r in rows], [r.output_tokens for r in rows]
    )


def _queue_only(spec, rows):
    """Slots and a line, without what prompts and streams do to each other."""
    free, ends, ttft_s, e2e_s = [0.0] * spec.slots, [], [], []
    for row in rows:
        start_s = max(row.sent_s, heappop(free))
        active = 1 + sum(end_s > start_s for end_s in ends)
        first_s = start_s + spec.prefill_step + spec.prefill_token * row.input_tokens
        ends.append(first_s + spec.decode_sequence * active * (row.output_tokens - 1))
        heappush(free, ends[-1])
        ttft_s.append(first_s - row.sent_s)
        e2e_s.append(ends[-1] - row.sent_s)
    return np.array(ttft_s), np.array(e2e_s)


def _independent(alone, rows, seed):
    rng = np.random.default_rng(seed)
    ttft = np.log([row.ttft_s for row in alone])
    gap = np.log([(row.e2e_s - row.ttft_s) / (row.output_tokens - 1) for row in alone])
    ttft_s = np.exp(rng.normal(ttft.mean(), ttft.std(ddof=1), len(rows)))
    gap_s = np.exp(rng.normal(gap.mean(), gap.std(ddof=1), len(rows)))
    return ttft_s, ttft_s + gap_s * (np.array([row.output_tokens for row in rows]) - 1)


@pytest.mark.parametrize("load", _LOADS)
def test_sequential_requests_predict_a_loaded_server(load):
    runs = _measured()
    assert len(runs[load]) in (20, 40)
    ttft, total = _errors(_engine(fit_serving(runs["seq"]), runs[load]), runs[load])
    assert ttft <= 12
    assert total <= 10


def test_the_simpler_models_do_not():
    runs = _measured()
    spec = fit_serving(runs["seq"])
    for load in _LOADS[1:]:
        ours = _errors(_engine(spec, runs[load]), runs[load])
        queue = _errors(_queue_only(spec, runs[load]), runs[load])
        assert queue[0] > 1.5 * ours[0], f"{load}: {queue}"
        assert queue[1] > 4 * ours[1], f"{load}: {queue}"
        draws = [_errors(_independent(runs["seq"], runs[load], seed), runs[load]) for seed in range(100)]
        assert np.mean(draws, axis=0).min() > 70


def test_the_example_is_this_fit_rounded():
    spec = fit_serving(_measured()["seq"])
    assert spec.prefill_step == pytest.approx(SMALL.prefill_step, abs=0.005)
    assert spec.prefill_token == pytest.approx(SMALL.prefill_token, rel=0.005)
    assert spec.decode_sequence == pytest.approx(SMALL.decode_sequence, rel=0.005)


def _sequential(spec, count, seed, noise=0.0):
    """Requests that have a made-up server for themselves."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        prompt, answer = int(rng.integers(20, 2000)), int(rng.integers(2, 200))
        factor = float(np.exp(rng.normal(0, noise)))
        ttft_s, e2e_s = (float(x[0]) * factor for x in predict_serving(spec, [0.0], [prompt], [answer]))
        rows.append(Measured(1000.0 * number, prompt, answer, ttft_s, e2e_s))
    return rows


def test_a_made_up_server_is_found_again():
    spec = Serving(slots=16, prefill_step=0.02, prefill_token=0.0004, decode_sequence=0.009, batch_tokens=4096)
    exact = fit_serving(_sequential(spec, 30, 1), slots=16, batch_tokens=4096)
    assert exact.prefill_step == pytest.approx(spec.prefill_step)
    assert exact.prefill_token == pytest.approx(spec.prefill_token)
    assert exact.decode_sequence == pytest.approx(spec.decode_sequence)
    noisy = fit_serving(_sequential(spec, 200, 2, noise=0.1), slots=16, batch_tokens=4096)
    assert noisy.prefill_token == pytest.approx(spec.prefill_token, rel=0.05)
    assert noisy.decode_sequence == pytest.approx(spec.decode_sequence, rel=0.05)


def test_what_context_costs_is_found_again_and_not_made_up():
    spec = Serving(slots=2, prefill_token=0.006, decode_sequence=0.0133, decode_context=8.7e-6)
    exact = fit_serving(_sequential(spec, 30, 1), slots=2)
    assert exact.decode_context == pytest.approx(8.7e-6, rel=0.01)
    assert exact.decode_sequence == pytest.approx(0.0133, rel=0.01)
    noisy = fit_serving(_sequential(spec, 200, 2, noise=0.1), slots=2)
    assert noisy.decode_context == pytest.approx(8.7e-6, rel=0.3)
    none = [fit_serving(_sequential(SMALL, 40, seed, noise=0.1)).decode_context for seed in range(40)]
    assert sum(slope > 0 for slope in none) <= 4, "one in forty is what the bound allows"


def test_cached_prompts_are_context():
    spec = Serving(slots=4, prefill_token=0.001, decode_sequence=0.01, decode_context=2e-5)
    lengths = [(prompt, cached) for prompt in (50, 200, 400) for cached in (0, 300, 900)]
    rows = []
    for prompt, cached in lengths:
        ttft_s, e2e_s = (float(x[0]) for x in predict_serving(spec, [0.0], [prompt], [40], [cached]))
        rows.append(Measured(0.0, prompt, 40, ttft_s, e2e_s, cached))
    assert fit_serving(rows).decode_context == pytest.approx(2e-5)
    assert fit_serving(rows).decode_sequence == pytest.approx(0.01)


def test_the_odd_slow_request_does_not_move_the_fit():
    spec = SMALL
    rows = _sequential(spec, 40, 3)
    slow = [
        row._replace(ttft_s=5 * row.ttft_s, e2e_s=5 * row.e2e_s) if n % 8 == 0 else row for n, row in enumerate(rows)
    ]
    assert fit_serving(slow).prefill_token == pytest.approx(spec.prefill_token, rel=0.02)
    assert fit_serving(slow).decode_sequence == pytest.approx(spec.decode_sequence, rel=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "two lengths or more"),
        ([Measured(0, 50, 8, 0.4, 0.6), Measured(9, 50, 8, 0.5, 0.7)], "two lengths or more"),
        ([Measured(0, 50, 1, 0.4, 0.4), Measured(9, 90, 1, 0.5, 0.5)], "more than one token"),
        ([Measured(0, 50, 8, 0.4, 0.6), Measured(9, 900, 8, 0.4, 0.6)], "prompt cache off"),
    ],
)
def test_measurements_that_say_nothing_are_refused(rows, message):
    with pytest.raises(LlmsimError, match=message):
        fit_serving(rows)


def test_predictions_come_in_the_order_of_the_requests():
    spec = Serving(slots=1, prefill_step=0.0, prefill_token=0.01, decode_sequence=0.1)
    ttft_s, e2e_s = predict_serving(spec, [5.0, 0.0], [100, 200], [11, 21])
    assert ttft_s.tolist() == pytest.approx([1.0, 2.0])
    assert e2e_s.tolist() == pytest.approx([2.0, 4.0])
