"""Each preset against the documented numbers of what it stands for (sources: in the presets' files)."""

import pytest
from gateway.policies.toys import ask, run
from gateway.presets.asked import (
    calls_of,
    ejections,
    failed,
    on_this_loop,
    opened,
    played,
    times,
    until_refused,
    waits,
    within,
)

from llmsim.errors import (
    AllUpstreamsFailed,
    BadRequest,
    CircuitOpen,
    ConnectionFailed,
    QuotaExhausted,
    RateLimited,
    StreamBroken,
    TtftTimeout,
)
from llmsim.gateway.policies import preset

SDKS = ("openai-sdk", "anthropic-sdk")


class TestSdks:
    @pytest.mark.parametrize("name", SDKS)
    def test_two_retries_after_half_a_second_and_a_second_shortened_by_a_quarter_at_most(self, name):
        first, second = waits(name, failed(500))
        within(first, 0.375, 0.5)
        within(second, 0.75, 1.0)

    @pytest.mark.parametrize("name", SDKS)
    @pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
    def test_what_is_retried(self, name, status):
        assert len(times(name, failed(status))) == 3

    @pytest.mark.parametrize("name", SDKS)
    @pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
    def test_what_is_not(self, name, status):
        assert len(times(name, failed(status))) == 1

    @pytest.mark.parametrize("name", SDKS)
    def test_failures_to_connect_are_and_so_is_a_quota_that_is_used_up(self, name):
        assert len(times(name, ConnectionFailed())) == 3
        assert len(times(name, QuotaExhausted())) == 3

    @pytest.mark.parametrize("name", SDKS)
    @pytest.mark.parametrize("asked", [0.02, 1.5, 20.0, 60.0, 119.0, 120.0])
    def test_waits_exactly_as_long_as_asked(self, name, asked):
        assert times(name, failed(429, retry_after_s=asked), 0.0) == [0.0, asked]

    @pytest.mark.parametrize("asked", [120.5, 3600.0])
    def test_above_two_minutes_openai_does_not_retry_and_anthropic_waits(self, asked):
        assert times("openai-sdk", failed(429, retry_after_s=asked), 0.0) == [0.0]
        assert times("anthropic-sdk", failed(429, retry_after_s=asked), 0.0) == [0.0, asked]

    @pytest.mark.parametrize("name", SDKS)
    def test_a_retry_after_of_nothing_means_its_own_backoff(self, name):
        within(waits(name, failed(429, retry_after_s=0.0), 0.0)[0], 0.375, 0.5)

    @pytest.mark.parametrize("name", SDKS)
    @pytest.mark.parametrize(("status", "says", "calls"), [(500, "false", 1), (400, "true", 3), (400, "maybe", 1)])
    def test_the_upstream_has_the_last_word(self, name, status, says, calls):
        assert len(times(name, failed(status, headers={"x-should-retry": says}))) == calls

    def test_but_not_above_two_minutes(self):
        error = failed(503, headers={"x-should-retry": "true"}, retry_after_s=121.0)
        assert len(times("openai-sdk", error)) == 1
        assert len(times("anthropic-sdk", error, 0.0)) == 2

    @pytest.mark.parametrize("name", SDKS)
    def test_never_in_the_middle_of_a_stream(self, name):
        calls, error, *_ = played(name, [["hel", StreamBroken(tokens_delivered=1)]])
        assert len(calls) == 1
        assert isinstance(error, StreamBroken)

    @pytest.mark.parametrize("name", SDKS)
    def test_ten_minutes_for_the_first_byte_three_times(self, name):
        calls, error, seconds, _ = played(name, [700.0])
        assert isinstance(error, TtftTimeout)
        assert len(calls) == 3
        assert seconds == pytest.approx(1800 + 0.75 / 2 + 0.75, abs=0.5)
        assert times(name, 599.0) == [0.0]


class TestAws:
    NAMES = ("aws-standard", "aws-adaptive")

    @pytest.mark.parametrize("name", NAMES)
    def test_three_attempts_full_jitter_below_fifty_and_a_hundred_milliseconds(self, name):
        first, second = waits(name, failed(500))
        within(first, 0.0, 0.05)
        within(second, 0.0, 0.1)

    def test_below_one_and_two_seconds_after_throttling(self):
        first, second = waits("aws-standard", failed(429))
        within(first, 0.0, 1.0)
        within(second, 0.0, 2.0)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        ("status", "calls"), [(429, 3), (500, 3), (502, 3), (503, 3), (504, 3), (529, 1), (400, 1)]
    )
    def test_what_is_retried(self, name, status, calls):
        assert len(times(name, failed(status))) == calls

    def test_does_not_read_retry_after(self):
        assert max(waits("aws-standard", failed(503, retry_after_s=30.0))[0]) <= 0.05

    @pytest.mark.parametrize(
        # 500 / 14 = 35.7 and 500 / 5: so many retries in all while nothing succeeds.
        ("status", "retries"),
        [(500, 35), (429, 100)],
    )
    def test_the_quota_ends_retries_while_nothing_succeeds(self, status, retries):
        assert calls_of("aws-standard", [failed(status)], 60) == 60 + retries

    def test_a_success_gives_back_what_its_retry_cost_or_one(self):
        """35 retries leave 10 of 500, so four times one make another possible; a retry that succeeds costs nothing."""
        dry = [failed(500)] * (20 + 35)  # twenty requests
        assert calls_of("aws-standard", [*dry, 0.0, 0.0, 0.0, failed(500)], 24) - len(dry) == 4
        assert calls_of("aws-standard", [*dry, 0.0, 0.0, 0.0, 0.0, failed(500)], 25) - len(dry) == 5 + 1
        assert calls_of("aws-standard", [failed(500), 0.0] * 60, 60) == 120

    def test_a_minute_for_the_first_byte(self):
        _, error, seconds, _ = played("aws-standard", [61.0])
        assert isinstance(error, TtftTimeout)
        assert 180 <= seconds < 180.2

    def test_adaptive_cuts_its_rate_at_the_first_throttle(self):
        *_, site = played("aws-adaptive", [failed(429)])
        assert "adaptive_rate" in [kind for kind, _ in site.events]


class TestLiteLlm:
    def test_the_router_retries_at_once_at_another_deployment_which_cools_down_for_five_seconds(self):
        numbers = set()
        for seed in range(10):
            calls, answer, _, site = played("litellm-router", [failed(429)], [failed(429)], [0.0], seed=seed)
            assert [at for at, _ in calls] == [0.0] * len(calls)
            assert answer.upstream == "c"
            cooling = [fields["for_s"] for kind, fields in site.events if kind == "cooldown"]
            assert cooling == [5.0] * (len(calls) - 1)
            numbers.add(len(calls))
        assert numbers == {1, 2, 3}  # as the draw has it

    def test_as_long_as_asked_instead(self):
        *_, site = played("litellm-router", [failed(429, retry_after_s=30.0)], [failed(429, retry_after_s=30.0)])
        assert [fields["for_s"] for kind, fields in site.events if kind == "cooldown"] == [30.0, 30.0]

    def test_when_all_cool_down_it_fails_at_once(self):
        calls, error, seconds, _ = played("litellm-router", [failed(429)], [failed(429)])
        assert (len(calls), seconds) == (2, 0.0)  # two deployments, and no third call though there are three attempts
        assert isinstance(error, CircuitOpen | RateLimited)

    def test_five_calls_with_more_than_half_of_them_failed_are_a_cooldown(self):
        """Three of six is half and not more."""
        assert opened("litellm-router", [failed(500)] * 4) == 0
        assert opened("litellm-router", [0.0, 0.0, failed(500), failed(500), failed(500)]) == 1
        assert opened("litellm-router", [0.0, 0.0, 0.0, failed(500), failed(500), failed(500)]) == 0

    def test_alone_it_waits_half_a_second_doubled_and_up_to_three_quarters_more(self):
        first, second = waits("litellm-fallbacks", failed(500))
        within(first, 0.5, 1.25)
        within(second, 1.0, 1.75)

    @pytest.mark.parametrize("asked", [20.0, 60.0])
    def test_waits_for_up_to_a_minute_as_asked_and_three_quarters_more(self, asked):
        within(waits("litellm-fallbacks", failed(429, retry_after_s=asked), 0.0)[0], asked, asked + 0.75)

    def test_above_a_minute_it_comes_back_too_early(self):
        within(waits("litellm-fallbacks", failed(429, retry_after_s=61.0), 0.0)[0], 0.5, 1.25)

    def test_falls_back_after_all_retries(self):
        calls, answer, _, _ = played("litellm-fallbacks", [failed(500)], [0.0])
        assert [who for _, who in calls] == ["a", "a", "a", "b"]
        assert answer.upstream == "b"
        # BerriAI/litellm PR 42450 has 5.5 s here: 1.5 s and 2 × U(0, .75) s, and a sleep after the last attempt.
        assert 1.5 <= calls[-1][0] <= 3.0

    def test_at_most_five_fallbacks(self):
        calls, error, *_ = played("litellm-fallbacks", *[[failed(400)]] * 8)
        assert [who for _, who in calls] == list("abcdef")
        assert isinstance(error, AllUpstreamsFailed)


class TestPortkey:
    def test_one_two_four_eight_sixteen_seconds(self):
        assert times("portkey", failed(500)) == [0, 1, 3, 7, 15, 31]

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_what_is_retried(self, status):
        assert len(times("portkey", failed(status))) == 6

    @pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 501, 529])
    def test_what_is_not(self, status):
        assert len(times("portkey", failed(status))) == 1

    def test_waits_as_asked_up_to_a_minute(self):
        assert times("portkey", failed(429, retry_after_s=60.0), 0.0) == [0, 60]
        assert times("portkey", failed(429, retry_after_s=60.5), 0.0) == [0]

    @pytest.mark.parametrize("status", [400, 404, 429, 500])
    def test_falls_back_after_anything_that_is_no_success(self, status):
        calls, answer, *_ = played("portkey", [failed(status)], [0.0])
        assert answer.upstream == "b"
        assert calls[-1][0] == (31 if status in (429, 500) else 0)


class TestEnvoy:
    def test_one_retry_after_up_to_25_ms(self):
        within(waits("envoy", failed(500))[0], 0.0, 0.025)

    def test_more_retries_double_it_up_to_250_ms(self):
        retry = next(policy for policy in preset("envoy").policies if policy.kind == "retry")
        assert [retry.backoff.ceiling(n) for n in (1, 2, 3, 4, 5, 6)] == [0.025, 0.05, 0.1, 0.2, 0.25, 0.25]

    @pytest.mark.parametrize(("status", "calls"), [(500, 2), (503, 2), (429, 1), (400, 1)])
    def test_what_is_retried(self, status, calls):
        assert len(times("envoy", failed(status))) == calls

    @pytest.mark.parametrize(("open_now", "retries"), [(10, 3), (15, 3), (20, 4), (50, 10)])
    def test_a_fifth_of_the_open_requests_and_three_in_any_case(self, open_now, retries):
        assert calls_of("envoy", [failed(500)], open_now, together=True, delay_s=1.0) == open_now + retries

    @pytest.mark.slow
    def test_five_in_a_row_are_out_for_thirty_seconds_times_their_number(self):
        lengths = ejections([failed(500)], [0.0], requests=3600, every_s=0.5)
        assert lengths[:3] == [30.0, 60.0, 90.0]
        assert lengths[-1] == max(lengths) == 300.0
        assert ejections([*[failed(500)] * 4, 0.0] * 80, [0.0], [0.0], requests=200, every_s=0.5) == []

    def test_never_two_of_three(self):
        assert ejections(*[[failed(500)]] * 3, requests=100, every_s=0.0) == [30.0]
        assert ejections(*[[failed(429)]] * 3, requests=100, every_s=0.0) == []

    def test_fifteen_seconds_for_all_of_it(self):
        _, _, seconds, _ = played("envoy", [20.0])
        assert seconds == 15.0


class TestSre:
    def test_three_attempts_at_once(self):
        assert calls_of("google-sre", [failed(500)], 1) == 1  # a tenth of one request is no retry
        assert calls_of("google-sre", [0.0] * 19 + [failed(500)], 20) == 22  # two of twenty
        assert calls_of("google-sre", [0.0] * 18 + [failed(500)], 20) == 22  # one of nineteen, and another of twenty

    def test_sends_twice_what_was_accepted_before_it_refuses(self):
        """Twenty of n are accepted: the next is refused with (n − 40)/(n + 1), so none of forty, and soon one."""
        sent = [until_refused("google-sre", [0.0] * 20 + [failed(503)], seed=seed) for seed in range(20)]
        assert min(sent) >= 40
        # By that formula: mean 48.38, standard deviation 4.50 of one.
        assert abs(sum(sent) / 20 - 48.38) <= 3 * 4.5 / 20**0.5

    def test_refuses_by_the_formula(self):
        """Nothing accepted of n requests: the next is refused with n/(n + 1), so of 400 the sum of 1/(n + 1), 6.6."""
        sent = [calls_of("google-sre", [failed(503)], 400, seed=seed) for seed in range(20)]
        # Mean of 20 sums of independent draws: 6.57 ± .50 (variance of one: Σ p(1 − p) = 4.93). Retries of those few
        # that are sent come on top: up to two each while they are a tenth of the requests, and throttled like these.
        assert 6.57 - 3 * 0.5 <= sum(sent) / 20 <= 6.57 + 3 * 0.5 + 2


class TestOthers:
    def test_resilience4j_waits_half_a_second_twice(self):
        assert times("resilience4j", failed(500)) == [0, 0.5, 1.0]

    def test_and_opens_after_a_hundred_calls_of_which_half_failed(self):
        assert opened("resilience4j", [failed(500)] * 50 + [0.0] * 49) == 0
        assert opened("resilience4j", [0.0] * 50 + [failed(500)] * 50) == 1

    def test_polly_waits_two_seconds_three_times(self):
        assert times("polly", failed(500)) == [0, 2, 4, 6]

    def test_and_opens_at_a_tenth_of_a_hundred(self):
        assert opened("polly", [0.0] * 91 + [failed(500)] * 9) == 0
        assert opened("polly", [0.0] * 90 + [failed(500)] * 10) == 1

    def test_the_snippet_makes_nine_calls_to_a_primary_that_says_too_many(self):
        calls, answer, *_ = played("article-snippet", [failed(429)], [0.0], request=ask()._replace(stream=False))
        assert [who for _, who in calls] == ["a"] * 9 + ["b"]
        assert answer.upstream == "b"

    def test_and_its_timeout_is_caught_by_nobody(self):
        calls, error, seconds, _ = played("article-snippet", [6.0], [0.0], request=ask()._replace(stream=False))
        assert (len(calls), seconds) == (1, 5.0)
        assert isinstance(error, TimeoutError)

    def test_nor_does_it_know_a_third_provider(self):
        calls, error, *_ = played("article-snippet", [failed(500)], [failed(500)], [0.0])
        assert {who for _, who in calls} == {"a", "b"}
        assert isinstance(error, AllUpstreamsFailed)


def test_bad_requests_are_never_retried():
    for name in ("portkey", "litellm-router", "envoy", "google-sre", "resilience4j", "polly"):
        calls, error, *_ = played(name, [BadRequest()])
        assert len(calls) == 1, name
        assert isinstance(error, BadRequest | AllUpstreamsFailed)


@pytest.mark.parametrize("name", ["openai-sdk", "litellm-fallbacks", "portkey", "aws-standard"])
def test_calls_at_the_same_times_on_an_ordinary_loop(name):
    scripts = [failed(500)], [failed(429, retry_after_s=7.0), failed(500), 0.2]
    virtual, *_ = played(name, *scripts, seed=5)
    assert run(on_this_loop(name, *scripts, seed=5)) == pytest.approx([at for at, _ in virtual])
    assert len(virtual) >= 3
