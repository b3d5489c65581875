"""Bodies as the vendors sent them, typed off where they were quoted: what the one mapper makes of each."""

from __future__ import annotations

import json

import pytest

from llmsim import errors as e
from llmsim.providers.live.errors import error_from_answer, error_in_event

DAILY = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota …\nPlease retry in 47.648545533s.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [
                    {
                        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                        "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
                        "quotaValue": "20",
                    }
                ],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "47s"},
        ],
    }
}
MINUTE = json.loads(json.dumps(DAILY).replace("PerDay", "PerMinute"))
SPENT = {
    "type": "error",
    "error": {
        "type": "rate_limit_error",
        "message": "You have reached your API usage limits: …",
        "details": {"error_code": "enforced_spend_limit_reached"},
    },
}


def _anthropic(kind: str, message: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message}}


ROWS: list[tuple[int, dict[str, str], object, type[e.GatewayError], float | None]] = [
    # Google: a day's quota names a wait that is of no use, a minute's one that is.
    (429, {}, DAILY, e.QuotaExhausted, 47.0),
    (429, {}, [MINUTE], e.RateLimited, 47.0),
    (429, {"retry-after": "3"}, MINUTE, e.RateLimited, 3.0),
    (
        400,
        {},
        {"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}},
        e.AuthError,
        None,
    ),
    (
        400,
        {},
        {
            "error": {
                "code": 400,
                "message": "The input token count (3475108) exceeds the maximum number of tokens allowed (1048576).",
                "status": "INVALID_ARGUMENT",
            }
        },
        e.ContextTooLong,
        None,
    ),
    (
        503,
        {},
        {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}},
        e.Overloaded,
        None,
    ),
    # Anthropic: money that has run out is a 429, a 400 or a 402.
    (429, {"retry-after": "12"}, _anthropic("rate_limit_error", "This request would exceed …"), e.RateLimited, 12.0),
    (429, {}, SPENT, e.QuotaExhausted, None),
    (
        400,
        {},
        _anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        e.QuotaExhausted,
        None,
    ),
    (
        400,
        {},
        _anthropic("invalid_request_error", "You have reached your specified API usage limits."),
        e.QuotaExhausted,
        None,
    ),
    (402, {}, _anthropic("billing_error", "…"), e.QuotaExhausted, None),
    (529, {}, _anthropic("overloaded_error", "Overloaded"), e.Overloaded, None),
    (
        400,
        {},
        _anthropic("invalid_request_error", "prompt is too long: 200679 tokens > 199999 maximum"),
        e.ContextTooLong,
        None,
    ),
    (400, {}, _anthropic("invalid_request_error", "max_tokens: 0 is too small"), e.BadRequest, None),
    # AWS: no error object, the kind stands in a header.
    (
        429,
        {"x-amzn-errortype": "ThrottlingException:http://x/"},
        {"message": "Too many tokens, please wait before trying again."},
        e.RateLimited,
        None,
    ),
    (429, {}, {"message": "Too many tokens per day, please wait before trying again."}, e.QuotaExhausted, None),
    (400, {}, {"message": "Input is too long for requested model."}, e.ContextTooLong, None),
    # Groq's own status.
    (498, {}, {"error": {"message": "…", "code": "capacity_exceeded"}}, e.Overloaded, None),
    (
        413,
        {"retry-after": "9"},
        {"error": {"message": "Request too large …", "type": "tokens", "code": "rate_limit_exceeded"}},
        e.BadRequest,
        9.0,
    ),
]


@pytest.mark.parametrize(("status", "headers", "body", "kind", "retry_after_s"), ROWS)
def test_bodies_of_other_vendors(
    status: int, headers: dict[str, str], body: object, kind: type[e.GatewayError], retry_after_s: float | None
) -> None:
    error = error_from_answer(status, headers, json.dumps(body), upstream="p")
    assert (type(error), error.status, error.retry_after_s) == (kind, status, retry_after_s)


def test_the_message_of_a_body_without_an_error_object() -> None:
    error = error_from_answer(429, {}, '{"message": "Too many requests"}', upstream="p")
    assert str(error) == "Too many requests"


@pytest.mark.parametrize(
    "details",
    [None, "text", 3, [], [None, 3], [{"violations": "PerDay"}], [{"retryDelay": "soon"}], [{"retryDelay": 7}]],
)
def test_details_of_any_shape_do_no_harm(details: object) -> None:
    error = error_from_answer(429, {}, json.dumps({"error": {"message": "m", "details": details}}), upstream="p")
    assert (type(error), error.retry_after_s) == (e.RateLimited, None)


def test_events_that_are_no_errors() -> None:
    for name, data in (("", '{"choices": []}'), ("message", '{"message": "hi"}'), ("ping", '{"type": "ping"}')):
        assert error_in_event(name, data, json.loads(data)) is None
    found = error_in_event("throttlingException", '{"message": "Too many requests"}', {"message": "Too many requests"})
    assert found is not None
    assert (found.message, found.type) == ("Too many requests", "throttlingException")
