"""Gemini's documented and observed behaviour, one row each with its source."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from providers.dialects.desk import EPOCH, MINUTE, Desk, body, part

from llmsim import errors as e
from llmsim.providers.dialects.clock import next_pacific_midnight

LIMITS = "ai.google.dev/gemini-api/docs/rate-limits"
TROUBLE = "ai.google.dev/gemini-api/docs/troubleshooting"
EIGHT = 8 * 3600.0  # the virtual day begins at midnight UTC, which is 4 p.m. in California

COUNTING = [
    ("20 a minute: the 21st is an error", LIMITS, {"requests": 20 / 60}, [(5.0,)] * 21, "o" * 20 + "-"),
    (
        "all comes back at second 00",
        "discuss.ai.google.dev/t/6851",
        {"requests": 2 / 60},
        [(59.0,)] * 3 + [(60.0,)] * 3,
        "oo-oo-",
    ),
    (
        "tokens a minute are input tokens",
        LIMITS,
        {"input_tokens": 1000 / 60},
        [(0, 600, 65_000, 0, 60_000), (0, 400, 1), (0, 1, 1)],
        "oo-",
    ),
    (
        "what the answer uses does not matter",
        LIMITS,
        {"input_tokens": 1000 / 60},
        [(0, 500, 1, 0, 9999), (0, 500, 1, 0, 9999)],
        "oo",
    ),
    (
        "cached input counts",
        "not documented; not confirmed",
        {"input_tokens": 1000 / 60},
        [(0, 900, 1, 900), (0, 101, 1)],
        "o-",
    ),
    (
        "requests a day until midnight Pacific",
        LIMITS,
        {"requests_per_day": 2},
        [(0.0,), (3600.0,), (7200.0,), (EIGHT - 0.1,), (EIGHT,), (EIGHT + 86399,), (EIGHT + 86399.5,)],
        "oo--oo-",
    ),
    (
        "refused ones do not count",
        "not confirmed",
        {"requests": 1 / 60, "requests_per_day": 2},
        [(0.0,), (1.0,), (2.0,), (60.0,), (120.0,)],
        "o--o-",
    ),
]


@pytest.mark.parametrize(("what", "source", "words", "calls", "letters"), COUNTING, ids=[row[0] for row in COUNTING])
def test_what_is_counted(what, source, words, calls, letters):
    assert Desk("gemini", **words).letters(calls) == letters


def test_requests_that_fail_stay_counted():
    """ai.google.dev billing FAQ: a 400 or 500 will still count against your quota."""
    desk = Desk("gemini", requests=1 / MINUTE)
    desk.account.failed(desk.ask(1.0), 2.0)
    assert desk.letters([(3.0,)]) == "-"


def _details(answer):
    quota, retry = body(answer)["error"]["details"]
    return quota["violations"][0], retry["retryDelay"]


def test_a_minutes_quota_says_the_truth():
    """google-gemini/gemini-cli#8437, nils44344 on dev.to (46s for requests a minute)."""
    desk = Desk("gemini", requests=1 / MINUTE)
    desk.ask(14.0)
    answer = desk.refusal(14.0)
    violation, delay = _details(answer)
    assert violation["quotaId"] == "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
    assert violation["quotaMetric"] == "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    assert (violation["quotaValue"], delay) == ("1", "46s")
    assert part(
        body(answer)["error"], {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "…Please retry in 46s."}
    )
    assert (answer.status, answer.kind, answer.retry_after_s, dict(answer.headers)) == (429, e.RateLimited, 46.0, {})
    assert desk.letters([(60.0,)]) == "o"


def test_a_days_quota_says_a_minute_too():
    """continuedev/continue#11681: limit 20, PerDay, retry in 20.2s; discuss.ai.google.dev/t/96899."""
    desk = Desk("gemini", requests_per_day=20)
    for _ in range(20):
        desk.ask(3600.0)
    answer = desk.refusal(3613.0)
    violation, delay = _details(answer)
    assert violation["quotaId"] == "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
    assert (delay, answer.retry_after_s, answer.kind) == ("47s", 47.0, e.QuotaExhausted)
    assert desk.letters([(3661.0,)]) == "-", "coming back as told is of no use"


def test_input_tokens_have_a_name_of_their_own():
    """google-gemini/gemini-cli#8437."""
    violation, _ = _details(Desk("gemini", input_tokens=10 / MINUTE).refusal(0.0, 11, 1))
    assert violation["quotaId"] == "GenerateContentInputTokensPerModelPerMinute-FreeTier"
    assert violation["quotaMetric"].endswith("generate_content_free_tier_input_token_count")


def test_no_headers_on_success():
    """No rate-limit header in any sample."""
    assert Desk("gemini", requests=1.0).headers(0.0) == {}


FAILURES = [
    (
        "overloaded",
        "google-gemini/gemini-cli#7227",
        e.Overloaded,
        503,
        {"error": {"code": 503, "status": "UNAVAILABLE"}},
    ),
    ("server_error", TROUBLE, e.ServerError, 500, {"error": {"code": 500, "status": "INTERNAL"}}),
    (
        "auth",
        "the answer to a made-up key, quoted in several repositories",
        e.AuthError,
        400,
        {"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}},
    ),
    (
        "context_too_long",
        "google-gemini/gemini-cli#4231",
        e.ContextTooLong,
        400,
        {
            "error": {
                "status": "INVALID_ARGUMENT",
                "message": "…The input token count (3475108) exceeds the maximum number of tokens",
            }
        },
    ),
    (
        "content_filter",
        "ai.google.dev/api/generate-content: promptFeedback",
        e.ContentFiltered,
        200,
        {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}},
    ),
    ("quota", "oppl.ai sample: 22s", e.QuotaExhausted, 429, {"error": {"status": "RESOURCE_EXHAUSTED"}}),
    ("slow_down", "google-gemini/gemini-cli#14811", e.RateLimited, 429, {"error": {"status": "RESOURCE_EXHAUSTED"}}),
]


@pytest.mark.parametrize(("kind", "source", "error", "status", "fields"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failures(kind, source, error, status, fields):
    answer = Desk("gemini").failure(kind, input_tokens=3_475_108, context_tokens=1_048_576)
    assert (answer.kind, answer.status) == (error, status)
    assert part(body(answer), fields), answer.body


@given(st.integers(int(EPOCH) - 30 * 365 * 86400 // 2, int(EPOCH) + 20 * 365 * 86400))
def test_midnight_is_that_of_the_time_zone_data(posix_s):
    """Against the operating system's data, from 2011 on (the rule is of 2007)."""
    zoneinfo = pytest.importorskip("zoneinfo")
    try:
        pacific = zoneinfo.ZoneInfo("America/Los_Angeles")
    except zoneinfo.ZoneInfoNotFoundError:
        pytest.skip("no time zone data here")
    midnight = next_pacific_midnight(posix_s)
    local = datetime.fromtimestamp(midnight, UTC).astimezone(pacific)
    assert (local.hour, local.minute, local.second) == (0, 0, 0)
    assert 0 < midnight - posix_s <= 90_000
    before = datetime.fromtimestamp(posix_s, UTC).astimezone(pacific)
    assert (local.date() - before.date()).days == 1


@pytest.mark.parametrize(
    ("at", "midnight"),
    [
        ("2026-03-08T07:00", "2026-03-08T08:00"),  # the clocks change at two o'clock of this day: not yet …
        ("2026-03-08T09:00", "2026-03-09T07:00"),  # … and at the next midnight they have
        ("2026-11-01T06:00", "2026-11-01T07:00"),
        ("2026-11-01T08:00", "2026-11-02T08:00"),
        ("2026-03-08T08:00", "2026-03-09T07:00"),  # at midnight itself it is the next one
    ],
)
def test_midnight_on_the_days_when_clocks_change(at, midnight):
    posix_s, expected = (datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in (at, midnight))
    assert next_pacific_midnight(posix_s) == expected
