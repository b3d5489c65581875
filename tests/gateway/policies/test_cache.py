import asyncio

import pytest
from gateway.policies.toys import Toy, World, ask, chain, run

from llmsim.errors import ServerError
from llmsim.gateway.policies import Cache
from llmsim.types import Message, Request


def play(spec, provider, *requests, wait_s=0.0, partly=False):
    """What each request is served from, one after the other; each is read to its end (or only its first chunk)."""

    async def main():
        handler = World().start(spec)
        call = chain(handler, inner=provider.send)
        served = []
        for request in requests:
            try:
                response = await call(request)
                if partly:
                    await anext(response)
                    response.close()
                else:
                    assert await response.read() == "hello"
                served.append(response.served_from)
            except ServerError:
                served.append("error")
            await asyncio.sleep(wait_s)
        return served, handler

    return run(main())


def test_the_same_again_comes_from_the_cache():
    async def main():
        handler = World().start(Cache())
        provider = Toy(2.0)
        call = chain(handler, inner=provider.send)
        await (await call(ask(0))).read()
        begin = asyncio.get_running_loop().time()
        response = await call(ask(1))
        assert await response.read() == "hello"
        assert asyncio.get_running_loop().time() == begin
        assert (response.upstream, response.model, response.served_from) == ("cache", "a-model", "cache")
        assert (response.finish_reason, response.usage.output_tokens, response.tokens_delivered) == ("stop", 2, 2)
        assert (len(provider.calls), handler.hits, handler.misses, handler.stored) == (1, 1, 1, 1)

    run(main())


CHANGES = {
    "tenant": "t",
    "upstream": "a",
    "model": "m",
    "messages": (Message("user", "other"),),
    "max_tokens": 5,
    "temperature": 0.0,
    "tools": ("search",),
    "response_schema": "{}",
}
NO_CHANGE = {
    "id": "9/9/9",
    "session": "s",
    "user": "u",
    "route": "r",
    "feature": "f",
    "priority": 3,
    "input_tokens": 7,
    "stream": False,
    "deadline_s": 99.0,
}


def test_every_field_of_a_request_is_decided_about():
    assert {*CHANGES, *NO_CHANGE} == set(Request._fields)


@pytest.mark.parametrize(("field", "value"), CHANGES.items())
def test_what_changes_the_answer_is_another_question(field, value):
    served, _ = play(Cache(), Toy(), ask(), ask()._replace(**{field: value}))
    assert served == ["upstream", "upstream"]


@pytest.mark.parametrize(("field", "value"), NO_CHANGE.items())
def test_what_does_not_change_the_answer_is_the_same_question(field, value):
    served, _ = play(Cache(), Toy(), ask(), ask()._replace(**{field: value}))
    assert served == ["upstream", "cache"]


@pytest.mark.parametrize(
    ("scope", "served"),
    [
        ("tenant", ["upstream", "cache", "upstream"]),
        ("user", ["upstream"] * 3),
        ("global", ["upstream", "cache", "cache"]),
    ],
)
def test_scope_says_who_may_see_whose(scope, served):
    people = [ask(tenant="t", user="u"), ask(tenant="t", user="v"), ask(tenant="w", user="u")]
    assert play(Cache(scope=scope), Toy(), *people)[0] == served


@pytest.mark.parametrize(
    ("rule", "temperature", "hits"),
    [
        ("unsampled", None, True),
        ("unsampled", 0.0, True),
        ("unsampled", 0.7, False),
        ("temperature_0", None, False),
        ("temperature_0", 0.0, True),
        ("temperature_0", 0.7, False),
        ("all", None, True),
        ("all", 0.7, True),
    ],
)
def test_the_cacheable_rule(rule, temperature, hits):
    served, handler = play(Cache(cacheable=rule), Toy(), *[ask(temperature=temperature)] * 2)
    assert served[1] == ("cache" if hits else "upstream")
    assert handler.skipped == (0 if hits else 2)


@pytest.mark.parametrize("messages", [None, ()])
def test_without_messages_there_is_nothing_to_compare(messages):
    assert play(Cache(), Toy(), *[ask(messages=messages)] * 2)[0] == ["upstream", "upstream"]


def test_only_a_clean_finish_is_kept():
    assert play(Cache(), Toy(finish_reason="length"), ask(), ask())[1].stored == 0
    assert play(Cache(), Toy(), ask(), ask(), partly=True)[1].stored == 0
    served, handler = play(Cache(), Toy(["x", ServerError()], ServerError(), 0.0), *[ask()] * 4)
    assert served == ["error", "error", "upstream", "cache"]
    assert handler.stored == 1


def test_old_answers_are_forgotten_from_when_they_were_complete():
    provider = Toy(["hel", "lo"], gap_s=1.0)  # complete at 2 s
    assert play(Cache(ttl=10.0), provider, *[ask()] * 5, wait_s=3.0)[0] == ["upstream", *["cache"] * 3, "upstream"]
    assert play(Cache(ttl=None), Toy(), *[ask()] * 3, wait_s=1e6)[0] == ["upstream", "cache", "cache"]


def test_the_least_recently_used_goes():
    a, b, c = (ask(messages=(Message("user", text),)) for text in "abc")
    served, handler = play(Cache(capacity=2), Toy(), a, b, a, c, a, b)
    assert served == ["upstream", "upstream", "cache", "upstream", "cache", "upstream"]
    assert len(handler.answers) == 2


def test_two_readers_of_one_answer_do_not_disturb_each_other():
    async def main():
        call = chain(World().start(Cache()), inner=Toy().send)
        await (await call(ask())).read()
        first, second = await call(ask()), await call(ask())
        assert [await first.read(), await second.read()] == ["hello", "hello"]

    run(main())


def test_hits_emit_nothing():
    async def main():
        world = World()
        call = chain(world.start(Cache()), inner=Toy().send)
        for _ in range(3):
            await (await call(ask())).read()
        assert world.events == []

    run(main())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"capacity": 0}, "leave the cache out"),
        ({"ttl": 0.0}, "write it like 1h"),
        ({"scope": "everyone"}, "write tenant, user or global"),
        ({"cacheable": "no"}, "write unsampled, temperature_0 or all"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        Cache(**fields)
