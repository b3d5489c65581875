"""The store section and faults of stores: words without effect are refused, with what to write instead."""

import pytest

from llmsim.errors import ScenarioError
from llmsim.gateway.contract import policy
from llmsim.scenario.cache_notes import cache_notes
from llmsim.scenario.load import load_scenario
from llmsim.scenario.preflight import preflight

CACHE = {"semantic_cache": {"threshold": 0.9}}
EXACT = {"semantic_cache": {"backend": "exact"}}


def load(policies=(CACHE,), **more):
    return load_scenario({
        "version": 1,
        "traffic": {"base_rate": "4/s", "topics": {"traps": "3%"}},
        "providers": {"openai": {}},
        "gateway": {"policies": list(policies)},
        **more,
    })  # fmt: skip


def fault(**words):
    return {"faults": [{"name": "down", "at": "10s", "duration": "20s", **words}]}


@pytest.mark.parametrize(
    ("given", "path", "message", "hint"),
    [
        ({"policies": ["cache"], "store": {"loss": "1%"}}, "store", "no policy keeps its answers", "semantic_cache"),
        ({"policies": [EXACT], "store": {"lookup": "1ms"}}, "store.lookup", "backend exact", "backend: memory"),
        ({"policies": [EXACT], "store": {"embedding": {}}}, "store.embedding", "backend exact", "backend: memory"),
        (fault(store="semantic_cach", outage=True), "faults[0].store", "no store 'semantic_cach'", "semantic_cache"),
        ({"policies": ["cache"], **fault(store="cache", outage=True)}, "faults[0].store", "in the gateway", "exact"),
        ({"policies": ["retry"], **fault(store="redis", outage=True)}, "faults[0].store", "no store 'redis'", "Add -"),
        (
            {"policies": [EXACT], **fault(store="semantic_cache", latency={"multiplier": "9x"})},
            "faults[0].latency",
            "takes no time",
            "delay",
        ),
        (fault(store="semantic_cache", capacity={"multiplier": "0.5x"}), "faults[0].capacity", "no capacity", ""),
        (fault(store="semantic_cache", sequence=[429]), "faults[0].sequence", "no sequence", ""),
        (fault(store="semantic_cache", abort={"status": 503}), "faults[0].abort", "have no status", "percentage"),
        (fault(store="semantic_cache", provider="openai", outage=True), "faults[0]", "needs one thing", "provider"),
        (fault(outage=True), "faults[0]", "needs one thing", "store: semantic_cache"),
        (fault(provider="openai", lose_state=True), "faults[0].lose_state", "no state to lose", "outage"),
        (fault(provider="openai", abort={"percentage": "5%"}), "faults[0].abort", "needs the status", "status: 503"),
        (fault(store="semantic_cache"), "faults[0]", "does nothing", "lose_state"),
    ],
)
def test_is_refused(given, path, message, hint):
    with pytest.raises(ScenarioError) as caught:
        load(**given)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert message in problem.message
    assert hint in f"{problem.message} {problem.hint}"


def test_what_has_an_effect_is_taken():
    load(store={"loss": "1%", "connect": "1s"}, **fault(store="semantic_cache", outage=True, lose_state=True))
    load([{"semantic_cache": {"name": "answers"}}], **fault(store="answers", abort={"percentage": "20%"}))
    load([EXACT], store={"round_trip": "1ms"}, **fault(store="semantic_cache", latency={"multiplier": "9x"}))


def test_a_policy_of_ones_own_may_open_any_store():
    @policy
    class Keeps:
        def start(self, run):
            raise NotImplementedError

    load([Keeps()], store={"loss": "1%"}, **fault(store="mine", outage=True))


def test_losing_its_state_alone_takes_no_time():
    (one,) = load(faults=[{"name": "deploy", "store": "semantic_cache", "at": "10s", "lose_state": True}]).faults
    assert (one.end_s, one.target, one.effects, one.intrinsic) == (10.0, "semantic_cache", ("lose_state",), True)


def test_notes_on_caches():
    priced = {"costs": {"embeddings": {"price": "$0.02/Mtok"}}}
    told = str(preflight(load(**priced)))
    assert "at a threshold of 0.9 about 28% of the traps" in told  # .277 of 300 pairs, research 4.1
    assert "up to 0.83% of requests" in told
    assert "embeddings have no price" not in told
    assert "embeddings have no price" in str(preflight(load()))
    strict = [{"semantic_cache": {"threshold": 0.99}}]
    assert not [*cache_notes(load(strict, **priced))]
    assert not [*cache_notes(load([EXACT])), *cache_notes(load(["cache"]))]
