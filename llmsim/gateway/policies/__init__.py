"""The built-in policies. Importing this package registers their kinds."""

from llmsim.algorithms.backoff import Backoff
from llmsim.gateway.policies._line import WaitingLine
from llmsim.gateway.policies.bulkhead import Bulkhead
from llmsim.gateway.policies.cache import Cache
from llmsim.gateway.policies.circuit_breaker import CircuitBreaker
from llmsim.gateway.policies.deadline import Deadline
from llmsim.gateway.policies.fair_queue import FairQueue
from llmsim.gateway.policies.fallback import Fallback
from llmsim.gateway.policies.load_shedding import LoadShedding, ShedLevel
from llmsim.gateway.policies.rate_limit import RateLimit
from llmsim.gateway.policies.retry import Retry
from llmsim.gateway.policies.timeout import Timeout
from llmsim.gateway.policies.waiting_room import WaitingRoom

__all__ = [
    "Backoff",
    "Bulkhead",
    "Cache",
    "CircuitBreaker",
    "Deadline",
    "FairQueue",
    "Fallback",
    "LoadShedding",
    "RateLimit",
    "Retry",
    "ShedLevel",
    "Timeout",
    "WaitingLine",
    "WaitingRoom",
]
