"""Answers in this process: bookkeeping and vectors together."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores.toys import Angles, entry, question, spec

from llmsim.gateway.caching import CacheUse, StoreError
from llmsim.stores.local import LocalStore
from llmsim.stores.vectors import VectorIndex

VECTOR = 2 * 4  # bytes


def store_of(**fields):
    return LocalStore(spec(**fields), Angles(), VectorIndex())


async def put(store, entry_id, words, **fields):
    await store.put(question(words, fields.get("partition", ("p",))), entry(entry_id, words, **fields), CacheUse())


def test_the_nearest_that_lives_and_not_merely_the_nearest():
    async def script():
        store, use = store_of(), CacheUse()
        await put(store, "far", "90", expires_s=50.0)
        await put(store, "near", "31", expires_s=10.0)
        await put(store, "nearer", "29", expires_s=5.0)
        await put(store, "nearest", "30", expires_s=1.0)
        asked = question("30")
        found = [(await store.nearest(asked, now_s, use)) for now_s in (0.0, 1.0, 9.9, 10.0, 50.0)]
        assert [match and match.entry.id for match in found] == ["nearest", "nearer", "near", "far", None]
        assert found[0].similarity == pytest.approx(1.0)
        assert found[3].similarity == pytest.approx(0.5)
        assert (use.queries, use.embedded_tokens) == (5, 2), "one question is embedded once"
        assert len(store) == store.bytes == 0

    asyncio.run(script())


def test_a_search_does_not_meet_all_that_expired_one_after_the_other():
    class Counting(VectorIndex):
        searches = 0

        def nearest(self, partition, probe):
            self.searches += 1
            return super().nearest(partition, probe)

    async def script():
        index = Counting()
        store = LocalStore(spec(capacity=500), Angles(), index)
        for number in range(300):
            await put(store, f"e{number}", str(number), expires_s=10.0)
        touched = await store.exact(question("7"), 9.0)
        await store.touch(touched, 9.0, expires_s=20.0)
        await store.touch(touched, 9.0, expires_s=15.0)  # nothing is shortened
        assert (await store.nearest(question("200"), 19.0, CacheUse())).entry.id == "e7"
        assert index.searches == len(store) == len(index) == 1
        assert await store.nearest(question("200"), 20.0, CacheUse()) is None
        assert len(store) == 0

    asyncio.run(script())


def test_what_goes_before_its_time_leaves_nothing_behind():
    async def script():
        store = store_of(capacity=3)
        for number in range(1000):
            await put(store, f"e{number}", str(number), expires_s=1e9)
        assert len(store._shelf._by_time) <= 2 * 3 + 65
        assert len(store) == len(store._sizes) == 3

    asyncio.run(script())


def test_nothing_crosses_partitions():
    async def script():
        store = store_of()
        await put(store, "e", "30", partition=("tenant a",))
        assert await store.nearest(question("30", ("tenant b",)), 0.0, CacheUse()) is None
        assert await store.exact(question("30", ("tenant b",)), 0.0) is None
        assert (await store.exact(question("30", ("tenant a",)), 0.0)).id == "e"

    asyncio.run(script())


def test_what_is_put_needs_no_second_embedding():
    async def script():
        store, use, asked = store_of(), CacheUse(), question("30")
        assert await store.nearest(asked, 0.0, use) is None
        await store.put(asked, entry("e", "30"), use)
        assert store._embedder.asked == ["30"]
        assert (use.embedded_tokens, use.queries, use.writes) == (2, 1, 1)

    asyncio.run(script())


def test_without_an_embedder_nothing_is_near():
    async def script():
        store, use = LocalStore(spec(backend="exact")), CacheUse()
        await put(store, "e", "30")
        assert await store.nearest(question("31"), 0.0, use) is None
        assert (await store.exact(question("30"), 0.0)).id == "e"
        assert use.queries == use.embedded_tokens == 0

    asyncio.run(script())


def test_an_id_that_comes_again_replaces_what_it_was():
    async def script():
        store = store_of()
        await put(store, "e", "30")
        await put(store, "e", "90")
        assert (len(store), await store.exact(question("30"), 0.0)) == (1, None)
        match = await store.nearest(question("90"), 0.0, CacheUse())
        assert match.similarity == pytest.approx(1.0)
        await store.drop(match.entry)
        await store.drop(match.entry)
        assert store.bytes == len(store._index) == 0

    asyncio.run(script())


def test_an_embedder_that_fails_leaves_everything_as_it_was():
    async def script():
        store = store_of()
        await put(store, "e", "30")
        before = store.bytes
        asked = question("31")
        asked.probe = np.zeros(3, dtype=np.float32)
        with pytest.raises(StoreError, match="shape"):
            await store.put(asked, entry("f", "31"), CacheUse())
        assert (len(store), store.bytes, len(store._index)) == (1, before, 1)
        assert await store.exact(question("31"), 0.0) is None

    asyncio.run(script())


def test_bytes_are_those_of_texts_and_vectors():
    async def script():
        store = store_of()
        await put(store, "e", "30", answer="né" * 10, partition=("ab", ""))
        # partition 2, key 2, words 2, answer 30 in UTF-8
        assert store.bytes == 2 + 2 + 2 + 30 + VECTOR
        exact = LocalStore(spec(backend="exact"))
        await put(exact, "e", "30", answer="\ud800")
        assert exact.bytes == 1 + 2 + 2 + 3

    asyncio.run(script())


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "drop", "nearest", "touch"]),
        st.integers(0, 7),
        st.integers(0, 2),
        st.integers(1, 40),
    ),
    max_size=50,
)


@given(steps, st.integers(1, 5))
def test_what_it_counts_is_what_it_has(script, capacity):
    async def play():
        store, kept = store_of(capacity=capacity), {}
        for now_s, (what, word, place, lasts) in enumerate(script):
            words, partition = str(10 * word), (f"p{place}",)
            if what == "put":
                await put(store, f"e{now_s}", words, partition=partition, expires_s=now_s + lasts, answer="x" * lasts)
                kept[f"e{now_s}"] = now_s + lasts
            elif what == "nearest":
                match = await store.nearest(question(words, partition), now_s, CacheUse())
                if match is not None:
                    assert match.entry.partition == partition
                    assert now_s < kept[match.entry.id]
                    cosine = np.cos(np.radians(10 * word - float(match.entry.words)))
                    assert match.similarity == pytest.approx(cosine, abs=1e-6)
            elif (found := await store.exact(question(words, partition), now_s)) is not None:
                if what == "drop":
                    await store.drop(found)
                else:
                    await store.touch(found, now_s, expires_s=now_s + 50.0)
                    kept[found.id] = max(kept[found.id], now_s + 50.0)
            assert len(store) <= capacity
            assert len(store) == len(store._entries) == len(store._index)
            sizes = [
                len(each.partition[0]) + 2 * len(each.words) + len(each.chunks[0].text) + VECTOR
                for each in store._entries.values()
            ]
            assert store.bytes == sum(sizes)

    asyncio.run(play())
