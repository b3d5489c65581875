"""The same scenario gives the same run, to the last bit, wherever and however it runs."""

import asyncio
import gc
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from determinism.world import SCENARIO, draws, hedge, scenario, ties

import llmsim as ls

WORLD = Path(__file__).with_name("world.py")


@pytest.fixture(scope="module")
def result():
    return ls.run(scenario(draws, hedge, ties))


@pytest.fixture(scope="module")
def expected(result):
    return result.event_hash


def test_the_scenario_has_a_bit_of_everything(result):
    """Else equal hashes would say little."""
    outcomes = set(result.requests["outcome"])
    assert {"ok", "abandoned", "all_upstreams_failed"} <= outcomes
    assert {"first", "retry", "fallback", "hedge"} == set(result.attempts["cause"])
    words = set(result.attempts["outcome"])
    assert {"ok", "cancelled", "server_error", "rate_limited", "ttft_timeout", "connection_failed"} <= words
    assert {"retry", "fallback", "circuit_breaker", "fault", "drew", "order"} <= set(result.events["kind"])
    assert set(result.requests["user_retry"]) >= {0, 1}
    assert set(result.requests["replica"]) == {0, 1, 2}
    assert set(result.requests["served_from"]) >= {"upstream", "cache"}


def test_two_runs(expected):
    assert ls.run(scenario(draws, hedge, ties)).event_hash == expected


@pytest.mark.slow
def test_another_seed_another_gateway_another_number_of_replications(expected):
    everything = scenario(draws, hedge, ties)
    others = [
        ls.run(everything, seed=12).event_hash,
        ls.run(everything, replications=1).event_hash,
        ls.run(scenario(draws, hedge)).event_hash,
    ]
    assert len({expected, *others}) == 4


@pytest.mark.slow
def test_a_replication_does_not_depend_on_the_others():
    both, one = ls.run(scenario(), replications=2), ls.run(scenario(), replications=1)
    first = both.requests.filter(both.requests["replication"] == 0)
    assert first.equals(one.requests)


@pytest.mark.slow
@pytest.mark.parametrize("hash_seeds", [("0", "4242"), pytest.param(("1", "31337"), marks=pytest.mark.slow)])
def test_other_processes_and_hash_seeds(expected, hash_seeds):
    processes = []
    for hash_seed in hash_seeds:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(WORLD.parents[1])}
        processes.append(subprocess.Popen([sys.executable, WORLD], stdout=subprocess.PIPE, text=True, env=environment))
    assert [process.communicate()[0].strip() for process in processes] == [expected] * 2


@pytest.mark.slow
def test_two_processes_at_once(expected):
    assert ls.run(scenario(draws, hedge, ties), jobs=2).event_hash == expected


@pytest.mark.slow
def test_inside_a_running_loop_as_in_a_notebook(expected):
    async def cell():
        return ls.run(scenario(draws, hedge, ties)).event_hash

    assert asyncio.run(cell()) == expected


@pytest.mark.slow
def test_in_threads_two_at_a_time(expected):
    found = []

    def work():
        found.append(ls.run(scenario(draws, hedge, ties)).event_hash)

    before = gc.get_threshold(), sys.get_asyncgen_hooks(), asyncio.sleep.__code__
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 2
    assert before == (gc.get_threshold(), sys.get_asyncgen_hooks(), asyncio.sleep.__code__)


@pytest.mark.slow
def test_chance_of_the_process_neither_matters_nor_is_touched(expected):
    random.seed(99)
    before = random.getstate()
    assert ls.run(scenario(draws, hedge, ties)).event_hash == expected
    assert random.getstate() == before


@pytest.mark.slow
def test_a_scenario_from_a_mapping_and_its_value_are_one():
    assert ls.run(SCENARIO).event_hash == ls.run(ls.load(SCENARIO)).event_hash
