"""The most that a call can be billed for, before it is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llmsim.types import Request, Usage

__all__ = ["UNSAID_TOKENS", "most_tokens"]

#: Output that a call without ``max_tokens`` is taken to be able to make: what OpenAI's and Anthropic's models of 2024
#: could write in one answer at most was 4,096 to 16,384 tokens (their model pages). Requests of the lab name theirs.
UNSAID_TOKENS = 16_384
#: What a chat template adds to a message at most, generously: the formats in use add 3 to 12 tokens.
_TEMPLATE_TOKENS = 32
#: How the vendors call the most tokens of an answer, and how many answers they are to make.
_CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
_ANSWERS = ("n", "best_of", "candidateCount")
#: What `Wire.payload` puts the cap into and `extra_body` replaces as a whole: then no cap is left but its own.
_HOLDS_CAP = "generationConfig"


def most_tokens(request: Request, extra_body: Mapping[str, Any] | None = None, template_tokens: int = 0) -> Usage:
    """The most that a call can be billed for: a token is at least a byte of the prompt, and answers end somewhere.

    Parameters
    ----------
    request
        As it is sent.
    extra_body
        What is added to its body: a cap of its own, several answers, a prompt.
    template_tokens
        What the model's chat template adds to a prompt, where that is known.

    Examples
    --------
    >>> from llmsim.types import Message
    >>> hello = Request("1", messages=(Message("user", "hello"),), max_tokens=10)
    >>> most_tokens(hello), most_tokens(hello, {"n": 3}).output_tokens
    (Usage(input_tokens=37, output_tokens=10, cached_input_tokens=0, cache_write_tokens=0), 30)
    """
    extra_body = extra_body or {}
    prompt = sum(len(message.content.encode()) + _TEMPLATE_TOKENS for message in request.messages or ())
    schema = len((request.response_schema or "").encode())
    extra = len(json.dumps(extra_body, default=str).encode()) if extra_body else 0
    output = _most_output(request, extra_body)
    answers = 1
    for word in _ANSWERS:
        answers = max([answers, *(value for value in _values(extra_body, word) if isinstance(value, int))])
    return Usage(prompt + schema + extra + template_tokens, output * answers)


def _most_output(request: Request, extra_body: Mapping[str, Any]) -> int:
    found = (value for word in _CAPS for value in _values(extra_body, word))
    caps: list[int | None] = [value for value in found if value is None or isinstance(value, int)]
    if _HOLDS_CAP not in extra_body or not caps:
        # Where it names two, nobody knows which of them the server keeps to.
        caps.append(None if _HOLDS_CAP in extra_body else request.max_tokens)
    return max(cap if cap is not None and cap >= 0 else UNSAID_TOKENS for cap in caps)


def _values(body: Any, word: str) -> Iterator[Any]:
    """What stands behind `word`, however deep."""
    if isinstance(body, Mapping):
        for key, value in body.items():
            if key == word:
                yield value
            else:
                yield from _values(value, word)
    elif isinstance(body, list | tuple):
        for value in body:
            yield from _values(value, word)
