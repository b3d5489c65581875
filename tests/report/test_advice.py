import math

import pytest
from report.results import result, scenario, spike
from telemetry.recorded import attempt, event, numbered, replication, request

import llmsim as ls
from llmsim.report.advice import _first
from llmsim.report.result import Result


def told(requests, attempts=(), runs=1, **changes):
    one = [replication(requests, attempts, number=number) for number in range(runs)]
    return Result(scenario(**changes), one).advice


def test_what_failed_where_and_when():
    first = result(6).advice[0]
    assert first.startswith("100 % of the failures were 429 from openai, nine in ten between 0:4")
    assert first.endswith("(faults brown-out, quota-cut).")


def test_how_much_of_the_load_was_retries():
    assert any("of all attempts were retries; 0 % of these were answered, after waits of 1.9s (median)" in line
               for line in result(6).advice)  # fmt: skip


def test_idle_waits():
    assert any("sat idle for 2.9s (median) between the end of their last attempt" in line for line in result(6).advice)


def test_timeouts_that_nothing_caught():
    rows = numbered([request(arrival_s=n / 10, outcome="total_timeout", e2e_s=5.0) for n in range(30)]
                    + [request(arrival_s=n / 10) for n in range(60)])  # fmt: skip
    tries = [
        attempt(session=n, arrival_s=n / 10, start_s=n / 10, end_s=n / 10 + 5.0, outcome="cancelled") for n in range(30)
    ]
    advice = told(rows, tries)
    assert advice[0].startswith("100 % of the failures were total_timeout at openai")
    assert advice[1] == (
        "Timeouts after 5s at openai were neither retried nor sent elsewhere: 30 of 90 requests failed that way."
    )


def test_a_passed_deadline_is_no_missing_retry():
    rows = numbered([request(outcome="deadline_exceeded", e2e_s=30.0)] * 30)
    tries = [attempt(session=n, outcome="deadline_exceeded", end_s=30.0) for n in range(30)]
    assert not any("neither retried" in line for line in told(rows, tries))


def test_users_who_left_and_requests_that_were_never_sent():
    gone = numbered([request(outcome="abandoned", attempts=1)] * 6 + [request(outcome="rejected", attempts=0)] * 4)
    tries = [attempt(session=n, outcome="cancelled", end_s=20.0) for n in range(6)]
    assert told(gone, tries)[0] == (
        "60 % of the failures were users leaving while openai had not answered; "
        "40 % were rejected, with nothing sent upstream."
    )


def test_who_turned_requests_away():
    rows = numbered([request(outcome="rejected", attempts=0)] * 6 + [request(outcome="rate_limited", attempts=1)] * 4)
    tries = [attempt(session=n, outcome="rate_limited", status=429) for n in range(6, 10)]
    noted = [event(kind="rejected", policy="mine", request_id=f"{n}/0/0", detail='{"reason": "early"}') for n in (0, 1)]
    noted += [
        event(
            kind="rejected",
            policy="concurrency_limit",
            upstream="spare",
            request_id=f"{n}/0/0",
            detail='{"reason": "limit"}',
        )
        for n in range(10)
    ]  # of the last four, a hedge: what they failed with came from the upstream
    advice = Result(scenario(), [replication(rows, tries, noted)]).advice
    assert advice[0] == (
        "60 % of the failures were rejected by concurrency_limit at spare (limit); 40 % were 429 from openai."
    )


@pytest.mark.parametrize(
    ("policies", "at", "says"),
    [
        ([{"fallback": {"on": ["server_error"]}}], "openai", True),
        ([{"fallback": {}}], "openai", False),
        ([{"fallback": {"on": ["rejected"]}}], "openai", False),
        ([{"fallback": {}}], "", False),  # turned away in front of all of them
        ([], "openai", False),
    ],
)
def test_what_a_fallback_does_not_take_up(policies, at, says):
    rows = numbered([request(outcome="rejected", attempts=0)] * 6)
    noted = [event(kind="rejected", policy="bulkhead", upstream=at, request_id=f"{n}/0/0") for n in range(6)]
    advice = Result(scenario(gateway={"policies": policies}), [replication(rows, (), noted)]).advice
    sentence = "6 of 6 requests were rejected in front of one upstream and not sent to another: rejected is not among"
    assert any(line.startswith(sentence) for line in advice) == says


def test_users_who_left_a_gateway_that_was_sleeping():
    gone = numbered([request(outcome="abandoned", attempts=1)] * 4)
    tries = [attempt(session=n, outcome="rate_limited", status=429, end_s=0.1) for n in range(4)]
    assert told(gone, tries)[0].startswith(
        "100 % of the failures were users leaving while the gateway waited after rate_limited from openai"
    )


def test_money_that_bought_nothing():
    rows = numbered([request()] * 10)
    tries = [attempt(session=n, cost_usd=0.5) for n in range(10)]
    tries += [
        attempt(session=n, attempt=2, cause="hedge", won=False, outcome="cancelled", cost_usd=0.5) for n in range(10)
    ]
    assert any(
        line == "50 % of the cost bought nothing ($5.00 of $10.00 a replication), most of it hedge-losing work."
        for line in told(rows, tries)
    )


def test_a_recovery_that_never_came():
    rows = numbered([request(arrival_s=n / 10, outcome="ok" if n < 600 or n % 3 else "timeout") for n in range(1000)])
    assert "The steady state never came back after quota-cut ended at 1:00." in told(rows)


def test_a_calm_day_names_what_came_nearest_to_its_bound():
    rows = numbered([request(arrival_s=n / 10, ttft_s=1.2) for n in range(1000)])
    assert told(rows, runs=6) == [
        "100 % of 6,000 requests were answered; nearest to its bound is ttft p(90) < 2s, at 1.2s."
    ]


def test_one_to_four_sentences_whatever_happened():
    for one in (result(1), result(6), Result(scenario(), []), Result(scenario(), [spike(failing=0.0)])):
        assert 1 <= len(one.advice) <= 4
        for line in one.advice:
            assert line.endswith(".")
            assert "nan" not in line
            assert "None" not in line
    assert Result(scenario(), []).advice == ["No request arrived in the measured time."]


def test_infinite_measures_do_not_break_it():
    rows = numbered([request(outcome="my_own_error", attempts=0, e2e_s=math.inf)] * 20)
    assert told(rows)[0].startswith("100 % of the failures were my_own_error, with nothing sent upstream")


def test_a_broken_line_is_not_called_near_its_bound():
    rows = numbered([request(e2e_s=9.0, ttft_s=9.0)] * 40)
    advice = told(rows, runs=6, slo={"e2e": ("p(50) < 2s",)})
    assert any("what is broken most is e2e p(50) < 2s, at 9s" in line for line in advice), advice
    assert not any("nearest to its bound" in line for line in advice)


def test_what_is_not_said_is_not_computed():
    asked = []

    def sentences():
        for number in range(9):
            asked.append(number)
            yield f"Sentence {number}." if number % 2 else ""

    assert _first(sentences()) == ["Sentence 1.", "Sentence 3.", "Sentence 5.", "Sentence 7."]
    assert asked == list(range(8)), "not the last one, which would be the dearest"


def test_what_was_in_time_is_not_looked_into() -> None:
    """Of one replication every line is undecided; only what was late is taken apart, which reads all requests."""
    story = {
        "version": 1,
        "replications": 1,
        "clock": {"duration": "20s"},
        "traffic": {"base_rate": "10/s"},
        "providers": {"openai": {"ttft": "300ms"}},
    }
    for bound, looked_into in (("2s", False), ("100ms", True)):
        found = ls.run({**story, "slo": {"ttft": [f"p(90) < {bound}"]}})
        assert found.verdict == "UNDECIDED"
        assert found.advice
        assert ("diagnosis" in vars(found)) == looked_into
