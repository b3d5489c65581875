"""What a simulated model has to say to a call, before anything can go wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from llmsim.distributions import Distribution
from llmsim.luck import Luck
from llmsim.providers.sim.conditions import Phase
from llmsim.providers.sim.draws import CallLuck
from llmsim.providers.sim.outputs import REFUSAL_TOKENS, Output, Plan, json_text
from llmsim.traffic.workload import Truth
from llmsim.types import Request

__all__ = ["Answers"]

#: Characters of a token of simulated text, ``"tok "``; also the usual estimate for English.
_CHARACTERS = 4


@lru_cache(maxsize=4096)
def _stops(tokens: int) -> Plan:
    """A complete answer of this length; shared, as most are."""
    return Plan(tokens)


@lru_cache(maxsize=4096)
def _in_json(natural: int, kept: int) -> Plan:
    """One in JSON that has no defects."""
    return Plan(kept, "stop" if kept == natural else "length", json_text(natural, kept, None, 0.0))


class Answers:
    """The answers of one provider's model.

    Parameters
    ----------
    output
        How they differ from what the traffic says.
    luck, provider
        Their address.
    window
        Tokens that prompt and answer may have together: what the prompt leaves is the most an answer gets.
    drifts
        Whether the model may change in this run.

    Attributes
    ----------
    columns
        What it needs of every call's luck (`llmsim.providers.sim.draws`).
    """

    __slots__ = ("_defect", "_length", "_output", "_plain", "_refusal", "_window", "columns")

    def __init__(self, output: Output, luck: Luck, provider: str, *, window: int | None, drifts: bool) -> None:
        self._output = output
        self._window = window
        self._plain = output == Output() and not drifts
        self.columns: dict[str, Distribution | None] = {}
        if output.refusals:
            self.columns["refusal"] = None
        if output.variation:
            self.columns["length"] = output.spread
        self._refusal = self._length = -1  # where they stand in a call's luck
        self._defect = CallLuck(luck, provider, {"defect": None, "cut_at": None})

    def find(self, at: Mapping[str, int]) -> None:
        """Learn where its columns stand in a call's luck."""
        self._refusal, self._length = at.get("refusal", -1), at.get("length", -1)

    def plan(self, request: Request, truth: Truth, number: int, row: tuple[float, ...], phase: Phase) -> Plan:
        """The answer to the `number`-th call of a request, whose luck is `row`."""
        natural, most = truth.output_tokens, request.max_tokens
        messages = request.messages
        if messages and messages[-1].role == "assistant":
            return self._continued(request, truth, number, row, phase)
        if self._window is not None:
            room = max(self._window - request.input_tokens, 1)  # of a prompt that leaves none nothing will be answered
            most = room if most is None or most > room else most
        if self._plain:
            kept = natural if most is None or natural <= most else most
            if request.response_schema is None:
                return _stops(kept) if kept == natural else Plan(kept, "length")
            return _in_json(natural, kept)
        output = self._output
        if output.refusals and row[self._refusal] < output.refusals * phase.refusals:
            return Plan(REFUSAL_TOKENS if most is None else min(REFUSAL_TOKENS, most), "refusal")
        spread = row[self._length] if self._length >= 0 else 1.0
        natural = round(natural * output.length * phase.length * spread) or 1
        kept = natural if most is None or natural <= most else most
        if request.response_schema is None and kept == natural:
            return _stops(kept)
        text = None
        if request.response_schema is not None:
            luck, cut_at = self._defect(truth, number)
            defect = output.defects(truth.style).pick(luck, phase.defects)
            text = json_text(natural, kept, defect, cut_at if defect == "cut" else 0.0)
        return Plan(kept, "stop" if kept == natural else "length", text)

    def _continued(self, request: Request, truth: Truth, number: int, row: tuple[float, ...], phase: Phase) -> Plan:
        """What is left of the answer to a request that brings its beginning along, at least a token."""
        assert request.messages
        *others, (_, given) = request.messages
        tokens = round(len(given) / _CHARACTERS)
        most = None if request.max_tokens is None else request.max_tokens + tokens
        asked = request._replace(
            messages=tuple(others), max_tokens=most, input_tokens=max(request.input_tokens - tokens, 0)
        )
        whole = self.plan(asked, truth, number, row, phase)
        left = max(whole.tokens - tokens, 1)
        return whole._replace(tokens=left, text=None if whole.text is None else whole.text[len(given) :])
