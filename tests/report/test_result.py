import json
import math
import re
from html.parser import HTMLParser

import pytest
from report.results import result, scenario, spike
from telemetry.recorded import numbered, replication, request

from llmsim.report.figures import MISSING
from llmsim.report.result import Result
from llmsim.telemetry.recorder import event_hash

DESIGN_METRICS = {
    "requests", "error_rate", "ttft_s", "ttft_ok_s", "e2e_s", "tpot_s", "cost_usd", "cost_per_ok_usd", "cache_hit_rate",
    "exact_hit_rate", "false_hit_rate", "fallback_rate", "fallback_activations", "retry_amplification",
    "recovery_time_s", "goodput_per_s",
}  # fmt: skip


@pytest.fixture(scope="module")
def day():
    return result(6)


@pytest.fixture(scope="module")
def nothing():
    return Result(scenario(), [], requested=20, partial=True)


def test_one_strict_json_object(day):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    page = json.loads(day.to_json(), parse_constant=refuse)
    assert page.keys() >= {
        "scenario", "seed", "replications", "verdict", "simulated_s", "wall_s", "event_hash", "metrics", "slo",
    }  # fmt: skip
    assert page["metrics"].keys() >= DESIGN_METRICS
    assert page["metrics"]["ttft_s"].keys() == {"mean", "p50", "p90", "p95", "p99"}
    assert page["slo"][0].keys() >= {"metric", "expression", "measured", "interval", "verdict", "line"}
    assert page["metrics"]["ttft_s"]["p99"] == "Infinity"  # what Python's float() and JavaScript's Number() both read
    assert float(page["metrics"]["ttft_s"]["p99"]) == math.inf
    assert (page["replications"], page["seed"], page["simulated_s"]) == (6, 7, 6 * 120.0)


def test_cost_parts_add_up(day):
    parts = dict(day.metrics["cost_usd"])
    total = parts.pop("total")
    assert math.isclose(sum(parts.values()), total, abs_tol=1e-9)
    assert total == pytest.approx(day.requests.filter(day.requests["window"] == "measured")["cost_usd"].sum() / 6)


def test_latencies_are_medians_and_counts_are_means():
    runs = [
        replication(numbered([request(ttft_s=ttft, cost_usd=0.5)] * count), number=number)
        for number, (ttft, count) in enumerate([(1.0, 10), (2.0, 20), (9.0, 60)])
    ]
    told = Result(scenario(), runs).metrics
    assert told["ttft_s"]["p90"] == 2.0
    assert told["ttft_s"]["p99"] != told["ttft_s"]["p99"]  # NaN: no replication has 100 requests
    assert told["ttft_s"]["p95"] == 5.5  # the two that have 20
    assert told["requests"] == 30.0


def test_the_hash_is_that_of_the_tables(day):
    assert day.event_hash == event_hash([one.tables for one in day.replications])
    assert result(6).event_hash == day.event_hash != result(6, seed=2).event_hash


def test_the_same_result_says_the_same(day):
    again = result(6)
    assert again.to_json() == day.to_json()
    assert repr(again) == repr(day)
    assert again._repr_html_() == day._repr_html_()


def test_text(day):
    text = repr(day)
    assert text.startswith("✗ small <day>: FAIL\n  6 replications, 12m simulated in 1.5s, seed 7, hash ")
    assert re.search(r"✗  error_rate  value < 1%\s+\d.* %\s+.* … .* %\s+FAIL", text)
    assert "Why: " in text
    assert max(map(len, text.splitlines())) < 160
    assert "nan" not in text
    assert "None" not in text


@pytest.mark.parametrize("form", ["__repr__", "_repr_html_", "_repr_markdown_", "to_json"])
def test_interrupted_results_say_so_and_empty_ones_work(form, nothing):
    for one in (nothing, result(1, partial=True), Result(scenario(), [replication()], partial=True)):
        text = getattr(one, form)()
        assert '"partial": true' in text if form == "to_json" else "partial: interrupted" in text
        assert not re.search(r"\bnan\b", text.lower())  # a name may hold these letters
    assert "before the first look" in repr(nothing)


def test_missing_is_a_dash_and_never_a_zero():
    one = Result(scenario(slo={"ttft": ["p(95) < 2s"]}), [replication([request()])])
    assert one.to_dict()["metrics"]["ttft_s"]["p95"] is None
    assert re.search(rf"ttft  p\(95\) < 2s\s+{MISSING}\s+{MISSING}", repr(one))
    assert "p95 0s" not in repr(one)
    assert re.search(r"\n  ttft +p", repr(one)) is None  # one request has no percentiles


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], set(), ""

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        assert "style" not in dict(attributes)
        assert "bgcolor" not in dict(attributes)
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_html_needs_no_style_and_lets_nothing_in(day):
    html = day._repr_html_()
    page = _Page()
    page.feed(html)
    assert page.open == []
    assert not page.seen & {"style", "script", "link", "iframe"}
    # Everything a reader needs is text: a page with all CSS and colour stripped says the same.
    for word in ("FAIL", "error_rate", "value < 1%", "retry amplification", "Why", "small <day>"):
        assert word in page.text
    assert "small &lt;day&gt;" in html


def test_markdown_survives_names_with_pipes():
    given = scenario(
        name="a|b <i>", slo={"ttft{route:a|b}": ["p(90) < 2s"]}, traffic={"base_rate": "4/s", "mix": [{"route": "a|b"}]}
    )
    text = Result(given, [spike()])._repr_markdown_()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "<i>" not in text
    assert all(line.count("|") - line.count("\\|") in (4, 6, 3) for line in rows)


@pytest.mark.slow
def test_early_stops_are_shown():
    assert "10 replications of at most 40" in repr(result(10, requested=40))


def test_notes_are_shown_once():
    runs = [replication([request()], number=n, notes=["3 requests had not ended"]) for n in range(2)]
    assert "Note: 3 requests had not ended (in 2 replications)" in repr(Result(scenario(), runs))


def test_frames_are_made_once(day):
    assert day.requests is day.requests
    assert day.windows is day.windows


def test_a_gateway_of_ones_own_leaves_the_false_hit_rate_open():
    async def mine(request, providers):
        return await providers["openai"].send(request)

    # Its own cache says nothing about how it matched.
    one = Result(scenario().with_gateway(mine), [spike(match="")])
    assert math.isnan(one.metrics["false_hit_rate"])
    assert one.to_dict()["metrics"]["false_hit_rate"] is None
    assert "wrong answers unknown" in repr(one)
    assert Result(scenario(), [spike()]).metrics["false_hit_rate"] == 0.0
