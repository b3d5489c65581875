"""The page: one file that says everything and asks nothing of the network."""

import dataclasses
import re
from functools import cache
from html.parser import HTMLParser

from report.results import scenario, spike

from llmsim.report.page import to_page
from llmsim.report.providers_table import HEAD, provider_rows
from llmsim.report.result import Result


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


NAME, DESCRIPTION = "<b>spike</b>", "<script>alert(1)</script> & so on"


@cache  # a second, most of it for the pictures
def page_of():
    one = dataclasses.replace(scenario(), name=NAME, description=DESCRIPTION)
    result = Result(one, [spike(number) for number in range(6)])
    return result, to_page(result, "llmsim run spike.yaml --seed 7")


def test_it_needs_nothing_from_elsewhere():
    _, page = page_of()
    tags = Tags(page)
    assert not tags.open
    assert not tags.all("script") and not tags.all("link") and not tags.all("iframe")
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in tags.all("img"))
    assert len(tags.all("img")) >= 3
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "url(" not in page and "@import" not in page
    assert len(page) < 2_000_000


def test_it_says_what_came_of_it_and_where_it_comes_from():
    result, page = page_of()
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
    _, page = page_of()
    tags = Tags(page)
    assert not tags.all("script") and not tags.all("b")
    assert any(DESCRIPTION in text for text in tags.texts)


def test_providers():
    result, _ = page_of()
    (row,) = [dict(zip(HEAD, row, strict=True)) for row in provider_rows(result) if row[0] == "openai"]
    attempts = result.attempts.filter(result.attempts["arrival_s"] >= 0)
    measured = attempts.filter(attempts["upstream"] == "openai")
    assert row["attempts"] == f"{measured.height / 6:,.0f}"
    limited = (measured["status"] == 429).sum() / measured.height
    assert abs(float(row["429"].split()[0]) / 100 - limited) < 0.001
