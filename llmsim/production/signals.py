"""The instruments of a gateway in production, and its facts as attributes: the names are those of `telemetry.otel`.

What the lab exports of a simulated run (`telemetry.measurements`) has the same instruments and attributes, so one
dashboard shows both. Only ``gen_ai.server.*`` is missing here: those are for the server to say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmsim.telemetry.otel import ATTRIBUTES, METRICS, OPERATION

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Meter

    from llmsim.gateway.exchange import Attempt
    from llmsim.types import Request

__all__ = ["Instruments", "attributes", "event_attributes"]

_USED = (
    "duration", "first_chunk", "input_tokens", "cached_input_tokens", "output_tokens", "input_tokens_each",
    "output_tokens_each", "token_usage", "cost", "requests", "request_duration", "request_first_chunk", "fallbacks",
    "saved", "embedding_tokens", "in_flight", "events",
)  # fmt: skip

#: Texts of events that are told: words that policies choose among, and names. Others may quote prompts and answers.
_WORDS = frozenset(
    {
        "answered_by",
        "by",
        "error",
        "from",
        "into",
        "made_for",
        "model",
        "now",
        "of",
        "operation",
        "outcome",
        "reason",
        "state",
        "to",
    }
)
_WORD = re.compile(r"[\w.:/-]{1,64}")


class Instruments:
    """Everything that is measured."""

    def __init__(self, meter: Meter) -> None:
        self._made: dict[str, Any] = {}
        for key in _USED:
            one = METRICS[key]
            if one.kind == "histogram":
                # Advice: whoever sets up the SDK can have other buckets, by a View.
                self._made[key] = meter.create_histogram(
                    one.name, one.unit, one.meaning, explicit_bucket_boundaries_advisory=list(one.bounds)
                )
            elif one.kind == "counter":
                self._made[key] = meter.create_counter(one.name, one.unit, one.meaning)
            else:
                self._made[key] = meter.create_up_down_counter(one.name, one.unit, one.meaning)

    def tell(self, key: str, value: float, values: Mapping[str, Any], context: Context | None = None) -> None:
        """One measurement, with attributes by our names; `context` leads from a bucket to the trace (exemplars)."""
        instrument, told = self._made[key], attributes(values)
        if METRICS[key].kind == "histogram":
            instrument.record(value, told, context=context)
        else:
            instrument.add(value, told, context=context)

    def attempt(self, attempt: Attempt, context: Context | None) -> None:
        """A call to an upstream that has ended."""
        call = {"operation": OPERATION, "upstream": attempt.upstream, "model": attempt.model}
        failed = {**call, "error": "" if attempt.outcome == "ok" else attempt.outcome}
        usage = attempt.usage
        self.tell("duration", attempt.end_s - attempt.start_s, failed, context)
        if attempt.first_s < attempt.end_s:  # streamed; NaN is not below anything
            self.tell("first_chunk", attempt.first_s - attempt.start_s, call, context)
        text = {**call, "modality": "text"}
        for key in ("input_tokens", "cached_input_tokens", "output_tokens"):
            self.tell(key, getattr(usage, key), text, context)
        for key in ("input_tokens", "output_tokens"):
            self.tell(f"{key}_each", getattr(usage, key), failed, context)
            kind = {**call, "token_type": key.partition("_")[0]}
            self.tell("token_usage", getattr(usage, key), kind, context)
        money = {"upstream": attempt.upstream, "model": attempt.model, "cause": attempt.cause}
        self.tell("cost", attempt.cost_usd, money, context)

    def request(self, request: Request, told: Mapping[str, Any], took_s: float, context: Context | None) -> None:
        """A request that is over.

        Parameters
        ----------
        told
            By our names: outcome, served_from, cache_match, first_chunk_s, fallbacks, saved_usd, embedding_tokens.
        """
        asked = {name: getattr(request, name) for name in ("route", "tenant", "feature")}
        outcome = told["outcome"]
        served = {name: told[name] for name in ("outcome", "served_from", "cache_match")}
        self.tell("requests", 1, {**asked, **served}, context)
        self.tell("request_duration", took_s, {**asked, "error": "" if outcome == "ok" else outcome}, context)
        if outcome == "ok":
            first = {**asked, "served_from": told["served_from"]}
            self.tell("request_first_chunk", told["first_chunk_s"], first, context)
        self.tell("fallbacks", told["fallbacks"], asked, context)
        self.tell("saved", told["saved_usd"], asked, context)
        if told["embedding_tokens"]:
            self.tell("embedding_tokens", told["embedding_tokens"], asked, context)


def attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes by our names; what is empty, missing or not a number is left out.

    Examples
    --------
    >>> attributes({"upstream": "openai", "model": "", "first_chunk_s": float("nan"), "attempt": 0})
    {'gen_ai.provider.name': 'openai', 'llmsim.attempt.number': 0}
    """
    return {
        ATTRIBUTES.get(name, name): value
        for name, value in values.items()
        if value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))
    }


def event_attributes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a policy said with an event: numbers, and those of its texts that are words.

    Examples
    --------
    >>> event_attributes({"policy": "retry", "delay_s": 0.5, "error": "overloaded", "why": "no 'Dear Ann' in it"})
    {'llmsim.policy': 'retry', 'llmsim.event.delay_s': 0.5, 'llmsim.event.error': 'overloaded'}
    """
    place = {name: fields[name] for name in ("policy", "upstream", "replica") if name in fields}
    told = {
        f"llmsim.event.{name}": value
        for name, value in fields.items()
        if name not in place and name != "request_id" and _tellable(name, value)
    }
    return attributes({**place, **told})


def _tellable(name: str, value: Any) -> bool:
    if isinstance(value, bool | int | float):
        return True
    return isinstance(value, str) and name in _WORDS and _WORD.fullmatch(value) is not None
