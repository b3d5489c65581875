"""What a scenario says about what people ask: read, refused, noted; and what it does to a run."""

import dataclasses
import json

import numpy as np
import pytest
from stores.streams import tiny

import llmsim as ls
from llmsim.distributions import Exponential
from llmsim.errors import ScenarioError
from llmsim.luck import Luck
from llmsim.scenario.idle_topics import topic_notes
from llmsim.scenario.load import load_scenario
from llmsim.scenario.preflight import preflight
from llmsim.scenario.values import from_values, to_values
from llmsim.traffic.meanings import TRAP, Meanings
from llmsim.traffic.topics import AnswersChange, Topics, TrapKinds, Traps

SEMANTIC = [{"semantic_cache": {"threshold": "90%", "ttl": "10h"}}]


def load(topics, policies=(), **more):
    return load_scenario(
        {
            "version": 1,
            "replications": 1,
            "clock": {"warm_up": "1s", "duration": "10s", "drain": "10s"},
            "traffic": {"base_rate": "20/s", "topics": topics},
            "providers": {"a": {"ttft": "10ms", "inter_token": "0ms"}},
            "gateway": {"policies": list(policies)},
            **more,
        }
    )


ALL = {
    "zipf": {"unique": 500},
    "meanings": 60,
    "paraphrases": "20%",
    "phrasings": 7,
    "traps": {"share": "4%", "kinds": {"negation": "1%", "scope": "3%"}},
    "similarity": "clinc150",
    "answers_change": {"every": {"exponential": "6h"}},
}


def test_every_word_is_read():
    topics = load(ALL).traffic.topics
    assert (topics.meanings, topics.paraphrases, topics.phrasings) == (60, 0.2, 7)
    assert topics.traps == Traps(share=0.04, kinds=TrapKinds(negation=0.01, scope=0.03))
    assert (topics.trap_share, topics.trap_mix) == (0.04, (0.25, 0.0, 0.0, 0.75))
    assert topics.similarity == "clinc150"
    assert topics.answers_change == AnswersChange(every=Exponential(6 * 3600.0))


def test_a_share_of_traps_alone_is_of_all_kinds():
    topics = load({"traps": "3%"}).traffic.topics
    assert (topics.traps, topics.trap_share, topics.trap_mix) == (0.03, 0.03, (0.25,) * 4)
    assert Topics(traps=Traps(share=0.03)).trap_mix == topics.trap_mix


@pytest.mark.parametrize("topics", [ALL, {"traps": "3%"}])
def test_they_survive_being_written_down(topics):
    scenario = load(topics)
    assert from_values(to_values(scenario)) == scenario
    assert json.loads(json.dumps(to_values(scenario)))["traffic"]["topics"]


def test_they_can_be_swept():
    changed = load(ALL).with_values({"traffic.topics.traps.share": 0.1, "traffic.topics.similarity": "banking77"})
    assert (changed.traffic.topics.trap_share, changed.traffic.topics.similarity) == (0.1, "banking77")
    assert load({"traps": "3%"}).with_values({"traffic.topics.traps": 0.1}).traffic.topics.trap_share == 0.1


@pytest.mark.parametrize(
    ("topics", "path", "message"),
    [
        ({"phrasings": 3, "paraphrases": "0%"}, "phrasings", "no effect where nobody asks in other words"),
        ({"traps": {"share": "0%", "kinds": {"number": "1%"}}}, "traps.kinds", "no effect without traps"),
        ({"traps": {"share": "1%", "kinds": {"number": "0%"}}}, "traps.kinds", "there is no kind of trap"),
        ({"traps": {"share": "1%", "kinds": {"numbre": "1%"}}}, "traps.kinds.numbre", "unknown key 'numbre'"),
        ({"traps": {"kinds": {"number": "1%"}}}, "traps.share", "'share' is missing"),
        ({"traps": "many"}, "traps", "'many' is not a ratio"),
        ({"traps": "300%"}, "traps", "out of range"),
        ({"meanings": 5000}, "meanings", "1,000 questions cannot have 5,000 answers"),
        ({"meanings": 0}, "meanings", "0 is out of range"),
        ({"similarity": " "}, "similarity", "empty"),
        ({"answers_change": {"every": "0s"}}, "answers_change.every", "change all the time"),
        ({"answers_change": "6h"}, "answers_change", "needs a mapping"),
    ],
)
def test_what_makes_no_sense_is_refused(topics, path, message):
    with pytest.raises(ScenarioError) as caught:
        load(topics)
    (problem,) = caught.value.problems
    assert problem.path == f"traffic.topics.{path}"
    assert message in problem.message
    assert problem.hint


def test_a_file_is_found_beside_the_scenario(tmp_path):
    (tmp_path / "ours.json").write_text(json.dumps(tiny()))
    text = "version: 1\ntraffic: {{base_rate: 1/s, topics: {{similarity: {}}}}}\nproviders: {{a: {{}}}}\n"
    (tmp_path / "good.yaml").write_text(text.format("ours.json"))
    assert load_scenario(tmp_path / "good.yaml").traffic.topics.similarity == str(tmp_path / "ours.json")
    for wrong, meant in (("our.json", "ours.json"), ("banking", "banking77")):
        (tmp_path / "bad.yaml").write_text(text.format(wrong))
        with pytest.raises(ScenarioError, match=rf"bad.yaml:2:\d+.*there is no.*Did you mean {meant}\?"):
            load_scenario(tmp_path / "bad.yaml")
    (tmp_path / "ours.json").write_text(json.dumps(tiny(sizes="few")))
    with pytest.raises(ScenarioError, match=r"ours.json: sizes: must be a list"):
        load_scenario(tmp_path / "good.yaml")


@pytest.mark.parametrize(
    ("topics", "policies", "notes"),
    [
        (ALL, SEMANTIC, []),
        (ALL, [{"cache": {}}], ["topics.similarity, topics.meanings, topics.traps: without a semantic_cache"]),
        ({"answers_change": {"every": "6h"}}, [{"cache": {}}], []),
        ({"answers_change": {"every": "6h"}}, ["single_flight"], ["topics.answers_change has no effect"]),
        ({"paraphrases": "10%"}, [], []),
    ],
)
def test_words_that_move_nothing_under_this_gateway_are_noted(topics, policies, notes):
    scenario = load(topics, policies)
    told, found = preflight(scenario), topic_notes(scenario)
    assert len(found) == len(notes)
    assert all(one.startswith(note) for one, note in zip(found, notes, strict=True))
    assert all(f"note: {note}" in str(told) for note in notes)


def test_nothing_is_noted_where_code_may_keep_answers():
    @ls.policy
    async def own(request, call_next):
        return await call_next(request)

    assert preflight(load(ALL).with_gateway([own])).notes == ()


# -- runs --------------------------------------------------------------------------------------------------------------


def test_an_outdated_answer_of_any_cache_is_wrong():
    """One question, asked 20 times a second, whose answer changes every 4 s, and a cache that keeps one for 10 h."""
    topics = {"zipf": {"unique": 1}, "paraphrases": "0%"}
    for policies in ([{"cache": {"ttl": "10h"}}], SEMANTIC):
        lasting, changing = (
            ls.run(load({**topics, **more}, policies)).requests for more in ({}, {"answers_change": {"every": "4s"}})
        )
        assert lasting["cache_match"].to_list() == changing["cache_match"].to_list()
        assert lasting["false_hit"].sum() == 0
        hits = changing.filter(changing["cache_match"] != "")
        wrong = hits["false_hit"].to_list()
        assert wrong == sorted(wrong), "from the first change on, all of them"
        assert 0.5 < sum(wrong) / len(wrong) < 1


def test_questions_with_one_meaning_can_have_each_others_answers():
    topics = {"zipf": {"unique": 400, "s": 0.0}, "paraphrases": "0%", "similarity": "clinc150"}
    each, shared = (
        ls.run(load({**topics, **more}, [{"semantic_cache": {"threshold": "80%"}}])).requests
        for more in ({}, {"meanings": 2})
    )
    semantic = [sum(one["cache_match"] == "semantic") for one in (each, shared)]
    assert semantic[1] > 10 * max(semantic[0], 1)
    assert shared["false_hit"].sum() < semantic[1] / 4


@pytest.mark.slow
def test_traps_are_answered_wrongly_when_they_are_near_enough():
    topics = {"zipf": {"unique": 20, "s": 0.0}, "paraphrases": "0%", "traps": "10%"}
    scenario = load(topics, SEMANTIC)
    scenario = dataclasses.replace(scenario, clock=dataclasses.replace(scenario.clock, duration=300.0))
    rows = ls.run(scenario).requests
    meanings = Meanings(scenario.traffic.topics, Luck.of(scenario.seed, 0))
    trap = [meanings(index).kind >= TRAP for index in rows["session"]]
    wrong = rows["false_hit"].to_numpy()[np.array(trap)]
    assert len(wrong) > 500
    # 27.7 % of traps are at .90 or above, give or take 4 standard errors; few look like what is not in the cache yet.
    assert wrong.mean() == pytest.approx(0.277, abs=4 * (0.277 * 0.723 / len(wrong)) ** 0.5)
