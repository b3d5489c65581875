"""What a scenario says about requests that belong together: conversations, agents, and documents in a prompt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from llmsim.distributions import (
    Constant,
    CountDistribution,
    Distribution,
    DurationDistribution,
    Geometric,
    Lognormal,
    NumberDistribution,
)
from llmsim.units import BadValue, Count, PositiveCount, Ratio

if TYPE_CHECKING:
    from llmsim.luck import Luck

__all__ = [
    "MOST_DOCUMENTS",
    "MOST_STEPS",
    "Agent",
    "ContextWords",
    "Disconnects",
    "Documents",
    "PatienceWords",
    "Session",
    "Window",
]

FORBID = {"extra": "forbid"}

#: Of one session, and in one prompt. What is drawn above is cut: the addresses of luck are spaced by these.
MOST_STEPS, MOST_DOCUMENTS = 10_000, 1000


@dataclass(frozen=True, kw_only=True)
class Window:
    """Send only the latest turns.

    Parameters
    ----------
    window
        Longest prompt, in tokens. The oldest turns, question and answer, are left out until the rest fits; what the
        route always sends and the newest message are never cut, so a prompt can still be longer. A prompt whose
        oldest turns are gone begins differently from the one before: nothing but `Route.system_tokens` can come from
        a provider's prompt cache.
    """

    __pydantic_config__: ClassVar = FORBID

    window: PositiveCount


class _Words:
    """``Annotated`` marker: one of some bare words, else what stands beside it in the annotation."""

    def __init__(self, what: str, words: tuple[str, ...], example: str) -> None:
        self._what = what
        self._words = words
        self._example = example

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def validate(value: Any, inner: Any) -> Any:
            if not isinstance(value, str) or value in self._words:
                return value if isinstance(value, str) else inner(value)
            try:
                return inner(value)  # a text such as 20s
            except ValueError:
                known = " or ".join(self._words)
                raise ValueError(f"unknown {self._what} {value!r}; write {known}, or {self._example}") from None

        return core_schema.no_info_wrap_validator_function(validate, self._schema(handler))

    def _schema(self, handler: Any) -> Any:
        raise NotImplementedError

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"enum": [*self._words]}, handler(schema)]}


class _ContextMarker(_Words):
    def _schema(self, handler: Any) -> Any:
        return handler.generate_schema(Window)


class _PatienceMarker(_Words):
    def _schema(self, handler: Any) -> Any:
        return handler.generate_schema(DurationDistribution)


ContextWords = Annotated[
    Literal["grow", "none"] | Window, _ContextMarker("context", ("grow", "none"), "{window: 8k} for the latest turns")
]
PatienceWords = Annotated[
    Literal["endless"] | Distribution,
    _PatienceMarker("patience", ("endless",), "a duration like 20s or {lognormal: {p50: 20s, p99: 90s}}"),
]


@dataclass(frozen=True, kw_only=True)
class Session:
    """A person in conversation: asks, reads, thinks, asks again. Step *k* of the session is turn *k*.

    A prompt is what was said before (the questions that were answered, and the answers as they were delivered) and the
    new message, whose length is the route's `input_tokens`. Who gets an error or loses patience leaves, unless they
    press retry (`Traffic.user_retry`); their patience is the same in every turn. Once the time of arrivals is over
    nobody asks on.

    Parameters
    ----------
    turns
        How many questions, if nothing drives them away. ShareGPT has 3.51 a conversation (330,239 turns in 94,145;
        ShareChat, arXiv 2512.17843, table of datasets), a university's assistant 1.78, close to geometric (RAGPulse,
        3,990 sessions: 59 % have one; geometric 56 %).
    think_time
        From the end of an answer to the next question. Default: quantiles of the 3,002 gaps below 30 minutes between
        requests of a RAGPulse session, waiting for the answer included: median 38 s, p99 1257 s.
    context
        ``grow``: every prompt holds the whole conversation. ``{window: 8k}``: the latest turns (`Window`). ``none``:
        only the new message.
    suggested
        Share of follow-up questions that are the same for all who began with the same question (a suggestion that was
        clicked). Where everything said so far is equal, the answers too, an exact-match cache can hit in mid-session;
        questions in one's own words never match. In Mooncake's conversations 0.98 % of the prompts had been sent
        before as a whole.
    """

    __pydantic_config__: ClassVar = FORBID

    turns: NumberDistribution = Geometric(3.5)
    think_time: DurationDistribution = Lognormal(p50=38.0, p99=1257.0)
    context: ContextWords = "grow"
    suggested: Ratio = 0.0


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A program that calls the model, runs the tool it asks for, and calls again with the result.

    Nobody watches: it has no patience to lose (unless its route says so) and nobody presses retry.

    Parameters
    ----------
    steps
        Calls to the model until the task is done.
    growth
        Tokens that each tool result adds to the prompt; the model's own answers are added as well.
    between
        Time a tool takes.
    runaway
        Probability that an agent does not see that it is done and loops.
    runaway_steps
        Calls after which a looping agent is stopped by its own framework, the first ones included. Caps that
        frameworks come with: 10 (PraisonAI), 50 (Koog), 250 (CodeTether), or none (Strands, issue 2124).
    on_error
        ``stop``: an error ends the chain. ``again``: the same call is made again after `between`; it is another step.
    context
        As for `Session`.
    """

    __pydantic_config__: ClassVar = FORBID

    steps: NumberDistribution
    growth: CountDistribution
    between: DurationDistribution = Constant(0.0)
    runaway: Ratio = 0.0
    runaway_steps: PositiveCount = 200
    on_error: Literal["stop", "again"] = "stop"
    context: ContextWords = "grow"

    def __post_init__(self) -> None:
        if self.runaway_steps > MOST_STEPS:
            raise BadValue(f"{self.runaway_steps:,} steps are too many; write at most {MOST_STEPS:,}", "runaway_steps")


@dataclass(frozen=True, kw_only=True)
class Disconnects:
    """Readers who go away in the middle of an answer: they have read enough, or their network is gone.

    They count as users who left (``abandoned``), like those who lose patience before the first chunk. What becomes of
    the call upstream is up to the gateway, and then to the provider's ``on_cancel``.

    Parameters
    ----------
    share
        Of the streamed answers, how many are read by somebody who does not mean to read to the end.
    after
        How long after the first chunk they go. An answer that has ended by then was read.
    """

    __pydantic_config__: ClassVar = FORBID

    share: Ratio
    after: DurationDistribution = Constant(2.0)

    def reads_s(self, luck: Luck, request_id: str) -> float:
        """How long after its first chunk this answer is read; inf: to its end."""
        if luck.uniform("disconnects", request_id) >= self.share:
            return math.inf
        return float(self.after.quantile(np.array([luck.uniform("disconnects.after", request_id)]))[0])


@dataclass(frozen=True, kw_only=True)
class Documents:
    """What is looked up and put into the prompt (RAG): prompt = template + documents + question.

    The question's length is the route's `input_tokens`. In a session every turn looks up documents of its own; they are
    not kept for the next.

    Parameters
    ----------
    number
        Documents a request. Default: 77 % of RAGPulse's 7,106 requests have six passages.
    tokens
        Length of each. Default: least squares over these requests give 342 tokens a passage.
    template
        Fixed words around them, in tokens. They come first: a provider's prompt cache can hold them.
    """

    __pydantic_config__: ClassVar = FORBID

    number: NumberDistribution = Constant(6.0)
    tokens: CountDistribution = Constant(342.0)
    template: Count = 0
