"""AWS, "Exponential Backoff and Jitter" (2015): a hundred clients that all want to write one row.

Each reads the row's version and writes with it; a write with an old version fails and is made again, read first, after
a backoff. Every message takes |N(10, 2)| ms; all start at once. Published are the calls it takes and the time until the
last is done, by kind of backoff; the figures below are of the authors' own simulator (aws-samples/
aws-arch-backoff-simulator), run over 40 trials. The oracle here is another program, vectorised over trials, with the
formulas written out; what is tested is `llmsim.algorithms.backoff.Backoff` driving clients on the engine.

Counted like that, AWS's attempts begin with 1, so its base of 5 ms makes a first ceiling of 10 ms: `initial` here.
"""

import asyncio
import math
import random

import numpy as np
import pytest

from llmsim.algorithms.backoff import Backoff
from llmsim.engine.driver import simulate

CLIENTS, BASE, CAP = 100, 0.005, 2.0
KINDS = {
    "none": Backoff(initial=0.0, max=CAP, jitter="none"),
    "exponential": Backoff(initial=2 * BASE, max=CAP, jitter="none"),
    "equal": Backoff(initial=2 * BASE, max=CAP, jitter="equal"),
    "full": Backoff(initial=2 * BASE, max=CAP, jitter="full"),
    "decorrelated": Backoff(initial=BASE, max=CAP, jitter="decorrelated"),
}
#: Mean calls and completion time at 100 clients, with their standard deviations; 40 trials of AWS's simulator.
PUBLISHED = {
    "none": ((2415, 27.6), (2.027, 0.045)),
    "exponential": ((1849, 53.7), (63.566, 3.754)),
    "equal": ((813, 7.6), (6.738, 0.586)),
    "full": ((795, 6.5), (4.831, 0.389)),
    "decorrelated": ((1008, 32.6), (4.575, 0.552)),
}


# -- ours ---------------------------------------------------------------------------------------------------------


def contend(backoff, seed):
    """(calls, seconds until the last client is done) of one trial on the engine."""
    luck = random.Random(seed)
    calls, version = 0, 0

    def hop():
        return abs(luck.gauss(0.010, 0.002))

    async def client():
        nonlocal calls, version
        attempt, previous = 0, backoff.initial
        await asyncio.sleep(hop())
        while True:
            seen = version
            await asyncio.sleep(hop() + hop())  # the answer to the read, and the write
            calls += 1
            if seen == version:
                version += 1
                await asyncio.sleep(hop())
                return asyncio.get_running_loop().time()
            attempt += 1
            previous = backoff.delay(attempt, luck.random(), previous)
            await asyncio.sleep(hop() + hop() + previous)

    async def everybody():
        return max(await asyncio.gather(*(client() for _ in range(CLIENTS))))

    end_s = simulate(lambda loop: everybody())
    return calls, end_s


# -- the oracle ---------------------------------------------------------------------------------------------------


def wait_for(kind, attempt, sleep, rng):
    """AWS's formulas: seconds to wait, and what decorrelated jitter remembers."""
    size = len(attempt)
    expo = np.minimum(CAP, BASE * 2.0 ** np.minimum(attempt, 60))
    if kind == "none":
        return np.zeros(size), sleep
    if kind == "exponential":
        return expo, sleep
    if kind == "equal":
        return expo / 2 + rng.uniform(0, 1, size) * expo / 2, sleep
    if kind == "full":
        return rng.uniform(0, 1, size) * expo, sleep
    found = np.minimum(CAP, rng.uniform(BASE, sleep * 3))
    return found, found


def oracle(kind, trials, seed):
    """Calls and completion times, shape ``(trials,)`` each: in every trial, again and again, its next event."""
    rng = np.random.default_rng(seed)

    def hops(count):
        return np.abs(rng.normal(0.010, 0.002, (count, trials))).sum(axis=0)

    every = np.arange(trials)
    when = np.abs(rng.normal(0.010, 0.002, (trials, CLIENTS)))  # of each client's next message at the server
    seen = np.full((trials, CLIENTS), -1)  # the version it read; -1: it is about to read
    attempts, sleep = np.zeros((trials, CLIENTS), int), np.full((trials, CLIENTS), BASE)
    version, calls, end = np.zeros(trials, int), np.zeros(trials, int), np.zeros(trials)
    while not np.isinf(when).all():
        client = when.argmin(axis=1)
        now = when[every, client]
        going = ~np.isinf(now)
        reads = going & (seen[every, client] < 0)
        writes = going & ~reads
        works = writes & (seen[every, client] == version)
        fails = writes & ~works
        seen[every[reads], client[reads]] = version[reads]
        when[every[reads], client[reads]] = (now + hops(2))[reads]
        calls += writes
        version += works
        end = np.where(works, np.maximum(end, now + hops(1)), end)
        when[every[works], client[works]] = np.inf
        if fails.any():
            rows, columns = every[fails], client[fails]
            attempts[rows, columns] += 1
            wait, sleep[rows, columns] = wait_for(kind, attempts[rows, columns], sleep[rows, columns], rng)
            when[rows, columns] = (now + hops(2))[fails] + wait
            seen[rows, columns] = -1
    return calls, end


# -- and how they compare -----------------------------------------------------------------------------------------


def mean_and_error(values):
    values = np.asarray(values, float)
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def compare(trials, oracle_trials):
    """Mean calls by kind; ours and the oracle's agree in both, and both with what was published."""
    found = {}
    for kind, backoff in KINDS.items():
        ours = list(zip(*(contend(backoff, seed) for seed in range(trials)), strict=True))
        theirs = oracle(kind, oracle_trials, 1)
        for what, mine, other, (mean, deviation) in zip(("calls", "time"), ours, theirs, PUBLISHED[kind], strict=True):
            (m, m_error), (o, o_error) = mean_and_error(mine), mean_and_error(other)
            # Of a handful of trials the deviation is known badly: that of the oracle's is the better one.
            m_error = max(m_error, np.std(other) / math.sqrt(trials))
            assert abs(m - o) <= 3 * math.hypot(m_error, o_error), (kind, what, m, o)
            assert abs(o - mean) <= 3.5 * math.hypot(o_error, deviation / math.sqrt(40)), (kind, what, o, mean)
        found[kind] = (np.mean(ours[0]), np.mean(ours[1]))
    return found


def assert_published_order(found):
    calls = {kind: pair[0] for kind, pair in found.items()}
    times = {kind: pair[1] for kind, pair in found.items()}
    assert calls["full"] < calls["equal"] < calls["decorrelated"] < calls["exponential"] < calls["none"]
    assert times["none"] < min(times["decorrelated"], times["full"])
    assert max(times["decorrelated"], times["full"]) < times["equal"] < times["exponential"] / 5


@pytest.mark.slow
def test_calls_and_times_of_a_few_trials():
    found = compare(trials=2, oracle_trials=60)
    assert found["exponential"][0] > 1.5 * found["full"][0]


@pytest.mark.slow
def test_calls_and_times_and_the_published_order():
    assert_published_order(compare(trials=12, oracle_trials=600))


@pytest.mark.slow
def test_the_oracle_can_tell_them_apart():
    """What fails if our formula is another's: full and equal jitter differ by 2 % in calls, at 0.8 % a trial."""
    full, equal = (mean_and_error(oracle(kind, 60, 2)[0]) for kind in ("full", "equal"))
    assert equal[0] - full[0] > 3 * math.hypot(full[1], equal[1])
