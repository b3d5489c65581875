"""What people see of costs: the bill, the month, and tables by whatever a request has."""

import math
import re

import numpy as np
import polars as pl
import pytest
from report.results import result, scenario
from telemetry.recorded import attempt, numbered, replication, request

from llmsim.errors import LlmsimError
from llmsim.report.bill import _interval_of_mean
from llmsim.report.result import Result
from llmsim.scenario.load import load_scenario
from llmsim.scenario.values import from_values, to_values

LOGS = {"observability": {"price": "$0.50/GB", "bytes_per_request": "2kB", "bytes_per_attempt": "1kB"}}


def priced(number, requests, seconds=100.0):
    """Requests of 100 + 11 tokens at $1/M and $2/M: $0.000122 each, and 3 kB of logs."""
    rows = numbered([request(arrival_s=n * 0.5, route=f"r{n % 2}") for n in range(requests)])
    tries = [attempt(session=n, cost_usd=1.22e-4) for n in range(requests)]
    return replication(rows, tries, number=number, simulated_s=seconds)


@pytest.fixture(scope="module")
def day():
    return Result(scenario(costs=LOGS), [priced(0, 10), priced(1, 30)])


def test_the_section_of_a_scenario_comes_back_as_it_was():
    told = {"observability": LOGS["observability"], "vector_store": {"storage": "$0.33/GB-month", "queries": "$16/M"}}
    given = scenario(costs=told)
    assert given.costs.observability.price == 0.5e-9
    assert given.costs.vector_store.queries == 16e-6
    assert from_values(to_values(given)) == given
    assert given.with_values({"costs.observability.price": "$1/GB"}).costs.observability.price == 1e-9
    assert (
        load_scenario(
            {"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"a": {}}}
        ).costs.vector_store.queries
        == 0
    )


def test_the_bill_is_a_mean_and_adds_up(day):
    table = day.bill.table
    assert table["usd"].sum() == pytest.approx(20 * (1.22e-4 + 3000 * 0.5e-9), abs=1e-12)
    assert table["usd"].sum() == pytest.approx(day.metrics["cost_usd"]["total"], abs=1e-12)
    assert table["share"].sum() == pytest.approx(1.0)
    told = {(row["part"], row["what"]): (row["quantity"], row["unit"]) for row in table.to_dicts()}
    assert told == {
        ("useful", "input"): (2000.0, "tokens"),
        ("useful", "output"): (220.0, "tokens"),
        ("observability", "of requests"): (40_000.0, "bytes"),
        ("observability", "of attempts"): (20_000.0, "bytes"),
    }


def test_the_bill_shows_itself_everywhere(day):
    text = str(day.bill)
    assert re.search(r"useful +input +2,000 tokens +\$0\.002 ", text)
    assert re.search(r"observability +of requests +40 kB +\$0\.00002 ", text)
    assert re.search(r"total +\$0\.00247 +100 %$", text)
    assert "| useful | input | 2,000 tokens | $0.002 |" in day.bill._repr_markdown_()
    page = day.bill._repr_html_()
    assert '<td align="right" nowrap>40 kB</td>' in page
    assert "small &lt;day&gt;" in page


def test_costs_by_route_and_upstream_and_over_time(day):
    table = day.costs("route")
    assert table["route"].to_list() == ["r0", "r1"]
    assert table["requests"].to_list() == [10.0, 10.0]  # means of 5 and 15
    assert table["per_ok_usd"].to_list() == pytest.approx([1.235e-4] * 2)
    each = day.costs("route", replications=True)
    assert each.select("replication", "requests").rows() == [(0, 5), (0, 5), (1, 15), (1, 15)]
    total = day.metrics["cost_usd"]["total"]
    for by, window in ((None, None), ("route", None), (["tenant", "upstream"], None), ("user", "10s"), (None, 30.0)):
        assert day.costs(by, window=window)["total_usd"].sum() == pytest.approx(total, abs=1e-9)
    assert day.costs(window="30s").select("start_s", "end_s").rows() == [(0.0, 30.0)]


def test_wrong_words(day):
    with pytest.raises(LlmsimError, match="did you mean 'route'"):
        day.costs("rout")
    with pytest.raises(LlmsimError, match="window: 'soon' is not a duration"):
        day.costs(window="soon")
    with pytest.raises(LlmsimError, match="window='10s'"):
        day.costs(window=0)
    with pytest.raises(LlmsimError, match="no replication"):
        Result(scenario(), []).costs()


def test_a_month(day):
    each = 1.235e-4
    month = day.monthly(1e6)
    assert month.total_usd == pytest.approx(1e6 * each)
    assert math.fsum(month.parts.values()) == pytest.approx(month.total_usd, abs=1e-9)
    assert month.interval_usd == pytest.approx((1e6 * each, 1e6 * each))  # every replication costs the same a request
    assert day.monthly().requests == 4 * 730 * 3600  # 4/s
    assert "the base rate of 4/s all the time" in str(day.monthly())
    assert "the 40 requests measured in 2 replications" in str(day.monthly())
    assert "faults as often" in str(day.monthly())
    assert "| total | $123.50 |" in month._repr_markdown_()
    assert Result(scenario(), [priced(0, 10)]).monthly().interval_usd is None
    with pytest.raises(LlmsimError, match="requests is 0; give the requests of a month"):
        day.monthly(0)
    with pytest.raises(LlmsimError, match="no request was measured"):
        Result(scenario(), [replication()]).monthly()


def test_storage_is_paid_by_time_and_not_by_request():
    one = priced(0, 10)._replace(counters={"vector_store_byte_s": 2e9 * 100.0})  # 2 GB all the time
    day = Result(scenario(costs={"vector_store": {"storage": "$0.33/GB-month"}}), [one])
    for requests in (1e3, 1e6):
        assert day.monthly(requests).parts["vector_store"] == pytest.approx(0.66)
    assert "held on average" in str(day.monthly())
    assert "GB-month" in str(day.bill)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    luck = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        low, high = _interval_of_mean(luck.normal(10.0, 2.0, 6).tolist())
        hits += low <= 10.0 <= high
    assert 0.935 < hits / 2000 < 0.965  # 0.95, and three standard errors of 2,000 tries


def test_nothing_changes_for_a_scenario_without_prices_of_its_own():
    day = result(2)
    assert {day.metrics["cost_usd"][name] for name in ("embeddings", "vector_store", "observability")} == {0.0}
    measured = day.requests.filter(pl.col("window") == "measured")
    assert day.costs()["total_usd"].sum() == pytest.approx(measured["cost_usd"].sum() / 2, abs=1e-9)
    assert str(Result(scenario(), []).bill)


def test_a_price_that_nothing_used_is_told_and_not_missed():
    given = scenario(costs={**LOGS, "vector_store": {"queries": "$16/M"}})
    told = Result(given, [priced(0, 10)]).bill
    assert told.unused == ("vector_store",)
    assert "Priced, but nothing used it: vector store." in str(told)
    assert "Priced" not in str(Result(scenario(costs=LOGS), [priced(0, 10)]).bill)
