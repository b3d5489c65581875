import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.runaway import Limits, Session

steps = st.lists(st.tuples(st.floats(0, 40), st.sampled_from("abcd")), max_size=120)


def play(limits, steps):
    """Times and messages of the calls that were let through."""
    session, now, through = Session(), 0.0, []
    for wait, message in steps:
        now += wait
        if limits.enter(session, now, message) is None:
            through.append((now, message))
    assert session.calls == len(through)
    return through


@given(steps, st.integers(1, 30))
def test_never_more_calls_than_allowed(steps, most):
    assert len(play(Limits(max_calls=most), steps)) == min(most, len(steps))


@given(steps, st.integers(1, 10))
def test_never_more_in_any_minute_and_none_is_lost_that_fits(steps, most):
    through = [at for at, _ in play(Limits(calls_per_minute=most), steps)]
    for end in through:
        assert sum(end - 60.0 < at <= end for at in through) <= most
    now = 0.0
    for wait, _ in steps:
        now += wait
        if now not in through:
            assert sum(now - 60.0 < at <= now for at in through) >= most


@given(steps, st.integers(1, 6))
def test_never_more_alike_among_the_latest(steps, most):
    through = [message for _, message in play(Limits(max_repeats=most), steps)]
    for end in range(len(through)):
        latest = through[max(0, end - 4 * most) : end + 1]
        assert latest.count(through[end]) <= most


@given(st.integers(1, 8), st.integers(1, 4))
def test_a_loop_over_up_to_four_calls_is_found_in_time(most, period):
    session, limits = Session(), Limits(max_repeats=most)
    found = [limits.enter(session, float(step), f"call {step % period}") for step in range(4 * most + 1)]
    assert found[-1] == "repeats"
    assert found.index("repeats") == most * period


@given(steps)
def test_memory_is_bounded_by_the_limits(steps):
    session, limits = Session(), Limits(calls_per_minute=5, max_repeats=2)
    for number in range(50):
        limits.enter(session, 100.0 * number, str(number))
    assert len(session.marks) <= 8
    assert len(session.times) <= 5


@pytest.mark.parametrize(
    ("similarity", "first", "second", "alike"),
    [
        (1.0, "error 500 at 10:03:07", "error 500 at 10:03:12", False),
        (0.6, "error 500 at 10:03:07", "error 500 at 10:03:12", True),  # 3 of 5 words
        (0.61, "error 500 at 10:03:07", "error 500 at 10:03:12", False),
        (0.6, "x " * 10_000 + "a", "x " * 10_000 + "b", True),  # only the first words count
        (0.5, "", "", True),
        (0.5, "", "a", False),
    ],
)
def test_similar(similarity, first, second, alike):
    session, limits = Session(), Limits(max_repeats=1, similarity=similarity)
    limits.enter(session, 0.0, first)
    assert (limits.enter(session, 1.0, second) == "repeats") == alike


def test_spend_and_order_of_reasons():
    session, limits = Session(), Limits(max_calls=2, max_spend_usd=1.0)
    assert limits.enter(session, 0.0, None) is None
    session.spent_usd = 1.0
    assert limits.enter(session, 1.0, None) == "spend"
    session.spent_usd = 0.0
    limits.enter(session, 2.0, None)
    assert limits.enter(session, 3.0, None) == "calls"
