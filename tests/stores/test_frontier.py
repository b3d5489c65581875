"""One pass over a stream for many thresholds: held to the store it stands for, and to whole runs."""

import asyncio

import numpy as np
import pytest

from llmsim.api import load, run
from llmsim.gateway.caching import CacheUse, Entry, Question, StoreSpec
from llmsim.luck import Luck
from llmsim.report.frontier_runs import observe, usual_cache
from llmsim.stores.frontier import EXACT, MISS, SEMANTIC, Cache, Stream, bounds, replay
from llmsim.stores.index import Found
from llmsim.stores.local import LocalStore
from llmsim.stores.nearness import nearness
from llmsim.stores.prompts import PromptIndex, PromptVectors
from llmsim.stores.synthetic import SyntheticIndex
from llmsim.traffic.meanings import Meanings
from llmsim.traffic.spec import Topics, Zipf
from llmsim.types import Message, Request, Usage

INF = float("inf")
THRESHOLDS = np.linspace(0.70, 0.99, 20).round(4).tolist()
SLOW = pytest.mark.slow

SCENARIO = {
    "version": 1,
    "name": "bot",
    "seed": 5,
    "replications": 1,
    "clock": {"warm_up": "10s", "duration": "60s", "drain": "30s"},
    "traffic": {
        "base_rate": "10/s",
        "topics": {"zipf": {"s": 1.0, "unique": 200}, "paraphrases": "40%", "traps": "5%"},
        "mix": [{"route": "chat"}, {"route": "json", "weight": 0.3, "expects": "json"}],
    },
    "providers": {"llm": {"ttft": {"lognormal": {"p50": "400ms", "p99": "3s"}}, "errors": {"server_error": "3%"}}},
    "gateway": {"replicas": 2, "policies": [{"semantic_cache": {"threshold": 0.9, "ttl": "1h"}}]},
}


def near():
    return SyntheticIndex(nearness("banking77"))


def request(number, words="words"):
    fields = dict.fromkeys(Request._fields)
    fields |= {"id": f"{number}/0/0", "messages": (Message("user", words),), "input_tokens": 10, "tenant": ""}
    return Request(**fields)


def stream(probes, places, seed=1, partitions=1, caches=1, takes_s=3.0):
    """Questions a second apart whose answers take a while; a tenth of the calls fails."""
    rng = np.random.default_rng(seed)
    n = len(probes)
    asked_s = np.cumsum(rng.exponential(1.0, n))
    kept_s = np.where(rng.random(n) < 0.1, INF, asked_s + rng.exponential(takes_s, n))
    partition = rng.integers(0, partitions * caches, n)
    place = np.unique(np.stack([partition, places], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    answer = np.array([one if isinstance(one, int) else one.answer for one in probes])
    return Stream(
        asked_s, kept_s, partition // partitions, place, partition, answer, np.full(n, -INF), probes, np.full(n, 100.0),
        weight=rng.integers(20, 300, n).astype(float), cost_usd=rng.exponential(1.0, n),
    )  # fmt: skip


def questions(n, **topics):
    meanings = Meanings(Topics(zipf=Zipf(s=1.0, unique=60), paraphrases=0.4, traps=0.1, **topics), Luck(3))
    probes = [meanings(number) for number in range(n)]
    return probes, np.unique([one.phrase for one in probes], return_inverse=True)[1]


class Given:
    """An embedder for probes that are there."""

    async def probe(self, question):
        return question.probe

    def tokens(self, question):
        return 1


def one_by_one(given, cache, index):
    """What `LocalStore` finds when it is asked one question after the other, as the policy asks it."""
    room = min(cache.capacity, 1 << 40), cache.capacity_bytes, cache.eviction
    stores = [LocalStore(StoreSpec("memory", *room), Given(), index()) for _ in range(given.caches)]
    least = given.least(cache.threshold)
    match, made_for = [MISS] * len(given), [-1] * len(given)

    async def ask(number, now_s):
        store, question = stores[given.cache[number]], asked[number]
        entry, how = await store.exact(question, now_s), EXACT
        if entry is None:
            found = await store.nearest(question, now_s, CacheUse())
            if found is None or found.similarity < least[number]:
                return
            entry, how = found.entry, SEMANTIC
        match[number], made_for[number] = how, int(entry.id)
        await store.touch(entry, now_s, now_s + cache.ttl_s if cache.sliding else None)

    async def keep(number, now_s):
        question, until_s = asked[number], given.kept_s[number] + cache.ttl_s
        words = "w" * (int(given.weight[number]) - len(f"{question.partition[0]}{question.key}"))
        fields = (question.partition, question.key, words, (), Usage(1, 0, 1), "m", "u", question.request.id)
        entry = Entry(str(number), *fields, now_s, until_s, given.cost_usd[number])
        assert entry.bytes == given.weight[number]
        await stores[given.cache[number]].put(question, entry, CacheUse())

    asked = []
    for number, probe in enumerate(given.probes):
        partition = (str(given.partition[number]),)
        asked.append(Question(request(number), partition, "words", int(given.place[number])))
        asked[-1].probe = probe

    async def play():
        for event, now_s in zip(*given.events, strict=True):
            if event >= 0:
                await ask(event, now_s)
            elif match[~event] == MISS:
                await keep(~event, now_s)

    asyncio.run(play())
    return match, made_for


KEEPING = {
    "nothing leaves": Cache(0.0),
    "short life": Cache(0.0, ttl_s=40.0),
    "life renewed by use": Cache(0.0, ttl_s=40.0, sliding=True),
    "little room": Cache(0.0, capacity=25),
    "both": Cache(0.0, ttl_s=60.0, capacity=40),
    "the rarest goes": Cache(0.0, capacity=25, eviction="lfu"),
    "the cheapest goes": Cache(0.0, capacity=25, eviction="cost"),
    "few bytes": Cache(0.0, capacity_bytes=3000.0),
}


@pytest.mark.matrix
@pytest.mark.parametrize("keeping", KEEPING.values(), ids=KEEPING)
@pytest.mark.parametrize("threshold", [0.70, 0.85, pytest.param(0.95, marks=SLOW)])
def test_hit_for_hit_as_the_store_itself(keeping, threshold):
    given = stream(*questions(600), partitions=2, caches=2)
    cache = keeping._replace(threshold=threshold)
    done = replay(given, cache, near)
    match, made_for = one_by_one(given, cache, near)
    assert done.match.tolist() == match
    assert done.made_for.tolist() == made_for
    assert {EXACT, SEMANTIC, MISS} <= set(match)
    assert given.lasts(cache) == (keeping is KEEPING["nothing leaves"])


def test_hit_for_hit_where_some_have_thresholds_of_their_own_and_writing_takes_a_while():
    given = stream(*questions(600), partitions=2, caches=2)
    given.own = np.where(np.arange(600) % 3 == 0, 0.97, np.nan)
    given.write_s = 7.0
    cache = Cache(0.75, ttl_s=40.0)
    most = bounds(given, near)
    done = replay(given, cache, near, most=most)
    assert (done.match.tolist(), done.made_for.tolist()) == one_by_one(given, cache, near)
    semantic = done.match == SEMANTIC
    assert 0 < semantic[::3].sum() < semantic[1::3].sum() / 2


@SLOW
@pytest.mark.parametrize("keeping", KEEPING.values(), ids=KEEPING)
def test_hit_for_hit_at_every_threshold(keeping):
    given = stream(*questions(1200), partitions=2, caches=2)
    for threshold in THRESHOLDS:
        cache = keeping._replace(threshold=threshold)
        done = replay(given, cache, near)
        assert (done.match.tolist(), done.made_for.tolist()) == one_by_one(given, cache, near)


def test_equal_questions_only_without_an_index():
    given = stream(*questions(600))
    done = replay(given, Cache(INF), None)
    same = replay(given, Cache(INF), near)
    assert np.array_equal(done.match, same.match)
    hits = np.flatnonzero(done.match)
    assert len(hits) > 50
    assert np.array_equal(given.place[hits], given.place[done.made_for[hits]])
    assert not done.wrong.any()


def test_wrong_and_outdated_are_told_apart():
    probes, places = questions(600)
    given = stream(probes, places)
    given.changed_s = np.where(given.asked_s > 300, 300.0, -INF)
    done = replay(given, Cache(0.75), near)
    other = np.array(
        [m and probes[i].answer != probes[j].answer for i, (m, j) in enumerate(zip(*done[:2], strict=True))]
    )
    early = (done.match > 0) & (given.asked_s > 300) & (given.kept_s[done.made_for] < 300)
    assert other.any() and early.any()
    assert np.array_equal(done.outdated, early & ~other)
    assert np.array_equal(done.wrong, early | other)


def test_nothing_is_known_of_what_has_no_meaning():
    probes, places = questions(300)
    given = stream(probes, places)
    given.answer = np.full(300, -1)
    done = replay(given, Cache(0.70), near)
    assert not done.wrong.any() and not done.unknown.any()


def test_words_without_a_label_have_the_answer_of_the_same_words_and_of_others_nobody_knows():
    probes, places = questions(300)
    given = stream(probes, places)
    given.answer = np.array([-2 - one.phrase for one in probes])
    given.changed_s = given.asked_s - 1.0  # of what is not known to be the answer, that is not known either
    done = replay(given, Cache(0.70), near)
    assert np.array_equal(done.unknown, done.match == SEMANTIC) and done.unknown.any()
    assert np.array_equal(done.wrong, done.match == EXACT) and done.outdated.any()


def test_what_is_kept_is_added_up_over_the_time_that_counts():
    asked_s = np.array([0.0, 5.0, 20.0, 40.0])
    zeros = np.zeros(4, dtype=np.int64)
    place, size = np.array([0, 1, 0, 2]), np.array([10.0, 20.0, 30.0, 40.0])
    given = Stream(asked_s, asked_s + 1, zeros, place, zeros, place, np.full(4, -INF), [None] * 4, size)
    done = replay(given, Cache(INF), None, between_s=(3.0, 50.0))
    assert done.match.tolist() == [MISS, MISS, EXACT, MISS]
    assert done.entry_s.sum() == pytest.approx(47 + 44 + 9)
    assert done.byte_s == pytest.approx(10 * 47 + 20 * 44 + 40 * 9)
    short = replay(given, Cache(INF, ttl_s=15.0), None, between_s=(3.0, 50.0))
    assert short.match.tolist() == [MISS] * 4
    replaced = replay(given, Cache(INF, capacity=1), None, between_s=(3.0, 50.0))
    assert replaced.entry_s.sum() == pytest.approx(47)
    assert replaced.byte_s == pytest.approx(10 * 3 + 20 * 15 + 30 * 20 + 40 * 9)


class Line:
    """An index of numbers on a line: the more there are, the nearer is the nearest."""

    def __init__(self):
        self.kept = {}

    def add(self, partition, entry, probe):
        self.kept[partition, entry] = probe

    def remove(self, partition, entry):
        self.kept.pop((partition, entry), None)

    def nearest(self, partition, probe):
        found = [(1 - abs(at - probe) / 1000, key[1]) for key, at in self.kept.items() if key[0] == partition]
        return Found(*max(found, key=lambda one: (one[0], -int(one[1])))[::-1]) if found else None


@pytest.mark.parametrize("keeping", KEEPING.values(), ids=KEEPING)
def test_looking_only_where_something_can_be_near_changes_nothing(keeping):
    rng = np.random.default_rng(2)
    numbers = rng.integers(0, 900, 400)
    given = stream(numbers.tolist(), numbers, partitions=2, caches=2)
    most = bounds(given, Line)
    skipped = 0
    for threshold in (0.95, 0.99, 0.999):
        cache = keeping._replace(threshold=threshold)
        assert np.array_equal(replay(given, cache, Line, most=most).match, replay(given, cache, Line).match)
        skipped += (most < threshold).sum()
    assert skipped > 100


def clustered(n, seed=4):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(30, 6))
    group = rng.integers(0, 30, n)
    vectors = centres[group] + 0.4 * rng.normal(size=(n, 6))
    return group, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_real_vectors_as_by_brute_force():
    group, vectors = clustered(300)
    rng = np.random.default_rng(5)
    phrases = np.minimum(rng.zipf(1.3, 900) - 1, 299).tolist()
    known = PromptVectors([str(number) for number in range(300)], vectors)
    given = stream(phrases, np.array(phrases))
    given.answer = group[phrases]
    most = bounds(given, lambda: PromptIndex(known))
    cosines = known.vectors @ known.vectors.T
    np.fill_diagonal(cosines, 1.0)
    for threshold in (0.7, 0.8, 0.9):
        done = replay(given, Cache(threshold), lambda: PromptIndex(known))
        kept, expected = [], []
        for event in given.events[0]:
            if event < 0:
                if expected[~event] < 0:
                    kept = [one for one in kept if phrases[one] != phrases[~event]] + [~event]
                continue
            row = cosines[phrases[event]][[phrases[one] for one in kept]]
            best = max(row, default=-1.0)
            expected.append(kept[int(row.argmax())] if best >= threshold else -1)
        assert done.made_for.tolist() == expected
        assert 0 < done.wrong.sum() < (done.match == SEMANTIC).sum()
        skipping = replay(given, Cache(threshold), lambda: PromptIndex(known), most=most)
        assert np.array_equal(skipping.match, done.match)


def compared(scenario, threshold):
    """Match and wrongness of each request, replayed and in a whole run."""
    observed, _ = observe(scenario, 0)
    done = observed.replay(usual_cache(scenario)._replace(threshold=threshold))
    whole = run(scenario.with_values({"gateway.semantic_cache.threshold": threshold}), replications=1).requests
    match = whole["cache_match"].cast(str).replace({"": "0", "exact": "1", "semantic": "2"}).cast(int).to_numpy()
    assert len(match) > 500
    return done, match, whole["false_hit"].to_numpy()


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.75, 0.90])
def test_a_whole_run_has_the_same_hits_where_upstreams_take_their_time_whatever_comes(threshold):
    done, match, wrong = compared(load(SCENARIO), threshold)
    assert np.array_equal(done.match, match)
    assert np.array_equal(done.wrong, wrong)
    assert {0, 1, 2} == set(match.tolist())


@SLOW
def test_so_it_has_with_little_room_and_a_short_life():
    scenario = load(SCENARIO).with_values({"gateway.semantic_cache.ttl": 20.0, "gateway.semantic_cache.capacity": 30})
    for threshold in (0.7, 0.8, 0.9, 0.95, 0.99):
        done, match, wrong = compared(scenario, threshold)
        assert np.array_equal(done.match, match)
        assert np.array_equal(done.wrong, wrong)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"thresholds": {"json": 0.97}}, marks=SLOW),
        pytest.param({"capacity": 60, "eviction": "lfu"}, marks=SLOW),
        pytest.param({"capacity": 60, "eviction": "cost"}, marks=SLOW),
        pytest.param({"capacity_bytes": 12_000.0}, marks=SLOW),
        pytest.param({"ttl": 20.0, "ttl_from": "used"}, marks=SLOW),
        {"backend": "redis"},
    ],
    ids=" ".join,
)
def test_whatever_the_cache_is_told(changes):
    scenario = load(SCENARIO).with_values({f"gateway.semantic_cache.{name}": one for name, one in changes.items()})
    if "backend" in changes:
        scenario = scenario.with_values({"store.write": 0.8})
    done, match, wrong = compared(scenario, 0.8)
    usual, *_ = compared(load(SCENARIO), 0.8)
    assert np.array_equal(done.match, match)
    assert np.array_equal(done.wrong, wrong)
    assert not np.array_equal(done.match, usual.match)


@pytest.mark.slow
def test_outdated_answers_as_in_a_whole_run():
    topics = {**SCENARIO["traffic"]["topics"], "answers_change": {"every": "60s"}}
    scenario = load({**SCENARIO, "traffic": {**SCENARIO["traffic"], "topics": topics}})
    done, match, wrong = compared(scenario, 0.9)
    assert np.array_equal(done.match, match)
    assert np.array_equal(done.wrong, wrong)
    assert done.outdated.sum() > 20


@pytest.mark.slow
def test_bounds_of_meanings():
    given = stream(*questions(600), partitions=2, caches=2)
    most = bounds(given, near)
    for threshold in (0.8, 0.9, 0.95):
        for keeping in KEEPING.values():
            cache = keeping._replace(threshold=threshold)
            assert np.array_equal(replay(given, cache, near, most=most).match, replay(given, cache, near).match)
