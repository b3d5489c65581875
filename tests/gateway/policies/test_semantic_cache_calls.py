"""Outdated answers, shared calls, the exact cache beside it, the other world, and words."""

import asyncio

import pytest
from gateway.policies.angles import Lab, Stores, about
from gateway.policies.toys import Toy, run
from gateway.site import Site, play

from llmsim.errors import PolicyError
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Cache, SemanticCache, SingleFlight
from llmsim.pricing import TokenPrice
from llmsim.types import Usage

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
