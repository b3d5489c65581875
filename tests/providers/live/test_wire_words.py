"""What each protocol is asked, and what it makes of answers that are not the usual ones. No sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from vendor_answers import VENDORS, gemini, response

from llmsim import errors as e
from llmsim.providers.live.anthropic_wire import Messages
from llmsim.providers.live.errors import ErrorObject, error_from_event, error_object
from llmsim.providers.live.gemini_wire import GenerateContent
from llmsim.providers.live.openai_wire import ChatCompletions
from llmsim.providers.live.responses_wire import Responses
from llmsim.providers.live.spec import LiveProvider
from llmsim.providers.live.wire import Piece, Wire
from llmsim.types import Message, Request, Usage
from llmsim.units import BadValue

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
TURNS = (Message("system", "be short"), Message("user", "hi"), Message("assistant", "hello"), Message("user", "again"))
ASK = Request("r1", messages=TURNS, max_tokens=9, temperature=0.5, response_schema=json.dumps(SCHEMA), stream=False)
SAID = [{"role": one.role, "content": one.content} for one in TURNS]
NAMED = {"name": "answer", "schema": SCHEMA}


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (
            ChatCompletions(max_tokens_field="max_completion_tokens"),
            {
                "model": "m",
                "messages": SAID,
                "stream": False,
                "max_completion_tokens": 9,
                "temperature": 0.5,
                "response_format": {"type": "json_schema", "json_schema": NAMED},
            },
        ),
        (
            Responses(),
            {
                "model": "m",
                "input": SAID[1:],
                "instructions": "be short",
                "stream": False,
                "store": False,
                "max_output_tokens": 9,
                "temperature": 0.5,
                "text": {"format": {"type": "json_schema", **NAMED}},
            },
        ),
        (
            Messages(),
            {
                "model": "m",
                "messages": SAID[1:],
                "system": "be short",
                "stream": False,
                "max_tokens": 9,
                "temperature": 0.5,
                "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
            },
        ),
        (
            GenerateContent(),
            {
                "systemInstruction": {"parts": [{"text": "be short"}]},
                "contents": [
                    {"role": "user", "parts": [{"text": "hi"}]},
                    {"role": "model", "parts": [{"text": "hello"}]},
                    {"role": "user", "parts": [{"text": "again"}]},
                ],
                "generationConfig": {
                    "maxOutputTokens": 9,
                    "temperature": 0.5,
                    "responseMimeType": "application/json",
                    "responseJsonSchema": SCHEMA,
                },
            },
        ),
    ],
    ids=["chat", "responses", "anthropic", "gemini"],
)
def test_every_word_of_a_request(wire: Wire, body: dict[str, Any]) -> None:
    assert wire.payload(ASK, "m", upstream="p") == body
    bare = wire.payload(Request("r2", messages=(Message("user", "hi"),)), "m", upstream="p")
    assert not {"temperature", "system", "instructions", "response_format", "text", "generationConfig"} & set(bare)
    assert wire.headers() == ({"anthropic-version": "2023-06-01"} if isinstance(wire, Messages) else {})


def test_a_gemini_model_may_have_its_full_name() -> None:
    assert GenerateContent().path("models/gemini-2.5-flash", stream=False) == "/models/gemini-2.5-flash:generateContent"


def test_options_of_chat_completions_are_refused_elsewhere() -> None:
    given = {"base_url": "https://api.example.com/v1"}
    assert LiveProvider(max_tokens_field="max_completion_tokens", **given)  # type: ignore[arg-type]
    for word in ({"max_tokens_field": "max_completion_tokens"}, {"include_usage": False}):
        with pytest.raises(BadValue, match="openai-chat"):
            LiveProvider(api="anthropic", **given, **word)  # type: ignore[arg-type]


def read(wire: Wire, *events: dict[str, Any]) -> list[Piece]:
    reader = wire.reader()
    return [reader.event("", event) for event in events]


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_refusals_are_answers_and_say_so() -> None:
    """The words are the model's, take tokens and time; only the finish reason tells (cascade and schemas read it)."""
    streamed = read(ChatCompletions(), chunk({"refusal": "I can"}), chunk({"refusal": "not."}), chunk({}, "stop"))
    assert ["".join(piece.text for piece in streamed), streamed[-1].finish_reason] == ["I cannot.", "refusal"]
    message = {"role": "assistant", "content": None, "refusal": "I cannot."}
    whole = ChatCompletions().reader().whole({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert whole is not None
    assert (whole.text, whole.finish_reason) == ("I cannot.", "refusal")

    output = [{"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]}]
    done = response("", 3, output=output)
    whole = Responses().reader().whole(done)
    assert whole is not None
    assert (whole.text, whole.finish_reason) == ("I cannot.", "refusal")
    streamed = read(
        Responses(),
        {"type": "response.refusal.delta", "delta": "I cannot."},
        {"type": "response.completed", "response": done},
    )
    assert [(piece.text, piece.finish_reason) for piece in streamed] == [("I cannot.", ""), ("", "refusal")]

    assert read(Messages(), _delta("refusal", output_tokens=3))[0].finish_reason == "refusal"
    assert read(GenerateContent(), gemini("", 0, "SAFETY"))[0].finish_reason == "content_filter"


def test_an_ordinary_answer_is_no_refusal() -> None:
    assert read(ChatCompletions(), chunk({"refusal": None, "content": "a"}, "stop"))[0].finish_reason == "stop"
    whole = Responses().reader().whole(response("a", 1))
    assert whole is not None
    assert whole.finish_reason == "stop"


# -- ends --------------------------------------------------------------------------------------------------------------


def _delta(reason: str | None, **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        (read(Messages(), _delta("max_tokens", output_tokens=1))[0], "length"),
        (read(Messages(), _delta("model_context_window_exceeded", output_tokens=1))[0], "length"),
        (read(Messages(), _delta("stop_sequence", output_tokens=1))[0], "stop"),
        (read(Messages(), _delta("pause_turn", output_tokens=1))[0], "pause_turn"),
        (read(GenerateContent(), gemini("a", 1, "MAX_TOKENS"))[0], "length"),
        (read(GenerateContent(), gemini("a", 1, "MALFORMED_FUNCTION_CALL"))[0], "malformed_function_call"),
        (read(GenerateContent(), gemini("a", 1))[0], ""),
        (read(ChatCompletions(), chunk({}, "length"))[0], "length"),
        (read(ChatCompletions(), chunk({}, "content_filter"))[0], "content_filter"),
    ],
)
def test_finish_reasons(piece: Piece, reason: str) -> None:
    assert piece.finish_reason == reason


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "content_filter"}, "content_filter"),
        (None, "incomplete"),
    ],
)
def test_incomplete_responses(details: Any, reason: str) -> None:
    cut = response("a", 1, status="incomplete", incomplete_details=details)
    (piece,) = read(Responses(), {"type": "response.incomplete", "response": cut})
    assert (piece.finish_reason, piece.done, piece.text) == (reason, True, "")
    (bare,) = read(Responses(), {"type": "response.incomplete", "response": {}})
    assert bare.finish_reason == "incomplete"


# -- failures inside a 200 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        ("server_error", e.ServerError, 500),
        ("rate_limit_exceeded", e.RateLimited, 429),
        ("invalid_prompt", e.ContentFiltered, 400),
        ("bio_policy", e.ContentFiltered, 400),
        ("data_residency_mismatch", e.BadRequest, 400),
        ("insufficient_quota", e.QuotaExhausted, 429),
        ("server_is_overloaded", e.Overloaded, 503),
    ],
)
def test_a_failed_response_is_the_error_it_names(code: str, kind: type[e.GatewayError], status: int) -> None:
    failed = response("", 0, status="failed", error={"code": code, "message": "their words"})
    flat = {"type": "error", "code": code, "message": "their words", "param": None, "sequence_number": 3}
    nested = {"type": "error", "error": {"code": code, "message": "their words"}}
    for answer in (failed, {"type": "response.failed", "response": failed}, flat, nested):
        found = error_object(answer)
        assert found is not None
        error = error_from_event(found, {}, "", upstream="p")
        assert (type(error), error.status, str(error)) == (kind, status, "their words")


def test_a_failed_response_without_a_reason() -> None:
    failed = response("", 0, status="failed")
    assert error_object({"type": "response.failed", "response": failed}) == ErrorObject("the response failed")
    for status in ("failed", "cancelled"):
        whole = Responses().reader().whole({**failed, "status": status})
        assert whole is not None
        assert whole.failed is not None
    for kind in ("response.created", "response.in_progress", "response.completed"):
        assert error_object({"type": kind, "response": response("", 0)}) is None


def test_errors_of_anthropic_by_type() -> None:
    kinds = {
        "invalid_request_error": (e.BadRequest, 400),
        "authentication_error": (e.AuthError, 401),
        "billing_error": (e.QuotaExhausted, 402),
        "permission_error": (e.AuthError, 403),
        "not_found_error": (e.BadRequest, 404),
        "request_too_large": (e.BadRequest, 413),
        "rate_limit_error": (e.RateLimited, 429),
        "api_error": (e.ServerError, 500),
        "timeout_error": (e.ServerError, 504),
        "overloaded_error": (e.Overloaded, 529),
    }
    for word, expected in kinds.items():
        found = error_object({"type": "error", "error": {"type": word, "message": "m"}})
        assert found is not None
        error = error_from_event(found, {}, "", upstream="p")
        assert (type(error), error.status) == expected, word


def test_a_blocked_prompt() -> None:
    found = error_object({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {}})
    assert found is not None
    assert type(error_from_event(found, {}, "", upstream="p")) is e.ContentFiltered
    assert error_object({"promptFeedback": {"safetyRatings": []}, "candidates": []}) is None


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_hidden_tokens_are_billed_and_not_delivered() -> None:
    chat = {"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 6}}
    (piece,) = read(ChatCompletions(), {"choices": [], "usage": chat})
    assert (piece.usage, piece.hidden_tokens) == (Usage(5, 9), 6)
    thinking = {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 6}}
    (piece,) = read(Messages(), _delta("end_turn", **thinking))
    assert (piece.usage, piece.hidden_tokens) == (Usage(0, 9), 6)
    usage = {"input_tokens": 5, "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 6}}
    whole = Responses().reader().whole(response("a", 9, usage=usage))
    assert whole is not None
    assert (whole.usage, whole.hidden_tokens) == (Usage(5, 9), 6)
    event = gemini("a", 3, "STOP")
    event["usageMetadata"] = {"promptTokenCount": 5, "candidatesTokenCount": 3, "thoughtsTokenCount": 6}
    (piece,) = read(GenerateContent(), event)
    assert (piece.usage, piece.hidden_tokens) == (Usage(5, 9), 6)


def test_thoughts_are_no_text() -> None:
    event = {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}, {"text": "a"}]}}]}
    assert read(GenerateContent(), event)[0].text == "a"
    thinking = {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}}
    assert read(Messages(), thinking) == [Piece()]
    assert read(ChatCompletions(), chunk({"reasoning_content": "hm"}))[0].text == ""
    assert read(Responses(), {"type": "response.reasoning_summary_text.delta", "delta": "hm"}) == [Piece()]


def test_cache_reads_and_writes() -> None:
    details = {"cached_tokens": 30, "cache_write_tokens": 50}
    chat = {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": details}
    assert read(ChatCompletions(), {"choices": [], "usage": chat})[0].usage == Usage(100, 1, 30, 50)
    deepseek = {"prompt_tokens": 100, "completion_tokens": 1, "prompt_cache_hit_tokens": 30}
    assert read(ChatCompletions(), {"choices": [], "usage": deepseek})[0].usage == Usage(100, 1, 30)
    usage = {"input_tokens": 100, "output_tokens": 1, "input_tokens_details": details}
    whole = Responses().reader().whole(response("a", 1, usage=usage))
    assert whole is not None
    assert whole.usage == Usage(100, 1, 30, 50)
    counts = {"input_tokens": 20, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 50, "output_tokens": 1}
    whole = Messages().reader().whole({"content": [], "stop_reason": "end_turn", "usage": counts})
    assert whole is not None
    assert whole.usage == Usage(100, 1, 30, 50)


def test_anthropic_usage_comes_in_two_parts() -> None:
    def told(first: dict[str, Any], last: dict[str, Any]) -> Usage | None:
        start = {"type": "message_start", "message": {"usage": first}}
        return read(Messages(), start, _delta("end_turn", **last))[1].usage

    prompt = {"input_tokens": 20, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 50, "output_tokens": 1}
    assert told(prompt, {"output_tokens": 7}) == Usage(100, 7, 30, 50)
    assert told(prompt, {"output_tokens": 7, "input_tokens": None, "cache_read_input_tokens": 0}) == Usage(
        100, 7, 30, 50
    )
    assert told(prompt, {**prompt, "output_tokens": 0}) == Usage(100, 0, 30, 50)
    assert told({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 9, "output_tokens": 7}) == Usage(9, 7)
    assert told(prompt, {}) is None


def test_gemini_usage_is_the_last_one() -> None:
    first, last = gemini("a", 1), gemini("b", 2, "STOP")
    late = {"usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 3}}
    assert [piece.usage for piece in read(GenerateContent(), first, last, late)] == [
        None,
        Usage(12, 2, 4),
        Usage(12, 3),
    ]
    del last["usageMetadata"]
    assert read(GenerateContent(), first, last)[1].usage == Usage(12, 1, 4)


def test_only_the_first_choice_counts() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}]}
    assert read(ChatCompletions(), other) == [Piece()]
    both = {"choices": [*other["choices"], {"index": 0, "delta": {"content": "yes"}}]}
    assert read(ChatCompletions(), both)[0].text == "yes"


JUNK: list[dict[str, Any]] = [
    {},
    {"choices": 3},
    {"choices": [None]},
    {"choices": [{"delta": [], "message": 3}]},
    {"choices": [{"delta": {"content": {"a": 1}, "refusal": 7}, "finish_reason": 0}]},
    {"type": []},
    {"type": "message_delta"},
    {"type": "message_start", "message": {"usage": {"output_tokens": "7"}}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": 3}},
    {"type": "response.completed"},
    {"type": "response.completed", "response": []},
    {"type": "response.completed", "response": {"output": [{"type": "message", "content": 3}], "usage": 3}},
    {"candidates": [None]},
    {"candidates": [{"content": {"parts": 3}}]},
    {"usage": []},
    {"usageMetadata": 3},
]


@pytest.mark.matrix
@pytest.mark.parametrize("api", VENDORS)
@pytest.mark.parametrize("junk", JUNK)
def test_junk_is_no_content_and_no_crash(api: str, junk: dict[str, Any]) -> None:
    wire = VENDORS[api].open("http://127.0.0.1:1/v1")._wire
    error_object(junk)
    assert wire.reader().event("", junk).text == ""
    wire.reader().whole(junk)
