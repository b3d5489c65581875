"""What must hold for any stream of requests, against a plain account of what was kept."""

import asyncio
from typing import NamedTuple

from gateway.policies.angles import Lab, Stores, cosine
from gateway.policies.toys import Toy, run
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.gateway.policies import SemanticCache
from llmsim.types import Message, Request


class Ask(NamedTuple):
    """One request of a stream."""

    wait_s: float
    degrees: int
    tenant: str
    user: str
    route: str
    model: str | None
    said: str  # before
    most: int | None

    def request(self, number):
        history = (Message("user", self.said), Message("assistant", "so")) if self.said else ()
        return Request(
            f"{number}/0/0",
            user=self.user,
            tenant=self.tenant,
            route=self.route,
            model=self.model,
            messages=(*history, Message("user", f"about {self.degrees}")),
            max_tokens=self.most,
        )


asks = st.lists(
    st.builds(
        Ask,
        wait_s=st.sampled_from([0.0, 0.5, 3.0, 8.0]),
        degrees=st.integers(0, 8).map(lambda step: step * 7),
        tenant=st.sampled_from("st"),
        user=st.sampled_from("uv"),
        route=st.sampled_from(["", "strict"]),
        model=st.sampled_from([None, None, "m"]),
        said=st.sampled_from(["", "", "this", "that"]),
        most=st.sampled_from([None, 2, 1]),
    ),
    min_size=2,
    max_size=25,
)
specs = st.builds(
    SemanticCache,
    threshold=st.sampled_from([cosine(7), cosine(14), cosine(30)]),
    thresholds=st.sampled_from([{}, {"strict": 0.999}]),
    ttl=st.sampled_from([4.0, 10.0, None]),
    capacity=st.sampled_from([1, 3, 100]),
    capacity_bytes=st.sampled_from([None, 100.0, 260.0]),
    eviction=st.sampled_from(["lru", "lfu", "cost"]),
    scope=st.sampled_from(["tenant", "user", "global"]),
    per=st.sampled_from([(), ("route",)]),
    compare=st.sampled_from(["conversation", "last_message"]),
    backend=st.sampled_from(["memory", "exact"]),
)


@settings(max_examples=25, deadline=None)
@given(spec=specs, stream=asks)
def test_no_hit_is_below_the_threshold_or_across_a_line_or_too_old(spec, stream):
    async def script():
        lab = Lab(spec, Toy(["an", "swer"], gap_s=0.25), stores=Stores())
        made = {}  # by request id: its ask, and when its answer was complete
        for number, one in enumerate(stream):
            await asyncio.sleep(one.wait_s)
            now = asyncio.get_running_loop().time()
            request = one.request(number)
            use, response = await lab.ask(request)
            if response.served_from == "cache":
                before, complete_s = made[use.made_for]
                _allowed(spec, one, use, before, now - complete_s)
            else:
                made[request.id] = one, asyncio.get_running_loop().time()
            _within(spec, lab.stores.store)

    run(script())


def _allowed(spec, one, use, before, age_s):
    similarity = cosine(one.degrees - before.degrees)
    if use.match == "exact":
        assert (one.degrees, one.said) == (before.degrees, before.said)
    else:
        assert use.match == "semantic"
        assert spec.backend == "memory"
        assert use.nearest == similarity >= spec.thresholds.get(one.route, spec.threshold)
    assert spec.ttl is None or age_s < spec.ttl
    assert one.model == before.model
    assert one.tenant == before.tenant or spec.scope == "global"
    assert one.user == before.user or spec.scope != "user"
    assert one.route == before.route or not spec.per
    assert one.said == before.said or spec.compare == "last_message"
    assert one.most is None or one.most >= 2


def _within(spec, store):
    """What is kept fits, and is what the books say."""
    entries = store._entries.values()
    assert len(store) == len(entries) <= spec.capacity
    assert store._shelf.bytes == sum(entry.bytes for entry in entries) <= (spec.capacity_bytes or float("inf"))
    assert store._index is None or set(store._index.entries) == set(store._entries)


@settings(max_examples=25, deadline=None)
@given(stream=asks, threshold=st.sampled_from([cosine(7), cosine(14), cosine(30)]))
def test_with_room_and_time_every_hit_there_is_is_found(stream, threshold):
    """Against a list that is looked through from end to end: the same hits, with the same nearest."""

    async def script():
        lab = Lab(SemanticCache(threshold=threshold, ttl=None), Toy(["an", "swer"]), stores=Stores())
        kept = {}  # by what must be equal: the degrees of what is kept
        for number, one in enumerate(stream):
            here = kept.setdefault((one.tenant, one.model, one.said), [])
            use, response = await lab.ask(one.request(number))
            nearest = min((abs(one.degrees - other) for other in here), default=None)
            hit = nearest is not None and cosine(nearest) >= threshold and one.most != 1
            assert (response.served_from == "cache") is hit
            if nearest is not None:
                assert use.nearest == cosine(nearest)
            if not hit and one.degrees not in here:
                here.append(one.degrees)

    run(script())
