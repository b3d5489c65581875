"""What each arrival asks for: requests, and the truth about them that only the simulator may know.

Rows are prepared 1024 at a time with numpy; requests are made of them as they arrive. Everything about arrival *i* is
addressed by *i*, so it is the same under every gateway and every load shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.distributions import Distribution
from llmsim.luck import Luck, request_address
from llmsim.traffic.arrivals import BLOCK, Arrivals, Given
from llmsim.traffic.clients import mixes, population
from llmsim.traffic.spec import Traffic
from llmsim.types import Message, Request

__all__ = ["JSON_ANSWER", "Truth", "Workload", "World", "usable"]

#: The schema that requests of routes with ``expects: json`` carry, and what makes an answer usable to their users.
JSON_ANSWER = '{"type": "object", "required": ["answer"]}'

_BLOCK = BLOCK
_Row = tuple[int, int, int, float, int, str]  # number of the route, input tokens, output tokens, patience, user, words

# A NamedTuple's own constructor is Python code; these are made for every arrival.
_message: Callable[[type[Message], tuple[str, str]], Message] = tuple.__new__
_request: Callable[[type[Request], tuple[Any, ...]], Request] = tuple.__new__


class Truth:
    """What the simulator knows about a request and no policy can reach.

    Attributes
    ----------
    index, step, retry
        Its place in the luck: arrival, step of the session, user's retry.
    output_tokens
        Length of the answer that an average model would give if it were let.
    patience_s
        How long the user waits for the first chunk; inf without impatience.
    shared_tokens
        How many tokens of the prompt are those of the session's step before; None: not known, ask the provider's spec.
    style
        How the prompt asks for JSON.
    calls
        Calls so far to each provider: the n-th call has its own luck.
    """

    __slots__ = ("calls", "index", "output_tokens", "patience_s", "retry", "shared_tokens", "step", "style")

    def __init__(
        self, index: int, output_tokens: int, patience_s: float, *, step: int = 0, retry: int = 0, style: str = ""
    ) -> None:
        self.index = index
        self.step = step
        self.retry = retry
        self.output_tokens = output_tokens
        self.patience_s = patience_s
        self.style = style
        self.shared_tokens: int | None = None
        self.calls: dict[str, int] = {}

    def again(self) -> Truth:
        """The same question, asked once more by the same user."""
        return Truth(
            self.index,
            self.output_tokens,
            self.patience_s,
            step=self.step,
            retry=self.retry + 1,
            style=self.style,
        )


class World:
    """The truths of the requests that are under way."""

    __slots__ = ("truths",)

    def __init__(self) -> None:
        self.truths: dict[str, Truth] = {}

    def truth(self, request: Request) -> Truth:
        """What is true about `request`; made up for an id that a policy invented."""
        truth = self.truths.get(request.id)
        if truth is None:
            index, step, retry = request_address(request.id) or (abs(_stable_hash(request.id)), 0, 0)
            truth = self.truths[request.id] = Truth(
                index, request.max_tokens or 100, float("inf"), step=step, retry=retry
            )
        return truth


@lru_cache(maxsize=4096)
def usable(text: str) -> bool:
    """Whether an answer is what `JSON_ANSWER` asks for, strictly parsed.

    Examples
    --------
    >>> usable('{"answer": "yes"}'), usable('{"result": "yes"}'), usable('Sure: {"answer": "yes"}')
    (True, False, False)
    """
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and "answer" in value


def _stable_hash(text: str) -> int:
    from zlib import crc32

    return crc32(text.encode())


class Workload:
    """Requests by arrival number.

    Parameters
    ----------
    traffic
        The mix, topics, users and patience to draw from.
    luck
        Where the numbers come from.
    arrivals
        What is given about requests before anything is drawn: their client, or what a trace says.
    """

    def __init__(self, traffic: Traffic, luck: Luck, arrivals: Arrivals | None = None) -> None:
        self._traffic = traffic
        self._luck = luck
        self._arrivals = arrivals
        self._mixes = mixes(traffic)
        people = population(traffic) if traffic.clients is not None else []
        self._mix_of = np.array([one.mix for one in people], dtype=np.intp)
        names = ("route", "input_tokens", "output_tokens", "patience", "user", "topic", "paraphrase")
        self._series = {name: luck.series(f"workload.{name}") for name in names}
        self._users = [one.name for one in people] or [f"u{number}" for number in range(traffic.users)]
        self._blocks: dict[int, list[_Row]] = {}
        # Virtual users ask for rows all over the last few iterations; one block at a time would be made again for each.
        self._kept = 2 + 3 * -(-traffic.vus // _BLOCK)
        self._rows: list[_Row] = []
        self._first = -_BLOCK

    def __call__(self, index: int) -> tuple[Request, Truth]:
        """Request number `index` with a fresh truth. Indices may come in any order; in order is fastest."""
        offset = index - self._first
        if not 0 <= offset < _BLOCK:
            self._turn_to(index // _BLOCK)
            offset = index - self._first
        number, input_tokens, output_tokens, patience_s, user, question = self._rows[offset]
        route = self._mixes.routes[number]
        fields = (
            f"{index}/0/0",
            str(index),
            self._users[user],
            route.tenant,
            route.route,
            route.feature,
            route.priority,
            (_message(Message, ("user", f"[{route.route}] {question}")),),
            None,
            None,
            input_tokens,
            route.max_tokens,
            None,
            (),
            JSON_ANSWER if route.expects == "json" else None,
            route.stream,
            None,
        )
        return _request(Request, fields), Truth(index, output_tokens, patience_s, style=route.prompt_style)

    def _turn_to(self, block: int) -> None:
        self._first = block * _BLOCK
        rows = self._blocks.get(block)
        if rows is None:
            if len(self._blocks) == self._kept:
                del self._blocks[next(iter(self._blocks))]
            rows = self._blocks[block] = self._prepare(self._first)
        self._rows = rows

    def _uniform(self, name: str, first: int) -> NDArray[np.float64]:
        return self._series[name].array(first, _BLOCK)

    def _prepare(self, first: int) -> list[_Row]:
        traffic = self._traffic
        given = self._arrivals.given(first, _BLOCK) if self._arrivals is not None else Given()
        mix = np.zeros(_BLOCK, dtype=np.intp) if given.client is None else self._mix_of[given.client]
        routes = self._mixes.draw(mix, self._uniform("route", first))
        if given.route is not None:
            routes = np.where(given.route >= 0, given.route, routes)
        known = self._mixes.routes
        inputs = _per_route(routes, self._uniform("input_tokens", first), [r.input_tokens for r in known])
        outputs = _per_route(routes, self._uniform("output_tokens", first), [r.output_tokens for r in known])
        if given.input_tokens is not None and given.output_tokens is not None:
            inputs = np.where(given.input_tokens > 0, given.input_tokens, inputs)
            outputs = np.where(given.output_tokens > 0, given.output_tokens, outputs)
        if traffic.patience is None:
            patience = np.full(_BLOCK, np.inf)
        else:
            patience = traffic.patience.quantile(self._uniform("patience", first))
        users = (
            given.client.tolist()
            if given.client is not None
            else (self._uniform("user", first) * traffic.users).astype(np.int64).tolist()
        )
        questions = self._questions(first)
        columns = (routes.tolist(), inputs.tolist(), outputs.tolist(), patience.tolist(), users, questions)
        return list(zip(*columns, strict=True))

    def _questions(self, first: int) -> list[str]:
        """The prompt's words: equal for equal topics, unless somebody paraphrased."""
        topics = self._traffic.topics
        if topics is None:
            return [f"question {index}" for index in range(first, first + _BLOCK)]
        edges = _zipf_edges(topics.zipf.s, topics.zipf.unique)
        drawn = np.searchsorted(edges, self._uniform("topic", first)).tolist()
        own_words = (self._uniform("paraphrase", first) < topics.paraphrases).tolist()
        return [
            f"topic {topic} in the words of {index}" if own else f"topic {topic}"
            for index, (topic, own) in enumerate(zip(drawn, own_words, strict=True), first)
        ]


@lru_cache(maxsize=8)
def _zipf_edges(s: float, unique: int) -> NDArray[np.float64]:
    mass = np.arange(1, unique + 1, dtype=np.float64) ** -s
    edges = np.cumsum(mass / mass.sum())
    edges[-1] = 1.0
    return edges


def _per_route(
    routes: NDArray[np.intp], uniforms: NDArray[np.float64], distributions: list[Distribution]
) -> NDArray[np.int64]:
    """Whole tokens, at least one, each from its own route's distribution."""
    values = np.empty(len(routes))
    for number, distribution in enumerate(distributions):
        chosen = routes == number
        if chosen.any():
            values[chosen] = distribution.quantile(uniforms[chosen])
    return np.maximum(np.rint(values), 1).astype(np.int64)
