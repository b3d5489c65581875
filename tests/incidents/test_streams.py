"""Streams that fail after their 200."""

import json

import pytest
from incidents.judging import judged

import llmsim as ls
from llmsim.errors import BadOutput, GatewayError, StreamBroken
from llmsim.gateway.policies import Backoff, Fallback, Retry
from llmsim.types import Response, WholeAnswer


def whole(text, response):
    answer = WholeAnswer(text, response.tokens_delivered, response.usage)
    return Response(answer, upstream=response.upstream, model=response.model, parents=(response,))


OVERLOADED_IN_STREAM = {
    "providers": {
        "primary": {"dialect": "anthropic", "ttft": "200ms", "errors": {"in_stream": "20%"}},
        "secondary": {"ttft": "300ms"},
    },
    "slo": {"error_rate": ["value < 5%"]},
}


@ls.policy
async def retry_by_status(request, call_next):
    """What an SDK does that looks at the status of the answer: an error event in a 200 has none to retry by.

    anthropics/anthropic-sdk-python#1918 and #688: ``overloaded_error`` in the stream arrives with status_code 200 and
    is never retried. BerriAI/litellm#6957 and #5512: the same, and no fallback.
    """
    for attempt in range(3):
        try:
            response = await call_next(request.to("primary"))
            return whole(await response.read(), response)
        except GatewayError as error:
            if error.status not in (408, 409, 429, 500, 502, 503, 504, 529) or attempt == 2:
                raise
    return None


@pytest.mark.slow
def test_an_overload_in_the_stream_is_missed_by_its_status():
    red = judged(OVERLOADED_IN_STREAM, [retry_by_status])
    green = judged(OVERLOADED_IN_STREAM, [Fallback(order=("primary", "secondary"), mid_stream="continue")])
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
    assert set(red.requests["outcome"].unique()) == {"ok", "stream_broken"}
    assert 0.05 < (red.requests["outcome"] == "stream_broken").mean() < 0.35
    # A continued answer is the answer: every reader got all tokens, and got none of them twice.
    assert (green.requests["outcome"] == "ok").all()
    assert green.requests["duplicated_tokens"].sum() == 0
    broken = green.attempts.filter(green.attempts["outcome"] == "stream_broken")
    assert broken.height > 15
    assert broken["won"].all()
    assert green.requests["output_tokens"].sum() == green.attempts["output_tokens"].sum()
    assert green.events.filter(green.events["kind"] == "fallback").height >= broken.height


def test_an_overload_before_the_first_content_is_an_error_like_any_other():
    """An answer of one token can only fail before it: retry and fallback see a 529, without any word on streams."""
    scenario = {
        **OVERLOADED_IN_STREAM,
        "traffic": {"base_rate": "2/s", "mix": [{"output_tokens": 1}]},
        "slo": {"error_rate": ["value < 5%"]},
    }
    again = Retry(max_attempts=4, backoff=Backoff(initial=0.2), on=("overloaded",))
    by_retry = judged(scenario, [again])
    by_fallback = judged(scenario, [Fallback(order=("primary", "secondary"), on=(529,))])
    assert (by_retry.verdict, by_fallback.verdict) == ("PASS", "PASS")
    assert set(by_retry.attempts["outcome"].unique()) == {"ok", "overloaded"}


PRICE = {"input": "$1/Mtok", "output": "$4/Mtok"}
CUT = {
    "traffic": {"base_rate": "2/s", "mix": [{"expects": "json", "output_tokens": 40}]},
    "providers": {name: {"ttft": "200ms", "price": PRICE} for name in ("primary", "secondary")},
    "faults": [
        {"name": "cut", "provider": "primary", "at": "0s", "duration": "30s",
         "break": {"after_tokens": 12, "percentage": "25%"}},
    ],
    "slo": {"error_rate": ["value < 5%"]},
}  # fmt: skip


@ls.policy
async def application(request, call_next):
    """The caller's own check, in both gateways."""
    response = await call_next(request)
    text = await response.read()
    try:
        json.loads(text)
    except ValueError:
        raise BadOutput("no JSON", upstream=response.upstream) from None
    return whole(text, response)


@ls.policy
async def forwards_what_came_and_closes(request, call_next):
    """A proxy that passes chunks on and ends its own answer cleanly whenever the upstream's ends.

    Portkey-AI/gateway#1797: the upstream is cut, the caller gets a clean 200 without [DONE], the fallback is never
    tried. BerriAI/litellm#40404: a cut, stalled or malformed stream sends no request to the fallback.
    """
    response = await call_next(request.to("primary"))
    parts = []
    try:
        async for chunk in response:
            parts.append(chunk.text)  # noqa: PERF401 - what came before the cut is kept
    except StreamBroken:
        pass
    return whole("".join(parts), response)


@pytest.mark.slow
def test_a_cut_stream_that_is_passed_on_as_a_clean_one():
    red = judged(CUT, [application, forwards_what_came_and_closes])
    assert red.verdict == "FAIL"
    assert set(red.requests["outcome"].unique()) == {"ok", "bad_output"}
    assert not red.attempts["upstream"].is_in(["secondary"]).any()
    green = judged(CUT, [application, Fallback(order=("primary", "secondary"), mid_stream="continue")])
    assert green.verdict == "PASS"
    assert (green.requests["outcome"] == "ok").all()  # the two parts are one JSON document
    # Without a continuation, a cut is at least an error that says so.
    honest = judged(CUT, [application, Fallback(order=("primary", "secondary"))])
    assert set(honest.requests["outcome"].unique()) == {"ok", "stream_broken"}
    # What was delivered before the cut is worth something only if the answer goes on.
    assert green.metrics["cost_usd"]["broken"] == 0
    assert honest.metrics["cost_usd"]["broken"] > 0


SILENT = {
    "providers": {"primary": {"ttft": "200ms"}, "secondary": {"ttft": "300ms"}},
    "faults": [
        {"name": "hang", "provider": "primary", "at": "5s", "duration": "20s",
         "delay": {"time": "60s", "percentage": "40%"}},
    ],
    "slo": {"ttft": ["p(95) < 3s"]},
}  # fmt: skip


@pytest.mark.parametrize("on_ttft", ["cancel", pytest.param("keep", marks=pytest.mark.slow)])
def test_a_provider_that_accepts_and_says_nothing(on_ttft):
    """Users asked for it: router-for-me/CLIProxyAPI#2447, decolua/9router PR 576, katanemo/plano#697."""

    @ls.policy
    async def fails_over_on_errors_only(request, call_next):
        try:
            return await call_next(request.to("primary"))
        except GatewayError:
            return await call_next(request.to("secondary"))

    red = judged(SILENT, [fails_over_on_errors_only])
    green = judged(SILENT, [Fallback(order=("primary", "secondary"), ttft=2.0, on_ttft=on_ttft)])
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
    assert green.requests["leaked_streams"].sum() == 0
