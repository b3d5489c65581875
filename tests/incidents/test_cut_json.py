"""A cut answer that is completed and passed on as if it were one.

mastra-ai/mastra#24442 (and vercel/ai PR 18770): the model stops at its token limit in the middle of a JSON string; a
repairing parser closes the string and the brackets, the schema fits, and half an answer is stored as a whole one.
In the lab the reader of a simulated answer notices (`llmsim.traffic.workload.usable`).
"""

import json

import pytest

import llmsim as ls
from llmsim.distributions import Lognormal
from llmsim.gateway.policies import MaxTokens, StructuredOutput
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.spec import Clock
from llmsim.traffic.spec import Route, Traffic
from llmsim.traffic.workload import usable
from llmsim.types import Response, WholeAnswer


@ls.policy
async def repairs_whatever_comes(request, call_next):
    from json_repair import repair_json

    response = await call_next(request)
    text = repair_json(await response.read())
    assert "answer" in json.loads(text)  # it fits the schema
    answer = WholeAnswer(text, response.tokens_delivered, response.usage)
    return Response(answer, upstream=response.upstream, model=response.model, parents=(response,))


def run(*policies):
    lengths = Lognormal(p50=40.0, p99=200.0)
    scenario = ls.Scenario(
        version=1,
        seed=6,
        replications=6,
        clock=Clock(duration=20.0),
        traffic=Traffic(base_rate=5.0, mix=(Route(expects="json", output_tokens=lengths),)),
        providers={"a": SimProvider()},
        gateway=ls.Gateway(policies=policies),
        slo={"error_rate": ("value < 1%",)},
    )
    return ls.run(scenario)


CAP = MaxTokens(cap=60)  # a good quarter of the answers are longer


@pytest.mark.slow
def test_half_an_answer_is_not_an_answer():
    buggy = run(repairs_whatever_comes, CAP)
    assert buggy.verdict == "FAIL"
    assert set(buggy.requests["outcome"]) == {"ok", "bad_output"}
    assert 0.2 < buggy.metrics["error_rate"] < 0.4
    assert (buggy.requests["finish_reason"] == "stop").all()  # and nothing tells which

    checked = run(StructuredOutput(max_attempts=3), CAP)
    lost = checked.requests.filter(checked.requests["outcome"] == "bad_output")
    assert (lost["output_tokens"] == 0).all()  # refused, not delivered; and not paid for three times
    assert (checked.requests["attempts"] == 1).all()

    right = run(StructuredOutput(), MaxTokens(cap=60, max_attempts=3))
    assert right.verdict == "PASS"
    assert right.metrics["error_rate"] == 0


def test_the_reader_notices():
    from json_repair import repair_json

    assert usable('{"answer": "tok tok tok."}')
    assert not usable(repair_json('{"answer": "tok tok t'))
