"""A loop that nobody ends.

earendil-works/pi#9637: 220 identical tool calls in 25 minutes, one in eight seconds, each with the whole context; only
an external budget ended it. Kilo-Org/kilocode#13772: $626 for a call that was denied again and again; every try sends
the transcript again, with one more error in it, so the bill grows with the square of the tries.
"""

import polars as pl
import pytest

import llmsim as ls
from llmsim.errors import Rejected
from llmsim.gateway.policies import RunawayGuard

SCENARIO = {
    "version": 1,
    "seed": 2,
    "replications": 6,
    "clock": {"duration": "12m", "drain": "60s"},
    "traffic": {
        "base_rate": "3/min",
        "mix": [
            {
                "route": "coder",
                "input_tokens": 2000,
                "output_tokens": 60,
                "agent": {
                    "steps": {"geometric": 6}, "growth": 800, "between": "3s",
                    "runaway": "15%", "runaway_steps": 220, "on_error": "stop",
                },
            }
        ],
    },
    "providers": {"a": {"price": {"input": "$3/Mtok", "output": "$15/Mtok"}}},
    "slo": {"max_spend_per_session": ["max < $2"], "error_rate": ["value < 5%"]},
}  # fmt: skip


@ls.policy
class ComparesWholePrompts:
    """A loop detector that never finds one: each prompt is longer than the one before by the last answer."""

    def start(self, run):
        seen = {}

        async def handle(request, call_next):
            counts = seen.setdefault(request.session, {})
            counts[request.messages] = counts.get(request.messages, 0) + 1
            if counts[request.messages] > 3:
                raise Rejected("a loop")
            return await call_next(request)

        return handle


def run(*policies):
    return ls.run(ls.load(SCENARIO).with_gateway(list(policies)))


@pytest.mark.slow
def test_a_loop_is_known_by_what_is_new_in_it():
    buggy, right = run(ComparesWholePrompts()), run(RunawayGuard())
    verdicts = {line.objective.metric: line.verdict for line in buggy.slo}
    assert verdicts == {"max_spend_per_session": "FAIL", "error_rate": "PASS"}  # every call of a loop is healthy
    assert buggy.metrics["safety"]["max_spend_per_session_usd"] > 15
    assert right.verdict == "PASS"
    told = right.events.filter(pl.col("kind") == "runaway_guard")
    assert told.height > 10
    assert set(told["detail"].str.json_path_match("$.reason")) == {"repeats"}


def test_money_alone_ends_it_too_within_one_call_of_the_limit():
    result = run(RunawayGuard(max_repeats=None, max_calls=None, max_spend=1.0))
    most = result.sessions["cost_usd"].max()
    assert 1.0 <= most < 1.1  # a call of this context costs some cents
    assert "budget_exceeded" in set(result.requests["outcome"])
