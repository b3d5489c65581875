"""The page: one file that says everything and asks nothing of the network."""

import dataclasses
import re
from functools import cache
from html.parser import HTMLParser

import pytest
from report.results import scenario, spike
from telemetry.recorded import attempt, replication, request

from llmsim.report.expected import rehearsed_lines, rehearsed_verdict
from llmsim.report.page import to_page
from llmsim.report.page_index import to_index
from llmsim.report.providers_table import HEAD, provider_rows
from llmsim.report.result import Result
from llmsim.report.save import load_result


class Tags(HTMLParser):
    """Every tag with its attributes, and whether they close in order."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self, page):
        super().__init__()
        self.seen, self.open, self.texts = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.seen if name == tag]


def page_of(**changes):
    one = dataclasses.replace(scenario(), **changes)
    result = Result(one, [spike(number) for number in range(6 if not changes else 1)])
    return result, to_page(result, "llmsim run spike.yaml --seed 7")


@cache
def plain():
    return page_of()


def test_it_needs_nothing_from_elsewhere():
    _, page = plain()
    tags = Tags(page)
    assert not tags.open
    assert not tags.all("script") and not tags.all("iframe") and not tags.all("img")
    assert [link["href"] for link in tags.all("link")] == ["data:,"]  # or a browser asks for an icon
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert not re.search(r"url\((?!#)", page) and "@import" not in page
    assert len(page) < 2_000_000


def test_it_says_what_came_of_it_and_where_it_comes_from():
    result, page = plain()
    text = " ".join(Tags(page).texts)
    for line in result.slo:
        assert line.objective.text in text and line.shown in text
    for told in (result.event_hash, "llmsim run spike.yaml --seed 7", *result.advice):
        assert told in text
    # The worst: a request that failed after three attempts, told attempt by attempt.
    worst = result.requests.sort("attempts", descending=True)["request_id"][0]
    assert f"request {worst}" in text or worst in text
    assert text.count("rate_limited") >= 3


def test_what_people_wrote_is_text():
    _, page = page_of(description="<script>alert(1)</script> & so on", name="<b>spike</b>")
    tags = Tags(page)
    assert not tags.all("script") and not tags.all("b")
    assert any("<script>alert(1)</script> & so on" in text for text in tags.texts)


def test_providers():
    result, _ = plain()
    (row,) = [dict(zip(HEAD, row, strict=True)) for row in provider_rows(result) if row[0] == "openai"]
    attempts = result.attempts.filter(result.attempts["arrival_s"] >= 0)
    measured = attempts.filter(attempts["upstream"] == "openai")
    assert row["attempts"] == f"{measured.height / 6:,.0f}"
    limited = (measured["status"] == 429).sum() / measured.height
    assert abs(float(row["429"].split()[0]) / 100 - limited) < 0.001


@pytest.mark.parametrize(
    ("outcome", "status", "column"),
    [
        ("ok", 200, "ok"),
        ("rate_limited", 429, "429"),
        ("overloaded", 503, "5xx"),
        ("ttft_timeout", 0, "no answer in time"),
        ("stream_stalled", 200, "no answer in time"),
        ("auth_failed", 401, "other errors"),
        ("stream_broken", 200, "other errors"),
        ("cancelled", 200, "cancelled"),
    ],
)
def test_every_attempt_at_a_provider_is_in_one_column(outcome, status, column):
    calls = [attempt(outcome=outcome, status=status)]
    result = Result(scenario(), [replication([request()], calls)])
    row = dict(zip(HEAD, provider_rows(result)[0], strict=True))
    ends = {name: row[name] for name in HEAD[2:-3]}
    assert {name for name, share in ends.items() if share != "0 %"} == {column}
    assert ends[column] == "100 %"


@pytest.mark.slow
def test_it_says_what_a_check_said():
    """Lines that broke as expected, and lines that a check adds, stand there with the check's words."""
    expecting = scenario(expect={"fail": ["error_rate"]})
    result = Result(expecting, [spike(number) for number in range(6)])
    assert result.verdict == "FAIL"
    page = to_page(result)
    told = " ".join(Tags(page).texts)
    assert "small <day>: EXPECTED" in told and "The scenario expects these to break: error_rate." in told
    added = {
        "metric": "ttft p(95)", "expression": "not worse than the baseline", "shown": "1s → 2s", "verdict": "FAIL",
        "line": None, "reason": "p = 0.01",
    }  # fmt: skip
    checked = {"verdict": "FAIL", "slo": [*rehearsed_lines(result), added], "notes": ["of the check"]}
    told = " ".join(Tags(to_page(result, checked=checked)).texts)
    assert "small <day>: FAIL" in told and "not worse than the baseline" in told and "Note: of the check" in told
    words = re.findall(r'<td class="word (\w+)">', page)
    assert words == [line["verdict"] for line in rehearsed_lines(result)]


@pytest.mark.slow
def test_a_saved_result_is_judged_as_it_was(tmp_path):
    expecting = scenario(expect={"fail": ["error_rate", "recovery_time"]})
    result = Result(expecting, [spike(number) for number in range(6)])
    loaded = load_result(result.save(tmp_path))
    assert loaded.scenario.expect == expecting.expect
    assert rehearsed_verdict(loaded) == rehearsed_verdict(result) == "FAIL"  # recovery_time was to break, and holds
    assert rehearsed_lines(loaded) == rehearsed_lines(result)
    assert to_page(loaded, "again") == to_page(result, "again")


def test_an_index_lists_every_scenario_with_the_words_of_the_terminal():
    failed = {"metric": "ttft", "expression": "p(95) < 2s", "shown": "3s", "verdict": "FAIL", "excess": 1.5}
    worse = {**failed, "metric": "error_rate", "shown": "5 %", "excess": "Infinity"}
    pages = [
        {
            "file": "a b.yaml",
            "verdict": "FAIL",
            "slo": [failed, worse],
            "text": "✗ FAIL  <a>",
            "report": "out/a b.html",
        },
        {"file": "b.yaml", "verdict": "EXPECTED", "slo": [failed], "text": "✓ EXPECTED", "report": "out/b.html"},
        {"file": "c.yaml", "verdict": "NOT RUN", "reason": "not run: interrupted", "text": "· NOT RUN"},
    ]
    page = to_index(pages)
    tags = Tags(page)
    assert not tags.open and not tags.all("script")
    assert [link["href"] for link in tags.all("a")] == ["a%20b.html", "b.html"] * 2
    told = " ".join(tags.texts)
    assert "llmsim check: 1 FAIL, 1 EXPECTED, 1 NOT RUN" in told
    assert "✗ FAIL  <a>" in told and "error_rate  p(95) < 2s: 5 %" in told and "not run: interrupted" in told
    assert "ttft  p(95) < 2s: 3s" not in told  # the worst line only, and none of what was expected
