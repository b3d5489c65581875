"""What clients and traces say reaches the requests."""

import numpy as np

from llmsim.api import run
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.replay import TraceReplay
from llmsim.traffic.spec import Client, Clients, Route, Traffic


def _requests(traffic):
    scenario = Scenario(
        version=1, traffic=traffic, providers={"a": SimProvider()}, clock=Clock(duration=60.0, drain=30.0)
    )
    return run(scenario, replications=1).requests.sort("session")


def test_a_replayed_request_has_the_time_and_the_length_it_had(tmp_path):
    file = tmp_path / "t.csv"
    rows = "".join(
        f"{number * 0.25},{100 + number},{number % 3},{'rag' if number % 2 else ''}\n" for number in range(200)
    )
    file.write_text("arrival_s,input_tokens,output_tokens,route\n" + rows)
    mix = (Route(route="chat"), Route(route="rag", weight=0.0))
    found = _requests(Traffic(executor="trace", trace=TraceReplay(file=str(file)), mix=mix))
    assert np.allclose(found["arrival_s"], np.arange(200) * 0.25)
    assert found["input_tokens"].to_list() == list(range(100, 300))
    assert found["route"].to_list() == ["chat", "rag"] * 100
    assert found["output_tokens"].to_list() == [number % 3 or 100 for number in range(200)], "0 is drawn from the mix"


def test_clients_are_users_with_their_own_mix_and_tenant():
    batch = Client(client="batch", share=0.5, tenant="acme", mix=(Route(route="rag"),))
    found = _requests(Traffic(base_rate=20.0, clients=Clients(named=(batch,), count=3)))
    assert set(found["user"]) == {"batch", "c0", "c1", "c2"}
    mine = found.filter(found["user"] == "batch")
    assert set(mine["route"]) == {"rag"}
    assert set(mine["tenant"]) == {"acme"}
    assert set(found.filter(found["user"] != "batch")["tenant"]) == {""}
