"""The semantic cache in scenarios: its books balance, and what it does in the background is somebody's."""

import pytest

import llmsim as ls

BASE = {
    "version": 1,
    "replications": 1,
    "seed": 3,
    "clock": {"duration": "60s"},
    "traffic": {
        "base_rate": "10/s",
        "topics": {"zipf": {"s": 1.0, "unique": 40}, "paraphrases": "20%"},
        "mix": [{"input_tokens": 500, "output_tokens": {"lognormal": {"p50": 60, "p99": 200}}}],
    },
    "providers": {"a": {"ttft": "400ms", "price": {"input": "$1/Mtok", "output": "$2/Mtok"}}},
    "store": {"embedding": {"latency": "0s"}, "lookup": "0s"},  # what is waited for is the upstream
}


def _run(settings, **more):
    return ls.run({**BASE, **more, "gateway": {"policies": [{"semantic_cache": settings}]}})


def _counts(frame, column):
    return dict(frame.group_by(column).len().iter_rows())


@pytest.fixture(scope="module")
def stale():
    return _run({"ttl": "5s", "stale_while_revalidate": "20s"})


def test_stale_answers_are_renewed_at_somebodys_cost(stale):
    rows, attempts = stale.requests, stale.attempts
    renewed = _counts(stale.events, "kind")["refreshed"]
    assert renewed > 50
    upstream = rows.filter(rows["served_from"] == "upstream").height
    assert attempts.height == upstream + renewed
    assert rows["cost_usd"].sum() == pytest.approx(attempts["cost_usd"].sum())
    assert stale.metrics["cost_usd"]["total"] == pytest.approx(attempts["cost_usd"].sum())
    keys = ["session", "step", "user_retry"]
    assert attempts.join(rows, on=keys, how="anti").is_empty()
    paid = attempts.join(rows.filter(rows["served_from"] == "cache"), on=keys, how="semi")
    assert paid.height == renewed
    assert rows["leaked_streams"].sum() == 0
    # What was asked anew is answered as it would have been: not with what the lab makes up for unknown requests.
    own = paid.filter(paid["outcome"] == "ok")["output_tokens"]
    assert own.n_unique() > 20
    assert own.mean() == pytest.approx(rows["output_tokens"].mean(), rel=0.2)


def test_renewing_delays_nobody_and_saves_waiting(stale):
    rows = stale.requests
    assert rows.filter(rows["served_from"] == "cache")["ttft_s"].max() == 0
    fixed = _run({"ttl": "5s"}).requests
    assert (rows["served_from"] == "cache").mean() > (fixed["served_from"] == "cache").mean() + 0.1


def test_what_is_embedded_searched_and_written_is_counted():
    rows = _run({"threshold": 0.9}).requests
    exact, asked = rows["cache_match"] == "exact", rows["vector_queries"].sum()
    assert asked == rows.filter(~exact).height
    assert rows["embedding_tokens"].sum() == 500 * asked
    assert rows["vector_writes"].sum() == (rows["served_from"] == "upstream").sum()
    assert (rows.filter(exact)["embedding_tokens"] == 0).all()


def test_a_known_refusal_is_no_answer_and_no_attempt():
    abort = {"name": "refuses", "provider": "a", "at": "0s", "duration": "60s", "abort": {"status": 400}}
    rows = _run({"negative_ttl": "1m"}, faults=[abort]).requests
    known = rows.filter(rows["cache_match"] == "negative")
    assert known.height > 200
    assert _counts(rows, "outcome") == {"bad_request": rows.height}
    assert (known["attempts"] == 0).all()
    assert not known["false_hit"].any()
    assert (rows.filter(rows["cache_match"] != "negative")["attempts"] == 1).all()


def test_the_same_luck_gives_the_same_run(stale):
    again = _run({"ttl": "5s", "stale_while_revalidate": "20s"})
    assert again.event_hash == stale.event_hash


def test_a_front_page_makes_few_calls_with_single_flight():
    crowd = {**BASE["traffic"], "base_rate": "200/s", "topics": {"zipf": {"s": 1.0, "unique": 5}, "paraphrases": "0%"}}
    alone, together = (
        _run({"single_flight": flight}, traffic=crowd, clock={"duration": "1s"}) for flight in (False, True)
    )
    assert together.attempts.height == 5
    assert alone.attempts.height > 50
