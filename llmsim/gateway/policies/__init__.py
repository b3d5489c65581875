"""The built-in policies. Importing this package registers their kinds."""

from llmsim.algorithms.backoff import Backoff
from llmsim.gateway.foreign import Around
from llmsim.gateway.policies._line import WaitingLine
from llmsim.gateway.policies._replay import Pace
from llmsim.gateway.policies.adaptive_admission import AdaptiveAdmission
from llmsim.gateway.policies.adaptive_rate import AdaptiveRate
from llmsim.gateway.policies.adaptive_throttling import AdaptiveThrottling
from llmsim.gateway.policies.budget import Budget
from llmsim.gateway.policies.bulkhead import Bulkhead
from llmsim.gateway.policies.cache import Cache
from llmsim.gateway.policies.cascade import Cascade
from llmsim.gateway.policies.circuit_breaker import CircuitBreaker
from llmsim.gateway.policies.concurrency_limit import ConcurrencyLimit
from llmsim.gateway.policies.cooldown import Cooldown
from llmsim.gateway.policies.deadline import Deadline
from llmsim.gateway.policies.fair_queue import FairQueue
from llmsim.gateway.policies.fallback import Fallback
from llmsim.gateway.policies.hedge import Hedge
from llmsim.gateway.policies.load_shedding import LoadShedding, ShedLevel
from llmsim.gateway.policies.marks import given_up
from llmsim.gateway.policies.max_tokens import MaxTokens
from llmsim.gateway.policies.outlier_ejection import OutlierEjection
from llmsim.gateway.policies.rate_limit import RateLimit
from llmsim.gateway.policies.retry import Retry, RetryRule
from llmsim.gateway.policies.retry_budgets import ActiveBudget, Quota
from llmsim.gateway.policies.route import Routing
from llmsim.gateway.policies.runaway_guard import RunawayGuard
from llmsim.gateway.policies.semantic_cache import SemanticCache
from llmsim.gateway.policies.single_flight import SingleFlight
from llmsim.gateway.policies.structured_output import StructuredOutput
from llmsim.gateway.policies.timeout import Timeout
from llmsim.gateway.policies.waiting_room import WaitingRoom
from llmsim.gateway.presets import preset, preset_names

__all__ = [
    "ActiveBudget",
    "AdaptiveAdmission",
    "AdaptiveRate",
    "AdaptiveThrottling",
    "Around",
    "Backoff",
    "Budget",
    "Bulkhead",
    "Cache",
    "Cascade",
    "CircuitBreaker",
    "ConcurrencyLimit",
    "Cooldown",
    "Deadline",
    "FairQueue",
    "Fallback",
    "Hedge",
    "LoadShedding",
    "MaxTokens",
    "OutlierEjection",
    "Pace",
    "Quota",
    "RateLimit",
    "Retry",
    "RetryRule",
    "Routing",
    "RunawayGuard",
    "SemanticCache",
    "ShedLevel",
    "SingleFlight",
    "StructuredOutput",
    "Timeout",
    "WaitingLine",
    "WaitingRoom",
    "given_up",
    "preset",
    "preset_names",
]
