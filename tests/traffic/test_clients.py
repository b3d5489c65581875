"""Populations of clients: who sends how much, that each keeps its own luck, and what each asks for."""

import math

import numpy as np
import pytest
from scipy.stats import kstest

from llmsim.luck import Luck
from llmsim.traffic import arrivals as module
from llmsim.traffic.arrivals import BLOCK, Arrivals
from llmsim.traffic.burstiness import Burstiness, Gaps, State
from llmsim.traffic.clients import mixes, population
from llmsim.traffic.shape import RateShape
from llmsim.traffic.spec import Client, Clients, Route, Stage, Traffic
from llmsim.units import BadValue

BURSTY = Burstiness(gamma=Gaps(cv=3.0))
MOODY = Burstiness(mmpp=(State(rate=1, stay=60), State(rate=8, stay=10)))


def blocks(traffic, until_s, seed=1, shape=None):
    """Times and the number of the client of each arrival up to `until_s`."""
    source = Arrivals(traffic, shape or RateShape.of(traffic, 0.0), Luck(seed))
    times, whose = [], []
    for number, block in enumerate(source):
        times.append(np.array(block))
        whose.append(source.given(number * BLOCK, BLOCK).client[: len(block)])
        if block and block[-1] > until_s:
            break
    times, whose = np.concatenate(times), np.concatenate(whose)
    return times[times <= until_s], whose[times <= until_s]


def test_each_client_sends_its_share():
    traffic = Traffic(base_rate=50.0, clients=Clients(named=(Client(client="big", share=0.3),), count=40, zipf=1.2))
    times, whose = blocks(traffic, 2000.0)
    shares = np.array([one.share for one in population(traffic)])
    assert shares.sum() == pytest.approx(1.0)
    assert shares[1] / shares[11] == pytest.approx(11**1.2)
    counts = np.bincount(whose, minlength=41)
    assert np.all(np.abs(counts - shares * 100_000) < 4.5 * np.sqrt(shares * 100_000))
    assert np.all(np.diff(times) >= 0)


def test_many_poisson_clients_are_a_poisson_process():
    times, _ = blocks(Traffic(base_rate=20.0, clients=Clients(count=300, zipf=1.0)), 1000.0)
    gaps = np.diff(times, prepend=0.0) * 20
    assert kstest(gaps, "expon").pvalue > 1e-3
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) * math.sqrt(len(gaps)) < 4


def test_a_bursty_client_is_bursty_among_even_ones():
    traffic = Traffic(
        base_rate=50.0,
        arrivals=Burstiness(gamma=Gaps(cv=0.3)),
        clients=Clients(named=(Client(client="batch", share=0.4, arrivals=BURSTY),), count=3, zipf=0.0),
    )
    times, whose = blocks(traffic, 2000.0)
    for number, cv in ((0, 3.0), (1, 0.3), (2, 0.3), (3, 0.3)):
        gaps = np.diff(times[whose == number])
        assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.1)


def test_evenly_spaced_clients_are_not_in_step():
    traffic = Traffic(base_rate=10.0, arrivals="constant", clients=Clients(count=5, zipf=0.0))
    times, whose = blocks(traffic, 300.0)
    assert np.diff(times).min() > 1e-3
    for number in range(5):
        assert np.diff(times[whose == number]) == pytest.approx(0.5)


@pytest.mark.parametrize("arrivals", ["poisson", BURSTY, MOODY], ids=["poisson", "gamma", "mmpp"])
def test_a_client_keeps_its_luck_whoever_else_there_is(arrivals):
    """On its own clock: requests of a share of 30 % come 5/3 as late as those of one of 50 %, one by one."""
    one = Client(client="a", share=0.5, arrivals=arrivals)
    few = Traffic(base_rate=10.0, clients=Clients(named=(one,), count=1))
    many = Traffic(base_rate=10.0, clients=Clients(named=(Client(client="a", share=0.3, arrivals=arrivals),), count=50))
    mine = [times[whose == 0] for times, whose in (blocks(few, 300.0), blocks(many, 300.0))]
    if arrivals is MOODY:  # moods are of time, not of requests: the first burst comes when it comes
        spans = [np.histogram(some, np.arange(0, 301, 5))[0] for some in mine]
        assert np.corrcoef(*spans)[0, 1] > 0.8
        return
    count = min(map(len, mine))
    assert count > 500
    assert mine[1][:count] == pytest.approx(mine[0][:count] * 5 / 3, rel=1e-9)


@pytest.mark.parametrize("arrivals", ["poisson", BURSTY, MOODY], ids=["poisson", "gamma", "mmpp"])
def test_how_much_is_merged_at_once_leaves_no_trace(arrivals, monkeypatch):
    traffic = Traffic(base_rate=10.0, arrivals=arrivals, clients=Clients(count=12, zipf=1.0))
    times, whose = blocks(traffic, 400.0)
    monkeypatch.setattr(module, "_STRETCH", 64)
    monkeypatch.setattr(module, "_ARRIVALS_A_CLIENT", 1)
    again, who = blocks(traffic, 400.0)
    assert again == pytest.approx(times, rel=1e-9)
    assert np.array_equal(who, whose)


def test_without_moods_a_spike_does_not_change_who_comes_next():
    flat = Traffic(base_rate=10.0, arrivals=BURSTY, clients=Clients(count=12))
    spiky = Traffic(
        executor="ramping-arrival-rate",
        base_rate=10.0,
        arrivals=BURSTY,
        clients=Clients(count=12),
        stages=(Stage(duration=50, target=1), Stage(duration=10, target=9), Stage(duration=100, target=9)),
    )
    _, calm = blocks(flat, 200.0)
    _, rush = blocks(spiky, 200.0)
    assert len(rush) > 2 * len(calm)
    assert np.array_equal(rush[: len(calm)], calm)


def test_the_last_block_is_filled_up_and_a_load_that_ends_ends():
    traffic = Traffic(
        executor="ramping-arrival-rate",
        base_rate=10.0,
        clients=Clients(count=12),
        stages=(Stage(duration=60, target=0),),
    )
    source = Arrivals(traffic, RateShape.of(traffic, 0.0), Luck(1))
    times = [time for block in source for time in block]
    assert 200 < len(times) < 400
    assert max(times) <= 60
    assert source.given(0, BLOCK).client.shape == (BLOCK,)


def test_routes_and_tenants_of_clients():
    chat, rag = Route(route="chat", weight=0.75), Route(route="rag", weight=0.25)
    traffic = Traffic(
        base_rate=1.0,
        mix=(chat, rag),
        clients=Clients(
            named=(
                Client(client="plain", share=0.2),
                Client(client="tenant", share=0.2, tenant="acme"),
                Client(client="own", share=0.2, tenant="acme", mix=(Route(route="batch"),)),
            ),
            count=2,
        ),
    )
    table = mixes(traffic)
    assert [(route.route, route.tenant) for route in table.routes] == [
        ("chat", ""), ("rag", ""), ("chat", "acme"), ("rag", "acme"), ("batch", "acme"),
    ]  # fmt: skip
    assert [one.mix for one in population(traffic)] == [1, 2, 3, 0, 0]
    u = (np.arange(1000) + 0.5) / 1000
    for row, expected in (
        (0, [750, 250, 0, 0, 0]),
        (1, [750, 250, 0, 0, 0]),
        (2, [0, 0, 750, 250, 0]),
        (3, [0, 0, 0, 0, 1000]),
    ):
        drawn = table.draw(np.full(1000, row), u)
        assert np.bincount(drawn, minlength=5).tolist() == expected


def test_a_client_without_a_share_keeps_the_others_rows():
    named = (Client(client="none", share=0.0), Client(client="all", share=1.0, mix=(Route(route="x"),)))
    traffic = Traffic(base_rate=1.0, clients=Clients(named=named))
    (one,) = population(traffic)
    assert mixes(traffic).routes[int(mixes(traffic).draw(np.array([one.mix]), np.array([0.5]))[0])].route == "x"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "no clients"),
        ({"named": (Client(client="a", share=0.3),)}, "add up to 0.3"),
        ({"named": (Client(client="a", share=0.6), Client(client="a", share=0.4))}, "one name"),
        ({"named": (Client(client="a", share=1.0),), "count": 3}, "leave nothing"),
        ({"count": 10_001}, "at most 10,000"),
    ],
)
def test_populations_that_are_none(wrong, says):
    with pytest.raises(BadValue, match=says):
        Clients(**wrong)
