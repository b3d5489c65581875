"""Spans and metrics as a collector gets them (OTLP over HTTP, parsed by opentelemetry-proto), against what happened."""

import asyncio
import math

import pytest
from loopback import Cut, failure, hang, stream
from production.collector import Collector, told
from production.watching import ANSWER, KEY, PROMPT, RETRYING, answer, ask, watched

import llmsim as ls
from llmsim.gateway.policies import Hedge, SingleFlight
from llmsim.telemetry.otel import METRICS

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")
pytestmark = pytest.mark.clock


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY)
    for variable in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def story():
    """Ten requests of which some fail over, one fails for good, one is cut and one is left: told once, read by many."""

    def first(seen):
        kinds = [failure(503), failure(503), failure(400), stream("x", "y", "z", after=2, then=[Cut()])]
        return kinds[seen.number] if seen.number < 4 else stream(ANSWER, "!", ttft_s=0.03, gap_s=0.02)

    with Collector() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_KEY", KEY)

        async def main():
            async with watched(collector, RETRYING, first, stream("from", "b")) as (running, record):
                said = [
                    await answer(running, ask(n, route="chat", tenant="acme", user="u", session="s")) for n in range(9)
                ]
                left = await running.send(ask(9, route="chat"))
                await anext(left)
                left.close()
                return said, record

        said, record = asyncio.run(main())
    return collector, said, record


def test_what_happened_is_what_was_meant(story):
    _, said, record = story
    assert said == ["fromb", "bad_request", "stream_broken", *[f"{ANSWER}!"] * 6]
    assert [one.outcome for one in record.attempts] == [
        "overloaded", "overloaded", "ok", "bad_request", "stream_broken", *["ok"] * 6, "cancelled",
    ]  # fmt: skip


def test_a_span_for_each_request_and_a_child_for_each_call(story):
    collector, _, record = story
    roots = {one.span_id: one for one in collector.spans if not one.parent_span_id}
    calls = [one for one in collector.spans if one.parent_span_id]
    assert (len(roots), len(calls)) == (10, len(record.attempts))
    by_request = {told(one.attributes)["llmsim.request.id"]: one for one in roots.values()}
    for call in calls:
        root = roots[call.parent_span_id]
        assert call.trace_id == root.trace_id
        assert told(call.attributes)["llmsim.request.id"] == told(root.attributes)["llmsim.request.id"]
        assert root.start_time_unix_nano <= call.start_time_unix_nano <= call.end_time_unix_nano
        assert call.end_time_unix_nano <= root.end_time_unix_nano + 2_000_000
    first = sorted(
        (one for one in calls if one.parent_span_id == by_request["r0"].span_id),
        key=lambda one: one.start_time_unix_nano,
    )
    facts = [told(one.attributes) for one in first]
    assert [
        (one["llmsim.attempt.number"], one["llmsim.attempt.cause"], one["gen_ai.provider.name"], one["llmsim.outcome"])
        for one in facts
    ] == [(1, "first", "a", "overloaded"), (2, "retry", "a", "overloaded"), (3, "fallback", "b", "ok")]
    assert [one.get("error.type") for one in facts] == ["overloaded", "overloaded", None]
    assert [one.get("http.response.status_code") for one in facts] == [503, 503, 200]
    assert [one["llmsim.attempt.won"] for one in facts] == [False, False, True]
    assert (facts[2]["gen_ai.usage.input_tokens"], facts[2]["gen_ai.usage.output_tokens"]) == (10, 2)
    assert facts[2]["llmsim.cost"] == pytest.approx(10e-3 + 2e-2)
    took_s = [(one.end_time_unix_nano - one.start_time_unix_nano) / 1e9 for one in first]
    assert took_s == pytest.approx([one.end_s - one.start_s for one in record.attempts[:3]], abs=1e-6)
    assert [one.name for one in first] == ["chat m-a", "chat m-a", "chat m-b"]
    assert {one.kind for one in calls} == {3}  # CLIENT
    assert {one.kind for one in roots.values()} == {2}  # SERVER


def test_the_span_of_a_request_has_what_its_caller_saw(story):
    collector, _, _ = story
    roots = {told(one.attributes)["llmsim.request.id"]: one for one in collector.spans if not one.parent_span_id}
    facts = {name: told(one.attributes) for name, one in roots.items()}
    first = facts["r0"]
    wanted = {
        "llmsim.route": "chat", "llmsim.tenant": "acme", "user.id": "u", "gen_ai.conversation.id": "s",
        "llmsim.outcome": "ok", "llmsim.first_choice": "a", "llmsim.served_by": "b", "llmsim.served_from": "upstream",
        "llmsim.attempts": 3, "llmsim.fallbacks": 1, "gen_ai.response.model": "m-b", "gen_ai.usage.output_tokens": 2,
        "gen_ai.response.finish_reasons": ["stop"], "gen_ai.operation.name": "chat", "llmsim.leaked_streams": 0,
    }  # fmt: skip
    assert {name: first.get(name) for name in wanted} == wanted
    assert first["llmsim.cost"] == pytest.approx(0.03)
    retry, fallback = roots["r0"].events
    assert (retry.name, fallback.name) == ("retry", "fallback")
    assert told(fallback.attributes)["llmsim.event.to"] == "b"
    assert told(retry.attributes)["llmsim.event.error"] == "overloaded"
    assert told(retry.attributes)["llmsim.event.delay_s"] == 0.01
    assert {name: one.get("error.type") for name, one in facts.items() if "error.type" in one} == {
        "r1": "bad_request", "r2": "stream_broken",
    }  # fmt: skip
    assert [roots[name].status.code for name in ("r0", "r1", "r2", "r3", "r9")] == [0, 2, 2, 0, 0]
    assert facts["r9"]["llmsim.outcome"] == "cancelled"
    slow = roots["r3"]
    took_s = (slow.end_time_unix_nano - slow.start_time_unix_nano) / 1e9
    assert 0.03 <= facts["r3"]["gen_ai.response.time_to_first_chunk"] <= took_s
    assert took_s >= 0.05


def test_metrics_count_what_happened(story):
    collector, _, record = story
    duration = METRICS["duration"]
    points = collector.points(duration.name)
    assert sum(point.count for _, point in points) == len(record.attempts)
    assert math.isclose(sum(point.sum for _, point in points), sum(one.end_s - one.start_s for one in record.attempts))
    assert all(tuple(point.explicit_bounds) == duration.bounds for _, point in points)
    failed = [point.count for about, point in points if about.get("error.type") == "overloaded"]
    assert failed == [2]
    tokens = {about["gen_ai.token.type"]: point.sum for about, point in collector.points("gen_ai.client.token.usage")}
    by_model = collector.points("gen_ai.client.inference.usage.output_tokens")
    assert sum(value for _, value in by_model) == sum(one.usage.output_tokens for one in record.attempts)
    assert {one["gen_ai.token.modality"] for one, _ in by_model} == {"text"}
    assert set(tokens) == {"input", "output"}
    cost = sum(value for _, value in collector.points("llmsim.cost"))
    assert cost == pytest.approx(sum(one.cost_usd for one in record.attempts))
    requests = {}
    for about, value in collector.points("llmsim.requests"):
        requests[about["llmsim.outcome"]] = requests.get(about["llmsim.outcome"], 0) + value
    assert requests == {"ok": 7, "bad_request": 1, "stream_broken": 1, "cancelled": 1}
    assert sum(value for _, value in collector.points("llmsim.fallbacks")) == 1
    assert [value for _, value in collector.points("llmsim.requests.in_flight")] == [0]
    assert sum(value for one, value in collector.points("llmsim.events") if one["llmsim.event"] == "retry") == 1
    first = collector.points("gen_ai.client.operation.time_to_first_chunk")
    streamed = [one for one in record.attempts if one.first_s < one.end_s]
    assert sum(point.count for _, point in first) == len(streamed) == 9
    assert sum(point.count for _, point in collector.points("llmsim.request.time_to_first_chunk")) == 7
    assert collector.metrics == {METRICS[key].name for key in (
        "duration", "first_chunk", "input_tokens", "cached_input_tokens", "output_tokens", "input_tokens_each",
        "output_tokens_each", "token_usage", "cost", "requests", "request_duration", "request_first_chunk",
        "fallbacks", "saved", "in_flight", "events",
    )}  # fmt: skip


def test_buckets_lead_to_traces(story):
    collector, _, _ = story
    traces = {one.trace_id for one in collector.spans}
    found = {
        exemplar.trace_id for _, point in collector.points(METRICS["duration"].name) for exemplar in point.exemplars
    }
    assert found
    assert found <= traces


def test_no_key_no_prompt_and_no_answer(story):
    collector, _, _ = story
    everything = b"".join(collector.bodies) + repr(collector.headers).encode()
    assert b"acme" in everything, "the search would find nothing"
    for secret in (KEY, PROMPT, ANSWER, "127.0.0.1"):
        assert secret.encode() not in b"".join(collector.bodies), secret
    assert KEY.encode() not in everything


def test_the_resource_says_whose_they_are(story):
    collector, _, _ = story
    about = collector.resources[0]
    assert about["service.name"] == "shop"
    assert about["telemetry.sdk.language"] == "python"


def test_content_is_told_when_asked_for():
    with Collector() as collector:

        async def main():
            async with watched(collector, ls.Gateway(), stream(ANSWER, "!"), capture_content=True) as (running, _):
                await answer(running, ask())

        asyncio.run(main())
    (root,) = (told(one.attributes) for one in collector.spans if not one.parent_span_id)
    assert (
        root["gen_ai.input.messages"] == f'[{{"role": "user", "parts": [{{"type": "text", "content": "{PROMPT}"}}]}}]'
    )
    assert root["gen_ai.output.messages"] == (
        f'[{{"role": "assistant", "parts": [{{"type": "text", "content": "{ANSWER}!"}}], "finish_reason": "stop"}}]'
    )
    assert KEY.encode() not in b"".join(collector.bodies)


@ls.policy
async def talkative(request, call_next):
    ls.current_run().emit("seen", request, reason=request.messages[0].content, prompt="word", size=17, state="calm")
    return await call_next(request)


def test_what_a_policy_says_is_told_without_its_prose():
    with Collector() as collector:

        async def main():
            async with watched(collector, ls.Gateway(policies=(talkative,)), stream("a")) as (running, _):
                await answer(running, ask())

        asyncio.run(main())
    (event,) = (event for span in collector.spans for event in span.events)
    assert told(event.attributes) == {
        "llmsim.policy": "talkative", "llmsim.replica": 0, "llmsim.event.size": 17, "llmsim.event.state": "calm",
    }  # fmt: skip


def test_hedges_and_shared_calls_keep_their_parents():
    hedging = ls.Gateway(policies=(Hedge(after=0.05, to=("b",), budget=None),))
    sharing = ls.Gateway(policies=(SingleFlight(),))
    with Collector() as collector:

        async def main():
            async with watched(collector, hedging, hang(), stream("b")) as (running, _):
                assert await answer(running, ask(0)) == "b"
            async with watched(collector, sharing, stream("a", ttft_s=0.05)) as (running, _):
                assert await asyncio.gather(*(answer(running, ask(n)) for n in (1, 2))) == ["a", "a"]

        asyncio.run(main())
    facts = [(one, told(one.attributes)) for one in collector.spans]
    roots = {about["llmsim.request.id"]: one for one, about in facts if not one.parent_span_id}
    calls = [(one, about) for one, about in facts if one.parent_span_id]
    hedged = {about["gen_ai.provider.name"]: (one, about) for one, about in calls if about["llmsim.request.id"] == "r0"}
    assert {one.parent_span_id for one, _ in hedged.values()} == {roots["r0"].span_id}
    assert {name: about["llmsim.attempt.cause"] for name, (_, about) in hedged.items()} == {"a": "first", "b": "hedge"}
    assert {name: about["llmsim.outcome"] for name, (_, about) in hedged.items()} == {"a": "cancelled", "b": "ok"}
    assert hedged["a"][0].status.code == 0
    (shared,) = [one for one, about in calls if about["llmsim.request.id"] != "r0"]
    assert shared.parent_span_id == roots["r1"].span_id
    assert told(roots["r2"].attributes)["llmsim.served_from"] == "flight"


def test_an_exact_cache_says_what_it_saved():
    with Collector() as collector:

        async def main():
            async with watched(collector, ls.Gateway(policies=(ls.Cache(),)), stream("a", "b")) as (running, _):
                for number in range(3):
                    await answer(running, ask(number, temperature=0.0))

        asyncio.run(main())
    about = {told(one.attributes).get("llmsim.cache.match", "") for one in collector.spans if not one.parent_span_id}
    assert about == {"", "exact"}
    assert sum(value for _, value in collector.points("llmsim.saved")) == pytest.approx(2 * (10e-3 + 2e-2))
