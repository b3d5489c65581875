from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.budgets import RetryBudget

steps = st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=300)
shares = st.floats(0, 1)
minimums = st.floats(0, 5)


def play(budget, steps):
    """(requests, retries that went through), as lists of times; True steps are requests, all try to retry."""
    now, requests, retries = 0.0, [], []
    for wait, is_request in steps:
        now += wait
        if is_request:
            budget.deposit(now)
            requests.append(now)
        before = budget.balance(now)
        assert before >= 0
        allowed = budget.withdraw(now)
        assert allowed == (before >= 1.0 - 1e-9)
        if allowed:
            retries.append(now)
            assert 0 <= budget.balance(now) <= before
    return requests, retries


@given(shares, minimums, steps)
def test_retries_never_exceed_share_plus_minimum_in_any_window(share, minimum, steps):
    requests, retries = play(RetryBudget(share, minimum), steps)
    for end in retries:
        # The ring covers 9 to 10 s: retries of the last 9 are paid by requests of the last 10.
        recent = sum(end - 9.0 < at <= end for at in retries)
        paid = share * sum(end - 10.0 < at <= end for at in requests)
        assert recent <= paid + 10.0 * minimum + 1e-6


@given(shares, steps)
def test_without_a_minimum_no_request_pays_for_two_retries(share, steps):
    requests, retries = play(RetryBudget(share, 0.0), steps)
    assert len(retries) <= share * len(requests) + 1e-6


@given(minimums, st.lists(st.floats(0, 3), max_size=200))
def test_without_requests_only_the_minimum(minimum, waits):
    _, retries = play(RetryBudget(0.5, minimum), [(wait, False) for wait in waits])
    for end in retries:
        assert sum(end - 9.0 < at <= end for at in retries) <= 10.0 * minimum + 1e-6


def test_a_failing_upstream_gets_share_more_load_and_no_more():
    budget = RetryBudget(share=0.2, minimum_per_s=1.0)
    retried = 0
    for number in range(10_000):  # 100/s for 100 s, every call fails and would like two more attempts
        now = number / 100
        budget.deposit(now)
        retried += budget.withdraw(now) + budget.withdraw(now)
    assert 0.2 * 10_000 <= retried <= 0.2 * 10_000 + 1.0 * 110


def test_a_share_of_a_few_is_not_lost_to_rounding():
    budget = RetryBudget(share=0.1, minimum_per_s=0.0)
    for _ in range(30):
        budget.deposit(0.0)
    assert [budget.withdraw(0.0) for _ in range(4)] == [True, True, True, False]
