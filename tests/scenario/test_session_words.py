"""Sessions, agents and documents in scenario files, and what a preflight makes of them."""

import pytest

import llmsim as ls
from llmsim.distributions import Constant, Geometric, Lognormal
from llmsim.errors import ScenarioError
from llmsim.scenario.load import parse_scenario
from llmsim.scenario.preflight import preflight
from llmsim.scenario.values import from_values, to_values
from llmsim.traffic.sessions import Window

WHOLE = """version: 1
traffic:
  base_rate: 4/s
  patience: 20s
  mix:
    - route: chat
      session:
        {turns: {geometric: 3.5}, think_time: {lognormal: {p50: 20s, p99: 5m}}, context: {window: 8k}, suggested: 5%}
      input_tokens: 80
      system_tokens: 1.2k
    - route: short
      session: {context: none}
      patience: {exponential: 9s}
    - route: agent
      agent: {steps: 6, between: 2s, runaway: 0.5%, runaway_steps: 200, growth: {exponential: 400}, on_error: again}
    - route: rag
      documents: {number: 10, tokens: 750, template: 300}
      input_tokens: 200
      output_tokens: 50
      prompt_drift: 2%/day
      patience: endless
providers: {a: {}}
slo: {max_steps_per_session: ["value < 50"], max_spend_per_session: ["value < $1"]}
"""
HEAD = "version: 1\nproviders: {a: {}}\ntraffic:\n  base_rate: 1/s\n  mix:\n    - "


def test_every_word_is_read_and_survives_the_way_through_values():
    scenario = parse_scenario(WHOLE)
    chat, short, agent, rag = scenario.traffic.mix
    assert chat.session.turns == Geometric(3.5)
    assert chat.session.think_time == Lognormal(p50=20.0, p99=300.0)
    assert (chat.session.context, chat.session.suggested, chat.system_tokens) == (Window(window=8000), 0.05, 1200)
    assert (short.session.context, short.patience.mean) == ("none", 9.0)
    assert (agent.agent.runaway, agent.agent.runaway_steps, agent.agent.on_error) == (0.005, 200, "again")
    assert agent.agent.growth.mean == 400
    assert (rag.documents.number, rag.documents.template) == (Constant(10), 300)
    assert (rag.prompt_drift, rag.patience) == (pytest.approx(0.02), "endless")
    assert from_values(to_values(scenario)) == scenario
    changed = scenario.with_values({"traffic.mix.rag.documents.number": 3, "traffic.mix.agent.agent.runaway": 0.0})
    assert changed.traffic.mix[3].documents.number == Constant(3)


WRONG = {
    "{session: {turns: 3}, agent: {steps: 3, growth: 9}}": "Remove session or agent",
    "{session: {context: shrink}}": "unknown context 'shrink'. Write grow or none, or {window: 8k}",
    "{session: {context: {window: 0}}}": "must be at least 1",
    "{session: {context: {windows: 8k}}}": "Did you mean 'window'?",
    "{session: {turns: {geometric: 0.5}}}": "the mean must be at least 1",
    "{session: {think_time: {geometric: 5}}}": "geometric is for what is counted",
    "{session: {think_time: 5}}": "is not a duration",
    "{session: {turn: 3}}": "Did you mean 'turns'?",
    "{agent: {steps: 3}}": "'growth' is missing",
    "{agent: {steps: 3, growth: 9, on_error: retry}}": "needs 'stop' or 'again'",
    "{agent: {steps: 3, growth: 9, runaway: 2}}": "out of range",
    "{agent: {steps: 3, growth: 9, runaway_steps: 20k}}": "Write at most 10,000",
    "{documents: {number: 2k, tokens: 30M, templates: 3}}": "Did you mean 'template'?",
    "{patience: forever}": "unknown patience 'forever'. Write endless, or a duration like 20s",
    "{patience: {exponential: 5}}": "is not a duration",
    "{prompt_drift: 2%}": "is not a growth. Write it like 2%/day",
    "{prompt_drift: -95%/day}": "must be at least -0.9",
}


@pytest.mark.matrix
@pytest.mark.parametrize(("route", "says"), WRONG.items(), ids=WRONG)
def test_a_slip_is_told_with_its_place_and_what_to_write(route, says):
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(HEAD + route)
    assert says in str(caught.value)
    assert all(problem.line == 6 for problem in caught.value.problems)


# -- preflight -------------------------------------------------------------------------------------------------------


def asked(route, *, rate="2/s", clock="{duration: 100s}", provider="{ttft: 1s, inter_token: 100ms}", traffic=""):
    lead = traffic or f"base_rate: {rate}"
    text = f"version: 1\nclock: {clock}\ntraffic:\n  {lead}\n  mix: [{route}]\nproviders: {{a: {provider}}}\n"
    return parse_scenario(text)


def test_a_preflight_counts_turns_and_their_growing_prompts_until_the_end():
    # Answers take 1.9 s, thinking 8.1: turns come 10 s apart, so of 100 s the second has 90 and the third 80.
    scenario = asked("{input_tokens: 100, output_tokens: 10, session: {turns: 3, think_time: 8.1s}}")
    found = preflight(scenario)
    assert found.expected_requests == pytest.approx(2 * (100 + 90 + 80), rel=1e-6)
    assert found.requests_per_arrival == pytest.approx(3)
    assert (found.base_per_s, found.peak_per_s) == (pytest.approx(6), pytest.approx(6))
    assert found.input_tokens == pytest.approx((100 * 100 + 90 * 210 + 80 * 320) / 270)
    assert found.output_tokens == pytest.approx(10)
    assert "an arrival makes 3 requests on average, from a sample of 400 sessions a route" in str(found)


def test_warm_up_fills_the_lab_with_conversations():
    scenario = asked(
        "{input_tokens: 100, output_tokens: 10, session: {turns: 3, think_time: 8.1s}}",
        clock="{warm_up: 20s, duration: 100s}",
    )
    assert preflight(scenario).expected_requests == pytest.approx(600, rel=1e-6)


def test_a_short_crowd_on_a_long_day_keeps_its_height():
    scenario = asked(
        "{input_tokens: 100, output_tokens: 10, session: {turns: 2, think_time: 8.1s}}",
        clock="{duration: 1d}",
        traffic="base_rate: 2/s\n  flash_crowds: [{at: 10h, rise: 20s, hold: 30s, peak: 10x, decay: 20s}]",
    )
    # Who comes in the crowd asks again 10 s later, when it still holds.
    assert preflight(scenario).peak_per_s == pytest.approx(2 * 2 * 10, rel=0.02)


def test_loops_are_weighed_and_not_left_to_a_samples_luck():
    scenario = asked(
        "{output_tokens: 1, agent: {steps: 2, growth: 10, runaway: 0.5%, runaway_steps: 202}}",
        clock="{warm_up: 1000s, duration: 100s}",
    )
    found = preflight(scenario)
    assert found.requests_per_arrival == pytest.approx(2 + 0.005 * 200)
    usual, looping = 2 * 505.5, 202 * 500 + 11 * 202 * 201 / 2
    assert found.input_tokens == pytest.approx((0.995 * usual + 0.005 * looping) / 3, rel=1e-6)


def test_slots_carry_all_steps():
    one = preflight(asked("{output_tokens: 11}", provider="{ttft: 1s, inter_token: 100ms, concurrency: 8}"))
    more = preflight(
        asked(
            "{output_tokens: 11, session: {turns: 4, think_time: 0s}}",
            clock="{warm_up: 60s, duration: 100s}",
            provider="{ttft: 1s, inter_token: 100ms, concurrency: 8}",
        )
    )
    assert (one.loads[0].rho_peak, more.loads[0].rho_peak) == (pytest.approx(0.5), pytest.approx(2.0))


def test_a_closed_loop_goes_round_once_a_session():
    # Three answers of 2 s, two pauses of 3 s, and 8 s until the next conversation: 20 s for three requests.
    scenario = asked(
        "{output_tokens: 11, session: {turns: 3, think_time: 3s}}",
        traffic="executor: constant-vus\n  vus: 10\n  think_time: 8s",
    )
    found = preflight(scenario)
    assert found.closed_loop
    assert found.peak_per_s == pytest.approx(10 * 3 / 20)


def test_documents_system_prompts_and_drift_count():
    route = "{input_tokens: 200, system_tokens: 100, documents: {number: 10, tokens: 750, template: 200}"
    assert preflight(asked(route + "}")).input_tokens == pytest.approx(8000)
    drifting = preflight(asked(route + ", prompt_drift: 10%/day}", rate="1/h", clock="{duration: 10d}"))
    mean = (1.1**10 - 1) / (10 * 0.09531017980432493)  # ln 1.1
    assert drifting.input_tokens == pytest.approx(8000 * mean)


@pytest.mark.slow
def test_a_preflight_is_near_what_a_run_then_does():
    scenario = asked(
        "{input_tokens: 100, output_tokens: {exponential: 60}, system_tokens: 300, "
        "session: {turns: {geometric: 3}, think_time: {exponential: 10s}, context: {window: 700}}}",
        clock="{warm_up: 60s, duration: 200s}",
    )
    found, result = preflight(scenario), ls.run(scenario, replications=2)
    measured = result.requests.filter(result.requests["window"] == "measured")
    # 400 sessions a replication with a cv of 0.82, and a sample of 400.
    error = 0.82 * (1 / 800 + 1 / 400) ** 0.5
    assert measured.height / 2 == pytest.approx(found.expected_requests, rel=4 * error)
    assert measured["input_tokens"].mean() == pytest.approx(found.input_tokens, rel=4 * error)
    assert measured["output_tokens"].mean() == pytest.approx(found.output_tokens, rel=4 * error)
