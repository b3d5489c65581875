"""Who was given whose answers."""

import math

import pytest
from telemetry.recorded import replication, request, sample

from llmsim.telemetry.metrics import evaluate
from llmsim.telemetry.scopes import crossings


def hit(session, made_for="", **fields):
    return request(
        session=session, served_from="cache", served_by="cache", attempts=0, made_for=made_for,
        cache_match="exact" if made_for else "", e2e_s=0.0, ttft_s=0.0, **fields,
    )  # fmt: skip


ROWS = [
    request(session=0, tenant="a", user="u1"),
    request(session=1, tenant="b", user="u9", arrival_s=1.0),
    hit(2, "0/0/0", tenant="a", user="u1", arrival_s=5.0),
    hit(3, "0/0/0", tenant="a", user="u2", arrival_s=5.0),
    hit(4, "0/0/0", tenant="b", user="u1", arrival_s=5.0),
    hit(5, "0/0/0", tenant="b", outcome="abandoned", arrival_s=5.0),
]


@pytest.mark.parametrize(("scope", "expected"), [("global", set()), ("tenant", {4}), ("user", {3, 4})], ids=str)
def test_by_the_scope_of_the_policy(scope, expected):
    column, known = crossings(replication(ROWS).tables["requests"], scope)
    assert known
    assert set(column.values.nonzero()[0].tolist()) == expected


def test_of_a_cache_of_ones_own_what_nobody_of_the_tenant_had_an_answer_to():
    topics = {0: 7, 1: 8, 2: 7, 3: 7, 4: 8, 5: 7, 6: 7}
    rows = [
        request(session=0, tenant="a"),  # about 7, answered at 1.5 s
        request(session=1, tenant="b"),  # about 8
        hit(2, tenant="a", arrival_s=5.0),  # may be its own
        hit(3, tenant="b", arrival_s=5.0),  # nobody of b had one about 7
        hit(4, tenant="b", arrival_s=5.0),
        hit(5, tenant="a", arrival_s=1.0),  # before the answer was there
        hit(6, tenant="b", arrival_s=9.0, step=1),  # a later step: nothing is known about it
    ]
    tables = replication(rows).tables["requests"]
    column, known = crossings(tables, "tenant", topics.__getitem__)
    assert known
    assert column.values.nonzero()[0].tolist() == [3, 5]
    column, known = crossings(tables, "tenant")
    assert not known
    assert not column.values.any()


def test_the_metric_is_missing_where_it_cannot_be_told():
    own = [request(), hit(1)]
    assert math.isnan(evaluate(sample(own), "cross_scope_hits"))
    assert evaluate(sample(own, counters={"cross_scope_known": 1.0}), "cross_scope_hits") == 0
    assert evaluate(sample([hit(1, "0/0/0", cross_scope=True, tenant="b")]), "cross_scope_hits") == 1
    tagged = sample([hit(1, "0/0/0", cross_scope=True, tenant="b"), hit(2, "0/0/0", tenant="a")])
    assert evaluate(tagged, "cross_scope_hits", tags=(("tenant", "a"),)) == 0


def test_answers_of_another_tenant_are_counted_whatever_the_scope_says():
    rows = [hit(1, "0/0/0", cross_tenant=True), hit(2, "0/0/0")]
    assert evaluate(sample(rows), "cross_tenant_hits") == 1
    assert evaluate(sample(rows), "cross_scope_hits") == 0
    assert math.isnan(evaluate(sample([hit(1)], counters={"cross_scope_known": 1.0}), "cross_tenant_hits"))
