"""The built-in policies. Importing this package registers their kinds."""

from llmsim.algorithms.backoff import Backoff
from llmsim.gateway.policies.adaptive_rate import AdaptiveRate
from llmsim.gateway.policies.adaptive_throttling import AdaptiveThrottling
from llmsim.gateway.policies.cache import Cache
from llmsim.gateway.policies.circuit_breaker import CircuitBreaker
from llmsim.gateway.policies.deadline import Deadline
from llmsim.gateway.policies.fallback import Fallback
from llmsim.gateway.policies.marks import given_up
from llmsim.gateway.policies.retry import Retry, RetryRule
from llmsim.gateway.policies.retry_budgets import ActiveBudget, Quota
from llmsim.gateway.policies.timeout import Timeout

__all__ = [
    "ActiveBudget",
    "AdaptiveRate",
    "AdaptiveThrottling",
    "Backoff",
    "Cache",
    "CircuitBreaker",
    "Deadline",
    "Fallback",
    "Quota",
    "Retry",
    "RetryRule",
    "Timeout",
    "given_up",
]
