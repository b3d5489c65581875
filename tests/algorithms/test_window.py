from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.window import LastCalls, RollingCounts

WINDOW = 16.0  # 8 buckets of 2 s: exact in binary
BUCKETS = 8

steps = st.lists(st.tuples(st.integers(0, 100).map(lambda n: n / 4), st.booleans()), max_size=80)


def in_window(events, now):
    """The oracle: what a list of everything that ever happened says."""
    newest = now // (WINDOW / BUCKETS)
    kept = [marked for at, marked in events if newest - BUCKETS < at // (WINDOW / BUCKETS) <= newest]
    return len(kept), sum(kept)


@given(steps, st.floats(0, 1e6))
def test_counts_what_a_list_of_all_events_counts(steps, begin):
    counts = RollingCounts(WINDOW, BUCKETS)
    now = begin // 2 * 2
    events = []
    for wait, marked in steps:
        now += wait
        counts.add(now, marked=marked)
        events.append((now, marked))
        assert (counts.total, counts.marked) == in_window(events, now)
        later = now + wait / 2
        counts.expire(later)
        now = later
        assert (counts.total, counts.marked) == in_window(events, now)


@given(steps)
def test_covers_at_least_the_window_less_one_bucket_and_at_most_the_window(steps):
    counts = RollingCounts(WINDOW, BUCKETS)
    now, times = 0.0, []
    for wait, _ in steps:
        now += wait
        counts.add(now)
        times.append(now)
        assert sum(now - at <= WINDOW - WINDOW / BUCKETS for at in times) <= counts.total
        assert counts.total <= sum(now - at < WINDOW for at in times)


def test_a_clock_that_steps_back_does_no_harm():
    counts = RollingCounts(10.0)
    counts.add(100.0, marked=True)
    counts.add(50.0)
    counts.expire(20.0)
    assert (counts.total, counts.marked) == (2, 1)
    counts.clear()
    assert (counts.total, counts.marked) == (0, 0)


@given(st.integers(1, 12), st.lists(st.one_of(st.booleans(), st.just("clear")), max_size=60))
def test_the_last_calls_are_the_last_calls(size, events):
    calls, kept = LastCalls(size), []
    for now, event in enumerate(events):
        if event == "clear":
            calls.clear()
            kept = []
        else:
            calls.add(float(now), marked=event)
            kept = [*kept, event][-size:]
        assert (calls.total, calls.marked) == (len(kept), sum(kept))
