"""The arithmetic of resilience without input or output: (state, now, event) → decision.

Nothing here knows asyncio, a clock or randomness: the time and the luck are arguments. So every rule can be tested
as a plain function, and the same code decides in a simulation, in production and in a property test.
"""

from llmsim.algorithms.backoff import Backoff
from llmsim.algorithms.breaker import Breaker
from llmsim.algorithms.budgets import RetryBudget
from llmsim.algorithms.codel import Codel
from llmsim.algorithms.cooldown import Cooldown
from llmsim.algorithms.ejection import Ejections
from llmsim.algorithms.ewma import Ewma, PeakEwma
from llmsim.algorithms.limits import ConcurrencyLimiter
from llmsim.algorithms.limits_aimd import Aimd
from llmsim.algorithms.limits_gradient2 import Gradient2
from llmsim.algorithms.limits_vegas import Vegas
from llmsim.algorithms.limits_window import WindowedLimit
from llmsim.algorithms.lru import LruCache
from llmsim.algorithms.quantile import RecentQuantile, RollingQuantile
from llmsim.algorithms.quota import QuotaBook
from llmsim.algorithms.ramp import ramp_delay_s, ramp_share
from llmsim.algorithms.sticky import Rendezvous
from llmsim.algorithms.window import LastCalls, RollingCounts

__all__ = [
    "Aimd",
    "Backoff",
    "Breaker",
    "Codel",
    "ConcurrencyLimiter",
    "Cooldown",
    "Ejections",
    "Ewma",
    "Gradient2",
    "LastCalls",
    "LruCache",
    "PeakEwma",
    "QuotaBook",
    "RecentQuantile",
    "Rendezvous",
    "RetryBudget",
    "RollingCounts",
    "RollingQuantile",
    "Vegas",
    "WindowedLimit",
    "ramp_delay_s",
    "ramp_share",
]
