"""The built-in policies. Importing this package registers their kinds."""

from llmsim.algorithms.backoff import Backoff
from llmsim.gateway.policies.adaptive_admission import AdaptiveAdmission
from llmsim.gateway.policies.cache import Cache
from llmsim.gateway.policies.circuit_breaker import CircuitBreaker
from llmsim.gateway.policies.concurrency_limit import ConcurrencyLimit, WaitingLine
from llmsim.gateway.policies.deadline import Deadline
from llmsim.gateway.policies.fallback import Fallback
from llmsim.gateway.policies.hedge import Hedge
from llmsim.gateway.policies.retry import Retry
from llmsim.gateway.policies.single_flight import SingleFlight
from llmsim.gateway.policies.timeout import Timeout

__all__ = [
    "AdaptiveAdmission",
    "Backoff",
    "Cache",
    "CircuitBreaker",
    "ConcurrencyLimit",
    "Deadline",
    "Fallback",
    "Hedge",
    "Retry",
    "SingleFlight",
    "Timeout",
    "WaitingLine",
]
