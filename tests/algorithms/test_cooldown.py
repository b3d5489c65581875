import math

from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.cooldown import Cooldown
from llmsim.algorithms.ramp import ramp_share

TIME, FAILURES, MAX, JITTER, RAMP = 5.0, 3, 300.0, 0.25, 20.0

lucks = st.floats(0.0, 1.0, exclude_min=True, exclude_max=True)
failures = st.tuples(
    st.floats(0.0, 30.0),  # seconds since the last one
    st.one_of(st.none(), st.just(0.0), st.floats(0.0, 1e4)),  # retry_after_s
    st.booleans(),  # at_once
    lucks,
)


def cooldown(**changes):
    fields = {"time_s": TIME, "failures": FAILURES, "max_s": MAX, "jitter": JITTER, "ramp_s": RAMP}
    return Cooldown(**{**fields, **changes})


@given(st.lists(st.one_of(failures, st.just("ok")), max_size=40))
def test_the_end_of_a_cooldown_never_moves_earlier_and_is_the_latest_anybody_asked_for(events):
    core, now, in_a_row, asked = cooldown(), 0.0, 0, -math.inf
    for event in events:
        before = core.until_s
        if event == "ok":
            core.succeeded()
            in_a_row = 0
            assert core.until_s == before
            continue
        wait, retry_after_s, at_once, luck = event
        now += wait
        moved = core.failed(now, retry_after_s=retry_after_s, at_once=at_once, luck=luck)
        length = None
        if retry_after_s:
            length = min(retry_after_s, MAX)
        elif at_once:
            length = TIME if retry_after_s is None else None
        else:
            in_a_row += 1
            if in_a_row == FAILURES:
                length = TIME
        if length is not None:
            in_a_row = 0
            asked = max(asked, now + length * (1 + JITTER * luck))
        assert core.until_s == asked
        assert bool(moved) == (core.until_s > before)
        assert not moved or core.until_s == now + moved
        assert core.until_s >= before
        assert core.until_s <= now + MAX * (1 + JITTER)


@given(failures, st.lists(st.tuples(st.floats(0.0, 60.0), lucks), max_size=30))
def test_nothing_before_the_end_then_a_growing_share_then_everything(failure, asks):
    core = cooldown()
    _, retry_after_s, at_once, luck = failure
    if not core.failed(0.0, retry_after_s=retry_after_s, at_once=at_once, luck=luck):
        assert not core.active
        assert core.opens_s(0.999) == -math.inf
        return
    now = 0.0
    for wait, own in asks:
        now += wait
        core.settle(now)
        through = now >= core.opens_s(own)
        if now < core.until_s:
            assert not through
        elif now >= core.until_s + RAMP:
            assert through
        elif abs(own - ramp_share(now - core.until_s, RAMP)) > 1e-6:
            assert through == (own < ramp_share(now - core.until_s, RAMP))
        assert core.active == (now < core.until_s + RAMP)


def test_replicas_told_the_same_do_not_come_back_together():
    ends = []
    for luck in (0.1, 0.4, 0.9):
        core = cooldown()
        core.failed(0.0, retry_after_s=40.0, luck=luck)
        ends.append(core.until_s)
    assert ends == [41.0, 44.0, 49.0]


def test_a_success_ends_the_row():
    core = cooldown()
    for _ in range(10):
        assert not core.failed(0.0)
        assert not core.failed(0.0)
        core.succeeded()
    assert core.until_s == -math.inf


def test_after_a_cooldown_it_takes_a_whole_row_again():
    core = cooldown(jitter=0.0)
    moved = [core.failed(10.0 * number) for number in range(9)]
    assert moved == [0.0, 0.0, TIME] * 3
    assert core.until_s == 80.0 + TIME
