"""What `llmsim.run` and `llmsim.load` do around a simulation."""

import signal

import pytest

import llmsim as ls

SCENARIO = {
    "version": 1,
    "clock": {"duration": "10s"},
    "traffic": {"base_rate": "3/s"},
    "providers": {"a": {"ttft": {"lognormal": {"p50": "300ms", "p99": "900ms"}}}, "b": {}},
    "gateway": {"policies": [{"fallback": {"order": ["a", "b"]}}]},
}


def test_a_last_batch_of_one_replication_leaves_ctrl_c_alone() -> None:
    """joblib runs a single job in the caller's process, where ignoring SIGINT would last for ever."""
    undecided = {**SCENARIO, "slo": {"ttft": ["p(50) < 300ms"]}}
    before = signal.getsignal(signal.SIGINT)
    assert len(ls.run(undecided, replications=11, jobs=2).replications) == 11
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("count", [0, -1])
def test_no_replications_are_no_run(count: int) -> None:
    with pytest.raises(ls.ScenarioError, match="replications is"):
        ls.run(SCENARIO, replications=count)


@pytest.mark.parametrize("override", ["gateway.fallback.order=[b, a]", "clock.duration=5s", "seed=3"])
def test_overrides_of_a_scenario_read_as_those_of_a_file(override: str) -> None:
    assert ls.load(ls.load(SCENARIO), [override]) == ls.load(SCENARIO, [override]) != ls.load(SCENARIO)
