import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.backoff import Backoff

luck = st.floats(0, 1, exclude_min=True, exclude_max=True)
initials = st.floats(1e-3, 100)
retries = st.integers(1, 5000)


@st.composite
def backoffs(draw, jitter=st.sampled_from(["full", "equal", "decorrelated", "none"])):
    initial = draw(initials)
    return Backoff(
        initial=initial,
        max=initial * draw(st.floats(1, 1000)),
        multiplier=draw(st.floats(1, 10)),
        jitter=draw(jitter),
    )


@st.composite
def any_backoffs(draw):
    """Every form there is, waits of 0 included."""
    initial = draw(st.just(0.0) | initials)
    jitter = draw(st.sampled_from(["full", "equal", "decorrelated", "added", "none"]) | st.floats(0, 1))
    growth = "exponential" if jitter == "decorrelated" else draw(st.sampled_from(["exponential", "linear", "constant"]))
    return Backoff(
        initial=initial,
        max=max(initial, 0.001) * draw(st.floats(1, 1000)),
        multiplier=draw(st.floats(1, 10)) if growth == "exponential" else 2.0,
        growth=growth,
        jitter=jitter,
        spread=draw(st.floats(0.001, 10)) if jitter == "added" else None,
    )


@given(any_backoffs(), retries, luck, st.floats(0, 1000))
def test_every_wait_is_inside_the_envelope(backoff, retry, u, previous):
    delay = backoff.delay(retry, u, previous)
    ceiling = backoff.ceiling(retry)
    assert backoff.initial <= max(ceiling, backoff.initial) <= backoff.max * (1 + 1e-12)
    low = {"full": 0.0, "equal": ceiling / 2, "none": ceiling, "added": ceiling, "decorrelated": backoff.initial}
    floor = low[backoff.jitter] if isinstance(backoff.jitter, str) else ceiling * (1 - backoff.jitter)
    high = ceiling if backoff.jitter not in ("added", "decorrelated") else backoff.max
    assert floor * (1 - 1e-9) <= delay <= high * (1 + 1e-9)


def test_decorrelated_jitter_is_never_below_its_first_wait():
    assert Backoff(initial=1.0, jitter="decorrelated").delay(3, 0.5, previous=0.01) == 2.0


@given(any_backoffs(), st.integers(1, 4999))
def test_ceilings_never_fall(backoff, retry):
    assert backoff.ceiling(retry) <= backoff.ceiling(retry + 1)


@given(initials, retries)
def test_linear_and_constant_growth(initial, retry):
    assert Backoff(initial=initial, max=1e9, growth="linear").ceiling(retry) == initial * retry
    assert Backoff(initial=initial, max=1e9, growth="constant").ceiling(retry) == initial


@pytest.mark.parametrize("retry", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("u", [0.001, 0.3, 0.999])
def test_what_others_do_in_these_words(retry, u):
    # openai-python 2.54.0: min(0.5 * 2^n, 8) * (1 - 0.25 * random()), n from 0.
    sdk = Backoff(initial=0.5, max=8.0, jitter=0.25)
    assert sdk.delay(retry, u, 0.0) == pytest.approx(min(0.5 * 2 ** (retry - 1), 8) * (1 - 0.25 * (1 - u)))
    # stamina 26.1.0: min(5, 0.1 * 2^(n - 1) + uniform(0, 1)).
    stamina = Backoff(initial=0.1, max=5.0, jitter="added", spread=1.0)
    assert stamina.delay(retry, u, 0.0) == pytest.approx(min(5.0, 0.1 * 2 ** (retry - 1) + u))
    # LiteLLM 1.106.2: min(0.5 * 2^k, 8) + uniform(0, 0.75), k from 0; the sixth wait is the first to differ.
    router = Backoff(initial=0.5, max=8.75, jitter="added", spread=0.75)
    if retry <= 5:
        assert router.delay(retry, u, 0.0) == pytest.approx(min(0.5 * 2 ** (retry - 1), 8.0) + 0.75 * u)
    # Polly v8: a constant wait with jitter of plus and minus 25 %.
    assert 0.75 <= Backoff(initial=1.25, growth="constant", jitter=0.4).delay(retry, u, 0.0) <= 1.25


@given(backoffs(), retries)
def test_the_ceiling_is_awss_formula(backoff, retry):
    exact = min(math.log(backoff.max), math.log(backoff.initial) + (retry - 1) * math.log(backoff.multiplier))
    assert backoff.ceiling(retry) == pytest.approx(math.exp(exact), rel=1e-9)


@given(backoffs(st.just("full")), retries, luck)
def test_full_jitter_is_uniform_below_the_ceiling(backoff, retry, u):
    assert backoff.delay(retry, u, backoff.initial) == u * backoff.ceiling(retry)


@given(backoffs(st.just("equal")), retries, luck)
def test_equal_jitter_keeps_half(backoff, retry, u):
    ceiling = backoff.ceiling(retry)
    delay = backoff.delay(retry, u, backoff.initial)
    assert ceiling / 2 <= delay <= ceiling
    assert delay == pytest.approx(ceiling / 2 + u * ceiling / 2)


@given(backoffs(st.just("none")), retries, luck)
def test_no_jitter_is_the_ceiling(backoff, retry, u):
    assert backoff.delay(retry, u, backoff.initial) == backoff.ceiling(retry)


@given(backoffs(st.just("decorrelated")), st.lists(luck, min_size=1, max_size=30))
def test_decorrelated_jitter_follows_its_own_luck(backoff, lucks):
    previous = backoff.initial
    for retry, u in enumerate(lucks, start=1):
        delay = backoff.delay(retry, u, previous)
        low, high = backoff.initial, min(backoff.max, 3 * previous)
        assert low * (1 - 1e-12) <= delay <= max(low, high) * (1 + 1e-12)
        assert delay == pytest.approx(min(backoff.max, low + u * (3 * previous - low)))
        previous = delay


@given(backoffs(), retries, luck, st.floats(0, 1000))
def test_retry_after_is_a_floor_and_the_jitter_goes_on_top(backoff, retry, u, floor):
    delay = backoff.delay(retry, u, backoff.initial)
    waited = backoff.after(floor, retry, u, delay)
    assert waited >= floor
    assert waited >= delay
    assert waited <= max(delay, floor + backoff.ceiling(retry))
    if backoff.jitter == "none":
        assert waited == max(delay, floor)
    elif u * backoff.ceiling(retry) > 1e-9 * floor:
        assert waited > floor


def test_a_crowd_with_one_retry_after_does_not_return_as_one():
    backoff = Backoff(initial=1.0, jitter="full")
    crowd = [(number + 0.5) / 100 for number in range(100)]
    returns = sorted(backoff.after(600.0, 1, u, backoff.delay(1, u, 1.0)) for u in crowd)
    assert returns[0] > 600.0
    assert max(b - a for a, b in itertools.pairwise(returns)) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"initial": -1.0}, "must not be negative"),
        ({"initial": 2.0, "max": 1.0}, "write max: 2s or more"),
        ({"multiplier": 0.5}, "write 2 to double"),
        ({"jitter": "some"}, "write full, equal, decorrelated, added, none, or a share like 25%"),
        ({"jitter": 1.5}, "a share like 25%"),
        ({"initial": float("nan")}, "a number of seconds"),
        ({"growth": "quadratic"}, "write exponential, linear or constant"),
        ({"growth": "linear", "multiplier": 3.0}, "multiplier has no effect"),
        ({"growth": "linear", "jitter": "decorrelated"}, "growth has no effect"),
        ({"jitter": "added"}, "write jitter: added, spread: 750ms"),
        ({"spread": 1.0}, "write jitter: added, spread: 750ms"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        Backoff(**fields)
