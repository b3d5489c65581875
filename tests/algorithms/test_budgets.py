from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.budgets import ActiveRetryBudget, FailureLimit, RetryBudget, RetryQuota

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


@given(shares, st.integers(0, 5), st.lists(st.sampled_from("oxrd"), max_size=200))
def test_open_retries_never_exceed_their_share_when_one_is_allowed(share, minimum, moves):
    budget = ActiveRetryBudget(share, minimum)
    for move in moves:
        if move == "o":
            budget.opened()
        elif move == "x" and budget.active > budget.retries:
            budget.closed()
        elif move == "r" and budget.retries < budget.active:
            limit = max(minimum, share * budget.active)
            allowed = budget.withdraw()
            # As in Envoy it compares before it counts: the last one allowed may be the one that passes the limit.
            assert allowed == (budget.retries - allowed < limit)
        elif move == "d" and budget.retries:
            budget.retried()
        assert 0 <= budget.retries <= budget.active


@given(
    st.floats(1, 1000),
    st.lists(st.tuples(st.booleans(), st.floats(0, 100)), max_size=200),
)
def test_a_quota_is_never_negative_and_never_more_than_full(capacity, moves):
    quota = RetryQuota(capacity)
    paid = put = 0.0
    for withdraws, amount in moves:
        if withdraws:
            before = quota.level
            allowed = quota.withdraw(amount)
            assert allowed == (amount <= before + 1e-9)
            paid += amount if allowed else 0.0
        else:
            quota.deposit(amount)
            put += amount
        assert 0 <= quota.level <= capacity
    assert paid <= capacity + put + 1e-6


def test_a_quota_of_aws_is_gone_after_35_retries_and_a_success_in_the_end_returns_the_last():
    quota = RetryQuota(500)
    assert sum(quota.withdraw(14) for _ in range(100)) == 500 // 14 == 35
    quota.deposit(14)
    assert quota.withdraw(14) and not quota.withdraw(14)


@given(st.lists(st.booleans(), min_size=1, max_size=300), st.sampled_from([0.0, 0.1, 0.5]))
def test_a_failure_limit_goes_by_the_share_of_failures(outcomes, limit):
    limiter = FailureLimit(limit)
    failures = 0
    for number, failed in enumerate(outcomes, start=1):
        limiter.deposit(number / 100)
        if failed:
            failures += 1
            assert limiter.failed(number / 100) == (failures <= limit * number + 1e-9)


def test_a_failure_limit_forgets():
    limiter = FailureLimit(0.1)
    limiter.deposit(0.0)
    assert not limiter.failed(0.0)
    for _ in range(20):
        limiter.deposit(30.0)
    assert limiter.failed(30.0)


def test_a_failure_limit_forgets_requests_too():
    limiter = FailureLimit(1.0)
    limiter.deposit(0.0)
    assert not limiter.failed(30.0)


def test_a_quota_of_rounding_errors_is_not_below_nothing():
    quota = RetryQuota(1.0)
    assert quota.withdraw(1.0)
    for _ in range(10):
        quota.deposit(0.1)
    assert quota.level < 1.0
    assert quota.withdraw(1.0)
    assert quota.level == 0.0
