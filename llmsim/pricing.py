"""What tokens cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llmsim.types import Usage
from llmsim.units import Price

__all__ = ["FREE", "TokenPrice"]


@dataclass(frozen=True)
class TokenPrice:
    """Price per token in USD.

    Parameters
    ----------
    input, output
        Per input and output token.
    cached_input
        Per input token that the provider reads from its prompt cache; None: the price of `input`.

    Examples
    --------
    >>> round(TokenPrice(input=3e-6, output=15e-6).cost(Usage(input_tokens=1000, output_tokens=200)), 9)
    0.006
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    input: Price = 0.0
    output: Price = 0.0
    cached_input: Price | None = None

    def cost(self, usage: Usage) -> float:
        """USD for this usage."""
        cached = usage.cached_input_tokens
        cached_price = self.input if self.cached_input is None else self.cached_input
        return (usage.input_tokens - cached) * self.input + cached * cached_price + usage.output_tokens * self.output


FREE = TokenPrice()
