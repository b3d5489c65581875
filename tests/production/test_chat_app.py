"""The ASGI application: OpenAI's own SDK against it, over real sockets, with real upstreams behind."""

import asyncio
import contextlib
import json

import httpx
import pytest
from loopback import Cut, LoopbackServer, Stall, completion, failure, stream
from production.serving import serving

import llmsim as ls
from llmsim.errors import (
    AuthError,
)
from llmsim.production import ChatApp, live_providers

pytestmark = pytest.mark.clock

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]


class Closing:
    """A policy that says when it was closed, and what was under way then."""

    def __init__(self):
        self.closed = []

    def start(self, run):
        this = self

        class Handler:
            async def __call__(self, request, call_next):
                return await call_next(request)

            async def aclose(self):
                this.closed.append(asyncio.get_running_loop().time())

        return Handler()


@contextlib.asynccontextmanager
async def app_for(*servers, policies=(), upstream=(), **options):
    """The application's URL, in front of a provider for each server (a, b, …)."""
    gateway = ls.Gateway(policies=policies, upstream=upstream)

    @contextlib.asynccontextmanager
    async def opened():
        async with contextlib.AsyncExitStack() as stack:
            providers = [
                await stack.enter_async_context(
                    ls.OpenAIChat(name, base_url=server.url, model=f"model-{name}", api_key_env=None)
                )
                for name, server in zip("abc", servers, strict=False)
            ]
            yield await stack.enter_async_context(gateway.open(providers))

    async with serving(ChatApp(opened, **options)) as url:
        yield url


def sdk(url, **options):
    import openai  # takes half a second, which collecting need not

    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="of-a-caller", http_client=httpx.AsyncClient(), **options)


@pytest.mark.slow
def test_the_sdk_streams_and_reads_whole():
    def script(seen):
        return stream("Hel", "lo") if seen.body["stream"] else completion("Hello", usage=(12, 3))

    async def main():
        async with LoopbackServer(script) as a, app_for(a, routes=["chat"]) as url, sdk(url) as client:
            asked = {"model": "chat", "messages": HELLO, "max_completion_tokens": 50, "temperature": 0.5}
            chunks = [
                one
                async for one in await client.chat.completions.create(
                    **asked, stream=True, stream_options={"include_usage": True}
                )
            ]
            raw = await client.chat.completions.with_raw_response.create(**asked)
            return chunks, raw.parse(), raw.headers["x-request-id"], a.seen

    chunks, whole, request_id, seen = asyncio.run(main())
    assert [one.choices[0].delta.content for one in chunks[:2]] == ["Hel", "lo"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[2].choices[0].finish_reason == "stop"
    assert (chunks[3].choices, chunks[3].usage.prompt_tokens, chunks[3].usage.completion_tokens) == ([], 10, 2)
    assert len(chunks) == 4
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("Hello", "stop")
    assert (whole.usage.total_tokens, whole.model) == (15, "model-a")
    assert whole.id == f"chatcmpl-{request_id}"
    body = seen[0].body
    assert (body["messages"], body["max_tokens"], body["temperature"]) == (HELLO, 50, 0.5)
    assert body["model"] == "model-a"  # "chat" is a route: which model answers is the gateway's business


@pytest.mark.slow
def test_the_policies_work_and_the_sdk_does_not_retry_on_top():
    import openai

    async def main():
        async with LoopbackServer(failure(503, headers={"Retry-After": "7"})) as a, LoopbackServer(stream("B")) as b:
            fallback = ls.Fallback(order=("a", "b"), on=("server_error",))
            async with app_for(a, b, policies=(fallback,)) as url, sdk(url) as client:
                answer = await client.chat.completions.create(model="x", messages=HELLO, stream=True)
                assert [one.choices[0].delta.content async for one in answer][:1] == ["B"]
            async with app_for(a) as url, sdk(url, max_retries=2) as client:
                with pytest.raises(openai.InternalServerError) as caught:
                    await client.chat.completions.create(model="x", messages=HELLO)
                assert caught.value.status_code == 503
                assert caught.value.response.headers["retry-after"] == "7"
                assert caught.value.body["code"] == "overloaded"
            return len(a.seen), len(b.seen)

    assert asyncio.run(main()) == (2, 1)


def test_a_stream_that_breaks_ends_in_an_error():
    import openai

    got = []

    async def main():
        broken = stream("a", "b", "c", after=2, then=[Cut()])
        async with LoopbackServer(broken) as a, app_for(a) as url, sdk(url) as client:
            chunks = await client.chat.completions.create(model="x", messages=HELLO, stream=True)
            with pytest.raises(openai.APIError, match="stream_broken"):
                while True:
                    got.append((await anext(chunks)).choices[0].delta.content)

    asyncio.run(main())
    assert got == ["a", "b"]


@pytest.mark.parametrize("streamed", [True, False])
def test_a_caller_who_leaves_cancels_the_upstream(streamed):
    """Before a first chunk (nothing was sent yet) and in the middle of a stream."""
    answer = stream("a", "b", after=1, then=[Stall()])

    async def main():
        async with LoopbackServer(answer) as a, app_for(a) as url, sdk(url, max_retries=0) as client:
            call = client.chat.completions.create(model="x", messages=HELLO, stream=streamed)
            if streamed:
                chunks = await call
                assert (await anext(aiter(chunks))).choices[0].delta.content == "a"
                await chunks.close()
            else:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await call
            ended = await a.seen[0].wait_end()
            async with httpx.AsyncClient() as other, asyncio.timeout(2):
                while (await other.get(f"{url}/health")).json()["in_flight"]:
                    await asyncio.sleep(0.01)
            return ended

    assert asyncio.run(main()) == "client_left"


def test_a_server_that_cannot_send_ends_the_call():
    """As ASGI 2.4 has it: ``send`` raises OSError once the caller is gone."""
    body = json.dumps({"messages": HELLO, "stream": True}).encode()

    async def main():
        came = iter([{"type": "http.request", "body": body}])

        async def receive():
            return next(came, None) or await asyncio.Event().wait()

        async def send(message):
            if message["type"] == "http.response.body":
                raise OSError("gone")

        async with LoopbackServer(stream("a", "b", after=1, then=[Stall()])) as a:
            provider = ls.OpenAIChat("a", base_url=a.url, model="m", api_key_env=None)
            async with provider, ls.Gateway().open([provider]) as running:
                scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
                with pytest.raises(OSError, match="gone"):
                    await ChatApp(running)(scope, receive, send)
                return running.in_flight, await a.seen[0].wait_end()

    assert asyncio.run(main()) == (0, "client_left")


def test_stopping_lets_requests_end_and_then_closes_the_policies():
    closing = Closing()

    async def main():
        async with LoopbackServer(stream(*"abcd", gap_s=0.1)) as a, httpx.AsyncClient() as client:
            async with app_for(a, policies=(closing,)) as url:
                asked = {"messages": HELLO, "stream": True}
                reading = asyncio.create_task(client.post(f"{url}/v1/chat/completions", json=asked))
                while not a.seen:
                    await asyncio.sleep(0.005)
            # The server has been told to stop in the middle of the answer, and has stopped.
            return (await reading).text, a.seen[0].ended, a.seen[0].ended_s

    text, ended, ended_s = asyncio.run(main())
    assert text.endswith("data: [DONE]\n\n")
    assert ended == "complete"
    assert len(closing.closed) == 1
    assert closing.closed[0] >= ended_s


def test_a_bug_in_a_policy_is_a_500_and_not_the_servers_end(caplog):
    @ls.policy
    async def clumsy(request, call_next):
        raise KeyError("secret-detail")

    async def main():
        async with (
            LoopbackServer(stream("a")) as a,
            app_for(a, policies=(clumsy,)) as url,
            httpx.AsyncClient() as client,
        ):
            asked = {"messages": HELLO}
            return [await client.post(f"{url}/v1/chat/completions", json=asked) for _ in range(2)]

    answers = asyncio.run(main())
    assert [record.name for record in caplog.records] == ["llmsim.production"] * 2
    assert "secret-detail" in caplog.text, "whoever runs it finds the bug in the log"
    for answer in answers:
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal_error"
        assert "secret-detail" not in answer.text


def test_what_is_no_request_is_refused():
    async def main():
        async with LoopbackServer(stream("a")) as a, app_for(a, max_body_bytes=2000) as url:
            async with httpx.AsyncClient(base_url=url) as client:
                answers = [
                    await client.get("/v1/models"),
                    await client.post("/v1/chat/completions", content=b"{"),
                    await client.post("/v1/chat/completions", json={"messages": HELLO, "stop": ["\n"]}),
                    await client.post("/v1/chat/completions", json={"messages": HELLO, "user": "x" * 3000}),
                ]
            return [(one.status_code, one.json()["error"]["message"]) for one in answers], len(a.seen)

    answers, asked = asyncio.run(main())
    assert [status for status, _ in answers] == [404, 400, 400, 413]
    assert "no JSON" in answers[1][1]
    assert answers[2][1].startswith("stop: ")
    assert asked == 0


def test_requests_are_described_and_may_be_refused():
    import openai

    seen = []

    @ls.policy
    async def look(request, call_next):
        seen.append((request.tenant, request.user, request.route))
        return await call_next(request)

    def describe(request, headers):
        if "x-tenant" not in headers:
            raise AuthError("who are you?")
        return request._replace(tenant=headers["x-tenant"])

    async def main():
        options = {"policies": (look,), "describe": describe, "routes": ("chat",)}
        async with LoopbackServer(completion("a")) as a, app_for(a, **options) as url, sdk(url) as client:
            with pytest.raises(openai.AuthenticationError, match="who are you"):
                await client.chat.completions.create(model="chat", messages=HELLO)
            named = {"X-Tenant": "acme"}
            for model in ("chat", "gpt-4o"):
                await client.chat.completions.create(model=model, messages=HELLO, user="u1", extra_headers=named)

    asyncio.run(main())
    assert seen == [("acme", "u1", "chat"), ("acme", "u1", "")]


def test_one_that_is_open_already_is_mounted():
    """As Starlette mounts: a root path, and no lifespan events."""

    async def main():
        async with LoopbackServer(completion("hi")) as a:
            provider = ls.OpenAIChat("a", base_url=a.url, model="m", api_key_env=None)
            async with provider, ls.Gateway().open([provider]) as running:
                inner = ChatApp(running)

                async def outer(scope, receive, send):
                    await inner({**scope, "root_path": "/llm"}, receive, send)

                transport = httpx.ASGITransport(outer)
                async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                    answers = [
                        await client.post(f"{path}/v1/chat/completions", json={"messages": HELLO})
                        for path in ("/llm", "")  # servers differ in whether the path has the root path in front
                    ]
        return [answer.json()["choices"][0]["message"]["content"] for answer in answers]

    assert asyncio.run(main()) == ["hi", "hi"]


def test_a_gateway_that_cannot_be_opened_stops_the_start():
    @contextlib.asynccontextmanager
    async def opened():
        raise ls.ScenarioError("live.yaml: nothing there")
        yield

    sent = []

    async def main():
        async def receive():
            return {"type": "lifespan.startup"}

        async def send(message):
            sent.append(message)

        await ChatApp(opened)({"type": "lifespan"}, receive, send)

    with pytest.raises(ls.ScenarioError):
        asyncio.run(main())
    assert [one["type"] for one in sent] == ["lifespan.startup.failed"]
    assert "nothing there" in sent[0]["message"]


def test_live_providers_are_those_of_the_scenario():
    scenario = ls.load(
        {
            "version": 1,
            "traffic": {"base_rate": "1/s"},
            "providers": {"b": {"model": "lab-b", "price": {"input": "$1/Mtok"}}, "a": {"model": "lab-a"}},
            "faults": [{"name": "f", "provider": "a", "at": "1s", "duration": "1s", "latency": {"multiplier": "4x"}}],
        }
    )
    live = {
        "version": 1,
        "providers": {
            "a": {"base_url": "http://127.0.0.1:1/v1"},
            "b": {"base_url": "http://127.0.0.1:2/v1", "model": "real"},
        },
    }

    async def main():
        async with live_providers(live, scenario) as providers:
            return [(one.name, one.model, one.price.input) for one in providers]

    assert asyncio.run(main()) == [("b", "real", 1e-6), ("a", "lab-a", 0.0)]
    with pytest.raises(ls.ScenarioError, match="no live provider for 'a'"):
        del live["providers"]["a"]
        asyncio.run(main())
