"""What a replication leaves behind when it is over."""

import gc

from llmsim.api import load
from llmsim.scenario.replicate import replicate

SCENARIO = {
    "version": 1,
    "clock": {"duration": "100s"},
    "traffic": {"base_rate": "10/s", "topics": {"zipf": {"unique": 100}}},
    "providers": {"p": {"ttft": "100ms"}},
    "gateway": {"policies": [{"cache": {}}], "upstream": [{"circuit_breaker": {}}, {"timeout": {"ttft": "5s"}}]},
}


def test_circles_of_handlers_hold_on_to_nothing_of_the_run():
    scenario = load(SCENARIO)
    replicate(scenario, 0)
    gc.collect()
    gc.disable()
    try:
        requests = len(replicate(scenario, 1).tables["requests"]["session"].values)
        left = gc.collect()
    finally:
        gc.enable()
    assert requests > 800
    assert 0 < left < requests / 2  # a handful of handlers, whatever the number of requests
