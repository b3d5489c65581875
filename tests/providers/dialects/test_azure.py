"""Azure OpenAI's documented behaviour, one row each with its source."""

import pytest
from providers.dialects.desk import MINUTE, Desk, body, part

from llmsim import errors as e

QUOTA = "learn.microsoft.com/azure/ai-services/openai/how-to/quota"
DIGEST = "developersdigest.tech/errors/api/azure-openai"
ONCE = [(0.1,)]

COUNTING = [
    ("600 a minute are ten in a second", QUOTA, {"requests": 10.0}, [*ONCE * 11, (0.9,), (1.0,)], "o" * 10 + "--o"),
    (
        "few a minute are counted over ten seconds",
        f"{QUOTA}: 1 or 10 seconds",
        {"requests": 12 / 60},
        [*ONCE * 3, (9.9,), *[(10.0,)] * 3],
        "oo--oo-",
    ),
    ("or over what the scenario says", QUOTA, {"requests": 10.0, "burst": 10.0}, [*ONCE * 101], "o" * 100 + "-"),
    (
        "prompt and max_tokens together, and nothing comes back when less is used",
        "learn.microsoft.com answers 1839866",
        {"tokens": 1000 / 60},
        [(1, 100, 800, 0, 5), (1, 100, 1), (1, 99, 1)],
        "o-o",
    ),
    (
        "all comes back at once when the minute begins",
        "learn.microsoft.com answers 1851574: resets every minute",
        {"tokens": 1000 / 60},
        [(30, 1, 999), (59.9, 1, 1), (60, 1, 999), (60, 1, 1)],
        "o-o-",
    ),
    (
        "a refused call costs nothing",
        "not documented; not confirmed",
        {"tokens": 1000 / 60},
        [(1, 1, 900), (1, 1, 900), (1, 9, 90)],
        "o-o",
    ),
    (
        "what does not fit is refused before the count has reached the limit",
        "policy-id DeploymentRatelimit-Token with 2675 of 10000 left",
        {"tokens": 10_000 / 60},
        [(0, 7325, 0), (5, 7325, 0)],
        "o-",
    ),
]


@pytest.mark.parametrize(("what", "source", "words", "calls", "letters"), COUNTING, ids=[row[0] for row in COUNTING])
def test_what_is_counted(what, source, words, calls, letters):
    assert Desk("azure", **words).letters(calls) == letters


def test_headers_count_requests_per_window():
    """learn.microsoft.com answers 2265464; EvolvingPrograms/oaib#11 shows the two that are always there."""
    headers = Desk("azure", requests=10.0, tokens=61_400 / MINUTE).headers(0.0, 30, 17)
    assert headers == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-limit-tokens": "61400",
        "x-ratelimit-remaining-tokens": "61353",
    }


def test_a_429_says_when_three_times():
    """langgenius/dify#12709 and learn.microsoft.com answers 2140040 (words), openai-python#937 (reset in seconds)."""
    desk = Desk("azure", tokens=1000 / MINUTE)
    desk.ask(14.0, 900, 100)
    answer = desk.refusal(15.0, 1, 1)
    assert part(
        body(answer), {"error": {"code": "429", "message": "…exceeded token rate limit of your current OpenAI S0"}}
    )
    assert "Please retry after 46 seconds." in answer.message
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("46", "45001")
    assert answer.headers["x-ratelimit-reset-tokens"] == "46"
    assert (answer.status, answer.kind, answer.retry_after_s) == (429, e.RateLimited, 45.001)


def test_requests_are_called_calls():
    """langchain-ai/langchain#12986: have exceeded call rate limit."""
    desk = Desk("azure", requests=10.0)
    for _ in range(10):
        desk.ask(0.5)
    answer = desk.refusal(0.5)
    assert "exceeded call rate limit" in answer.message
    assert answer.retry_after_s == pytest.approx(0.501)


def test_what_can_never_fit_is_to_come_back_in_a_day():
    """alex-wolf-ps/dbchatprov2#2, jasonacox/TinyLLM#17."""
    answer = Desk("azure", tokens=1000 / MINUTE).refusal(0.0, 1000, 1)
    assert "Please retry after 86400 seconds." in answer.message
    assert (answer.retry_after_s, answer.headers["retry-after"]) == (86400.0, "86400")


FAILURES = [
    (
        "content_filter",
        "learn.microsoft.com concepts/content-filter",
        e.ContentFiltered,
        400,
        {
            "code": "content_filter",
            "param": "prompt",
            "innererror": {
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
            },
        },
    ),
    (
        "auth",
        "learn.microsoft.com troubleshooting",
        e.AuthError,
        401,
        {"code": "401", "message": "…invalid subscription key"},
    ),
    ("slow_down", f"{DIGEST}/429-system-capacity-throttling", e.RateLimited, 429, {"message": "…high demand"}),
    ("overloaded", DIGEST, e.Overloaded, 503, {"message": "…temporarily unable"}),
    ("server_error", DIGEST, e.ServerError, 500, {}),
    ("context_too_long", f"{DIGEST}/400-bad-request", e.ContextTooLong, 400, {"code": "context_length_exceeded"}),
    ("quota", "as OpenAI's; not confirmed", e.QuotaExhausted, 429, {"code": "insufficient_quota"}),
]


@pytest.mark.parametrize(("kind", "source", "error", "status", "fields"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failures(kind, source, error, status, fields):
    answer = Desk("azure").failure(kind, input_tokens=9000, context_tokens=8192)
    assert (answer.kind, answer.status) == (error, status)
    assert part(body(answer)["error"], fields), answer.body


def test_a_window_is_over_when_a_clock_with_microseconds_says_so():
    """A wait that was told and added to the time may fall short of the boundary by a rounding error."""
    desk = Desk("azure", tokens=600 / MINUTE)
    assert desk.letters([(59.9, 599, 1), (59.99999, 599, 1), (60 - 5e-7, 599, 1), (60.0, 599, 1)]) == "o-o-"
