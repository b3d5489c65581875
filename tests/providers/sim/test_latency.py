"""The latency model by itself: prefill, load, flush and pace, stalls, prompt caching."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.distributions import Constant, Exponential, Lognormal, Mixture, Part
from llmsim.errors import ScenarioError
from llmsim.luck import Luck
from llmsim.providers.sim.latency import Load, LoadPoint, Prefill, PromptCache, StreamStall
from llmsim.providers.sim.serving import ServingEngine
from llmsim.providers.sim.serving_spec import Serving
from llmsim.providers.sim.spec import SimProvider
from llmsim.providers.sim.timing import PromptCacheState, RateMeter, Timing, mean_service_s
from llmsim.scenario.load import parse_scenario
from llmsim.types import Request


def timing(**settings):
    return Timing(SimProvider(**settings))


def test_prefill_is_epochs_polynomial():
    """GPT-5.6 Sol: 0.59 + 11.57 x + 10.42 x² seconds for x million tokens."""
    sol = timing(ttft=Constant(0.59), prefill=Prefill(per_1k=11.57e-3, per_1k_squared=10.42e-6))
    for tokens in (50_000, 200_000, 900_000):
        x = tokens / 1e6
        assert 0.59 + sol.prefill(tokens, 0) == pytest.approx(0.59 + 11.57 * x + 10.42 * x**2)


@given(st.integers(0, 200_000), st.floats(0, 1), st.floats(0, 0.1), st.floats(0, 1e-4))
def test_what_is_cached_is_not_read_again(tokens, share, per_1k, per_1k_squared):
    model = timing(prefill=Prefill(per_1k=per_1k, per_1k_squared=per_1k_squared))
    cached = int(tokens * share)
    whole, saved = model.prefill(tokens, 0), model.prefill(cached, 0)
    assert model.prefill(tokens, cached) == pytest.approx(whole - saved, rel=1e-9, abs=1e-12)


CURVE = (LoadPoint(at=0.5), LoadPoint(at=0.8, ttft=1.6, inter_token=1.3), LoadPoint(at=1.0, ttft=4.0, inter_token=2.0))


@given(st.floats(0, 3))
def test_the_load_curve_is_numpys_interpolation(utilisation):
    ats = [0.5, 0.8, 1.0]
    expected = np.interp(utilisation, ats, [1, 1.6, 4]), np.interp(utilisation, ats, [1, 1.3, 2])
    assert Load(points=CURVE).multipliers(utilisation) == pytest.approx(expected)


def test_load_by_slots():
    model = timing(concurrency=10, load=Load(points=CURVE))
    assert model.load_factors(5, 0.0) == (1.0, 1.0)
    assert model.load_factors(9, 0.0) == pytest.approx((2.8, 1.65))
    assert model.load_factors(12, 0.0) == (4.0, 2.0)  # more than there are: a capacity cut
    assert timing().load_factors(7, 0.0) == (1.0, 1.0)


def test_load_by_requests():
    model = timing(load=Load(of="requests", capacity=10.0, averaged_over=5.0, points=CURVE))
    factors = []
    for number in range(900):  # 9 a second, evenly
        factors.append(model.load_factors(1, number / 9))
        model.arrived(number / 9)
    assert factors[0] == (1.0, 1.0)
    # Looked at just before an arrival, an even stream of 9/s averages 8.9/s.
    assert factors[-1] == pytest.approx(Load(points=CURVE).multipliers(0.89), rel=1e-3)


def test_the_rate_meter_is_unbiased_for_poisson_arrivals():
    meter, now, seen = RateMeter(10.0), 0.0, []
    for gap in Exponential(1 / 25).quantile(Luck(5).series("arrivals").array(0, 40_000)):
        now += gap
        seen.append(meter.rate(now))
        meter.arrival(now)
    # Variance of the shot noise: rate / (2 tau), correlated over tau.
    assert np.mean(seen[2000:]) == pytest.approx(25, abs=4 * math.sqrt(25 / 20 * 2 * 10 / now))


def test_flushed_answers_come_at_once_and_the_others_at_their_pace():
    pace = timing(flush=0.225, pace=Lognormal(1.0, 3.0)).pace
    u = np.linspace(1e-6, 1 - 1e-6, 100_001)
    scales = pace.quantile(u)
    assert (np.diff(scales) >= 0).all()
    assert np.mean(scales == 0) == pytest.approx(0.225, abs=1e-4)
    assert np.median(scales[scales > 0]) == pytest.approx(1.0, rel=1e-3)
    assert scales.mean() == pytest.approx(pace.mean, rel=1e-3)
    assert timing().pace is None
    assert (timing(flush=1.0).pace.quantile(u) == 0).all()
    # Two draws next to the edge of the flush: neither minus infinity nor a warning.
    assert np.isfinite(pace.quantile(np.array([0.225, np.nextafter(0.225, 1)]))).all()


def test_stalls_per_gap_are_in_the_gaps():
    model = timing(inter_token=Constant(0.01), stall=StreamStall(probability=0.02, duration=Constant(3.0)))
    assert model.gaps == Mixture((Part(0.98, Constant(0.01)), Part(0.02, Constant(3.0))))
    assert model.silence is None


def test_stalls_per_answer():
    silence = timing(stall=StreamStall(probability=0.1, per="answer", duration=Exponential(2.0))).silence
    seconds = silence.quantile(Luck(2).series("stall").array(0, 10_000))
    assert np.mean(seconds > 0) == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / 10_000))
    assert np.mean(seconds[seconds > 0]) == pytest.approx(2.0, rel=0.15)
    assert silence.mean == pytest.approx(0.2)


def test_the_mean_time_in_a_slot():
    spec = SimProvider(
        network=Constant(1.0),
        ttft=Exponential(0.4),
        prefill=Prefill(per_1k=0.01, per_1k_squared=1e-3),
        inter_token=Exponential(0.02),
        pace=Lognormal(1.0, 3.0),
        flush=0.25,
        stall=StreamStall(probability=0.1, per="answer", duration=Constant(5.0)),
    )
    expected = 0.4 + 0.02 + 0.004 + 99 * 0.02 * 0.75 * Lognormal(1.0, 3.0).mean + 0.5 * 0.75
    assert mean_service_s(spec, 2000, 100) == pytest.approx(expected)
    assert mean_service_s(SimProvider(ttft=Constant(0.3)), 2000, 1) == 0.3


def test_the_mean_time_in_a_slot_of_a_busy_server():
    points = (LoadPoint(at=0.0), LoadPoint(at=1.0, ttft=3.0, inter_token=2.0))
    spec = SimProvider(ttft=Constant(0.4), inter_token=Constant(0.01), concurrency=8, load=Load(points=points))
    assert mean_service_s(spec, 0, 101) == pytest.approx(1.4)
    assert mean_service_s(spec, 0, 101, full=True) == pytest.approx(3 * 0.4 + 2 * 1.0)


@pytest.mark.parametrize(
    "serving",
    [
        Serving(slots=32, prefill_step=0.004, prefill_token=60e-6, decode_step=0.012, decode_sequence=200e-6),
        Serving(slots=4, prefill_step=0.03, prefill_token=0.0076, decode_sequence=0.0168),
        Serving(slots=8, prefill_token=1e-4, decode_sequence=0.001, decode_step=0.02),
    ],
)
def test_slots_over_the_mean_time_is_what_a_serving_engine_carries(serving):
    uniforms = np.random.default_rng(1).random((2, 1500))
    prompts, answers = (
        1 + Exponential(mean).quantile(u).astype(int) for mean, u in zip((800, 150), uniforms, strict=True)
    )
    engine, spec = ServingEngine(serving), SimProvider(serving=serving)
    jobs = [engine.arrive(None, int(prompt), int(answer), 0.0) for prompt, answer in zip(prompts, answers, strict=True)]
    engine.advance(math.inf)
    carried = len(jobs) / max(job.end_s for job in jobs)
    full_s = mean_service_s(spec, prompts.mean(), answers.mean(), full=True)
    assert serving.slots / full_s == pytest.approx(carried, rel=0.05)
    alone = engine.arrive(None, 100, 11, 1e9)
    engine.advance(math.inf)
    assert mean_service_s(spec, 100, 11) == pytest.approx(alone.end_s - 1e9, abs=1e-6)


def request(session="1", tokens=5000, route="chat"):
    return Request(id=f"{session}/0/0", session=session, route=route, input_tokens=tokens)


def test_a_prompt_is_cached_from_the_first_token_until_it_expires():
    cache = PromptCacheState(PromptCache(share=0.8, increment=128, ttl=300.0))
    assert cache.cached(request(), 0.0) == 0
    cache.wrote(request(), first_token_s=1.5, now=0.0)
    assert cache.cached(request(), 1.4) == 0  # still being read
    assert cache.cached(request(), 1.5) == 3968  # 80 % of 5000, in steps of 128
    assert cache.cached(request(tokens=1200), 2.0) == 0  # 960 are too few
    assert cache.cached(request(route="other"), 2.0) == 0
    assert cache.cached(request(), 301.0) == 3968  # used at 1.5 …
    assert cache.cached(request(), 601.0) == 3968  # … and at 301
    assert cache.cached(request(), 901.1) == 0


def test_nobody_reads_more_than_somebody_wrote():
    cache = PromptCacheState(PromptCache(share=0.5, ttl=300.0))
    cache.wrote(request(tokens=2000), first_token_s=0.0, now=0.0)  # 1000 in common: too few to be cached
    assert cache.cached(request(tokens=9000), 1.0) == 0
    cache.wrote(request(tokens=3000), first_token_s=1.0, now=1.0)
    assert cache.cached(request(tokens=9000), 2.0) == 1500
    cache.wrote(request(tokens=9000), first_token_s=3.0, now=3.0)
    assert cache.cached(request(tokens=9000), 4.0) == 4500
    cache.wrote(request(tokens=2500), first_token_s=5.0, now=5.0)
    assert cache.cached(request(tokens=9000), 6.0) == 4500, "a short one takes nothing away"
    assert cache.cached(request(tokens=9000), 307.0) == 0
    cache.wrote(request(tokens=2500), first_token_s=307.0, now=307.0)
    assert cache.cached(request(tokens=9000), 308.0) == 1250, "but what expired is gone"


def test_a_growing_chat_tells_how_much_it_shares():
    cache = PromptCacheState(PromptCache(prefix="session"))
    cache.wrote(request("7"), first_token_s=1.0, now=0.0)
    assert cache.cached(request("7", tokens=6000), 5.0, shared_tokens=5000) == 5000
    assert cache.cached(request("8", tokens=6000), 5.0, shared_tokens=5000) == 0
    assert cache.cached(request("7", tokens=3000), 5.0, shared_tokens=5000) == 3000
    cache.wrote(request("7", tokens=6000), first_token_s=6.0, now=6.0, shared_tokens=5000)
    assert cache.cached(request("7", tokens=7500), 7.0, shared_tokens=6000) == 6000


def test_the_cache_forgets_what_expired():
    cache = PromptCacheState(PromptCache(prefix="session", ttl=10.0))
    for i in range(5000):
        cache.wrote(request(str(i)), first_token_s=i * 0.1, now=i * 0.1)
    assert len(cache._written) <= 102


def test_prefixes_that_are_read_all_the_time_do_not_keep_expired_ones_alive():
    cache = PromptCacheState(PromptCache(prefix="session", ttl=10.0))
    for hot in range(3):
        cache.wrote(request(f"hot{hot}"), first_token_s=0.0, now=0.0)
    for i in range(1, 5000):
        for hot in range(3):
            assert cache.cached(request(f"hot{hot}"), i * 0.1) > 0
        cache.wrote(request(str(i)), first_token_s=i * 0.1, now=i * 0.1)
    assert len(cache._written) <= 110


TEXT = """\
version: 1
traffic: {base_rate: 1/s}
providers:
  a:
    network: 20ms
    ttft: 400ms
    prefill: {per_1k: 12ms, per_1k_squared: 8us}
    concurrency: 32
    load: {points: [{at: 50%}, {at: 100%, ttft: 3x, inter_token: 2x}]}
    inter_token: 12ms
    pace: {lognormal: {p50: 1x, p99: 3x}}
    flush: 11%
    stall: {probability: 1%, per: answer, duration: {lognormal: {p50: 2s, p99: 20s}}}
    prompt_cache: {share: 60%, increment: 128, ttl: 10m}
"""


def test_how_a_scenario_writes_it():
    provider = parse_scenario(TEXT).providers["a"]
    assert provider.prefill == Prefill(per_1k=0.012, per_1k_squared=8e-6)
    assert provider.load.points[1] == LoadPoint(at=1.0, ttft=3.0, inter_token=2.0)
    assert provider.pace == Lognormal(1.0, 3.0)
    assert provider.prompt_cache == PromptCache(share=0.6, increment=128, ttl=600.0)


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("    concurrency: 32\n", "", "load of slots needs slots"),
        ("{at: 50%}, ", "{at: 150%}, ", "the points of load must rise"),
        ("load: {", "load: {of: requests, ", "load of requests needs a capacity"),
        ("per: answer", "per: token", "needs 'gap' or 'answer'"),
        ("p50: 1x", "p50: 1s", "not a multiplier"),
    ],
)
def test_refused(right, wrong, says):
    assert right in TEXT
    with pytest.raises(ScenarioError, match=says):
        parse_scenario(TEXT.replace(right, wrong))
