"""Tables of calls: who was alone, how busy it was, and what injected faults and failures leave of them."""

import numpy as np
import pytest
from calibrate.made_calls import calls_from, hosted

import llmsim
from llmsim.calibrate.calls import calls_of
from llmsim.errors import LlmsimError

# Two that overlap, one alone, three that hang together although the first and the last never meet.
CALLS = calls_from([0, 1, 10, 20, 21, 24], [0.5] * 6, [2, 3, 1, 3, 4, 2], [10] * 6, [5, 5, 5, 1, 5, 5])


def test_who_is_under_way():
    assert CALLS.busy.tolist() == [1, 2, 1, 1, 2, 2]
    assert CALLS.period.tolist() == [0, 0, 1, 2, 2, 2]
    assert CALLS.alone.tolist() == [False, False, True, False, False, False]


def test_busy_periods_are_moved_apart_and_stay_whole():
    apart = CALLS.apart()
    assert np.diff(apart.sent_s)[[1, 2]].min() > 3600
    assert np.diff(apart.sent_s)[[0, 3, 4]].tolist() == [1, 1, 3]
    assert (apart.busy == CALLS.busy).all()
    assert (apart.period == CALLS.period).all()


def test_a_call_that_begins_when_another_ends_meets_nobody():
    assert calls_from([0, 2], [1, 1], [2, 2], [9, 9], [3, 3]).alone.all()


def test_gaps_are_of_streamed_answers_of_several_tokens():
    calls = calls_from([0, 10, 20], [1, 2, 3], [3, 2, 3.0], [9] * 3, [5, 5, 1])
    assert calls.gap_s[0] == 0.5
    assert np.isnan(calls.gap_s[1:]).all()
    assert calls.whole.tolist() == [False, True, False]


def test_rows_come_in_the_order_of_sending():
    calls = calls_from([5, 1], [0.1, 0.2], [1, 2], [10, 20], [3, 4])
    assert calls.input_tokens.tolist() == [20, 10]
    assert calls.only(calls.sent_s > 2).input_tokens.tolist() == [10]


def test_failures_are_not_answered():
    calls = calls_from([0, 1], [0.1, np.nan], [1, 0.2], [1, 1], [1, 0], outcome=["ok", "server_error"])
    assert calls.ok.tolist() == [True, False]


def _result(faults=()):
    return llmsim.run(
        {
            "version": 1,
            "seed": 3,
            "clock": {"duration": "60s"},
            "traffic": {"base_rate": "2/s"},
            "providers": {"openai": {"ttft": "300ms", "inter_token": "10ms", "prefill": {"per_1k": "100ms"}}},
            "faults": list(faults),
        },
        replications=1,
    )


def test_a_result_gives_its_calls_and_leaves_out_those_under_faults():
    clean = calls_of([_result()], "openai")
    fault = {"name": "bad", "provider": "openai", "at": "20s", "duration": "20s", "delay": {"time": "1s"}}
    rest = calls_of([_result([fault])], "openai")
    assert len(rest.sent_s) < len(clean.sent_s)
    expected = 0.3 + 1e-4 * clean.input_tokens
    assert clean.ttft_s == pytest.approx(expected)
    assert rest.ttft_s == pytest.approx(0.3 + 1e-4 * rest.input_tokens)


def test_runs_of_several_results_do_not_overlap():
    one = calls_of([_result()], "openai")
    two = calls_of([_result(), _result()], "openai")
    assert len(two.sent_s) == 2 * len(one.sent_s)
    assert (two.busy == np.concatenate([one.busy, one.busy])).all()


def test_nobody_called_it():
    with pytest.raises(LlmsimError, match="nobody called 'azure'"):
        calls_of([_result()], "azure")


def test_the_made_up_provider_is_alone():
    assert hosted(20, 1).alone.all()
