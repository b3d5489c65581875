"""Chat completions as OpenAI's SDKs speak them, from the server's side: requests read, answers and errors written.

Fields as in OpenAI's reference of ``POST /v1/chat/completions`` (openai-python 2.54,
``types/chat/completion_create_params.py``). What would change the answer and cannot be passed on is refused by its
name; silence would be worse.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmsim.error_words import outcome_word
from llmsim.errors import (
    AllUpstreamsFailed,
    AuthError,
    BadRequest,
    BudgetExceeded,
    CircuitOpen,
    DeadlineExceeded,
    GatewayError,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    Rejected,
    TimedOut,
)
from llmsim.types import Message, Request, Response, Usage

__all__ = ["chunk", "completion", "error_answer", "read_request", "usage_chunk"]

#: Said about the request, and not to the model.
_ABOUT = {"model", "metadata", "user", "safety_identifier", "prompt_cache_key", "stream", "stream_options"}
#: Passed on.
_ASKED = {"messages", "max_tokens", "max_completion_tokens", "temperature", "response_format"}
#: What one may say because it says nothing: the defaults of OpenAI's reference.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,), "top_p": (1,), "frequency_penalty": (0,), "presence_penalty": (0,), "logprobs": (False,),
    "store": (False,), "tools": ([],), "stop": ([],), "logit_bias": ({},), "modalities": (["text"],),
    "service_tier": ("auto", "default"), "tool_choice": ("none", "auto"), "parallel_tool_calls": (True, False),
}  # fmt: skip
_ROLES = ("system", "developer", "user", "assistant")


def read_request(body: Any, request_id: str, *, routes: frozenset[str] = frozenset()) -> Request:
    """The body of a call as a `Request`.

    Parameters
    ----------
    body
        As decoded from JSON.
    request_id
        Of the request.
    routes
        Names that the caller's ``model`` may be; it is then the request's route.

    Raises
    ------
    BadRequest
        Something is missing, or asks for what no gateway passes on; names the field.

    Examples
    --------
    >>> body = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    >>> request = read_request(body, "r1", routes=frozenset({"chat"}))
    >>> request.route, request.messages, request.stream
    ('chat', (Message(role='user', content='Hi'),), True)
    """
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    for name, value in body.items():
        if name not in _ABOUT and name not in _ASKED and value is not None and value not in _NEUTRAL.get(name, ()):
            raise BadRequest(f"{name}: this gateway does not pass it on; leave it out")
    model = body.get("model")
    return Request(
        request_id,
        user=_text(body, "safety_identifier") or _text(body, "user"),
        route=model if isinstance(model, str) and model in routes else "",
        messages=_messages(body.get("messages")),
        max_tokens=_number(body, "max_completion_tokens", int) or _number(body, "max_tokens", int),
        temperature=_number(body, "temperature", float),
        response_schema=_schema(body.get("response_format")),
        stream=bool(body.get("stream")),
    )


def _messages(given: Any) -> tuple[Message, ...]:
    if not isinstance(given, list) or not given:
        raise BadRequest("messages: at least one is needed")
    found = []
    for place, one in enumerate(given):
        role = one.get("role") if isinstance(one, dict) else None
        if role not in _ROLES:
            raise BadRequest(f"messages[{place}].role: one of {', '.join(_ROLES)}")
        if one.get("tool_calls"):
            raise BadRequest(f"messages[{place}].tool_calls: this gateway does not pass them on")
        found.append(Message(role, _content(one.get("content"), place)))
    return tuple(found)


def _content(content: Any, place: int) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [None]
    found = (part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text")
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) != len(parts):
        raise BadRequest(f"messages[{place}].content: text only")
    return "".join(texts)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _number(body: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    value = body.get(name)
    if value is None:
        return None
    fits = isinstance(value, int) if kind is int else isinstance(value, int | float)
    if not fits or isinstance(value, bool) or value < (1 if kind is int else 0):
        raise BadRequest(f"{name}: {'a whole number of at least 1' if kind is int else 'a number of at least 0'}")
    return kind(value)


def _schema(given: Any) -> str | None:
    kind = given.get("type") if isinstance(given, dict) else given
    if kind is None or kind == "text":
        return None
    if kind == "json_object":
        return '{"type": "object"}'
    inner = given.get("json_schema") if isinstance(given, dict) else None
    if kind != "json_schema" or not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
        raise BadRequest("response_format: {type: json_schema, json_schema: {schema: …}}, json_object or text")
    return json.dumps(inner["schema"])


# -- answers -----------------------------------------------------------------------------------------------------------


def completion(request_id: str, created: int, response: Response, text: str) -> dict[str, Any]:
    """A ``chat.completion``, of a response that was read to its end."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": response.finish_reason, "logprobs": None}
    head = _head(request_id, created, response, "chat.completion")
    return {**head, "choices": [choice], "usage": _usage(response.usage)}


def chunk(
    request_id: str, created: int, response: Response, delta: Mapping[str, Any], finish_reason: str | None = None
) -> dict[str, Any]:
    """A ``chat.completion.chunk``."""
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish_reason, "logprobs": None}
    return {**_head(request_id, created, response, "chat.completion.chunk"), "choices": [choice]}


def usage_chunk(request_id: str, created: int, response: Response) -> dict[str, Any]:
    """The last chunk, where ``stream_options.include_usage`` asked for it."""
    head = _head(request_id, created, response, "chat.completion.chunk")
    return {**head, "choices": [], "usage": _usage(response.usage)}


def _head(request_id: str, created: int, response: Response, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{request_id}", "object": kind, "created": created, "model": response.model}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
    }


# -- errors ------------------------------------------------------------------------------------------------------------

#: What the gateway's own caller is told. An upstream's 401 is no fault of the caller's: its key is the gateway's.
_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (BadRequest, 400),
    (RateLimited, 429),
    (QuotaExhausted, 429),
    (BudgetExceeded, 429),
    (Rejected, 503),
    (CircuitOpen, 503),
    (Overloaded, 503),
    (DeadlineExceeded, 504),
    (TimedOut, 504),
    (TimeoutError, 504),
    (GatewayError, 502),
)


def error_answer(error: BaseException) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and body for an error.

    The message of a refused request is passed on, since its caller has to change it. All others are told the word only:
    messages name addresses, and hold what upstreams said.

    ``x-should-retry: false`` keeps OpenAI's SDKs from trying again by themselves (twice, by default): the gateway has
    done so already as its policies say, and attempts at several layers multiply.

    Examples
    --------
    >>> status, headers, body = error_answer(RateLimited("slow down, org-1", upstream="openai", retry_after_s=1.2))
    >>> status, headers["retry-after"], body["error"]["code"], body["error"]["message"]
    (429, '2', 'rate_limited', 'the gateway could not answer: rate_limited')
    """
    word, status = outcome_word(error), _status(error)
    headers = {"x-should-retry": "false"}
    wait_s = getattr(error, "retry_after_s", None)
    if wait_s is not None and status in (429, 503):
        headers["retry-after"] = str(max(0, -int(-wait_s // 1)))  # whole seconds, rounded up
    told = str(error) if status in (400, 401) else f"the gateway could not answer: {word}"
    kind = "invalid_request_error" if status in (400, 401) else "gateway_error"
    return status, headers, {"error": {"message": told, "type": kind, "param": None, "code": word}}


def _status(error: BaseException) -> int:
    if isinstance(error, AuthError) and not error.upstream:
        return 401  # of the app's own: whoever describes requests refused it
    if isinstance(error, AllUpstreamsFailed):
        found = {_status(cause) for cause in error.causes}
        return found.pop() if len(found) == 1 else 503
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
