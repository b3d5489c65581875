"""What each arrival asks for."""

import math
import time
from functools import cache

import numpy as np
import pytest

from llmsim.distributions import Constant, Exponential, Lognormal
from llmsim.luck import Luck
from llmsim.traffic.spec import Route, Topics, Traffic, Zipf
from llmsim.traffic.workload import Workload, World
from llmsim.types import Request

CHAT = Route(
    route="chat", weight=0.6, input_tokens=Lognormal(p50=900, p99=12000), output_tokens=Lognormal(p50=220, p99=1800)
)
RAG = Route(
    route="rag", weight=0.2, input_tokens=Constant(8000), output_tokens=Constant(50), expects="json", tenant="acme"
)
LONG = Route(route="long", weight=0.2, output_tokens=Exponential(500.0), max_tokens=700, stream=False, priority=3)
MIX = Traffic(base_rate=1.0, mix=(CHAT, RAG, LONG), users=50, patience=Exponential(20.0))
COUNT = 10_000


@cache  # several tests look at the same ten thousand
def _rows(traffic, count=COUNT, seed=1):
    workload = Workload(traffic, Luck(seed))
    return [workload(index) for index in range(count)]


def _close(share, expected, count=COUNT):
    return abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / count)


def test_the_mix_has_its_shares_and_each_route_its_own_sizes():
    rows = _rows(MIX)
    by_route = {name: [row for row in rows if row[0].route == name] for name in ("chat", "rag", "long")}
    for name, share in (("chat", 0.6), ("rag", 0.2), ("long", 0.2)):
        assert _close(len(by_route[name]) / COUNT, share)
    assert {(request.input_tokens, truth.output_tokens) for request, truth in by_route["rag"]} == {(8000, 50)}
    inputs = np.array([request.input_tokens for request, _ in by_route["chat"]])
    assert _close((inputs <= 900).mean(), 0.5, len(inputs))
    assert _close((inputs <= 12000).mean(), 0.99, len(inputs))
    outputs = np.array([truth.output_tokens for _, truth in by_route["long"]])
    assert _close((outputs >= 700).mean(), math.exp(-699.5 / 500), len(outputs)), "max_tokens is the provider's affair"
    assert outputs.min() >= 1


def test_a_route_says_how_it_is_asked():
    request = next(request for request, _ in _rows(MIX, 200) if request.route == "rag")
    assert (request.tenant, request.stream, request.priority, request.max_tokens) == ("acme", True, 0, None)
    assert request.response_schema is not None
    request = next(request for request, _ in _rows(MIX, 200) if request.route == "long")
    assert (request.tenant, request.stream, request.priority, request.max_tokens) == ("", False, 3, 700)
    assert request.response_schema is None


def test_weights_need_not_add_up_to_one():
    doubled = Traffic(base_rate=1.0, mix=(Route(route="a", weight=0.3), Route(route="b", weight=0.1)))
    assert _close(sum(request.route == "a" for request, _ in _rows(doubled)) / COUNT, 0.75)


def test_a_route_of_weight_zero_never_comes():
    traffic = Traffic(base_rate=1.0, mix=(Route(route="a", weight=0.0), Route(route="b"), Route(route="c", weight=0.0)))
    assert {request.route for request, _ in _rows(traffic)} == {"b"}


def test_users_and_patience():
    rows = _rows(MIX)
    users = [request.user for request, _ in rows]
    assert len(set(users)) == 50
    counts = np.unique(users, return_counts=True)[1]
    assert ((counts - 200) ** 2 / 200).sum() < 49 + 4 * math.sqrt(2 * 49), "evenly: chi-squared"
    patience = np.array([truth.patience_s for _, truth in rows])
    assert patience.mean() == pytest.approx(20.0, rel=4 / math.sqrt(COUNT))
    assert {truth.patience_s for _, truth in _rows(Traffic(base_rate=1.0), 100)} == {math.inf}


def test_topics_follow_zipf_and_paraphrases_their_share():
    traffic = Traffic(base_rate=1.0, topics=Topics(zipf=Zipf(s=1.0, unique=100), paraphrases=0.3))
    questions = [request.messages[0].content for request, _ in _rows(traffic)]
    own_words = [question for question in questions if "in the words of" in question]
    assert _close(len(own_words) / COUNT, 0.3)
    assert len(set(own_words)) == len(own_words), "a paraphrase matches nothing"
    plain = [question for question in questions if "in the words of" not in question]
    harmonic = sum(1 / k for k in range(1, 101))
    names, counts = np.unique(plain, return_counts=True)
    ranked = np.sort(counts)[::-1]
    assert len(names) <= 100
    assert _close(ranked[0] / len(plain), 1 / harmonic, len(plain))
    assert _close(ranked[1] / len(plain), 1 / 2 / harmonic, len(plain))


def test_without_topics_every_question_is_new():
    questions = {request.messages[0].content for request, _ in _rows(Traffic(base_rate=1.0))}
    assert len(questions) == COUNT


def test_rows_depend_on_their_number_alone():
    forwards = _rows(MIX, 5000)
    workload = Workload(MIX, Luck(1))
    for index in (4999, 0, 1023, 1024, 3000, 2):
        request, truth = workload(index)
        assert request == forwards[index][0]
        assert (truth.output_tokens, truth.patience_s) == (
            forwards[index][1].output_tokens,
            forwards[index][1].patience_s,
        )
    assert [request.id for request, _ in forwards[:2]] == ["0/0/0", "1/0/0"]
    assert [row[0] for row in _rows(MIX, 100, seed=2)] != [row[0] for row in forwards[:100]]


def test_a_change_of_one_thing_leaves_the_others_alone():
    from dataclasses import replace

    before, after = _rows(MIX, 3000), _rows(replace(MIX, patience=None, users=7, topics=Topics()), 3000)
    for (request, truth), (other, other_truth) in zip(before, after, strict=True):
        assert (request.route, request.input_tokens) == (other.route, other.input_tokens)
        assert truth.output_tokens == other_truth.output_tokens


def test_many_virtual_users_in_any_order_cost_no_more_than_in_order():
    """A closed loop asks for row iteration × users + user, and the fast users are iterations ahead of the slow."""
    rng = np.random.default_rng(1)
    seconds = {}
    for name, order in {"in order": np.arange(4000), "mixed": rng.permutation(4000)}.items():
        workload = Workload(Traffic(executor="constant-vus", vus=2000, mix=MIX.mix), Luck(1))
        start = time.process_time()
        for index in order.tolist():
            workload(index)
        seconds[name] = time.process_time() - start
    assert seconds["mixed"] < 10 * seconds["in order"] + 0.2


def test_a_request_that_a_policy_made_up_has_a_truth_too():
    world = World()
    own = Request("my own id", max_tokens=30)
    assert world.truth(own).output_tokens == 30
    assert world.truth(own) is world.truth(own)
    assert world.truth(Request("other")).output_tokens == 100
    assert (world.truth(Request("7/2/1")).index, world.truth(Request("7/2/1")).step) == (7, 2)
