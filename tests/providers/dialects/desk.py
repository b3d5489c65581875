"""A provider's front desk: calls go to an account one after the other, and what became of them is noted."""

from __future__ import annotations

import json
from typing import Any

from llmsim.providers.dialects import DIALECTS, Answer, Limits, Refused
from llmsim.types import Usage

MINUTE = 60.0
EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z


class Desk:
    """One account of one dialect."""

    def __init__(self, name: str, epoch_s: float = EPOCH, **words: Any):
        self.dialect = DIALECTS[name]
        self.account = self.dialect.account(Limits(**words), epoch_s=epoch_s)

    def ask(self, at=0.0, input_tokens=1, max_tokens: int | None = 1, cached=0, used: int | None = None):
        """Ticket or refusal; with `used`, the call ends at once with so many output tokens."""
        outcome = self.account.admit(input_tokens, max_tokens, cached, at)
        if used is not None and not isinstance(outcome, Refused):
            self.account.settle(outcome, Usage(input_tokens, used, cached), at)
        return outcome

    def letters(self, calls) -> str:
        """``o`` for each of the calls (arguments of `ask`) that gets in, ``-`` for each that does not."""
        return "".join("-" if isinstance(self.ask(*call), Refused) else "o" for call in calls)

    def headers(self, *call) -> dict[str, str]:
        """Of a successful call."""
        return dict(self.dialect.success(self.account, self.ask(*call)))

    def refusal(self, *call) -> Answer:
        """The answer to a call that must not get in."""
        refused = self.ask(*call)
        assert isinstance(refused, Refused)
        return self.dialect.refusal(self.account, refused, model="the-model")

    def failure(self, kind, **more) -> Answer:
        return self.dialect.failure(kind, model="the-model", **more)


def body(answer: Answer) -> Any:
    return json.loads(answer.body)


def part(whole: Any, expected: Any) -> bool:
    """Whether a JSON value has at least what is expected."""
    if isinstance(expected, dict):
        return isinstance(whole, dict) and all(
            key in whole and part(whole[key], value) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return len(whole) == len(expected) and all(part(a, b) for a, b in zip(whole, expected, strict=True))
    if isinstance(expected, str) and expected.startswith("…"):
        return expected[1:] in whole
    return whole == expected
