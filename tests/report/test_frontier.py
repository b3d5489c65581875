"""The threshold frontier of a scenario: numbers, the recommendation, how it shows itself."""

import dataclasses
import json
import math

import numpy as np
import pytest

from llmsim.api import load, run
from llmsim.errors import LlmsimError
from llmsim.report.frontier import THRESHOLDS, claim_table, frontier
from llmsim.report.frontier_result import Frontier, Point
from llmsim.report.frontier_runs import Tally
from llmsim.report.frontier_words import Tolerance, read_thresholds, read_tolerance, read_ttls
from llmsim.stores.frontier import Cache

INF, SLOW = math.inf, pytest.mark.slow

SCENARIO = {
    "version": 1,
    "name": "bot",
    "seed": 2,
    "replications": 3,
    "clock": {"warm_up": "20s", "duration": "60s", "drain": "30s"},
    "traffic": {
        "base_rate": "8/s",
        "topics": {"zipf": {"s": 1.0, "unique": 300}, "paraphrases": "40%", "traps": "5%"},
        "mix": [{"route": "chat", "input_tokens": 200, "output_tokens": 100}],
    },
    "providers": {"llm": {"ttft": "500ms", "price": {"input": "$1/Mtok", "output": "$4/Mtok"}}},
    "gateway": {"policies": [{"semantic_cache": {"threshold": 0.9, "ttl": "1h"}}]},
    "costs": {"embeddings": {"price": "$0.1/Mtok"}, "vector_store": {"queries": "$10/M", "writes": "$20/M"}},
}
FEW = (0.75, 0.85, 0.95)


@pytest.fixture(scope="module")
def bot():
    return load(SCENARIO)


@pytest.fixture(scope="module")
def found(bot):
    return frontier(bot, thresholds=FEW, tolerance="wrong < 5%", ttls=(10.0, INF))


@SLOW
def test_numbers_are_those_of_whole_runs(bot, found):
    point = found.points[1]
    # Writes end after the request has: `vector_writes` of its row does not have them yet, so they are left out here.
    changed = {"gateway.semantic_cache.threshold": point.threshold, "costs.vector_store.writes": 0.0}
    whole = run(bot.with_values(changed))
    cached = [sample.requests["served_from"].cast(str).eq("cache") for sample in whole.samples]
    assert [one.hits for one in point.tallies] == [int(one.sum()) for one in cached]
    assert [one.wrong for one in point.tallies] == [int(one.requests["false_hit"].sum()) for one in whole.samples]
    exact = [sample.requests["cache_match"].cast(str).eq("exact").sum() for sample in whole.samples]
    assert [one.exact for one in point.tallies] == exact
    assert point.mean("saved_usd") == pytest.approx(whole.metrics["saved_usd"], rel=0.02)
    parts = whole.metrics["cost_usd"]
    assert point.mean("embedding_usd") == pytest.approx(parts["embeddings"])
    written = point.mean("requests") - point.mean("hits")
    assert point.mean("store_usd") - written * 20e-6 == pytest.approx(parts["vector_store"])


@SLOW
def test_lower_thresholds_hit_more_and_are_wrong_more(found):
    hits = [point.hit_rate.value for point in found.points]
    wrong = [point.wrong.value for point in found.points]
    assert hits == sorted(hits, reverse=True)
    assert wrong == sorted(wrong, reverse=True)
    assert hits[-1] >= found.exact_only.hit_rate.value > 0.1
    for point in (*found.points, found.exact_only):
        assert point.exact_rate.value <= found.exact_only.hit_rate.value
        assert point.wrong.low <= point.wrong.value <= point.wrong.high


def test_money_is_net_of_what_the_cache_costs(found):
    for point in found.points:
        for one in point.tallies:
            searched = one.requests - one.exact
            assert one.embedding_usd == pytest.approx(searched * 200 * 0.1e-6)
            assert one.store_usd == pytest.approx(searched * 10e-6 + (one.requests - one.hits) * 20e-6, rel=0.02)
            assert one.saved_usd == pytest.approx(one.hits * (200 * 1e-6 + 100 * 4e-6))
            assert one.net_usd == one.saved_usd - one.embedding_usd - one.store_usd
    assert found.exact_only.tallies[0].embedding_usd == found.exact_only.tallies[0].store_usd == 0


def test_hits_wait_for_embedding_and_search_and_so_do_misses(found):
    base, point = found.nothing, found.points[0]
    assert base.mean("ttft_mean_s") == pytest.approx(0.5)
    one = point.tallies[0]
    semantic, missed = one.hits - one.exact, one.requests - one.hits
    waits_s = (one.ttft_mean_s * one.requests - missed * 0.5) / (semantic + missed)
    assert 9.6e-3 < waits_s < 12e-3  # an embedding, and a search among few


def test_life_is_short_or_long(found):
    short, ever = found.ttls
    assert short.ttl_s == 10 and ever.ttl_s == INF
    assert short.hit_rate.value < ever.hit_rate.value
    assert short.threshold == found.recommended.threshold


def changing(ttl, tolerance="wrong < 0.5%"):
    topics = {**SCENARIO["traffic"]["topics"], "answers_change": {"every": "30s"}}
    scenario = load({**SCENARIO, "replications": 1, "traffic": {**SCENARIO["traffic"], "topics": topics}})
    return frontier(scenario.with_values({"gateway.semantic_cache.ttl": ttl}), thresholds=(0.95,), tolerance=tolerance)


@SLOW
def test_lives_that_a_run_can_tell_apart():
    assert [point.ttl_s for point in changing(3600.0).ttls] == [4.0, 8.0, 20.0, 40.0, 3600.0]
    found = changing(40.0)
    assert [point.ttl_s for point in found.ttls] == [2.0, 4.0, 10.0, 20.0, 40.0]
    rates = [point.outdated.value for point in found.ttls]
    assert rates == sorted(rates) and rates[-1] > 2 * rates[0]


def test_where_even_equal_questions_are_answered_wrongly_it_is_the_life_that_is_too_long():
    assert "wrong: outdated, which a shorter ttl mends" in changing(3600.0, "wrong < 2%").headline


# -- the choice -----------------------------------------------------------------------------------------------------


def tally(wrong, requests=10_000, hits=5_000):
    return Tally(requests, hits, 1_000, wrong, 0, 0, wrong, 1.0, 0.5, 0.1, 0.1, 0.3, 1.0)


def made(bot, wrong, tolerance="wrong < 0.5%", hits=None):
    """A frontier with that many wrong answers at each threshold, ascending."""
    points = [
        Point(0.7 + 0.05 * number, INF, (tally(count, hits=5_000 if hits is None else hits[number]),))
        for number, count in enumerate(wrong)
    ]
    rest = Point(INF, INF, (tally(0),)), Point(math.nan, INF, (tally(0),))
    return Frontier(bot, tuple(points), *rest, (), read_tolerance(tolerance))


def test_the_lowest_threshold_whose_upper_bound_is_inside(bot):
    found = made(bot, [500, 45, 30, 0])
    assert found.points[1].wrong.value < 0.005 < found.points[1].wrong.high
    assert found.recommended is found.points[2]
    assert "threshold 0.8 for wrong < 0.5%" in found.headline


def test_a_lucky_dip_below_one_that_fails_does_not_count(bot):
    assert made(bot, [20, 80, 30, 0]).recommended.threshold == pytest.approx(0.8)


def test_none(bot):
    found = made(bot, [900, 800, 700, 600])
    assert found.recommended is None and not found.too_few
    assert "no threshold keeps wrong < 0.5%" in found.headline


def test_no_number_of_samples_shows_what_so_few_cannot(bot):
    found = made(bot, [0, 0, 0, 0], tolerance="wrong < 0.01%")
    assert found.recommended is None and found.too_few
    assert "too few samples" in found.headline and "10,000 requests" in found.headline and "0.0369 %" in found.headline


def test_thresholds_with_too_few_hits_are_passed_over(bot):
    found = made(bot, [500, 20, 5, 0], tolerance="wrong_of_hits < 1%", hits=[5000, 4000, 3000, 40])
    assert not found.tolerance.admits(found.points[3].wrong_of_hits.high)
    assert found.recommended is found.points[1]


def test_few_wrong_answers_come_in_groups_at_least_as_those_at_the_threshold_below():
    from llmsim.report.frontier import _points

    caches = [Cache(0.7), Cache(0.8), Cache(0.9)]
    columns = [(tally(50)._replace(wrong_squares=200),), (tally(3),), (tally(0),)]
    low, few, none = _points(caches, iter(columns))
    assert low.spread.effect == few.spread.effect == none.spread.effect == 4.0
    assert none.wrong.high == pytest.approx(4 * none.wrong.least_claim, rel=0.01)
    many = list(_points(caches[:2], iter([columns[0], (tally(40),)])))[1]
    assert many.spread.effect == 1.0


# -- how it shows itself --------------------------------------------------------------------------------------------


def test_it_shows_itself(found):
    text = repr(found)
    for part in ("0.750", "exact only", "of the bill", "95 % interval", found.headline, "Time to live 10s"):
        assert part in text
    assert "3 replications: what differs from one to the next is not in the intervals" in text
    assert found._repr_html_().startswith("<div") and "| threshold |" in found._repr_markdown_()


def test_as_values(found):
    page = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert page["recommended"] == found.recommended.threshold
    assert [row["sweep"] for row in page["points"]] == ["threshold"] * 3 + ["exact_only"] + ["ttl"] * 2
    row = page["points"][0]
    assert row["hits"] / row["requests"] == pytest.approx(row["hit_rate"])
    assert row["ttft_mean_saved_s"] == pytest.approx(0.5 - row["ttft_mean_s"])
    assert found.table.height == 6


@SLOW
def test_the_same_twice(bot, found):
    again = frontier(bot, thresholds=FEW, tolerance="wrong < 5%", ttls=(10.0, INF))
    assert again.table.equals(found.table)


def test_seed_and_replications(bot):
    one = frontier(bot, thresholds=(0.9,), seed=9, replications=1, ttls=())
    assert one.to_dict()["seed"] == 9
    assert one.to_dict()["replications"] == 1


@SLOW
def test_upstreams_that_are_busy_without_a_cache_are_said(bot):
    busy = bot.with_values({"providers.llm.concurrency": 18})
    found = frontier(busy, thresholds=(0.9,), replications=1)
    assert found.queue_s > 0.05 and "for a slot upstream" in repr(found)
    whole = run(busy.with_values({"gateway.semantic_cache.threshold": 0.9}), replications=1)
    assert found.points[0].hit_rate.value == pytest.approx(whole.metrics["cache_hit_rate"], abs=0.02)
    assert found.points[0].mean("ttft_mean_s") > whole.metrics["ttft_s"]["mean"]


@SLOW
def test_upstreams_that_fail_without_a_cache_are_said(bot):
    broken = bot.with_values({"providers.llm.errors.server_error": "5%"})
    assert "of the requests fail" in repr(frontier(broken, thresholds=(0.9,), replications=1))


def test_the_claim(bot):
    table = claim_table(bot, 0.4, skews=(0.0, 1.2), uniques=(2000,), thresholds=(0.75, 0.95), replications=2)
    rows = table.table
    assert rows.height == 2 * 3
    flat, steep = (rows.filter(rows["zipf_s"] == s) for s in (0.0, 1.2))
    assert (steep["exact_only_hit_rate"] > flat["exact_only_hit_rate"] + 0.1).all()
    assert (rows["holds"] == (rows["hit_rate"] >= 0.4)).all()
    assert (rows["net_saved_ratio"] < rows["hit_rate"] + 1e-9).all()
    text = str(table)
    assert "where 40 % of the calls are saved" in text
    assert text.count("✓") >= 1


@SLOW
def test_what_nobody_can_tell_is_unknown_and_at_worst_wrong(bot):
    found = made(bot, [40, 3, 0, 0])
    low, high, *strict = found.points
    unsure = Point(high.threshold, INF, (high.tallies[0]._replace(unknown=30),))
    found = dataclasses.replace(found, points=(low, unsure, *strict))
    assert math.isnan(unsure.wrong.value) and math.isnan(unsure.wrong_of_hits.value)
    assert unsure.wrong.low == high.wrong.low
    assert unsure.wrong.high == Point(0.8, INF, (tally(33),)).wrong.high
    assert found.recommended is unsure, "even if all of them were wrong"
    text = repr(found)
    assert "unknown" in found.headline and "up to 30 of them" in text and "nan" not in text
    assert "nan" not in found.plot().alt and found.plot().png()
    more = Point(high.threshold, INF, (high.tallies[0]._replace(unknown=60),))
    assert dataclasses.replace(found, points=(low, more, *strict)).recommended is strict[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"thresholds": {"chat": 0.97}}, "Routes with thresholds of their own keep them (chat 0.97)"),
        ({"verify_below": 0.97}, "verify_below 0.97) is left out"),
        ({"stale_while_revalidate": 60.0}, "stale_while_revalidate is left out"),
        ({"negative_ttl": 60.0}, "negative_ttl is left out"),
        ({"eviction": "lfu", "capacity_bytes": 1e6, "ttl_from": "used"}, ""),
    ],
)
def test_what_the_pass_leaves_out_is_said(bot, changes, said):
    values = {f"gateway.semantic_cache.{name}": one for name, one in changes.items()}
    if "verify_below" in changes:
        values |= {"store.judge": {"accept_right": "95%", "accept_wrong": "10%"}}
    told = [note for note in made(bot.with_values(values), [0, 0]).notes if "left out" in note or "Routes" in note]
    assert len(told) == bool(said)
    assert all(said in note for note in told)


def test_trouble_of_the_store_is_left_out_and_said(bot):
    faults = [{"name": "gone", "store": "semantic_cache", "at": "10s", "duration": "10s", "outage": True}]
    troubled = load({**SCENARIO, "faults": faults, "store": {"loss": "1%", "embedding": {"failures": "2%"}}})
    (told,) = [note for note in made(troubled, [0, 0]).notes if "left out" in note]
    assert "store.embedding.failures, store.loss, the fault 'gone'" in told


@SLOW
def test_room_bytes_and_delays_are_those_of_the_store(bot):
    slow = bot.with_values({
        "store.embedding.latency": "80ms", "store.lookup": "15ms", "store.round_trip": "5ms",
        "store.vector_bytes": 4096.0, "store.capacity": 50, "costs.vector_store.storage": "$100/GB-month",
    })  # fmt: skip
    found = frontier(slow, thresholds=(0.85,), ttls=(), replications=1)
    changed = {"gateway.semantic_cache.threshold": 0.85, "costs.vector_store.writes": 0.0}
    whole = run(slow.with_values(changed), replications=1)
    point = found.points[0]
    assert point.hit_rate.value == pytest.approx(whole.metrics["cache_hit_rate"], abs=0.01)
    written = (point.tallies[0].requests - point.tallies[0].hits) * 20e-6
    assert point.mean("store_usd") - written == pytest.approx(whole.metrics["cost_usd"]["vector_store"], rel=0.02)
    assert point.mean("ttft_mean_s") == pytest.approx(whole.metrics["ttft_s"]["mean"], rel=0.02)
    roomy = frontier(bot, thresholds=(0.85,), ttls=(), replications=1)
    assert roomy.points[0].hit_rate.value > point.hit_rate.value + 0.02


# -- words ----------------------------------------------------------------------------------------------------------


def without(*path):
    page = json.loads(json.dumps(SCENARIO))
    inner = page
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return load(page)


@pytest.mark.parametrize(
    ("scenario", "options", "said"),
    [
        (lambda: without("gateway"), {}, "semantic_cache: {threshold: 0.92}"),
        (lambda: without("traffic", "topics"), {}, "topics: {zipf:"),
        (lambda: load(SCENARIO).with_values({"gateway.semantic_cache.backend": "exact"}), {}, "memory"),
        (lambda: load(SCENARIO), {"thresholds": (0.9, 1.2)}, "1.2 is out of range"),
        (lambda: load(SCENARIO), {"thresholds": (0.0,)}, "0 is out of range"),
        (lambda: load(SCENARIO), {"thresholds": ()}, "there are none"),
        (lambda: load(SCENARIO), {"ttls": (-1.0,)}, "-1 is out of range"),
        (lambda: load(SCENARIO), {"tolerance": "rong < 1%"}, "did you mean wrong"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(scenario, options, said, monkeypatch):
    monkeypatch.setattr("llmsim.report.frontier.observe", lambda *_: pytest.fail("it ran"))
    with pytest.raises(LlmsimError, match=said.replace("{", r"\{").replace("?", r"\?")):
        frontier(scenario(), **options)


@pytest.mark.parametrize(
    "text", ["wrong", "wrong > 1%", "wrong < 0%", "wrong < 200%", "wrong < x", "< 1%", "hits < 1%", ""]
)
def test_tolerances_that_are_none(text):
    with pytest.raises(LlmsimError, match="tolerance"):
        read_tolerance(text)


def test_tolerances():
    assert read_tolerance("wrong < 0.5%") == Tolerance(0.005)
    assert read_tolerance(" wrong_of_hits <= 0.02 ") == Tolerance(0.02, of_hits=True, equal=True)
    assert Tolerance(0.01).admits(0.0099) and not Tolerance(0.01).admits(0.01)
    assert Tolerance(0.01, equal=True).admits(0.01)


def test_thresholds_as_written():
    assert read_thresholds("0.70:0.99:20") == THRESHOLDS
    assert read_thresholds("0.9") == (0.9,)
    for text in ("0.9:0.7:3", "0.7:0.9", "0.7:0.9:1", "a", "0.7:0.9:x", ""):
        with pytest.raises(LlmsimError, match=r"0\.70:0\.99:20"):
            read_thresholds(text)
    with pytest.raises(LlmsimError, match="soon"):
        read_ttls("5m,soon")


@SLOW
@pytest.mark.parametrize("ttls", [(10.0, 60.0, INF), ()])
def test_the_picture(bot, ttls):
    picture = frontier(bot, thresholds=FEW, replications=1, ttls=ttls).plot()
    data, meta = picture._repr_mimebundle_()
    assert data["text/plain"] == meta["image/png"]["alt"] == picture.alt
    assert "Panels by threshold: hits from" in picture.alt and "nan" not in picture.alt
    assert ("outdated" in picture.alt) == bool(ttls)
    assert len(picture.png()) < 150_000
    titles = [ax.get_title(loc="left") for ax in picture.axes]
    assert any("time to live" in one for one in titles) == bool(ttls)


@SLOW
def test_pictures_of_little(bot):
    free = bot.with_values({"providers.llm.price": {"input": 0, "output": 0}})
    assert any("time to first token" in ax.get_title(loc="left") for ax in frontier(free, replications=1).plot().axes)
    silent = bot.with_values({"traffic.base_rate": 0.001})
    found = frontier(silent, thresholds=(0.9,), replications=1, ttls=(10.0,))
    assert found.too_few
    assert found.plot().png()


def test_into_axes_of_ones_own(found):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert found.plot(ax=ax) is ax
    assert ax.has_data()
    assert ax.get_xscale() == "log"


@SLOW
def test_from_a_result(bot):
    result = run(bot, replications=1)
    picture = result.plot.cache_frontier(thresholds=(0.8, 0.9))
    assert "bot" in picture.alt
    again = frontier(bot, thresholds=(0.8, 0.9), replications=1)
    assert np.isfinite(again.points[0].hit_rate.value)
    assert picture.alt == again.plot().alt
