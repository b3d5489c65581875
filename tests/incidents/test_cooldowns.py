"""Incidents of gateways that leave upstreams alone: too short, too long, not at all, or all at once.

Each is a small scenario, judged twice: under a few lines of code that do what the incident's did (the SLO fails) and
under the library's policies (it passes).
"""

import dataclasses
import math

import pytest

import llmsim as ls
from llmsim.errors import CircuitOpen, GatewayError, RateLimited, ServerError
from llmsim.gateway.policies import Cooldown

ANSWERS = {"ttft": "200ms", "inter_token": "10ms"}
SHORT = [{"route": "chat", "input_tokens": 300, "output_tokens": 20}]


def judged(scenario, upstream, policies=(ls.Fallback(order=("a", "b")),), **gateway):
    """The result of six replications of this scenario with these policies in front of each upstream."""
    traffic = {"base_rate": "5/s", "mix": SHORT, **scenario.get("traffic", {})}
    providers = {"providers": {"a": ANSWERS, "b": ANSWERS}}
    loaded = ls.load({"version": 1, **providers, **scenario, "traffic": traffic})
    built = dataclasses.replace(loaded.gateway, policies=tuple(policies), upstream=tuple(upstream), **gateway)
    return ls.run(loaded.with_gateway(built), replications=6)


def asked(result, upstream="a"):
    """How many calls this upstream got, per replication."""
    return result.attempts.filter(upstream=upstream).height / 6


def cooled(handle_failure):
    """A policy in front of an upstream that refuses until ``state.until``; `handle_failure` moves that."""

    class State:
        until = -math.inf

    def start(run):
        state = State()

        async def handle(request, call_next):
            try:
                if run.now() < state.until:
                    raise CircuitOpen("cooling down", upstream=run.upstream)
                return await call_next(request)
            except GatewayError as error:
                handle_failure(state, run.now(), error)
                raise

        return handle

    return start


# -- BerriAI/litellm#40130 ------------------------------------------------------------------------------------------


@ls.policy
class KeepsTheFirstDeadline:
    """Cooling down again updates the record and not its expiry: the first deadline stays.

    A 429 with Retry-After 1 cools the deployment down; a slower call that was in flight comes back with the longer
    one; after one second the deployment takes traffic, with 59 s of its cooldown unserved.
    """

    def start(self, run):
        def failed(state, now, error):
            if isinstance(error, RateLimited) and now >= state.until:
                state.until = now + error.retry_after_s

        return cooled(failed)(run)


@pytest.mark.slow
def test_cooling_again_keeps_the_first_shorter_deadline():
    """Half of the calls are told at once to come back in 1 s, the other half after a second to come back in 60 s."""
    scenario = {
        "clock": {"duration": "40s", "drain": "10s"},
        "faults": [
            {"name": "rpm", "provider": "a", "abort": {"status": 429, "retry_after": "1s", "percentage": "50%"}},
            {"name": "tpm", "provider": "a", "abort": {"status": 429, "retry_after": "60s"}, "delay": {"time": "1s"}},
        ],
        "traffic": {"base_rate": "10/s"},
        "slo": {"retry_amplification": ["value < 1.05"]},
    }
    red = judged(scenario, [KeepsTheFirstDeadline()])
    green = judged(scenario, [Cooldown()])
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
    assert asked(red) > 5 * asked(green)


# -- BerriAI/litellm PR 34836 ---------------------------------------------------------------------------------------

#: One request every five seconds, all to the deployment that fails; only a refusal moves them to the other.
EVERY_FIVE_SECONDS = {
    "clock": {"duration": "5m", "drain": "10s"},
    "traffic": {"base_rate": "0.2/s", "arrivals": "constant"},
}
IF_REFUSED = (ls.Fallback(order=("a", "b"), on=("circuit_open",)),)


@ls.policy
class CountsWhatItForgets:
    """More than three failures start a cooldown, but the counter lives as long as a cooldown: five seconds.

    25 consecutive 500s left the deployment in rotation: every one was counted as the first.
    """

    def start(self, run):
        failures = []

        def failed(state, now, error):
            if isinstance(error, ServerError):
                failures[:] = [at for at in failures if now - at < 5.0] + [now]
                if len(failures) > 3:
                    state.until = now + 5.0

        return cooled(failed)(run)


@pytest.mark.slow
def test_failures_that_come_slowly_are_never_enough():
    scenario = {
        **EVERY_FIVE_SECONDS,
        "faults": [{"name": "down", "provider": "a", "abort": {"status": 500}}],
        "slo": {"error_rate": ["value < 20%"]},
    }
    breaker = ls.CircuitBreaker(
        sliding_window_calls=5, minimum_calls=5, wait_in_open=30.0, wait_multiplier=2.0, permitted_in_half_open=1
    )
    red = judged(scenario, [CountsWhatItForgets()], IF_REFUSED)
    green = judged(scenario, [breaker], IF_REFUSED)
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
    assert red.metrics["error_rate"] == 1.0


@ls.policy
class LooksEveryTenSeconds:
    """The cooldown is in a shared store that is read once in ten seconds, and between two reads nobody knows of it."""

    def start(self, run):
        stored, read = -math.inf, -math.inf

        async def handle(request, call_next):
            nonlocal stored, read
            if run.now() - read >= 10.0:
                read = run.now()
                if run.now() < stored:
                    raise CircuitOpen("cooling down", upstream=run.upstream)
            try:
                return await call_next(request)
            except RateLimited:
                stored = run.now() + 15.0
                raise

        return handle


@pytest.mark.slow
def test_a_cooldown_that_is_looked_up_now_and_then():
    scenario = {
        **EVERY_FIVE_SECONDS,
        "faults": [{"name": "limited", "provider": "a", "abort": {"status": 429}}],
        "slo": {"error_rate": ["value < 40%"]},
    }
    red = judged(scenario, [LooksEveryTenSeconds()], IF_REFUSED)
    green = judged(scenario, [Cooldown(time=15.0)], IF_REFUSED)
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")


# -- BerriAI/litellm#3646 -------------------------------------------------------------------------------------------


@ls.policy
class FailsWhileAllCoolDown:
    """A deployment that cools down is not there; when none is there, the request fails at once."""

    def start(self, run):
        def failed(state, now, error):
            if isinstance(error, RateLimited):
                state.until = max(state.until, now + error.retry_after_s)

        return cooled(failed)(run)


@pytest.mark.slow
def test_all_cool_down_and_nobody_waits():
    """For two seconds both say: come back in 8 s. Users would wait that long."""
    limited = {"at": "10s", "duration": "2s", "abort": {"status": 429, "retry_after": "8s"}}
    scenario = {
        "clock": {"duration": "60s", "drain": "30s"},
        "faults": [
            {"name": "a-limited", "provider": "a", **limited},
            {"name": "b-limited", "provider": "b", **limited},
        ],
        "slo": {"error_rate": ["value < 3%"], "ttft": ["p(99) < 15s"]},
    }
    policies = (ls.Deadline(timeout=30.0), ls.Fallback(order=("a", "b")))
    red = judged(scenario, [FailsWhileAllCoolDown()], policies)
    green = judged(scenario, [Cooldown(when_all="wait", ramp=4.0)], policies)
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")


# -- maximhq/bifrost#125 --------------------------------------------------------------------------------------------


@ls.policy
class AllComeBackAtOnce:
    """Three failures in a row, five seconds alone, and then everybody."""

    def start(self, run):
        failures = 0

        def failed(state, now, error):
            nonlocal failures
            if isinstance(error, ServerError | TimeoutError):
                failures += 1
                if failures >= 3:
                    failures, state.until = 0, now + 5.0

        return cooled(failed)(run)


@pytest.mark.slow
def test_the_stampede_after_a_recovery():
    """After an outage of 10 s the upstream is cold: three of its 8 slots for 15 s, and 15 requests a second need six.

    Those who come back at once wait in its queue until they time out, and then leave it for five seconds, again and
    again; with a ramp of 30 s a part comes back first, and the rest goes on to b meanwhile.
    """
    scenario = {
        "clock": {"duration": "45s", "drain": "10s"},
        "traffic": {"base_rate": "15/s"},
        "providers": {"a": {**ANSWERS, "concurrency": 8, "queue": {"limit": 100}}, "b": ANSWERS},
        "faults": [
            {"name": "down", "provider": "a", "at": "5s", "duration": "10s", "abort": {"status": 503}},
            {"name": "cold", "provider": "a", "at": "5s", "duration": "25s", "capacity": {"multiplier": "0.375x"}},
        ],
        "slo": {"ttft": ["p(95) < 1.5s"]},
    }
    timeout = ls.Timeout(ttft=2.0)
    red = judged(scenario, [AllComeBackAtOnce(), timeout], replicas=4)
    green = judged(scenario, [Cooldown(ramp=30.0), timeout], replicas=4)
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
    late = [result.attempts.filter(upstream="a", outcome="ttft_timeout").height for result in (red, green)]
    assert late[0] > 10 * late[1] + 100


# -- langwatch/langwatch#7027 ---------------------------------------------------------------------------------------


@ls.policy
async def five_attempts_at_the_same_place(request, call_next):
    """A fallback on rate limits is configured, and every attempt goes to the row that is at its hard limit.

    More than four hours without one success, until somebody looked.
    """
    for _ in range(4):
        try:
            return await call_next(request.to("a"))
        except RateLimited:
            continue
    return await call_next(request.to("a"))


@pytest.mark.slow
def test_stuck_on_a_provider_at_its_hard_limit():
    scenario = {
        "clock": {"duration": "30s", "drain": "10s"},
        "traffic": {"base_rate": "3/s"},
        "faults": [{"name": "daily-cap", "provider": "a", "abort": {"status": 429}}],
        "slo": {"error_rate": ["value < 1%"], "retry_amplification": ["value < 1.2"]},
    }
    red = judged(scenario, [], [five_attempts_at_the_same_place])
    green = judged(scenario, [Cooldown(time=30.0)])
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
    assert (red.metrics["error_rate"], red.metrics["retry_amplification"]) == (1.0, 5.0)
    assert judged(scenario, []).verdict == "FAIL"  # a fallback alone answers all, and asks a every time


# -- BerriAI/litellm PRs 40718 and 40958 ----------------------------------------------------------------------------


@ls.policy
class CountsItsOwnRefusals:
    """The error for "no deployment left" goes through the same handler of failures, and renews the cooldown."""

    def start(self, run):
        def failed(state, now, error):
            state.until = now + 5.0

        return cooled(failed)(run)


@pytest.mark.slow
def test_a_refusal_that_renews_the_cooldown():
    """Two seconds of 429s; with a request every half second the cooldown never ends."""
    scenario = {
        "clock": {"duration": "60s", "drain": "10s"},
        "traffic": {"base_rate": "2/s"},
        "faults": [{"name": "busy", "provider": "a", "at": "10s", "duration": "2s", "abort": {"status": 429}}],
        "slo": {"error_rate": ["value < 25%"]},
    }
    red = judged(scenario, [CountsItsOwnRefusals()], ())
    green = judged(scenario, [Cooldown()], ())
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
