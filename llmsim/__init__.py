"""A wind tunnel for LLM gateways.

The asyncio policies that run in production run here unchanged, in virtual time, against providers that
throttle, slow down, stall and break::

    import llmsim as ls

    result = ls.run("scenarios/hacker-news-spike.yaml")
    result.plot.timeline()

Names load when they are first used, so importing this package costs little.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmsim import lab
    from llmsim.api import load, run
    from llmsim.chaos.search import search
    from llmsim.errors import GatewayError, LlmsimError, ScenarioError
    from llmsim.gateway import policies
    from llmsim.gateway.contract import Run, current_run, policy
    from llmsim.gateway.pipeline import Gateway
    from llmsim.gateway.policies.cache import Cache
    from llmsim.gateway.policies.circuit_breaker import CircuitBreaker
    from llmsim.gateway.policies.deadline import Deadline
    from llmsim.gateway.policies.fallback import Fallback
    from llmsim.gateway.policies.retry import Retry
    from llmsim.gateway.policies.timeout import Timeout
    from llmsim.live_run import run_live
    from llmsim.providers.live import OpenAIChat
    from llmsim.report.compare import compare
    from llmsim.report.result import Result
    from llmsim.report.save import load_result
    from llmsim.scenario.spec import Scenario
    from llmsim.tuning.capacity import capacity
    from llmsim.tuning.sweep import sweep
    from llmsim.tuning.tune import tune
    from llmsim.types import Message, Request, Response

__version__ = "0.1.0"

_HOME = {
    "Cache": "llmsim.gateway.policies.cache",
    "CircuitBreaker": "llmsim.gateway.policies.circuit_breaker",
    "Deadline": "llmsim.gateway.policies.deadline",
    "Fallback": "llmsim.gateway.policies.fallback",
    "Gateway": "llmsim.gateway.pipeline",
    "GatewayError": "llmsim.errors",
    "LlmsimError": "llmsim.errors",
    "Message": "llmsim.types",
    "OpenAIChat": "llmsim.providers.live",
    "Request": "llmsim.types",
    "Response": "llmsim.types",
    "Result": "llmsim.report.result",
    "Retry": "llmsim.gateway.policies.retry",
    "Run": "llmsim.gateway.contract",
    "Scenario": "llmsim.scenario.spec",
    "ScenarioError": "llmsim.errors",
    "Timeout": "llmsim.gateway.policies.timeout",
    "capacity": "llmsim.tuning.capacity",
    "compare": "llmsim.report.compare",
    "current_run": "llmsim.gateway.contract",
    "lab": "llmsim.lab",
    "load": "llmsim.api",
    "load_result": "llmsim.report.save",
    "policies": "llmsim.gateway.policies",
    "policy": "llmsim.gateway.contract",
    "run": "llmsim.api",
    "run_live": "llmsim.live_run",
    "search": "llmsim.chaos.search",
    "sweep": "llmsim.tuning.sweep",
    "tune": "llmsim.tuning.tune",
}

__all__ = [
    "Cache",
    "CircuitBreaker",
    "Deadline",
    "Fallback",
    "Gateway",
    "GatewayError",
    "LlmsimError",
    "Message",
    "OpenAIChat",
    "Request",
    "Response",
    "Result",
    "Retry",
    "Run",
    "Scenario",
    "ScenarioError",
    "Timeout",
    "capacity",
    "compare",
    "current_run",
    "lab",
    "load",
    "load_result",
    "policies",
    "policy",
    "run",
    "run_live",
    "search",
    "sweep",
    "tune",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'llmsim' has no attribute {name!r}{_elsewhere(name)}")
    module = import_module(home)
    value = globals()[name] = module if name in ("lab", "policies") else getattr(module, name)
    return value


def _elsewhere(name: str) -> str:
    if not name[:1].isupper():  # no policy: tools that look for `__wrapped__` and the like need not load any
        return ""
    policies = import_module("llmsim.gateway.policies")
    return f"; write llmsim.policies.{name}" if name in policies.__all__ else ""


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
