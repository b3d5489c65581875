"""What each arrival asks for: requests, and the truth about them that only the simulator may know.

Rows are prepared 1024 at a time with numpy; requests are made of them as they arrive. Everything about arrival *i* is
addressed by *i*, so it is the same under every gateway and every load shape. An arrival of a route with a session or an
agent brings its `Conversation` along (``truth.session``), which makes the requests that follow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.distributions import Distribution
from llmsim.luck import Luck
from llmsim.traffic.arrivals import BLOCK, Arrivals, Given
from llmsim.traffic.clients import mixes, population
from llmsim.traffic.conversations import Conversation, Opening, Recorded, Scripts, whole
from llmsim.traffic.freshness import Renewals
from llmsim.traffic.meanings import Meanings
from llmsim.traffic.prompts import PromptMeanings
from llmsim.traffic.replay import Sessions, replayed, sessions_of
from llmsim.traffic.seasons import DAY_S
from llmsim.traffic.sessions import MOST_STEPS, Agent
from llmsim.traffic.spec import Route, Topics, Traffic
from llmsim.traffic.traces import Trace
from llmsim.traffic.truth import Truth, World
from llmsim.types import Message, Request

__all__ = ["JSON_ANSWER", "Truth", "Workload", "World", "usable"]

#: The schema that requests of routes with ``expects: json`` carry, and what makes an answer usable to their users.
JSON_ANSWER = '{"type": "object", "required": ["answer"]}'

_CUT = re.compile(r"(tok )*(t|to|tok)?")  # filler (llmsim.providers.sim.outputs.json_text) without its end, or nothing

_BLOCK = BLOCK
_MOST_KEPT = 128  #: blocks from which on none more are kept, however often they are asked for again
# Number of the route, input tokens, output tokens, patience, user, words, and the tenant if a log of prompts says it.
_Row = tuple[int, int, int, float, int, str, str]

# A NamedTuple's own constructor is Python code; these are made for every arrival.
_message: Callable[[type[Message], tuple[str, str]], Message] = tuple.__new__
_request: Callable[[type[Request], tuple[Any, ...]], Request] = tuple.__new__


@lru_cache(maxsize=4096)
def usable(text: str) -> bool:
    """Whether an answer is what `JSON_ANSWER` asks for, strictly parsed, and complete.

    A simulated model's sentence ends with a full stop. One that does not was cut off, whatever brackets somebody has
    put behind it: its reader notices, as the reader of half a real sentence does.

    Examples
    --------
    >>> usable('{"answer": "yes"}'), usable('{"result": "yes"}'), usable('Sure: {"answer": "yes"}')
    (True, False, False)
    >>> usable('{"answer": "tok tok."}'), usable('{"answer": "tok to"}')
    (True, False)
    """
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and "answer" in value and not _CUT.fullmatch(str(value["answer"]))


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
    now
        The scenario's clock, for prompts that drift.
    """

    def __init__(
        self,
        traffic: Traffic,
        luck: Luck,
        arrivals: Arrivals | None = None,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._traffic = traffic
        self._luck = luck
        self._arrivals = arrivals
        self._mixes = mixes(traffic)
        people = population(traffic) if traffic.clients is not None else []
        self._mix_of = np.array([one.mix for one in people], dtype=np.intp)
        names = (
            "route",
            "input_tokens",
            "output_tokens",
            "patience",
            "user",
            "documents",
            "steps",
            "runaway",
        )
        self._series = {name: luck.series(f"workload.{name}") for name in names}
        #: What arrivals mean, if anything is said about that.
        self.meanings = meanings_of(traffic.topics, luck)
        self._verbatim = isinstance(self.meanings, PromptMeanings)
        change = traffic.topics.answers_change if traffic.topics is not None else None
        #: When right answers change, if they do.
        self.renewals = Renewals(change.every, luck) if change is not None else None
        self._users = [one.name for one in people] or [f"u{number}" for number in range(traffic.users)]
        self._blocks: dict[int, list[_Row]] = {}
        # Virtual users ask for rows all over the last few iterations; one block at a time would be made again for each.
        self._kept = 2 + 3 * -(-traffic.vus // _BLOCK)
        self._newest = -1
        self._rows: list[_Row] = []
        self._first = -_BLOCK
        self._now = now
        self._scripts = Scripts(luck)
        self._recorded = _Recording.of(traffic)
        #: Routes whose requests are not said in full by a row, by their number.
        self._more = [self._recorded is not None or _says_more(route) for route in self._mixes.routes]
        self._impatient = any(route.patience is not None or route.agent is not None for route in self._mixes.routes)
        self._openings: dict[int, list[Opening]] = {}  # of the blocks that are kept, if any route says more

    def __call__(self, index: int) -> tuple[Request, Truth]:
        """Request number `index` with a fresh truth. Indices may come in any order; in order is fastest."""
        offset = index - self._first
        if not 0 <= offset < _BLOCK:
            self._turn_to(index // _BLOCK)
            offset = index - self._first
        number, input_tokens, output_tokens, patience_s, user, words, tenant = self._rows[offset]
        route = self._mixes.routes[number]
        more = self._more[number]
        if more:
            opening, factor = self._opening(index, route)
            input_tokens = opening.input_tokens(factor)
        fields = (
            f"{index}/0/0",
            str(index),
            self._users[user],
            tenant or route.tenant,
            route.route,
            route.feature,
            route.priority,
            (_message(Message, ("user", words if self._verbatim else f"[{route.route}] {words}")),),
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
        truth = Truth(index, output_tokens, patience_s, style=route.prompt_style, disconnects=route.disconnects)
        request = _request(Request, fields)
        if more:
            if _knows_beginnings(route):
                truth.shared_tokens = round(opening.fixed_tokens * factor)
            if self._recorded is not None:
                truth.session = self._recorded.session(request, truth, route, self._scripts, factor)
            elif route.ongoing is not None:
                script = self._scripts.write(index, route, opening, factor)
                truth.session = Conversation(request, truth, route, script)
        return request, truth

    def _opening(self, index: int, route: Route) -> tuple[Opening, float]:
        """What a row does not say, and how much prompts have drifted by now."""
        factor = (1 + route.prompt_drift) ** (self._now() / DAY_S) if route.prompt_drift else 1.0
        return self._openings[index // _BLOCK][index - self._first], factor

    def _turn_to(self, block: int) -> None:
        self._first = block * _BLOCK
        rows = self._blocks.get(block)
        if rows is None:
            if block > self._newest:
                self._newest = block
            elif self._kept < _MOST_KEPT:  # asked for again: virtual users have drifted further apart than that
                self._kept *= 2
            if len(self._blocks) >= self._kept:
                oldest = next(iter(self._blocks))
                del self._blocks[oldest]
                self._openings.pop(oldest, None)
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
        if self._impatient:
            patience = self._own_patience(first, routes, patience)
        if any(self._more):
            said = np.zeros(_BLOCK, dtype=np.bool_) if given.input_tokens is None else given.input_tokens > 0
            self._openings[first // _BLOCK] = self._first_prompts(first, routes, inputs, outputs, said)
        users = (
            given.client.tolist()
            if given.client is not None
            else (self._uniform("user", first) * traffic.users).astype(np.int64).tolist()
        )
        questions = self._questions(first)
        tenants = self.meanings.tenants(first) if isinstance(self.meanings, PromptMeanings) else None
        columns = (
            routes.tolist(),
            inputs.tolist(),
            outputs.tolist(),
            patience.tolist(),
            users,
            questions,
            tenants or [""] * _BLOCK,
        )
        return list(zip(*columns, strict=True))

    def _own_patience(self, first: int, routes: NDArray[np.intp], patience: NDArray[np.float64]) -> NDArray[np.float64]:
        """The patience of those whose route says something about it."""
        for number, route in enumerate(self._mixes.routes):
            chosen = routes == number
            if route.patience == "endless" or (route.patience is None and route.agent is not None):
                patience = np.where(chosen, np.inf, patience)
            elif route.patience is not None and not isinstance(route.patience, str):
                patience = np.where(chosen, route.patience.quantile(self._uniform("patience", first)), patience)
        return patience

    def _first_prompts(
        self,
        first: int,
        routes: NDArray[np.intp],
        messages: NDArray[np.int64],
        outputs: NDArray[np.int64],
        said: NDArray[np.bool_],
    ) -> list[Opening]:
        """What rows do not say, of a block.

        Parameters
        ----------
        first
            Number of its first arrival.
        routes, messages, outputs
            Of each row.
        said
            Where a trace says how long the prompt was: then that is all of it.
        """
        fixed, documents, steps = (np.zeros(_BLOCK, dtype=np.int64) for _ in range(3))
        steps += 1
        usual = steps.copy()
        for number, route in enumerate(self._mixes.routes):
            chosen = routes == number
            if not chosen.any():
                continue
            fixed[chosen] = route.system_tokens
            if route.documents is not None:
                fixed[chosen] += route.documents.template
                u = self._uniform("documents", first)
                documents += self._scripts.first_documents(route.documents, first, u, chosen & ~said)
            spec = route.ongoing
            if spec is None:
                continue
            planned = spec.steps if isinstance(spec, Agent) else spec.turns
            usual[chosen] = whole(planned.quantile(self._uniform("steps", first)[chosen]), 1, MOST_STEPS)
            steps[chosen] = usual[chosen]
            if isinstance(spec, Agent) and spec.runaway:
                loops = chosen & (self._uniform("runaway", first) < spec.runaway)
                steps[loops] = np.maximum(usual[loops], spec.runaway_steps)
        fixed = np.where(said, np.minimum(fixed, messages - 1), fixed)
        messages = np.where(said, messages - fixed, messages)
        columns = (messages, documents, fixed, outputs, steps, usual)
        return [Opening(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def _questions(self, first: int) -> list[str]:
        """The prompt's words: equal for equal questions, unless somebody paraphrased."""
        if self.meanings is None:
            return [f"question {index}" for index in range(first, first + _BLOCK)]
        return self.meanings.texts(first)


def meanings_of(topics: Topics | None, luck: Luck) -> Meanings | PromptMeanings | None:
    """What arrivals mean, if anything is said about that."""
    if topics is None:
        return None
    return PromptMeanings(topics, luck) if topics.prompts is not None else Meanings(topics, luck)


def _knows_beginnings(route: Route) -> bool:
    """Whether it is said how much of a prompt others begin with as well."""
    return bool(route.ongoing or route.documents or route.system_tokens)


def _says_more(route: Route) -> bool:
    """Whether a request of the route is more than its row."""
    return _knows_beginnings(route) or bool(route.prompt_drift)


class _Recording(NamedTuple):
    """The sessions of a trace that are replayed in turn."""

    trace: Trace
    sessions: Sessions

    @classmethod
    def of(cls, traffic: Traffic) -> _Recording | None:
        sessions = sessions_of(traffic.trace) if traffic.trace is not None else None
        return None if traffic.trace is None or sessions is None else cls(replayed(traffic.trace), sessions)

    def session(self, request: Request, truth: Truth, route: Route, scripts: Scripts, factor: float) -> Recorded | None:
        """What follows the first request of a session; None if nothing does. What the trace does not say is drawn."""
        rows = self.sessions.of(truth.index)
        if len(rows) < 2:
            return None
        u = scripts.lanes(truth.index, len(rows))
        prompts = _known(self.trace.input_tokens[rows], route.input_tokens.quantile(u[:, 0]))
        prompts = whole(np.asarray(prompts * factor, dtype=np.float64))
        answers = _known(self.trace.output_tokens[rows], route.output_tokens.quantile(u[:, 1]))
        prompts[0], answers[0] = request.input_tokens, truth.output_tokens
        times_s = self.trace.times_s[rows].tolist()
        return Recorded(request, truth, route, prompts=prompts.tolist(), answers=answers.tolist(), times_s=times_s)


def _known(recorded: NDArray[np.int64], drawn: NDArray[np.float64]) -> NDArray[np.int64]:
    """What was recorded, and what was drawn where that is 0."""
    return np.where(recorded > 0, recorded, whole(drawn))


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
