"""Ctrl-C during a live run: control comes back, connections are closed, and everything so far is there."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest
from loopback import LoopbackServer, Seen, Stall, stream
from stolen import Stolen

import llmsim as ls
from llmsim.errors import SimulationInterrupted
from llmsim.live_run import run_live
from llmsim.scenario.load import parse_scenario

pytestmark = [
    pytest.mark.clock,
    # Of anyio: see llmsim.providers.live.sockets, whose filter pytest does not keep.
    pytest.mark.filterwarnings("ignore:coroutine 'connect_tcp:RuntimeWarning"),
]

LONG = """
version: 1
seed: 3
clock: {warm_up: 0s, duration: 10s, drain: 2s}
traffic:
  base_rate: 40/s
  mix: [{input_tokens: 20, output_tokens: 4}]
providers:
  one: {price: {input: $1/Mtok, output: $2/Mtok}}
"""


def every_third_hangs(seen: Seen):
    """The others are answered at once."""
    if seen.number % 3 == 2:
        return stream("tok ", "tok ", after=1, then=(Stall(),))
    return stream(*["tok "] * 4, usage=(20, 4), finish_reason="length")


def interrupted(server: LoopbackServer, policies: tuple = (), *, presses: int = 1, after_s: float = 0.6):
    """Run, and press Ctrl-C once the run is under way; what was raised, and how long that took."""
    scenario = parse_scenario(LONG).with_gateway(ls.Gateway(policies=policies))
    file = {"version": 1, "providers": {"one": {"base_url": server.url, "model": "m"}}}
    pressed: list[float] = []

    def press() -> None:
        limit = time.perf_counter() + 10
        while len(server.seen) < 2 and time.perf_counter() < limit:
            time.sleep(0.01)
        time.sleep(after_s)
        for _ in range(presses):
            pressed.append(time.perf_counter() - stolen.s)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    thread = threading.Thread(target=press)
    with Stolen() as stolen:
        thread.start()
        try:
            with pytest.raises(SimulationInterrupted) as caught:
                run_live(scenario, file, budget_usd=1.0)
            took_s = time.perf_counter() - stolen.s - pressed[0]
        finally:
            thread.join()
    return caught.value, took_s


def left(server: LoopbackServer) -> list[str]:
    """How the calls ended, as the server saw it, within a second in which there was a core for that."""
    with Stolen() as stolen:
        began = time.perf_counter()
        while any(not seen.ended for seen in server.seen) and time.perf_counter() - began < 1.0 + stolen.s:
            time.sleep(0.01)
    return [seen.ended for seen in server.seen]


@ls.policy
class Swallows:
    """Cannot be cancelled."""

    def start(self, run):
        async def handle(request, call_next):
            response = await call_next(request)
            while request.id == "3/0/0":
                try:
                    await asyncio.sleep(0.01)
                except BaseException:
                    pass
            return response

        return handle


@ls.policy
class Spins:
    """Never gives way."""

    def start(self, run):
        async def handle(request, call_next):
            while request.id == "9/0/0":
                pass
            return await call_next(request)

        return handle


@ls.policy
class Blocks:
    """Is busy outside of Python, for longer than anybody waits."""

    def start(self, run):
        async def handle(request, call_next):
            if request.id == "9/0/0":
                BLOCKED.wait(8)
                BLOCKED.set()
            return await call_next(request)

        return handle


BLOCKED = threading.Event()


def test_what_there_is_is_handed_over_and_connections_are_closed() -> None:
    with LoopbackServer(every_third_hangs) as server:
        stop, took_s = interrupted(server)
        ends = left(server)
    assert took_s < 1.0
    partial = stop.partial
    assert (partial.partial, partial.stopped, stop.abandoned) == (True, "interrupted", "")
    outcomes = partial.requests["outcome"].to_list()
    assert outcomes.count("ok") >= 5
    assert set(outcomes) == {"ok", "unfinished"}
    assert 2 <= ends.count("client_left") <= outcomes.count("unfinished")
    assert "" not in ends
    spending = partial.to_dict()["live"]
    assert spending["live_calls"] >= len(ends)  # one that was cut off before it was sent counts
    assert spending["unreported_calls"] >= ends.count("client_left")
    assert spending["spent_usd"] > partial.requests["cost_usd"].sum()  # the worst case for those that were cut off


@pytest.mark.parametrize(
    ("policy", "presses"),
    [
        (Swallows, 1),
        pytest.param(Spins, 1, marks=pytest.mark.slow),
        (Spins, 3),
    ],
)
def test_a_policy_that_will_not_stop_costs_nothing_of_the_result(policy: type, presses: int) -> None:
    with LoopbackServer(every_third_hangs) as server:
        stop, took_s = interrupted(server, (policy(),), presses=presses)
        ends = left(server)
    assert took_s < 1.2
    outcomes = stop.partial.requests["outcome"].to_list()
    assert outcomes.count("ok") >= 1
    assert set(outcomes) <= {"ok", "unfinished"}
    if policy is Swallows:
        assert "" not in ends


@pytest.mark.slow
def test_even_a_run_that_has_to_be_abandoned_hands_over_what_it_had() -> None:
    BLOCKED.clear()
    with LoopbackServer(every_third_hangs) as server:
        stop, took_s = interrupted(server, (Blocks(),))
        BLOCKED.set()
    assert took_s < 1.2
    assert "a thread goes on" in stop.abandoned
    assert stop.partial.requests["outcome"].to_list().count("ok") >= 1
    assert any("had to be abandoned" in note for note in stop.partial.notes)


@pytest.mark.slow
def test_in_a_cell_where_a_loop_runs_already() -> None:
    async def cell():
        return interrupted(server)

    # As a notebook's kernel does; `asyncio.run` keeps Ctrl-C for itself.
    loop = asyncio.new_event_loop()
    with LoopbackServer(every_third_hangs) as server:
        stop, took_s = loop.run_until_complete(cell())
    loop.close()
    assert took_s < 1.0
    assert stop.partial.requests.height > 5


@pytest.mark.slow
def test_a_run_with_a_policy_that_will_not_stop_ends_all_the_same() -> None:
    short = {"clock.duration": 0.5, "clock.drain": 0.3}
    scenario = parse_scenario(LONG).with_values(short).with_gateway(ls.Gateway(policies=(Swallows(),)))
    with LoopbackServer(stream(*["tok "] * 4, usage=(20, 4))) as server:
        file = {"version": 1, "providers": {"one": {"base_url": server.url, "model": "m"}}}
        result = run_live(scenario, file, budget_usd=1.0)
    assert result.wall_s < 3
    assert any("1 request did not stop when it was cancelled" in note for note in result.notes)
    assert not result.partial
