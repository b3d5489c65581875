"""How long stores take, and what of it can be said in a scenario."""

import pytest

from llmsim.errors import ScenarioError
from llmsim.scenario.load import load_scenario
from llmsim.stores.spec import StoreModel


def load(store, **more):
    return load_scenario({
        "version": 1,
        "traffic": {"base_rate": "4/s", "topics": {}},
        "providers": {"openai": {}},
        "gateway": {"policies": [{"semantic_cache": {"threshold": 0.9}}]},
        "store": store,
        **more,
    })  # fmt: skip


def test_defaults_are_the_measured_medians():
    usual = StoreModel().usual_lookup_s
    assert usual("memory", 10_000) == pytest.approx(1.77e-3)  # numpy, research 5
    assert usual("memory", 5_000) == pytest.approx(1.77e-3 / 2)  # it grows with the entries
    assert usual("memory", 100_000) == pytest.approx(0.40e-3)  # HNSW from 20,000 on
    assert usual("redis", 10) == usual("redis", 10_000) == 2.0e-3
    assert StoreModel().embedding.latency.mean == pytest.approx(9.6e-3)
    assert StoreModel().usual_write_s("memory", 100) == 0
    assert 5e-3 <= StoreModel().usual_write_s("redis", 100) <= 5.6e-3


def test_times_by_size_are_a_line_through_what_was_measured():
    sizes = [{"entries": 1000, "lookup": "1ms"}, {"entries": 3000, "lookup": "5ms"}]
    usual = load({"lookup_by_size": sizes}).store.usual_lookup_s
    assert [usual("redis", n) for n in (1000, 2000, 3000, 4000)] == pytest.approx([1e-3, 3e-3, 5e-3, 7e-3])
    assert usual("memory", 0) == 0  # the line would be below
    assert load({"lookup_by_size": sizes[:1]}).store.usual_lookup_s("redis", 99) == 1e-3


def test_every_word_is_read():
    told = load({
        "embedding": {"latency": {"lognormal": {"p50": "80ms", "p99": "400ms"}}, "failures": "0.1%"},
        "lookup": "3ms", "write": "6ms", "round_trip": "500us", "connect": "1s", "failures": "1%", "loss": "0.1%",
        "capacity": "100k", "vector_bytes": "6kB", "entry_bytes": "200B", "token_bytes": "5B",
    }).store  # fmt: skip
    assert (told.embedding.failures, told.lookup.mean, told.write.mean, told.round_trip.mean) == (
        1e-3,
        3e-3,
        6e-3,
        5e-4,
    )
    assert (told.connect.mean, told.failures, told.loss, told.capacity) == (1.0, 0.01, 0.001, 100_000)
    assert (told.vector_bytes, told.entry_bytes, told.token_bytes) == (6000, 200, 5)
    assert told.mean_lookup_s("redis", 5) == 3e-3


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ({"lookup": "2ms", "lookup_by_size": [{"entries": 9, "lookup": "1ms"}]}, "lookup_by_size has no effect"),
        ({"lookup_by_size": [{"entries": 9, "lookup": "1ms"}, {"entries": 9, "lookup": "2ms"}]}, "sizes must grow"),
        ({"judge": {"accept_right": "95%"}}, "'accept_wrong' is missing"),
        ({"latency": "2ms"}, "unknown key 'latency'"),
        ({"connect": "1s"}, "connect has no effect"),
        ({"judge": {"accept_right": 1, "accept_wrong": 0}}, "judge has no effect"),
    ],
)
def test_what_makes_no_sense_is_refused(store, message):
    with pytest.raises(ScenarioError, match=message):
        load(store)
