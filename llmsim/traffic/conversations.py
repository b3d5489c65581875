"""What is said in the course of a session: prompts that hold what was said before, pauses between them, and the end.

Everything that is drawn about step *k* of arrival *i* is element *k* of a stretch of luck that belongs to *i*, and is
drawn at once when the session begins: it is the same under every gateway, however long the session then lasts. Only
the answers are as they were delivered. (Rows of luck by step, indexed by arrival, would be as well addressed, but then
every draw is a numpy call for one number: 26 µs a step where a stretch for the session takes 24 µs for 4 steps and
61 µs for 200.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.luck import Luck
from llmsim.traffic.sessions import MOST_DOCUMENTS, MOST_STEPS, Documents, Session, Window
from llmsim.traffic.spec import Route
from llmsim.traffic.truth import Truth
from llmsim.types import Message, Request

__all__ = ["Conversation", "End", "Opening", "Recorded", "Script", "Scripts", "whole"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

End = Literal["", "completed", "left", "failed", "ran_away"]

_LANES = 4  # of luck a step: message, answer, pause, words
_LATER_DOCUMENTS = MOST_DOCUMENTS + 4  # luck of one prompt's documents: their number, then each; a multiple of 4


def whole(values: Floats, low: int = 1, high: float = np.inf) -> Ints:
    """Numbers of tokens, steps or documents: whole, between these."""
    return np.clip(np.rint(values), low, high).astype(np.int64)


class Opening(NamedTuple):
    """What is known of a session's first prompt, in tokens as they were at time 0."""

    message_tokens: int
    document_tokens: int
    fixed_tokens: int  #: what every prompt of the route begins with
    output_tokens: int
    steps: int
    usual_steps: int  #: fewer than `steps`: then it loops

    def input_tokens(self, factor: float = 1.0) -> int:
        """Length of the prompt when prompts have grown by this factor."""
        message, document, fixed = (round(tokens * factor) for tokens in self[:3])
        return max(message, 1) + document + fixed


class Script(NamedTuple):
    """What is settled before a session begins. Each list has an entry a step."""

    fixed_tokens: int
    message_tokens: list[int]
    document_tokens: list[int]
    output_tokens: list[int]
    pauses_s: list[float]  #: before the step
    own_words: list[bool]
    usual_steps: int


class Scripts:
    """Writes the scripts of one replication's sessions.

    Parameters
    ----------
    luck
        Of the replication.
    """

    def __init__(self, luck: Luck) -> None:
        self._steps = luck.series("workload.steps")
        self._later_documents = luck.series("workload.documents.later")
        self._first_documents = [luck.series("workload.document", number) for number in range(4)]
        self._luck = luck

    def write(self, index: int, route: Route, opening: Opening, factor: float = 1.0) -> Script:
        """The script of arrival `index`.

        Parameters
        ----------
        index
            Its number.
        route
            What it is.
        opening
            Its first prompt.
        factor
            What lengths of prompts are multiplied with (`Route.prompt_drift`).
        """
        spec = route.ongoing
        assert spec is not None
        u = self.lanes(index, opening.steps)
        if isinstance(spec, Session):
            messages, pauses_s, own = route.input_tokens, spec.think_time, u[:, 3] >= spec.suggested
        else:
            messages, pauses_s, own = spec.growth, spec.between, np.ones(opening.steps, dtype=np.bool_)
        message_tokens = whole(messages.quantile(u[:, 0]) * factor)
        message_tokens[0] = max(round(opening.message_tokens * factor), 1)
        output_tokens = whole(route.output_tokens.quantile(u[:, 1]))
        output_tokens[0] = opening.output_tokens
        documents = [opening.document_tokens] + [0] * (opening.steps - 1)
        if route.documents is not None:
            documents[1:] = [self._later(index, step, route.documents) for step in range(1, opening.steps)]
        return Script(
            round(opening.fixed_tokens * factor),
            message_tokens.tolist(),
            [round(tokens * factor) for tokens in documents],
            output_tokens.tolist(),
            pauses_s.quantile(u[:, 2]).tolist(),
            own.tolist(),
            opening.usual_steps,
        )

    def lanes(self, index: int, steps: int) -> Floats:
        """Luck of the steps of arrival `index`, shape ``(steps, 4)``."""
        first = index * MOST_STEPS * _LANES
        return self._steps.array(first, steps * _LANES).reshape(steps, _LANES)

    def _later(self, index: int, step: int, documents: Documents) -> int:
        first = (index * MOST_STEPS + step) * _LATER_DOCUMENTS
        number = int(_number(documents, self._later_documents.array(first, 1))[0])
        u = self._later_documents.array(first, 1 + number)[1:]
        return int(whole(documents.tokens.quantile(u)).sum()) if number else 0

    def first_documents(self, documents: Documents, first: int, u: Floats, chosen: NDArray[np.bool_]) -> Ints:
        """Tokens of the documents in the first prompts of arrivals ``first …``, for those that are chosen.

        Parameters
        ----------
        documents
            How many, how long.
        first
            Number of the first arrival, a multiple of 4.
        u
            Luck of their number, shape ``(n,)``.
        chosen
            Which of the ``n`` arrivals have any.
        """
        numbers = np.where(chosen, _number(documents, u), 0)
        total = np.zeros(len(u), dtype=np.int64)
        for place in range(int(numbers.max(initial=0))):
            if place == len(self._first_documents):
                self._first_documents.append(self._luck.series("workload.document", place))
            has = numbers > place
            luck = self._first_documents[place].array(first, len(u))
            total[has] += whole(documents.tokens.quantile(luck[has]))
        return total


def _number(documents: Documents, u: Floats) -> Ints:
    return whole(documents.number.quantile(u), 0, MOST_DOCUMENTS)


class Conversation:
    """One session under way: what it asks next, given the answers so far.

    Parameters
    ----------
    opening
        The request of step 0.
    truth
        The truth about it.
    route
        Which has a session or an agent.
    script
        What was drawn.
    """

    __slots__ = (
        "_again", "_asked", "_context", "_disconnects", "_first", "_first_text", "_input_tokens", "_newest", "_opening",
        "_past", "_patience_s", "_said", "_script", "_shared", "_style", "_turns", "human", "step",
    )  # fmt: skip

    def __init__(self, opening: Request, truth: Truth, route: Route, script: Script) -> None:
        assert opening.messages is not None
        spec = route.ongoing
        assert spec is not None
        self._opening = opening
        self._script = script
        self._context = spec.context
        self._patience_s = truth.patience_s
        self._style = truth.style
        self._disconnects = truth.disconnects
        self.human = isinstance(spec, Session)  #: whether somebody is there who may press retry
        self._again = not isinstance(spec, Session) and spec.on_error == "again"
        self.step = 0  #: of which the answer is awaited, or which is asked next
        self._asked = 0  # the step whose message is the newest: not the latest, where one is asked again
        self._newest = opening.messages[-1]
        self._first_text = self._newest.content
        self._said: list[Message] = []
        self._turns: list[int] = []  # tokens of each that was answered
        self._first = 0  # the first of these that is still sent
        self._past = 0  # tokens of those that are
        self._input_tokens = opening.input_tokens
        self._shared = truth.shared_tokens

    @property
    def steps(self) -> int:
        """How many it will have, if nothing ends it before."""
        return len(self._script.message_tokens)

    @property
    def fixed_tokens(self) -> int:
        """What all prompts of the route begin with: the part of `Truth.shared_tokens` that other sessions share too."""
        return self._script.fixed_tokens

    @property
    def begins_to_loop(self) -> bool:
        """Whether the next step is the first of those that a sane agent would not make."""
        return self.step == self._script.usual_steps < self.steps

    def ask(self) -> tuple[Request, Truth]:
        """The next request, and the truth about it."""
        opening, step = self._opening, self.step
        index = int(opening.session)
        messages = (*self._said[2 * self._first :], self._newest)
        # By place, as in `Request.to`: a third of what _replace costs.
        fields = (f"{index}/{step}/0", *opening[1:7], messages, *opening[8:10], self._input_tokens, *opening[11:])
        request: Request = tuple.__new__(Request, fields)
        truth = Truth(
            index,
            self._script.output_tokens[step],
            self._patience_s,
            step=step,
            style=self._style,
            shared_tokens=self._shared,
            session=self,
            disconnects=self._disconnects,
        )
        return request, truth

    def after(self, outcome: str, answer_tokens: int) -> End:
        """Take in how the latest request ended: how the session ends with it, empty if it goes on.

        Parameters
        ----------
        outcome
            Its word: ``ok``, ``abandoned`` or an error's.
        answer_tokens
            What was delivered of the answer.
        """
        good = outcome == "ok"
        if not good and not self._again:
            return "left" if self.human and outcome == "abandoned" else "failed"
        self.step += 1
        if self.step == self.steps:
            if self.steps > self._script.usual_steps:
                return "ran_away"
            return "completed" if good else "failed"
        if good:
            self._grow(answer_tokens)
        else:
            self._shared = self._input_tokens  # the very same prompt
        return ""

    def pause_s(self, now_s: float) -> float:
        """Time from `now_s`, the end of the last answer, to the next request."""
        return self._script.pauses_s[self.step]

    def _grow(self, answer_tokens: int) -> None:
        """The newest message and its answer become the past, and the next message the newest."""
        script, step = self._script, self.step
        message_tokens, document_tokens = script.message_tokens[self._asked], script.document_tokens[self._asked]
        needed = script.fixed_tokens + script.document_tokens[step] + script.message_tokens[step]
        shared = script.fixed_tokens
        if self._context != "none":
            # What stood behind the past stands elsewhere now, if there were documents in between.
            shared += self._past + (0 if document_tokens else message_tokens)
            self._remember(message_tokens + answer_tokens, answer_tokens)
            if isinstance(self._context, Window) and self._forget(self._context.window - needed):
                shared = script.fixed_tokens
        self._asked = step
        self._newest = Message("user", self._words(step))
        self._input_tokens = needed + self._past
        self._shared = shared

    def _remember(self, tokens: int, answer_tokens: int) -> None:
        self._turns.append(tokens)
        self._past += tokens
        # The answer goes by its length: equal questions with answers of equal length are equal conversations.
        self._said += (self._newest, Message("assistant", f"{answer_tokens} tokens"))

    def _forget(self, room_tokens: int) -> bool:
        """Leave out the oldest turns until the past fits; whether any had to go."""
        before = self._first
        while self._past > room_tokens and self._first < len(self._turns):
            self._past -= self._turns[self._first]
            self._first += 1
        return self._first > before

    def _words(self, step: int) -> str:
        if not self.human:
            # What runs away asks the same tool again, and gets what it got before.
            step = min(step, self._script.usual_steps)
            return f"{self._first_text}: result {step} for {self._opening.session}"
        if self._script.own_words[step]:
            return f"{self._first_text}: follow-up {step} in the words of {self._opening.session}"
        return f"{self._first_text}: follow-up {step}"


class Recorded(Conversation):
    """A session as a trace has it: lengths and times are given, whatever is answered.

    Each request is sent when it was then, but not before the one before it has ended. That one's failure changes
    nothing: who wrote the trace went on.

    Parameters
    ----------
    opening, truth, route
        As for `Conversation`; the route need have no session.
    prompts, answers
        Tokens, an entry a step.
    times_s
        When they came, loop time.
    """

    __slots__ = ("_fixed", "_prompts")

    def __init__(
        self,
        opening: Request,
        truth: Truth,
        route: Route,
        *,
        prompts: list[int],
        answers: list[int],
        times_s: list[float],
    ) -> None:
        none = [0] * len(prompts)
        fixed = truth.shared_tokens or 0
        script = Script(fixed, none, none, answers, times_s, [True] * len(prompts), len(prompts))
        super().__init__(opening, truth, replace(route, agent=None, session=Session()), script)
        self._prompts = prompts
        self._fixed = truth.shared_tokens

    def after(self, outcome: str, answer_tokens: int) -> End:
        """As for `Conversation`, but what was recorded goes on after a failure."""
        self.step += 1
        if self.step == self.steps:
            return "completed" if outcome == "ok" else "left" if outcome == "abandoned" else "failed"
        before, now = self._prompts[self.step - 1], self._prompts[self.step]
        grew = now >= before + self._script.output_tokens[self.step - 1]
        self._input_tokens = now
        self._shared = before if grew else min(self._fixed, now) if self._fixed is not None else None
        self._remember(0, answer_tokens)
        self._newest = Message("user", self._words(self.step))
        return ""

    def pause_s(self, now_s: float) -> float:
        """Until it was sent then; none if that is past."""
        return max(self._script.pauses_s[self.step] - now_s, 0.0)
