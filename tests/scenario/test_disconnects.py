"""Readers who go away in the middle of an answer."""

import math

import polars as pl
import pytest
from scenario.test_users import run

import llmsim as ls
from llmsim.distributions import Constant
from llmsim.providers.sim.spec import SimProvider
from llmsim.traffic.sessions import Disconnects
from llmsim.traffic.spec import Route, UserRetry

#: The first token after half a second, then one each 0.1 s: 10 s in all.
LONG = {"input_tokens": Constant(100), "output_tokens": Constant(96)}


def readers(share=1.0, after=2.0, **words):
    return (Route(**{**LONG, **words}, disconnects=Disconnects(share=share, after=Constant(after))),)


def test_they_get_what_has_come_and_leave():
    rows = run(mix=readers()).requests
    assert set(rows["outcome"]) == {"abandoned"}
    assert rows["ttft_s"].to_list() == pytest.approx([0.5] * rows.height)
    assert rows["e2e_s"].to_list() == pytest.approx([2.5] * rows.height)
    # 21 tokens have come after 2 s; the reader's copy is in chunks.
    assert rows["output_tokens"].max() <= 21


def test_so_many_of_them_and_only_where_the_answer_is_longer():
    rows = run(mix=readers(share=0.3), base_rate=20.0).requests
    share = (rows["outcome"] == "abandoned").mean()
    assert abs(share - 0.3) < 4 * math.sqrt(0.3 * 0.7 / rows.height)
    assert set(run(mix=readers(after=9.51)).requests["outcome"]) == {"ok"}, "it had ended"
    assert set(run(mix=readers(share=0.0)).requests["outcome"]) == {"ok"}


def test_only_readers_of_the_route_that_says_so():
    stays = Route(**LONG, route="stays")
    rows = run(mix=(*readers(route="leaves"), stays)).requests
    assert set(rows.filter(route="leaves")["outcome"]) == {"abandoned"}
    assert set(rows.filter(route="stays")["outcome"]) == {"ok"}


@pytest.mark.parametrize(("on_cancel", "billed"), [("free", 21), ("continue", 96)])
def test_what_they_leave_behind_is_the_providers_to_say(on_cancel, billed):
    provider = SimProvider(ttft=Constant(0.5), inter_token=Constant(0.1), on_cancel=on_cancel)
    attempts = run(mix=readers(), providers={"a": provider}).attempts
    assert set(attempts["outcome"]) == {"cancelled"}
    assert attempts["output_tokens"].to_list() == pytest.approx([billed] * attempts.height, abs=1)


def test_the_same_readers_leave_whatever_the_gateway():
    left = [
        run(gateway, mix=readers(share=0.4)).requests.filter(outcome="abandoned")["session"].to_list()
        for gateway in ((), (ls.Retry(), ls.Deadline(timeout=60.0)))
    ]
    assert left[0] == left[1] != []


def test_who_comes_back_draws_anew():
    rows = run(mix=readers(share=0.5), user_retry=UserRetry(share=1.0, after=Constant(1.0), limit=1)).requests
    again = rows.filter(pl.col("user_retry") == 1)
    assert 0 < (again["outcome"] == "abandoned").mean() < 1


def test_whole_answers_have_no_middle():
    with pytest.raises(ls.ScenarioError, match="nobody is in the middle"):
        ls.load(_document({"stream": False}))
    with pytest.raises(ls.ScenarioError, match="nothing is streamed"):
        ls.load(_document({}) | {"gateway": {"stream": False}})
    assert ls.load(_document({})).traffic.mix[0].disconnects == Disconnects(share=0.25)


def _document(route):
    mix = [{**route, "disconnects": {"share": "25%"}}]
    return {"version": 1, "traffic": {"base_rate": "1/s", "mix": mix}, "providers": {"a": {}}}
