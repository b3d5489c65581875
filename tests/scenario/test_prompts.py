"""A log of real prompts through a whole run: the cache compares their vectors, and hits what an oracle hits."""

import math

import pytest
from made_prompts import embedder_of, made_vectors, write_csv

import llmsim
from llmsim.calibrate.similarity_check import real_finder, replay
from llmsim.errors import LlmsimError, SimulationInterrupted
from llmsim.luck import Luck
from llmsim.report.frontier import claim_table, frontier
from llmsim.scenario.vectors import needs_vectors
from llmsim.stores import prompts as stores
from llmsim.traffic.prompts import PromptMeanings


@pytest.fixture(scope="module")
def corpus():
    return made_vectors(intents=24, each=30)


@pytest.fixture(autouse=True)
def made(monkeypatch, corpus):
    monkeypatch.setattr(stores, "_made", {})
    monkeypatch.setattr(stores, "embed_prompts", embedder_of(*corpus))


def scenario(file, policy, **topics):
    """A request a second, and an answer before the next: nothing happens at once."""
    return {
        "version": 1,
        "replications": 1,
        "seed": 5,
        "clock": {"duration": "900s", "drain": "60s"},
        "traffic": {"base_rate": "1/s", "arrivals": "constant", "topics": {"prompts": str(file), **topics}},
        "providers": {"openai": {"ttft": "10ms", "inter_token": "1ms"}},
        "gateway": {"policies": [policy]},
    }


@pytest.mark.parametrize("order", ["zipf", "file"])
@pytest.mark.parametrize("threshold", [pytest.param(0.75, marks=pytest.mark.slow), 0.9])
def test_a_run_hits_what_the_oracle_hits(tmp_path, corpus, threshold, order):
    vectors, answer = corpus
    file = write_csv(tmp_path / "log.csv", answer)
    result = llmsim.run(scenario(file, {"semantic_cache": {"threshold": threshold, "capacity": 100}}, order=order))
    requests = result.requests
    meanings = PromptMeanings(result.scenario.traffic.topics, Luck.of(5, 0))
    asked = [meanings(number).phrase for number in range(len(requests))]
    oracle = replay(asked, answer.tolist(), real_finder(vectors, 100)(), threshold, 100)
    found = requests["cache_match"].value_counts()
    counts = dict(zip(found["cache_match"], found["count"], strict=True))
    assert counts.get("exact", 0) == oracle.exact
    assert counts.get("semantic", 0) == oracle.hits - oracle.exact
    assert requests["false_hit"].sum() == oracle.wrong
    assert oracle.hits > oracle.exact or threshold > 0.8
    assert result.metrics["false_hit_rate"] == pytest.approx(oracle.wrong / len(requests))


@pytest.mark.slow
def test_without_intents_nobody_knows_what_was_wrong(tmp_path, corpus):
    file = write_csv(tmp_path / "log.csv", corpus[1], labelled=False)
    result = llmsim.run(scenario(file, {"semantic_cache": {"threshold": 0.75}}))
    match = result.requests["cache_match"]
    assert (match == "semantic").sum() > 50
    assert (match == "exact").sum() > 50
    unknown = result.requests["false_hit"].is_null()
    assert (unknown == (match == "semantic")).all(), "the same words are right whatever they mean"
    for name in ("false_hit_rate", "false_hits_per_hit", "outdated_rate", "false_hits_per_hit_upper"):
        assert math.isnan(result.metrics[name]), name
    assert result.metrics["cache_hit_rate"] > 0.2
    windows = result.windows
    assert windows["false_hits"].null_count() > 0 and not windows["false_hits"].sum()
    assert (windows["false_hits"].is_null() <= (windows["semantic_hits"] > 0)).all()
    assert "wrong answers unknown" in str(result)
    one = result.requests.filter(unknown).row(0, named=True)
    assert "right or wrong is unknown" in str(result.explain(f"{one['session']}/{one['step']}/{one['user_retry']}"))
    assert result.telemetry()["false_hit_rate"].is_null().any()
    strict = llmsim.run(scenario(file, {"semantic_cache": {"threshold": 1.0}}))
    assert strict.metrics["false_hit_rate"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.75, pytest.param(0.9, marks=pytest.mark.slow)])
def test_the_frontier_of_prompts_is_that_of_whole_runs(tmp_path, corpus, threshold):
    file = write_csv(tmp_path / "log.csv", corpus[1])
    loaded = llmsim.load(scenario(file, {"semantic_cache": {"threshold": threshold, "capacity": 100}}))
    whole = llmsim.run(loaded)
    (one,) = frontier(loaded, thresholds=(threshold,), ttls=()).points[0].tallies
    match = whole.requests["cache_match"].cast(str)
    assert (one.hits, one.exact) == ((match != "").sum(), (match == "exact").sum())
    assert one.wrong == whole.requests["false_hit"].sum()
    assert one.hits > one.exact


@pytest.mark.slow
def test_without_intents_the_frontier_does_not_know_either(tmp_path, corpus):
    file = write_csv(tmp_path / "log.csv", corpus[1], labelled=False)
    found = frontier(llmsim.load(scenario(file, {"semantic_cache": {}})), thresholds=(0.75, 1.0), ttls=())
    low, high = found.points
    assert math.isnan(low.wrong.value) and low.total("unknown") == low.total("hits") - low.total("exact")
    assert low.wrong.high > low.total("unknown") / low.total("requests")
    assert high.wrong.value == 0
    assert "without intents" in repr(found)
    with pytest.raises(LlmsimError, match="cannot be varied"):
        claim_table(found.scenario)


def test_the_same_seed_the_same_bytes(tmp_path, corpus):
    file = write_csv(tmp_path / "log.csv", corpus[1])
    one, other = (llmsim.run(scenario(file, {"semantic_cache": {"threshold": 0.8}})) for _ in range(2))
    assert one.event_hash == other.event_hash


@pytest.mark.slow
def test_vectors_are_made_only_where_somebody_may_compare_them(tmp_path, corpus, monkeypatch):
    file = write_csv(tmp_path / "log.csv", corpus[1])

    def refused(texts, progress=None):
        raise LlmsimError("write pip install 'llmsim[embeddings]'")

    monkeypatch.setattr(stores, "embed_prompts", refused)
    for policy in ({"retry": {}}, {"cache": {}}, {"semantic_cache": {"backend": "exact"}}):
        assert llmsim.run(scenario(file, policy)).metrics["error_rate"] == 0
    with pytest.raises(LlmsimError, match=r"llmsim\[embeddings\]"):
        llmsim.run(scenario(file, {"semantic_cache": {}}))
    plain = llmsim.load(scenario(file, {"retry": {}}))
    assert not needs_vectors(plain)

    async def gateway(request, providers):
        return await providers["openai"].send(request)

    assert needs_vectors(plain.with_gateway(gateway)), "it may open a store"


def test_what_to_install_is_said_where_there_is_no_model(monkeypatch):
    monkeypatch.undo()

    def absent(name):
        raise ModuleNotFoundError("No module named 'onnxruntime'")

    monkeypatch.setattr(stores, "import_module", absent)
    with pytest.raises(LlmsimError, match=r"onnxruntime.*pip install 'llmsim\[embeddings\]'"):
        stores.embed_prompts(["a"])


def test_an_interruption_while_embedding_is_one_of_the_run(tmp_path, corpus, monkeypatch):
    def interrupted(texts, progress=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(stores, "embed_prompts", interrupted)
    with pytest.raises(SimulationInterrupted) as caught:
        llmsim.run(scenario(write_csv(tmp_path / "log.csv", corpus[1]), {"semantic_cache": {}}))
    assert not caught.value.partial.replications
