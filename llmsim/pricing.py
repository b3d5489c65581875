"""What tokens cost: given in a scenario, or looked up for a model and a date."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from llmsim.types import Usage
from llmsim.units import BadValue, Price

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

__all__ = ["BATCH", "FREE", "ListPrice", "PriceSteps", "TokenPrice", "TokenPriceOrModel", "list_price", "price_at"]


@dataclass(frozen=True)
class TokenPrice:
    """Price per token in USD.

    Parameters
    ----------
    input, output
        Per input and output token.
    cached_input
        Per input token that the provider reads from its prompt cache; None: the price of `input`.
    cache_write
        Per input token that it writes to it (Anthropic: 1.25 times `input`, twice for an hour; OpenAI since GPT-5.6);
        None: the price of `input`.

    Examples
    --------
    >>> round(TokenPrice(input=3e-6, output=15e-6).cost(Usage(input_tokens=1000, output_tokens=200)), 9)
    0.006
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    input: Price = 0.0
    output: Price = 0.0
    cached_input: Price | None = None
    cache_write: Price | None = None

    def cost(self, usage: Usage) -> float:
        """USD for this usage."""
        tokens, output, cached, written = usage
        cached_price = self.input if self.cached_input is None else self.cached_input
        cost = (tokens - cached) * self.input + cached * cached_price + output * self.output
        if written and self.cache_write is not None:
            cost += written * (self.cache_write - self.input)
        return cost

    def times(self, multiplier: float) -> TokenPrice:
        """So many times as dear."""
        cached = None if self.cached_input is None else self.cached_input * multiplier
        written = None if self.cache_write is None else self.cache_write * multiplier
        return TokenPrice(self.input * multiplier, self.output * multiplier, cached, written)


FREE = TokenPrice()

#: From when on which price holds, in order of time; the first from -inf on.
PriceSteps = tuple[tuple[float, TokenPrice], ...]


def price_at(steps: PriceSteps, time_s: float) -> TokenPrice:
    """The price that holds at a moment.

    Examples
    --------
    >>> steps = ((float("-inf"), FREE), (60.0, TokenPrice(input=2e-6)))
    >>> price_at(steps, 59.9).input, price_at(steps, 60.0).input
    (0.0, 2e-06)
    """
    return steps[bisect_right(steps, time_s, key=itemgetter(0)) - 1][1]


class _Batch(NamedTuple):
    """What a provider's batch interface costs, as multiples of its list price."""

    multiplier: float
    cached_input: float


#: By provider; the price library knows nothing of batches. OpenAI: batch prices of gpt-4o and gpt-4o-mini in litellm
#: 1.106.2. Anthropic: half of everything, cache reads too (Message Batches pricing, 2026). Google: half, but the
#: discount on cached input is not halved again (Gemini batch inference, docs.cloud.google.com, 2026).
BATCH: dict[str, _Batch] = {
    "openai": _Batch(0.5, 0.5),
    "anthropic": _Batch(0.5, 0.5),
    "google": _Batch(0.5, 1.0),
}


#: What genai-prices calls them. A write that is kept for an hour is dearer still (``cache_write_1h_mtok``), and not
#: here: calls ask for those explicitly, in `extra_body`.
_LISTED = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
}


class ListPrice(NamedTuple):
    """A price from the list of genai-prices, and what exactly it is the price of."""

    price: TokenPrice
    provider: str  #: as genai-prices calls it
    model: str
    date: str  #: the day it held, or "latest"
    batch: bool
    tier_above_tokens: int | None  #: longer prompts cost more than `price` says (which keeps to the first tier)


@lru_cache(maxsize=256)
def list_price(model: str, date: str | None = None, *, batch: bool = False) -> ListPrice:
    """Look a price up, offline, in the list that comes with genai-prices.

    Parameters
    ----------
    model
        ``provider/model``, as in ``openai/gpt-4o-mini`` or ``groq/llama3-70b-8192``.
    date
        ISO date on which the price held; None: the latest in the list, which changes with the version installed.
    batch
        Whether for the provider's batch interface.

    Raises
    ------
    BadValue
        For an unknown provider, model or date, with what is nearest.

    Examples
    --------
    >>> found = list_price("openai/o3", "2025-05-01")
    >>> round(found.price.input * 1e6, 6), round(list_price("openai/o3", "2026-05-01").price.input * 1e6, 6)
    (10.0, 2.0)
    """
    moment = _moment(date)
    provider, info = _find(model)
    prices = info.get_prices(moment)
    rate, cached_rate = (1.0, 1.0) if not batch else _batch_of(provider.id)
    found, tiers = {}, []
    for field, name in _LISTED.items():
        listed = getattr(prices, name, None)
        if listed is None:
            continue
        if hasattr(listed, "tiers"):
            tiers += [tier.start for tier in listed.tiers]
            listed = listed.base
        found[field] = float(listed) / 1e6 * (cached_rate if field == "cached_input" else rate)
    if "input" not in found and "output" not in found:
        raise BadValue(f"{model!r} has no price per token in the list; write input: and output:", "model")
    price = TokenPrice(**found)
    return ListPrice(price, provider.id, info.id, date or "latest", batch, min(tiers) if tiers else None)


def _moment(date: str | None) -> datetime:
    if date is None:
        return datetime(9999, 12, 31, tzinfo=UTC)
    try:
        return datetime.strptime(date, "%Y-%m-%d").replace(hour=12, tzinfo=UTC)
    except ValueError:
        raise BadValue(f"{date!r} is not a date; write it like 2026-05-01", "date") from None


def _find(model: str) -> tuple[Provider, ModelInfo]:
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    maker, slash, name = model.partition("/")
    providers = [provider.id for provider in snapshot.providers]
    if not slash:
        raise BadValue(f"{model!r} does not name its provider; write it like openai/{model}", "model")
    try:
        provider = snapshot.find_provider(None, maker, None)
    except LookupError:
        near = get_close_matches(maker, providers, n=1)
        hint = f"did you mean {near[0]}/{name}?" if near else f"known: {', '.join(providers)}"
        raise BadValue(f"no prices are known for the provider {maker!r}; {hint}", "model") from None
    try:
        _, info = snapshot.find_provider_model(name, provider, None, None)
    except LookupError:
        near = get_close_matches(name, [info.id for info in provider.models], n=3)
        hint = "did you mean " + " or ".join(f"{maker}/{word}" for word in near) + "?" if near else "write input: …"
        raise BadValue(f"no price is known for {name!r} at {maker}; {hint}", "model") from None
    return provider, info


def _batch_of(provider: str) -> _Batch:
    if provider not in BATCH:
        known = ", ".join(BATCH)
        raise BadValue(f"no batch price is known for {provider}, only for {known}; write input: and output:", "batch")
    return BATCH[provider]


class _OrModel:
    """``Annotated`` marker: a price may also be given as ``{model: openai/gpt-4o-mini, date: 2026-05-01}``."""

    _KEYS = ("model", "date", "batch")

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self._resolved, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        text = {"type": "string", "examples": ["openai/gpt-4o-mini"], "pattern": "^[^/]+/.+$"}
        text["description"] = "In place of figures: the list price of this model."
        date = {"type": "string", "examples": ["2026-05-01"], "pattern": r"^\d{4}-\d{2}-\d{2}$"}
        date["description"] = "The list price as of this day; without it, the latest that is known."
        batch = {"type": "boolean", "description": "Whether for the provider's batch interface."}
        properties = {"model": text, "date": date, "batch": batch}
        looked_up = {"type": "object", "properties": properties, "required": ["model"], "additionalProperties": False}
        return {"anyOf": [handler(schema), looked_up]}

    def _resolved(self, value: Any) -> Any:
        if not isinstance(value, dict) or not any(key in value for key in self._KEYS):
            return value
        for key in value:
            if key not in self._KEYS:
                raise BadValue(f"{key!r} cannot stand beside model:; it takes {', '.join(self._KEYS)}", str(key))
        model, date, batch = value.get("model"), value.get("date"), value.get("batch", False)
        if not isinstance(model, str):
            raise BadValue("a price is looked up for a model; write it like model: openai/gpt-4o-mini", "model")
        if not (date is None or isinstance(date, str)):
            raise BadValue(f"{date!r} is not a date; write it like 2026-05-01", "date")
        if not isinstance(batch, bool):
            raise BadValue(f"batch needs true or false, not {batch!r}; write batch: true", "batch")
        return list_price(model, date, batch=batch).price


TokenPriceOrModel = Annotated[TokenPrice, _OrModel()]
