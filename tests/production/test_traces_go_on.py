"""Traces that come from outside and go on inside, and gateways that nobody watches."""

import asyncio

import pytest
from loopback import LoopbackServer, Stall, completion, failure, hang, stream
from production.collector import Collector, told
from production.watching import KEY, PRICE, answer, ask, watched

import llmsim as ls
from llmsim.production import ChatApp, OpenTelemetry
from llmsim.production.watched import WatchedGateway
from llmsim.types import Usage

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")
pytestmark = pytest.mark.clock


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY)
    for variable in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(variable, raising=False)


def test_a_trace_goes_on_through_the_application_into_the_call():
    """From the caller's traceparent; the span of the call is the current one while its provider is asked."""
    import httpx
    from opentelemetry import propagate, trace

    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    inside = []

    class Spy:
        name, model, price = "a", "m", PRICE

        async def send(self, request):
            carried = {}
            propagate.inject(carried)
            inside.append((carried["traceparent"], trace.get_current_span().name))
            return await self.below.send(request)

        def cancelled_usage(self, request):
            return Usage()

        async def aclose(self): ...

    with Collector() as collector:

        async def main():
            spy = Spy()
            async with (
                LoopbackServer(completion("a")) as server,
                ls.OpenAIChat("a", base_url=server.url, model="m", api_key_env=None) as spy.below,
                OpenTelemetry.otlp(collector.url) as telemetry,
                ls.Gateway().open([spy], telemetry=telemetry) as running,
            ):
                transport = httpx.ASGITransport(ChatApp(running))
                async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                    asked = {"messages": [{"role": "user", "content": "x"}]}
                    got = await client.post("/v1/chat/completions", json=asked, headers={"traceparent": parent})
                    assert got.status_code == 200

        asyncio.run(main())
    (root,) = (one for one in collector.spans if one.kind == 2)
    (call,) = (one for one in collector.spans if one.kind == 3)
    assert root.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert root.parent_span_id.hex() == "b7ad6b7169203331"
    assert inside == [(f"00-{call.trace_id.hex()}-{call.span_id.hex()}-01", "chat m")]
    assert call.parent_span_id == root.span_id
    assert collector.resources[0]["service.name"] == "llmsim"


def test_under_a_span_of_ones_own_it_is_a_part_of_that():
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))

    async def main():
        async with (
            LoopbackServer([failure(429), hang()]) as server,
            ls.OpenAIChat("a", base_url=server.url, model="m", api_key_env=None) as upstream,
            OpenTelemetry(tracer_provider=provider) as telemetry,
            ls.Gateway(upstream=(ls.Timeout(ttft=0.1),)).open([upstream], telemetry=telemetry) as running,
        ):
            assert isinstance(running, WatchedGateway)
            with provider.get_tracer("mine").start_as_current_span("handler"):
                assert await answer(running, ask()) == "rate_limited"
                assert await answer(running, ask(1)) == "ttft_timeout"
            assert running.watch.under_way == 0

    asyncio.run(main())
    spans = {(one.name, one.attributes.get("llmsim.request.id")): one for one in memory.get_finished_spans()}
    names = [name for name, _ in spans]
    assert names == ["chat m", "chat", "chat m", "chat", "handler"]
    handler = spans["handler", None]
    assert {one.parent.span_id for (name, _), one in spans.items() if name == "chat"} == {handler.context.span_id}
    assert spans["chat", "r0"].kind.name == "INTERNAL"
    assert spans["chat m", "r1"].attributes["error.type"] == "ttft_timeout"
    provider.shutdown()


def test_policies_are_the_same_objects_and_unwatched_gateways_unchanged():
    started = []

    class Same:
        def start(self, run):
            started.append(self)

            async def handle(request, call_next):
                return await call_next(request)

            return handle

    policy = Same()
    gateway = ls.Gateway(policies=(policy,))

    async def main():
        async with (
            LoopbackServer(stream("a")) as server,
            ls.OpenAIChat("a", base_url=server.url, model="m", api_key_env=None) as upstream,
            OpenTelemetry() as telemetry,  # nobody has set anything up: nothing is exported
        ):
            async with gateway.open([upstream], telemetry=telemetry) as running:
                assert await answer(running, ask()) == "a"
            async with gateway.open([upstream]) as running:
                assert type(running).__name__ == "RunningGateway"
                assert await answer(running, ask()) == "a"

    asyncio.run(main())
    scenario = {
        "version": 1,
        "replications": 1,
        "clock": {"duration": "5s"},
        "traffic": {"base_rate": "2/s"},
        "providers": {"a": {"ttft": "100ms"}},
    }
    ls.run(ls.load(scenario).with_gateway(gateway))
    assert len(started) == 3
    assert all(one is policy for one in started)


def test_a_stalled_stream_is_told_with_what_came():
    gateway = ls.Gateway(upstream=(ls.Timeout(inter_token=0.1),))
    with Collector() as collector:

        async def main():
            script = stream("a", "b", after=1, then=[Stall()])
            async with watched(collector, gateway, script) as (running, _):
                assert await answer(running, ask()) == "stream_stalled"

        asyncio.run(main())
    (root,) = (told(one.attributes) for one in collector.spans if not one.parent_span_id)
    assert (root["error.type"], root["gen_ai.usage.output_tokens"]) == ("stream_stalled", 1)
