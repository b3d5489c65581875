"""Levels that are drawn are those that the simulated provider had."""

import numpy as np
import pytest
from report.plots.days import busy, busy_scenario
from telemetry.recorded import attempt, replication, request

import llmsim as ls
from llmsim.errors import LlmsimError
from llmsim.providers.dialects import Account
from llmsim.report.plots.bins import time_bins
from llmsim.report.plots.levels import levels_of, limited
from llmsim.report.result import Result
from llmsim.scenario.load import load_scenario

SCENARIO = {
    "version": 1,
    "name": "limited",
    "seed": 3,
    "clock": {"warm_up": "5s", "duration": "60s", "drain": "20s"},
    "traffic": {
        "base_rate": "10/s",
        "mix": [{"route": "chat", "input_tokens": 300, "output_tokens": 40, "max_tokens": 100}],
    },
    "providers": {"one": {"ttft": "200ms", "inter_token": "10ms"}},
    "faults": [
        {"name": "cut", "provider": "one", "at": "20s", "duration": "15s", "rate_limit": {"multiplier": "0.5x"}}
    ],
}
LIMITS = {
    "generic": {"requests": "500/min", "tokens": "120k/min", "window": "10s"},
    "openai": {"requests": "500/min", "tokens": "90k/min"},
    "anthropic": {"requests": "700/min", "input_tokens": "90k/min", "output_tokens": "20k/min"},
    "azure": {"requests": "700/min", "tokens": "150k/min"},
    "gemini": {"requests": "400/min", "input_tokens": "150k/min"},
    "bedrock": {"requests": "700/min", "tokens": "90k/min"},
    "groq": {"requests": "700/min", "tokens": "90k/min"},
}


class Watched:
    """The levels of an account while it is in use, at the edges of bins and whenever they fall."""

    def __init__(self, monkeypatch, edges_s, zero_s):
        self._edges = [edge + zero_s for edge in edges_s]
        self._zero_s = zero_s
        self.least = None
        for name, place in {"admit": 3, "settle": 2, "failed": 1, "rescale": 1}.items():
            monkeypatch.setattr(Account, name, self._wrapped(getattr(Account, name), place))

    def _wrapped(self, method, place):
        def watched(account, *given):
            self._until(account, given[place])
            found = method(account, *given)
            self._look(account, given[place], edge=False)
            return found

        return watched

    def _until(self, account, now):
        if self.least is None:
            self._bins = np.array(self._edges)
            self.least = np.full((len(account.meters), len(self._edges) - 1), np.inf)
        while self._edges and self._edges[0] <= now:
            self._look(account, self._edges.pop(0), edge=True)

    def _look(self, account, now, *, edge):
        levels = [meter.refill(now) for meter in account.meters]
        place = int(np.searchsorted(self._bins, now, side="right")) - 1
        for bin_ in (place - 1, place) if edge else (place,):
            if 0 <= bin_ < self.least.shape[1]:
                self.least[:, bin_] = np.minimum(self.least[:, bin_], levels)


@pytest.mark.parametrize(
    "dialect", ["generic", "openai", *(pytest.param(one, marks=pytest.mark.slow) for one in [*LIMITS][2:])]
)
def test_the_simulated_meters(dialect, monkeypatch):
    one = {**SCENARIO["providers"]["one"], "dialect": dialect, "rate_limit": LIMITS[dialect]}
    scenario = load_scenario({**SCENARIO, "providers": {"one": one}})
    edges = np.linspace(0.0, 60.0, 31)
    seen = Watched(monkeypatch, edges, scenario.clock.warm_up)
    result = ls.run(scenario, replications=1, progress=False)
    monkeypatch.undo()
    told = levels_of(result, ("one",), edges)
    capacity = np.array([meter.capacity for meter in _meters(scenario)])[:, None]
    assert (result.attempts["status"] == 429).any(), "the limits are not met: nothing is shown"
    assert told.least * capacity == pytest.approx(seen.least, abs=1e-6)
    in_time = (result.attempts["start_s"] >= 0) & (result.attempts["start_s"] < 60)
    assert told.refused.sum() == (in_time & (result.attempts["status"] == 429)).sum()


def _meters(scenario):
    from llmsim.providers.dialects import DIALECTS

    spec = scenario.providers["one"]
    return DIALECTS[spec.dialect].account(spec.rate_limit).meters


def test_very_many_calls_are_charged_by_the_slice(monkeypatch):
    """… which moves no level by more than a slice's worth."""
    result = busy()
    edges = time_bins(result)
    exact = levels_of(result, ("openai",), edges)
    monkeypatch.setattr("llmsim.report.plots.levels._MOST_CALLS", 10)
    rough = levels_of(result, ("openai",), edges)
    assert rough.least == pytest.approx(exact.least, abs=0.01)
    assert not np.array_equal(rough.least, exact.least), "nothing was taken together"


def test_providers_of_a_group_share_their_account():
    limit = {"rate_limit": {"requests": "60/min"}, "quota_group": "team"}
    scenario = busy_scenario(providers={"openai": limit, "anthropic": limit, "local": {}})
    calls = [attempt(session=n, upstream=name, start_s=5.0) for n, name in enumerate(("openai", "anthropic") * 15)]
    result = Result(scenario, [replication([request(session=n) for n in range(30)], calls)])
    assert limited(result) == {"team": ("openai", "anthropic")}
    told = levels_of(result, ("openai", "anthropic"), np.array([0.0, 5.0, 10.0]))
    assert told.least[0].tolist() == [1.0, 0.5]


def test_who_has_no_limits_is_told_who_has():
    with pytest.raises(LlmsimError, match=r"'local' has no rate limit .*openai"):
        busy().plot.headroom("local")
