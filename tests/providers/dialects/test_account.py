"""What must hold for any account, whatever happens to it."""

from __future__ import annotations

import math

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.providers.dialects import DIALECTS, Limits, Ramp, Refused
from llmsim.providers.dialects.azure import RequestWindow
from llmsim.types import Usage

RATES = st.floats(0.2, 50)
NAMES = st.sampled_from([name for name in DIALECTS if name != "vllm"])
WORDS = ("requests", "tokens", "input_tokens", "output_tokens", "requests_per_day", "tokens_per_day", "ramp")


@st.composite
def accounts(draw):
    """An account of any dialect with some of its limits."""
    dialect = DIALECTS[draw(NAMES)]
    known = [word for word in WORDS if word in dialect.reads]
    words = {}
    for word in draw(st.lists(st.sampled_from(known), min_size=1, unique=True)):
        if word == "ramp":
            words[word] = Ramp(above=draw(RATES) * 20)
        elif word.endswith("per_day"):
            words[word] = draw(st.integers(5, 20_000))
        else:
            words[word] = draw(RATES) * (1 if word == "requests" else 30)
    if "reserve_output" in dialect.reads:
        words["reserve_output"] = draw(st.booleans())
    if "output_weight" in dialect.reads:
        words["output_weight"] = draw(st.floats(1, 15))
    return dialect.account(Limits(**words), epoch_s=draw(st.floats(0, 2e9)))


#: pause, input, max_tokens, cached share, used share of max_tokens, what happens
STEPS = st.lists(
    st.tuples(
        st.floats(0, 30),
        st.integers(0, 900),
        st.integers(0, 900) | st.none(),
        st.floats(0, 1),
        st.floats(0, 2),
        st.sampled_from(["settle", "settle", "settle", "keep", "fail", "fail early", "cut", "restore"]),
    ),
    max_size=60,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(accounts(), STEPS)
def test_no_level_is_ever_above_its_capacity_and_only_actual_use_leaves_a_debt(account, steps):
    now, flying = 0.0, []
    for pause, given_tokens, max_tokens, cached, used, what in steps:
        now += pause
        before = account.snapshot(now)
        outcome = account.admit(given_tokens, max_tokens, int(cached * given_tokens), now)
        after = account.snapshot(now)
        if isinstance(outcome, Refused):
            assert outcome.wait_s > 0
            counts = account.accounting.counts_failures
            for meter, old, new in zip(account.meters, before, after, strict=True):
                gone = min(max(old, 0.0), 1.0) if counts and meter.name == "requests" else 0.0
                assert math.isclose(old - new, gone, abs_tol=1e-6), "a refusal charges what is documented, no more"
        else:
            assert all(level >= -1e-6 for level in after), "nobody gets in on credit"
            assert outcome[3] == after
            flying.append((outcome, given_tokens, int(cached * given_tokens), int(used * (max_tokens or 16))))
        if what in ("settle", "fail") and flying:
            ticket, taken, from_cache, made = flying.pop(0)
            if what == "fail":
                account.failed(ticket, now)
            else:
                account.settle(ticket, Usage(taken, made, from_cache), now)
        elif what == "fail early":
            account.failed(None, now)
        elif what in ("cut", "restore"):
            account.rescale(0.3 if what == "cut" else 1.0, now)
        for meter, level in zip(account.meters, account.snapshot(now), strict=True):
            assert level <= meter.capacity + 1e-9


@settings(max_examples=examples(100), deadline=None)
@given(
    st.sampled_from(["openai", "anthropic", "bedrock", "groq", "generic"]),
    st.floats(0.5, 5),
    st.lists(st.tuples(st.floats(0, 8), st.integers(1, 200)), min_size=1, max_size=80),
)
def test_buckets_never_let_through_more_than_they_held_and_what_flowed_in(name, rate, steps):
    """In no stretch of time, and whatever is refused in it."""
    word = "tokens" if "tokens" in DIALECTS[name].reads else "input_tokens"
    account = DIALECTS[name].account(Limits(requests=rate, **{word: rate * 60}))
    now, let_in = 0.0, []
    for pause, tokens in steps:
        now += pause
        if not isinstance(account.admit(tokens, 0, 0, now), Refused):
            let_in.append((now, tokens))
    for first in range(len(let_in)):
        taken = 0
        for last in range(first, len(let_in)):
            taken += let_in[last][1]
            span = let_in[last][0] - let_in[first][0]
            assert last - first + 1 <= rate * (60 + span) + 1e-6
            assert taken <= rate * 60 * (60 + span) + 1e-5


@settings(max_examples=examples(100), deadline=None)
@given(
    st.sampled_from(["azure", "gemini"]),
    st.integers(1, 40),
    st.floats(0, 1e9),
    st.lists(st.floats(0, 9), min_size=1, max_size=80),
)
def test_windows_never_let_through_more_than_their_number(name, number, epoch_s, pauses):
    words = {"burst": 60.0} if name == "azure" else {}
    account = DIALECTS[name].account(Limits(requests=number / 60, **words), epoch_s=epoch_s)
    now, let_in = 0.0, {}
    shift = epoch_s if name == "gemini" else 0.0
    for pause in pauses:
        now += pause
        if not isinstance(account.admit(1, 1, 0, now), Refused):
            minute = math.floor((now + shift + 3e-6) / 60)
            let_in[minute] = let_in.get(minute, 0) + 1
    assert max(let_in.values()) <= number
    assert sum(let_in.values()) >= min(len(pauses), number), "and the first so many get in"


@settings(max_examples=examples(60), deadline=None)
@given(accounts(), st.just(0.0) | st.floats(1e-9, 1), st.floats(0, 500))
def test_a_cut_scales_what_there_is_and_restoring_gives_back_only_with_time(account, multiplier, now):
    before = [(meter.capacity, meter.rate_per_s) for meter in account.meters]
    account.snapshot(now)
    account.rescale(multiplier, now)
    for meter, (capacity, rate) in zip(account.meters, before, strict=True):
        if meter.name != "ramp":
            least = 1.0 if meter.draws == 0 and multiplier else 0.0
            if isinstance(meter, RequestWindow):  # requests of azure are then counted over a longer time
                assert meter.capacity >= max(capacity * multiplier - 1e-9, least)
            else:
                assert math.isclose(meter.capacity, max(capacity * multiplier, least))
            assert math.isclose(meter.rate_per_s, rate * multiplier)
            assert meter.level <= meter.capacity + 1e-9
    levels = account.snapshot(now)
    account.rescale(1.0, now)
    assert account.snapshot(now) == levels
    assert [(meter.capacity, meter.rate_per_s) for meter in account.meters] == before


def test_an_account_cut_to_nothing_lets_nobody_in_and_names_no_time():
    for name in ("openai", "anthropic", "azure", "gemini", "bedrock", "groq", "generic"):
        account = DIALECTS[name].account(Limits(requests=5.0))
        account.rescale(0.0, 1.0)
        refused = account.admit(1, 1, 0, 1.0)
        assert isinstance(refused, Refused)
        assert refused.wait_s == math.inf
        answer = DIALECTS[name].refusal(account, refused)
        assert answer.status in (429, 413)
        dict(answer.headers)
        account.rescale(1.0, 2.0)
        assert not isinstance(account.admit(1, 1, 0, 70.0), Refused), name


@pytest.mark.parametrize(
    ("name", "words", "asked", "expected"),
    [
        # requests, tokens, input, output of a call with 1000 in and 100 out: when it comes, and in the end
        ("generic", {"requests": 1.0}, (1, 1100, 1000, 100), (1, 1100, 1000, 100)),
        ("openai", {"requests": 1.0}, (1, 1000, 1000, 16), (1, 1000, 1000, 16)),
        ("openai", {"requests": 1.0, "count_tokens": "sum"}, (1, 1016, 1000, 16), (1, 1016, 1000, 16)),
        ("azure", {"requests": 1.0}, (1, 1016, 1000, 16), (1, 1016, 1000, 16)),
        ("anthropic", {"requests": 1.0}, (1, 1001, 1000, 1), (1, 1100, 1000, 100)),
        ("gemini", {"requests": 1.0}, (1, 1001, 1000, 1), (1, 1100, 1000, 100)),
        ("bedrock", {"requests": 1.0, "output_weight": 5.0}, (1, 65_000, 1000, 64_000), (1, 1500, 1000, 500)),
        ("groq", {"requests": 1.0}, (1, 1016, 1000, 16), (1, 1100, 1000, 100)),
    ],
)
def test_what_a_call_is_charged_at_first_and_in_the_end(name, words, asked, expected):
    """As `admit` and `settle` do it: levels fall by so much."""
    account = DIALECTS[name].account(Limits(**words))
    assert account.asked(1000, 100, None) == asked
    assert account.expected(1000, 100, None) == expected
    word = "tokens" if "tokens" in DIALECTS[name].reads else "input_tokens"
    counted = DIALECTS[name].account(Limits(**words, **{word: 1e6 / 60}))
    meter = counted.meters[-1]
    ticket = counted.admit(1000, 100 if counted.foresees else None, 0, 0.0)
    assert 1e6 - meter.level == pytest.approx(asked[meter.draws])
    counted.settle(ticket, Usage(1000, 100, 0), 0.0)
    assert 1e6 - meter.level == pytest.approx(expected[meter.draws])
