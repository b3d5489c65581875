"""The story of scenarios/runaway-agent.yaml: a few chains that do not end make two fifths of the bill."""

from pathlib import Path

import polars as pl
import pytest

import llmsim as ls
from llmsim.errors import Rejected

PATH = Path(__file__).parents[2] / "scenarios" / "runaway-agent.yaml"


@ls.policy
class StepLimit:
    """Refuse a session's calls from this many steps on."""

    steps: int = 40

    def start(self, run):
        async def handle(request, call_next):
            step = int(request.id.split("/")[1])
            if step >= self.steps:
                raise Rejected(f"{step} steps and no end in sight")
            return await call_next(request)

        return handle


@pytest.fixture(scope="module")
def results():
    naive = ls.load(PATH)
    guarded = naive.with_gateway(
        ls.Gateway(policies=(StepLimit(), *naive.gateway.policies), upstream=naive.gateway.upstream)
    )
    return ls.run(naive, replications=6), ls.run(guarded, replications=6)


@pytest.mark.slow
def test_the_shipped_gateway_fails_and_one_that_counts_passes(results):
    naive, guarded = results
    verdicts = {line.objective.metric: line.verdict for line in naive.slo}
    assert verdicts["max_spend_per_session"] == verdicts["max_steps_per_session"] == "FAIL"
    assert verdicts["error_rate"] == verdicts["cost_per_ok"] == "PASS"
    assert guarded.verdict == "PASS"


@pytest.mark.slow
def test_one_session_in_sixty_makes_two_fifths_of_the_bill(results):
    naive, guarded = results
    sessions = naive.sessions
    long = sessions.filter(pl.col("steps") > 50)
    assert long.height / sessions.height == pytest.approx(1 / 60, abs=0.006)
    assert long["cost_usd"].sum() / sessions["cost_usd"].sum() == pytest.approx(0.4, abs=0.1)
    assert "ran_away" in set(sessions["outcome"])
    assert "ran_away" not in set(guarded.sessions["outcome"])
    assert guarded.metrics["cost_usd"]["total"] < naive.metrics["cost_usd"]["total"]
