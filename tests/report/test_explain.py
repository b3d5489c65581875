import math

import pytest
from report.results import result, scenario
from telemetry.recorded import attempt, event, replication, request

from llmsim.errors import LlmsimError
from llmsim.report.result import Result


def one(requests, attempts=(), events=(), **changes):
    return Result(scenario(**changes), [replication(requests, attempts, events)])


STORY = one(
    [
        request(
            session=17, arrival_s=30.0, attempts=3, fallbacks=1, served_by="anthropic", ttft_s=8.0, e2e_s=10.0,
            output_tokens=120, cost_usd=0.0012, user="u9",
        ),
        request(session=17, user_retry=1, arrival_s=45.0),
    ],
    [
        attempt(session=17, arrival_s=30.0, start_s=30.0, end_s=30.03, outcome="rate_limited", status=429),
        attempt(session=17, arrival_s=30.0, attempt=2, cause="retry", start_s=31.03, end_s=36.03, outcome="cancelled"),
        attempt(
            session=17, arrival_s=30.0, attempt=3, cause="fallback", upstream="anthropic", start_s=36.03, queue_s=1.0,
            first_s=38.0, end_s=40.0, output_tokens=120,
        ),
    ],
    [
        event(time_s=30.03, request_id="17/0/0", detail='{"attempt": 2, "delay_s": 1.0, "error": "rate_limited"}'),
        event(time_s=36.03, kind="fallback", policy="fallback", request_id="17/0/0", detail='{"to": "anthropic"}'),
        event(time_s=31.0, request_id="18/0/0"),
    ],
)  # fmt: skip


def test_a_waterfall_tells_the_story():
    assert (
        STORY.explain("17/0/0")
        == """\
request 17/0/0 of replication 0, arrived at 0:30.0, 100 input tokens, route chat, user u9

  +  0.000s    ! fault under way: brown-out of openai (abort)
  +  0.000s  1 first    openai    │▒                                               │ rate_limited 429 after 30ms
  +  0.030s    waited 1s
  +  0.030s    · retry: attempt 2, delay 1s, error rate_limited
  +  1.030s  2 retry    openai    │     ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒                   │ cancelled after 5s
  +  6.030s  3 fallback anthropic │                             ░░░░░▒▒▒▒██████████│ ok 200 (queue 1s, ttft 970ms, \
stream 2s, 120 tokens), answered the caller
  +  6.030s    · fallback: to anthropic
  + 10.000s    ! fault begins: quota-cut of openai (rate_limit)

= ok after 10s, from anthropic, first chunk after 8s, 120 tokens, $0.0012
  The user pressed retry: see 17/0/1 (ok).
  ░ queue  ▒ waiting for the first token  █ stream"""
    )


def test_a_session_alone_is_its_first_request():
    assert STORY.explain("17") == STORY.explain(" 17/0/0 ")


def test_idle_time_after_the_last_attempt_is_seen():
    told = one(
        [request(outcome="rate_limited", arrival_s=0.0, e2e_s=5.0)],
        [attempt(outcome="rate_limited", status=429, start_s=0.0, end_s=1.0)],
    ).explain("0")
    assert "  +  1.000s    waited 4s" in told
    assert "= rate_limited after 5s" in told


def test_an_answer_from_the_cache_has_no_attempts():
    told = one(
        [request(served_from="cache", served_by="cache", first_choice="", attempts=0, ttft_s=0.0, e2e_s=0.0)], faults=[]
    ).explain("0")
    assert told.splitlines()[1:] == ["", "= ok after 0s, from the cache, first chunk after 0s, 11 tokens"]


def test_bars_stay_in_their_frame():
    # An attempt that outlived its request, and one too short to see at the very end.
    told = one(
        [request(outcome="abandoned", e2e_s=2.0, attempts=2)],
        [
            attempt(outcome="cancelled", start_s=0.0, end_s=9.0),
            attempt(attempt=2, cause="hedge", outcome="server_error", start_s=2.0, end_s=2.0, first_s=math.nan),
        ],
    ).explain("0/0/0")
    assert [len(line.split("│")[1]) for line in told.splitlines() if "│" in line] == [48, 48]


@pytest.mark.parametrize(
    ("request_id", "message"),
    [
        ("999999", "there is no request '999999' in replication 0. Some that failed: "),
        ("17/0/5", "there is no request '17/0/5' in replication 0; of session 17 there is 17/0/0"),
        ("seventeen", "an id is session/step/user_retry, such as 17/0/0"),
        ("", "an id is session/step/user_retry"),
        ("1/2/3/4", "an id is session/step/user_retry"),
    ],
)
def test_unknown_ids_say_what_there_is(request_id, message):
    with pytest.raises(LlmsimError) as error:
        result(1).explain(request_id)
    assert message in str(error.value)


def test_near_ids_are_named():
    with pytest.raises(LlmsimError, match="did you mean 17/0/"):
        STORY.explain("171/0/0")


def test_unknown_replications():
    with pytest.raises(LlmsimError, match="there is no replication 9; this result has 0 to 1"):
        result(2).explain("1", replication=9)
    with pytest.raises(LlmsimError, match="this result has none"):
        Result(scenario(), []).explain("1")


def test_every_request_can_be_explained():
    day = result(1)
    for request_id in day.requests["request_id"].head(60):
        assert day.explain(request_id)
