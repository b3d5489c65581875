"""The built-in policies. Importing this package registers their kinds."""

from llmsim.algorithms.backoff import Backoff
from llmsim.gateway.policies.cache import Cache
from llmsim.gateway.policies.circuit_breaker import CircuitBreaker
from llmsim.gateway.policies.cooldown import Cooldown
from llmsim.gateway.policies.deadline import Deadline
from llmsim.gateway.policies.fallback import Fallback
from llmsim.gateway.policies.outlier_ejection import OutlierEjection
from llmsim.gateway.policies.retry import Retry
from llmsim.gateway.policies.timeout import Timeout

__all__ = [
    "Backoff",
    "Cache",
    "CircuitBreaker",
    "Cooldown",
    "Deadline",
    "Fallback",
    "OutlierEjection",
    "Retry",
    "Timeout",
]
