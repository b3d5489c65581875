"""The error a dialect raises is the one the live mapper makes of the same bytes: for every row of every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from loopback import stream
from providers.dialects.desk import Desk

from llmsim import errors as e
from llmsim.providers.dialects import DIALECTS, FAILURES, Answer, Ramp
from llmsim.providers.live.errors import error_from_answer, error_from_event, error_in_event
from llmsim.types import Message, Request

ASK = Request("r1", messages=(Message("user", "hi"),))
#: Limits of which a second call finds one exhausted.
SMALL: dict[str, dict[str, Any]] = {
    "requests": {"requests": 1 / 60},
    "tokens": {"tokens": 10 / 60},
    "input_tokens": {"input_tokens": 10 / 60},
    "output_tokens": {"output_tokens": 10 / 60},
    "requests_per_day": {"requests_per_day": 1},
    "tokens_per_day": {"tokens_per_day": 10},
    "ramp": {"ramp": Ramp(above=10 / 60)},
}


def _answers() -> list[Any]:
    rows = []
    for name, dialect in DIALECTS.items():
        for kind in FAILURES:
            answer = dialect.failure(kind, model="the-model", input_tokens=9000, context_tokens=8192)
            rows.append(pytest.param(answer, id=f"{name}-{kind}"))
        for word in sorted(dialect.reads & set(SMALL)):
            desk = Desk(name, **SMALL[word])
            desk.ask(0.0, 10, 10 if word == "output_tokens" else 0, 0, 10)
            rows.append(pytest.param(desk.refusal(0.25, 10, 9), id=f"{name}-{word}"))
            if "tokens" in word and (name, word) != ("anthropic", "output_tokens"):  # there, no call is too large
                rows.append(pytest.param(Desk(name, **SMALL[word]).refusal(0.0, 11, 11), id=f"{name}-{word}-too-large"))
    return rows


def _same(ours: e.GatewayError, theirs: e.GatewayError) -> None:
    assert type(ours) is type(theirs)
    assert (ours.status, str(ours), ours.body) == (theirs.status, str(theirs), theirs.body)
    assert dict(ours.headers) == dict(theirs.headers)
    assert ours.retry_after_s == pytest.approx(theirs.retry_after_s) if ours.retry_after_s else not theirs.retry_after_s


@pytest.mark.matrix
@pytest.mark.parametrize("answer", _answers())
def test_dialect_and_live_mapper_see_the_same_error(answer: Answer) -> None:
    ours = answer.error("p")
    assert all(name == name.lower() for name in answer.headers)
    if answer.event is None and answer.status == 200:  # a prompt that Gemini blocks
        found = error_in_event("", answer.body, json.loads(answer.body))
        theirs = error_from_event(found, answer.headers, answer.body, upstream="p")
        theirs.status = 200
    elif answer.event is None:
        theirs = error_from_answer(answer.status, answer.headers, answer.body, upstream="p")
    else:
        found = error_in_event(answer.event, answer.body, json.loads(answer.body))
        theirs = error_from_event(found, answer.headers, answer.body, upstream="p")
        assert answer.status == 200
    _same(ours, theirs)
    json.loads(answer.body)


@pytest.mark.parametrize("name", DIALECTS)
def test_events_after_the_200_over_a_real_socket(live: Any, name: str) -> None:
    """Before content it is the error it names, after content the stream is broken: as the dialect says itself."""
    answer = DIALECTS[name].failure("in_stream", model="the-model")
    wire = answer.sse().encode()

    async def early(_: Any, provider: Any) -> e.GatewayError:
        with pytest.raises(e.GatewayError) as caught:
            await provider.send(ASK)
        return caught.value

    async def late(_: Any, provider: Any) -> e.GatewayError:
        response = await provider.send(ASK)
        with pytest.raises(e.StreamBroken) as caught:
            [chunk async for chunk in response]
        return caught.value

    for script, use, delivered in (
        (stream("a", after=0, then=[wire]), early, 0),
        (stream("a", "b", after=2, then=[wire]), late, 2),
    ):
        theirs, ours = live(script, use), answer.error("primary", tokens_delivered=delivered)
        assert type(theirs) is type(ours)
        assert (theirs.status, str(theirs), theirs.body) == (ours.status, str(ours), ours.body)


def test_every_failure_that_waiting_does_not_cure_is_one_that_is_not_retried() -> None:
    for dialect in DIALECTS.values():
        for kind in ("quota", "auth", "context_too_long", "content_filter"):
            assert not dialect.failure(kind).kind.retryable, (dialect.name, kind)
        for kind in ("server_error", "overloaded", "slow_down", "in_stream"):
            assert dialect.failure(kind).kind.retryable, (dialect.name, kind)
