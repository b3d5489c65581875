"""Groq's documented and observed behaviour, one row each with its source."""

import pytest
from providers.dialects.desk import MINUTE, Desk, body, part

from llmsim import errors as e
from llmsim.types import Usage

LIMITS = "console.groq.com/docs/rate-limits"
ERRORS = "console.groq.com/docs/errors"
TPM = {"tokens": 6000 / 60}

COUNTING = [
    ("cached tokens do not count", LIMITS, TPM, [(0, 5000, 1000, 5000), (0, 5000, 0, 0)], "oo"),
    (
        "max_tokens counts before the call runs",
        "Alishahryar1/free-claude-code#1633",
        TPM,
        [(0, 100, 5900), (0, 1, 0)],
        "o-",
    ),
    (
        "and is settled after it",
        "crewAIInc/crewAI#494, not confirmed",
        TPM,
        [(0, 100, 5900, 0, 50), (0, 100, 5700)],
        "oo",
    ),
    (
        "even above the limit",
        "crewAIInc/crewAI#494: Limit 5000, Used 5747",
        TPM,
        [(0, 5000, 0, 0, 1747), (0, 1, 0), (8, 1, 0)],
        "o-o",
    ),
    (
        "30 a minute refill one in two seconds",
        "429 of llama-3.1-8b-instant: Limit 30, Used 30 … 2s",
        {"requests": 0.5},
        [(0.0,)] * 31 + [(1.9,), (2.1,)],
        "o" * 30 + "--o",
    ),
    (
        "a day's requests come back bit by bit",
        "x-ratelimit-reset-requests 1h23m31s for 58 of 1000",
        {"requests_per_day": 1000},
        [(0.0,)] * 1001 + [(86.0,), (86.5,)],
        "o" * 1000 + "--o",
    ),
    (
        "input and output tokens a minute",
        LIMITS,
        {"input_tokens": 10.0, "output_tokens": 5.0},
        [(0, 600, 1), (0, 1, 1), (60, 1, 300), (60, 1, 1)],
        "o-o-",
    ),
]


@pytest.mark.parametrize(("what", "source", "words", "calls", "letters"), COUNTING, ids=[row[0] for row in COUNTING])
def test_what_is_counted(what, source, words, calls, letters):
    assert Desk("groq", **words).letters(calls) == letters


@pytest.mark.parametrize(
    ("words", "first", "then", "message", "wait", "source"),
    [
        (
            {"tokens": 6000 / 60},
            5034,
            1443,
            "(TPM): Limit 6000, Used 5034, Requested 1443. Please try again in 4.77s.",
            5,
            "elizaOS/eliza#4040",
        ),
        (
            {"tokens_per_day": 100_000},
            97_050,
            3619,
            "(TPD): Limit 100000, Used 97050, Requested 3619. Please try again in 9m38.016s.",
            579,
            "continuedev/continue#10920",
        ),
    ],
)
def test_refusals_that_were_seen_are_reproduced(words, first, then, message, wait, source):
    desk = Desk("groq", **words)
    desk.ask(0.0, first, 0)
    answer = desk.refusal(0.0, then, 0)
    assert message in answer.message
    assert "service tier `on_demand`" in answer.message
    assert (answer.status, answer.kind, answer.headers["retry-after"], answer.retry_after_s) == (
        429,
        e.RateLimited,
        str(wait),
        wait,
    )
    assert part(body(answer), {"error": {"type": "tokens", "code": "rate_limit_exceeded"}})


def test_headers_tell_requests_per_day_and_tokens_per_minute():
    """LIMITS; a key with 14400 a day and 30 a minute: limit 14400, reset 6s, and 370ms for 37 of 6000 tokens."""
    headers = Desk("groq", requests=0.5, requests_per_day=14_400, tokens=6000 / MINUTE).headers(0.0, 21, None)
    assert headers == {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "14399",
        "x-ratelimit-reset-requests": "6s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5963",
        "x-ratelimit-reset-tokens": "370ms",
    }


def test_resets_that_were_seen():
    """58 of 1000 a day: 1h23m31s. 2805 of 8000 tokens: 21.037s. 1 of 1000 a day: 1m26.4s."""
    desk = Desk("groq", requests_per_day=1000, tokens=8000 / MINUTE)
    assert desk.headers(0.0, 2805, 0)["x-ratelimit-reset-tokens"] == "21.037s"
    assert Desk("groq", requests_per_day=1000).headers(0.0)["x-ratelimit-reset-requests"] == "1m26.4s"
    for _ in range(56):
        desk.ask(0.0, 0, 0)
    assert desk.headers(0.0, 0, 0)["x-ratelimit-reset-requests"].startswith("1h23m31")


def test_requests_per_minute_are_told_in_the_refusal_alone():
    """Measured on a free key: limit 30 appears in no header."""
    desk = Desk("groq", requests=0.5)
    assert desk.headers(0.0) == {}
    for _ in range(29):
        desk.ask(0.0)
    answer = desk.refusal(0.0)
    assert "requests per minute (RPM): Limit 30, Used 30, Requested 1. Please try again in 2s." in answer.message
    assert (dict(answer.headers), body(answer)["error"]["type"]) == ({"retry-after": "3"}, "requests")


def test_larger_than_a_minutes_limit_is_a_413_that_no_waiting_cures():
    """HunorLaczko/ha-groq-cloud-api#27; a retry-after of 9 came with Limit 6000, Requested 6791."""
    answer = Desk("groq", **TPM).refusal(0.0, 6791, 0)
    assert (answer.status, answer.kind, answer.headers["retry-after"]) == (413, e.BadRequest, "8")
    assert "Request too large for model `the-model`" in answer.message
    assert "Limit 6000, Requested 6791" in answer.message
    assert body(answer)["error"]["code"] == "rate_limit_exceeded"


def test_a_cut_call_is_settled_with_what_it_used():
    desk = Desk("groq", **TPM)
    desk.account.settle(desk.ask(0.0, 1000, 4000, 400), Usage(1000, 17, 400), 0.0)
    assert desk.account.snapshot(0.0) == [6000 - 600 - 17]


FAILURES = [
    ("server_error", ERRORS, e.ServerError, 500, {"type": "internal_server_error"}),
    ("overloaded", ERRORS, e.Overloaded, 503, {}),
    ("slow_down", "console.groq.com/docs/flex-processing", e.Overloaded, 498, {"code": "capacity_exceeded"}),
    ("auth", ERRORS, e.AuthError, 401, {"type": "invalid_request_error"}),
    ("context_too_long", "not confirmed", e.ContextTooLong, 400, {"type": "invalid_request_error"}),
    ("quota", "not confirmed", e.QuotaExhausted, 402, {}),
]


@pytest.mark.parametrize(("kind", "source", "error", "status", "fields"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failures(kind, source, error, status, fields):
    answer = Desk("groq").failure(kind)
    assert (answer.kind, answer.status) == (error, status)
    assert part(body(answer)["error"], fields), answer.body
