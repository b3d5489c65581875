import asyncio
import math

import pytest
from gateway.policies.angles import Stores, about, cosine
from gateway.policies.toys import Toy, ask, run
from gateway.site import Site, play

from llmsim.errors import PolicyError, StreamBroken
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Cache, Fallback, SemanticCache, SingleFlight
from llmsim.pricing import TokenPrice
from llmsim.types import Message, Request, Usage


class Lab(Site):
    """A site with a semantic cache; `served` tells what each request got, and from where."""

    def __init__(self, spec, *providers, stores=None, inside=(), **fields):
        self.stores = stores or Stores()
        gateway = Gateway(policies=(spec, *inside), **fields)
        super().__init__(gateway, *providers, stores=self.stores)

    async def ask(self, request):
        """What became of it: what the cache did, and its response."""
        exchange = Exchange(request, self.running._runtime)
        response = await self.send(request, exchange)
        return exchange.cache, response

    async def served(self, *requests, wait_s=0.0):
        matches = []
        for request in requests:
            use, response = await self.ask(request)
            assert (response.served_from == "cache") is bool(use and use.match)
            matches.append(use.match if use else "skipped")
            await asyncio.sleep(wait_s)
        return matches

    def told(self, kind):
        return [fields for name, fields in self.events if name == kind]


def served(spec, *requests, wait_s=0.0, provider=None, **more):
    async def script():
        return await Lab(spec, *[provider] if provider else (), **more).served(*requests, wait_s=wait_s)

    return play(script)


# -- exact, then near --------------------------------------------------------------------------------------------------


def test_equal_first_then_near_then_nothing():
    async def script():
        lab = Lab(SemanticCache(threshold=0.92), Toy(["hel", "lo"]))
        seen = []
        for number, degrees in enumerate((0, 0, 20, 25, 20)):
            use, response = await lab.ask(about(degrees, number))
            seen.append((use.match, round(use.nearest, 3), use.made_for, use.embedded_tokens, use.queries, use.writes))
            assert response.tokens_delivered == 2
        assert seen[0][:1] + seen[0][2:] == ("", "", 2, 1, 1)
        assert math.isnan(seen[0][1])
        assert seen[1:] == [
            ("exact", 1.0, "0/0/0", 0, 0, 0),
            ("semantic", 0.94, "0/0/0", 2, 1, 0),
            ("", 0.906, "", 2, 1, 1),
            ("semantic", 0.996, "3/0/0", 2, 1, 0),
        ]
        assert len(lab.providers["a"].calls) == 2

    play(script)


@pytest.mark.parametrize(
    ("threshold", "hits"), [(cosine(20), True), (cosine(20) - 1e-9, True), (cosine(20) + 1e-9, False)]
)
def test_the_threshold_is_a_cosine_and_inclusive(threshold, hits):
    assert served(SemanticCache(threshold=threshold), about(0), about(20))[1] == ("semantic" if hits else "")


def test_routes_have_thresholds_of_their_own():
    spec = SemanticCache(threshold=0.8, thresholds={"refunds": 0.99, "chat": 0.5})
    asked = [about(0), *(about(degrees, route=route) for degrees, route in ((30, ""), (30, "refunds"), (55, "chat")))]
    # The answer to 30 is kept, for refunds may not have that to 0: then 55 is 25 away from it.
    assert served(spec, *asked) == ["", "semantic", "", "semantic"]


def test_what_is_equal_needs_no_vectors():
    async def script():
        lab = Lab(SemanticCache(backend="exact"))
        assert await lab.served(about(0), about(0), about(1)) == ["", "exact", ""]
        use, _ = await lab.ask(about(2))
        assert (use.embedded_tokens, use.queries, use.writes) == (0, 0, 0)
        assert "nearest" not in lab.stores.store.asked

    play(script)


# -- who may have whose answers ----------------------------------------------------------------------------------------

CHANGES = {
    "tenant": "t",
    "upstream": "a",
    "model": "m",
    "temperature": 0.0,
    "response_schema": "{}",
    "messages": (Message("system", "be brief"), Message("user", "about 0")),
}
NO_CHANGE = {
    "id": "9/9/9",
    "session": "s",
    "user": "u",
    "route": "r",
    "feature": "f",
    "priority": 3,
    "input_tokens": 7,
    "max_tokens": 5,
    "stream": False,
    "deadline_s": 99.0,
}


def test_every_field_of_a_request_is_decided_about():
    assert {*CHANGES, *NO_CHANGE, "tools"} == set(Request._fields)


@pytest.mark.parametrize("degrees", [0, 1])
@pytest.mark.parametrize(("field", "value"), CHANGES.items())
def test_what_changes_the_answer_is_never_shared(field, value, degrees):
    other = {"messages": (value[0], Message("user", f"about {degrees}"))} if field == "messages" else {field: value}
    asked = [about(0), about(degrees)._replace(**other), about(0)]
    assert served(SemanticCache(threshold=0.5), *asked) == ["", "", "exact"]


@pytest.mark.parametrize(("field", "value"), NO_CHANGE.items())
def test_what_does_not_change_the_answer_is_the_same_question(field, value):
    asked = [about(0), about(0)._replace(**{field: value}), about(10)._replace(**{field: value})]
    assert served(SemanticCache(), *asked) == ["", "exact", "semantic"]


@pytest.mark.parametrize(
    ("scope", "matches"), [("tenant", ["", "exact", ""]), ("user", [""] * 3), ("global", ["", "exact", "exact"])]
)
def test_scope_says_who_may_see_whose(scope, matches):
    people = [about(0, tenant="t", user="u"), about(0, tenant="t", user="v"), about(0, tenant="w", user="u")]
    assert served(SemanticCache(scope=scope), *people) == matches


@pytest.mark.parametrize("field", ["route", "feature", "session", "user", "tenant"])
def test_per_adds_what_must_be_equal(field):
    asked = [about(0, **{field: value}) for value in "xyx"]
    assert served(SemanticCache(scope="global", per=(field,)), *asked) == ["", "", "exact"]


def test_fields_cannot_be_shifted_into_each_other():
    asked = [about(0, tenant="a", user="bc"), about(0, tenant="ab", user="c")]
    assert served(SemanticCache(scope="user"), *asked) == ["", ""]


def _chat(*words):
    roles = ["user", "assistant"] * len(words)
    return ask(messages=tuple(Message(role, text) for role, text in zip(roles, words, strict=False)))


def test_what_was_said_before_counts_unless_it_is_ignored():
    asked = [
        _chat("the Louvre?", "in Paris", "about 0"),
        _chat("the Prado?", "in Madrid", "about 0"),
        _chat("the Louvre?", "in Paris", "about 1"),
    ]
    assert served(SemanticCache(), *asked) == ["", "", "semantic"]
    # The same words in another conversation are near, and not equal: an exact match is one to the letter.
    assert served(SemanticCache(compare="last_message"), *asked) == ["", "semantic", "semantic"]
    system = [
        ask(messages=(Message("system", text), Message("user", "about 0"))) for text in ("be brief", "be thorough")
    ]
    assert served(SemanticCache(compare="last_message"), *system) == ["", ""]


# -- what is kept ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "temperature", "hits"),
    [
        ("unsampled", None, True),
        ("unsampled", 0.7, False),
        ("temperature_0", None, False),
        ("temperature_0", 0.0, True),
        ("all", 0.7, True),
    ],
)
def test_the_cacheable_rule(rule, temperature, hits):
    asked = [about(0, temperature=temperature)] * 2
    assert served(SemanticCache(cacheable=rule), *asked) == (["", "exact"] if hits else ["skipped"] * 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tools": ("search",)}, {"tools": True}),
        ({"response_schema": "{}"}, {}),
    ],
)
def test_tools_and_json_are_by_rule(fields, words):
    asked = [about(0, **fields)] * 2
    assert served(SemanticCache(**words), *asked) == ["", "exact"]
    assert served(SemanticCache(tools=False, json=False), *asked) == ["skipped"] * 2


def test_only_what_ends_with_the_users_words():
    for messages in (None, (), (Message("user", "about 0"), Message("assistant", "about"))):
        assert served(SemanticCache(), *[ask(messages=messages)] * 2) == ["skipped"] * 2


def test_an_answer_is_for_all_who_allow_as_many_tokens():
    asked = [about(0, max_tokens=most) for most in (100, 2, None, 1)]
    assert served(SemanticCache(), *asked, provider=Toy(["a", "b"])) == ["", "exact", "exact", ""]


def test_only_a_whole_answer_is_kept():
    async def script():
        cut = Lab(SemanticCache(), Toy(finish_reason="length"))
        assert await cut.served(about(0), about(0)) == ["", ""]
        broken = Lab(SemanticCache(), Toy(["x", StreamBroken()], 0.0))
        with pytest.raises(StreamBroken):
            await broken.ask(about(0))
        assert await broken.served(about(0), about(0)) == ["", "exact"]
        left = Lab(SemanticCache())
        response = await left.running.send(about(0))
        await anext(response)
        await response.aclose()
        assert await left.served(about(0)) == [""]

    play(script)


def test_what_is_saved_is_one_prompt_though_two_upstreams_made_it():
    async def script():
        first = Toy(["hel", StreamBroken(tokens_delivered=1)], name="a")
        lab = Lab(
            SemanticCache(), first, Toy(["lo"], name="b"), inside=(Fallback(order=("a", "b"), mid_stream="continue"),)
        )
        _, made = await lab.ask(about(0))
        assert made.usage.input_tokens == 20
        use, kept = await lab.ask(about(0))
        assert use.match == "exact"
        assert kept.usage == Usage(10, 2)
        assert [attempt.exchange.request.id for attempt in lab.attempts] == ["0/0/0"] * 2, "nothing is billed for it"

    play(script)


# -- invalidation ------------------------------------------------------------------------------------------------------


def test_another_generation_is_another_cache():
    async def script():
        stores = Stores()
        opened = stores.open
        kept = []

        def one_store(spec, run):
            if not kept:
                kept.append(opened(spec, run))
            return kept[0]

        stores.open = one_store
        old, new = (Lab(SemanticCache(generation=word), stores=stores) for word in ("2026-10", "2026-11"))
        assert await old.served(about(0), about(0)) == ["", "exact"]
        assert await new.served(about(0), about(1), about(0)) == ["", "semantic", "exact"]
        assert await old.served(about(0)) == ["exact"], "nothing is deleted"

    play(script)


@pytest.mark.parametrize(("word", "after"), [("drop", ""), ("serve", "exact")])
def test_an_answer_of_the_model_before_is_outdated(word, after):
    async def script():
        provider = Toy()
        lab = Lab(SemanticCache(on_new_model=word), provider)
        assert await lab.served(about(0), about(90), about(0)) == ["", "", "exact"]
        provider.model = "a-model-2"
        assert await lab.served(about(180), about(0), about(0)) == ["", after, "exact"]
        told = lab.told("outdated")
        assert [(one["of"], one["model"], one["now"]) for one in told] == (
            [("a", "a-model", "a-model-2")] if word == "drop" else []
        )
        assert len(lab.stores.store) == 3
        # Somebody who asks for a model by name has nothing to do with that.
        await lab.ask(about(0, upstream="a", model="a-model"))
        assert await lab.served(about(180), about(0)) == ["exact", "exact"]

    play(script)


# -- the same at the same time -----------------------------------------------------------------------------------------


def _stampede(spec, requests, **more):
    async def script():
        lab = Lab(spec, Toy(1.0), **more)
        texts = await asyncio.gather(*[_text(lab, request) for request in requests])
        assert set(texts) == {"hello"}
        await asyncio.sleep(0)
        use, kept = await lab.ask(requests[0])
        assert (use.match, kept.usage) == ("exact", Usage(10, 2)), "what it cost is known to who paid for it"
        return len(lab.providers["a"].calls), lab.told("coalesced"), lab.stores.store.asked.count("put")

    return play(script)


async def _text(lab, request):
    return await (await lab.running.send(request)).read()


def test_two_hundred_at_once_make_one_call_with_single_flight():
    crowd = [about(0, number) for number in range(200)]
    calls, coalesced, kept = _stampede(SemanticCache(single_flight=True), crowd)
    assert (calls, len(coalesced), kept) == (1, 199, 1)
    assert _stampede(SemanticCache(), crowd)[0] == 200
    assert _stampede(SemanticCache(), crowd, inside=(SingleFlight(),))[0] == 1


def test_who_may_not_share_an_answer_does_not_share_a_flight():
    crowd = [about(0, number, route=f"r{number % 2}", max_tokens=(None, 50)[number % 3 == 0]) for number in range(12)]
    assert _stampede(SemanticCache(single_flight=True, per=("route",)), crowd)[0] == 4


def test_what_is_asked_right_now_is_not_embedded():
    async def script():
        lab = Lab(SemanticCache(single_flight=True), Toy(1.0))
        first = asyncio.create_task(lab.ask(about(0)))
        await asyncio.sleep(0.5)
        use, response = await lab.ask(about(0, 1))
        assert (use.queries, response.served_from) == (0, "flight")
        assert (await first)[1].served_from == "upstream"

    play(script)


# -- beside the exact cache, and in the other world --------------------------------------------------------------------


@pytest.mark.parametrize("words", [{"ttl": 40.0}, {"capacity": 8}, {"ttl": None, "scope": "user"}])
def test_the_exact_backend_hits_where_cache_does(words):
    from random import Random

    luck = Random(5)
    people = [("t", "u"), ("t", "v"), ("w", "u")]
    asked = []
    for number in range(400):
        tenant, user = people[luck.randrange(3)]
        degrees = min(int(luck.expovariate(0.2)), 40)
        asked.append(about(degrees, number, tenant=tenant, user=user, temperature=luck.choice([None, None, 0.0, 0.9])))

    async def hits(spec):
        site = Site(Gateway(policies=(spec,)), Toy(gap_s=0.0), stores=Stores())
        found = []
        for request in asked:
            found.append((await site.send(request)).served_from)
            await asyncio.sleep(0.25)
        return found

    exact = play(lambda: hits(SemanticCache(backend="exact", **words)))
    assert exact == play(lambda: hits(Cache(**words)))
    assert 50 < exact.count("cache") < 390


def test_the_same_on_an_ordinary_loop():
    async def script():
        spec = SemanticCache(verify_below=0.96, stale_while_revalidate=0.4, ttl=0.3, negative_ttl=1.0)
        lab = Lab(spec, Toy(0.01, gap_s=0.001), stores=Stores(judge=_yes))
        begin = asyncio.get_running_loop().time()
        matches = await lab.served(about(0), about(0), about(20), about(5), about(90))
        if asyncio.get_running_loop().time() - begin > 0.25:
            pytest.skip("the machine is too busy to tell")
        await asyncio.sleep(0.35)
        matches += await lab.served(about(0))
        await asyncio.sleep(0.1)
        return matches, len(lab.attempts), [kind for kind, _ in lab.events]

    both = asyncio.run(script()), play(script)
    assert both[0] == both[1]
    assert both[0] == (["", "exact", "semantic", "semantic", "", "exact"], 3, ["verified", "refreshed"])
    assert run(script()) == both[0]


async def _yes(request, entry):
    return True


def test_what_it_costs_is_what_its_upstream_takes():
    """For eviction by cost: the dearer one stays."""

    async def script():
        dear, cheap = Toy(name="dear"), Toy(name="cheap")
        dear.price, cheap.price = TokenPrice(input=1.0, output=1.0), TokenPrice(input=1e-3, output=1e-3)
        lab = Lab(SemanticCache(capacity=2, eviction="cost", backend="exact"), dear, cheap)
        await lab.served(about(0, upstream="dear"), about(1, upstream="cheap"), about(2, upstream="cheap"))
        return await lab.served(about(0, upstream="dear"), about(1, upstream="cheap"))

    assert play(script) == ["exact", ""]


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"threshold": 1.2}, "write 0.92"),
        ({"thresholds": {"chat": -0.1}}, "threshold chat is a cosine"),
        ({"capacity": 0}, "leave the cache out"),
        ({"capacity_bytes": 0.0}, "write it like 500MB"),
        ({"ttl": 0.0}, "write it like 5m"),
        ({"store_cooldown": -1.0}, "write 5s"),
        ({"ttl": None, "stale_while_revalidate": 5.0}, "nothing is ever stale"),
        ({"ttl": None, "ttl_from": "used"}, "good for ever"),
        ({"backend": "disk"}, "write memory or redis or exact"),
        ({"scope": "everyone"}, "write tenant, user or global"),
        ({"per": ("model",)}, "per cannot be 'model'"),
        ({"negative_on": ("rate_limited",)}, "negative_on cannot be 'rate_limited'"),
        ({"negative_on": ()}, "negative_on is empty"),
        ({"verify_below": 0.9}, "it verifies nothing"),
        ({"threshold": 0.98, "verify_below": 0.97}, "leave it out"),
        ({"verifier": _yes}, "write verify_below"),
        ({"verify_below": 0.97, "verifier": "gpt"}, "async function"),
        ({"eviction": "fifo"}, "write lru or lfu or cost"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        SemanticCache(**fields)


def test_a_verifier_that_is_nowhere_is_missed_at_the_start():
    async def script():
        with pytest.raises(PolicyError, match=r"SemanticCache\(verifier=.*LiveStores\(judge="):
            Lab(SemanticCache(verify_below=0.97))
        Lab(SemanticCache(verify_below=0.97, backend="exact"))

    play(script)
