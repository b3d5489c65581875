"""What is true about the requests that are under way, where no policy can reach it."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING
from zlib import crc32

from llmsim.luck import request_address
from llmsim.types import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmsim.traffic.conversations import Conversation
    from llmsim.traffic.freshness import Renewals
    from llmsim.traffic.meanings import Meaning, Meanings
    from llmsim.traffic.prompts import Prompt, PromptMeanings
    from llmsim.traffic.sessions import Disconnects

__all__ = ["Truth", "World"]

_LATE = 1000  #: truths of such requests that are remembered, for their calls are counted; far more than are under way


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
    style
        How the prompt asks for JSON.
    shared_tokens
        Tokens at the beginning of the prompt that were at the beginning of the session's previous prompt as well: what
        a provider's prompt cache can have, if it still has it. In step 0 what all prompts of the route begin with (its
        system prompt, the template of its documents). None: nothing is said about it, ask the provider's spec.
    disconnects
        Whether and when its reader goes away in the middle of the answer; None: reads to the end.
    session
        The conversation or chain it is a step of; None for a request that stands alone.
    calls
        Calls so far to each provider: the n-th call has its own luck.
    """

    __slots__ = (
        "calls",
        "disconnects",
        "index",
        "output_tokens",
        "patience_s",
        "retry",
        "session",
        "shared_tokens",
        "step",
        "style",
    )

    def __init__(
        self,
        index: int,
        output_tokens: int,
        patience_s: float,
        *,
        step: int = 0,
        retry: int = 0,
        style: str = "",
        shared_tokens: int | None = None,
        session: Conversation | None = None,
        disconnects: Disconnects | None = None,
    ) -> None:
        self.index = index
        self.step = step
        self.retry = retry
        self.output_tokens = output_tokens
        self.patience_s = patience_s
        self.style = style
        self.shared_tokens = shared_tokens
        self.session = session
        self.disconnects = disconnects
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
            shared_tokens=self.shared_tokens,
            session=self.session,
            disconnects=self.disconnects,
        )


class World:
    """The truths of the requests that are under way, and what all arrivals mean."""

    __slots__ = ("_late", "asked", "meanings", "renewals", "truths")

    def __init__(self) -> None:
        self.truths: dict[str, Truth] = {}
        self._late: dict[str, Truth] = {}  # of requests that are not under way; the newest few
        self.asked: Callable[[int], tuple[Request, Truth]] | None = None  #: what arrival number n was
        self.renewals: Renewals | None = None  #: None: right answers never change
        self.meanings: Meanings | PromptMeanings | None = None  #: None: nothing is said about that

    def meaning(self, request_id: str) -> Meaning | Prompt | None:
        """What a request means, also when it has long been answered.

        None for what nothing is known about: the later steps of a session (they depend on what was said before), ids
        that a policy invented.
        """
        address = request_address(request_id)
        if self.meanings is None or address is None or address[1]:
            return None
        return self.meanings(address[0])

    def truth(self, request: Request) -> Truth:
        """What is true about `request`.

        Of one that has been answered, and is called for again in the background, what was true of it; made up for an
        id that a policy invented.
        """
        truth = self.truths.get(request.id) or self._late.get(request.id)
        if truth is None:
            if len(self._late) >= _LATE:
                del self._late[next(iter(self._late))]
            truth = self._late[request.id] = self._late_truth(request)
        return truth

    def _late_truth(self, request: Request) -> Truth:
        address = request_address(request.id)
        index, step, retry = address or (crc32(request.id.encode()), 0, 0)
        if address is not None and step == 0 and self.asked is not None and index >= 0:
            truth = self.asked(index)[1]
            truth.retry, truth.session = retry, None
            return truth
        return Truth(index, request.max_tokens or 100, float("inf"), step=step, retry=retry)

    def differs(self, request_id: str, made_for: str, made_s: float, now_s: float) -> bool:
        """Whether an answer that was made for one request at one time is known to be wrong for another one, now."""
        return self.mistake(request_id, made_for, made_s, now_s) in ("other", "outdated")

    def mistake(self, request_id: str, made_for: str, made_s: float, now_s: float) -> str:
        """Why such an answer is wrong.

        Parameters
        ----------
        request_id, made_for
            Who gets the answer, and who it was made for.
        made_s, now_s
            When it was complete, and when it is served; seconds of the loop.

        Returns
        -------
        str
            ``other``: it answers something else. ``outdated``: the right answer has changed since. ``unknown``: nobody
            can tell (prompts of a log without intents, in different words). Empty: it is right, or nothing is known
            about what one of the two requests asks.
        """
        one, other = self.meaning(request_id), self.meaning(made_for)
        if one is None or other is None:
            return ""
        if one.phrase != other.phrase:
            if one.answer < 0 or other.answer < 0:
                return "unknown"
            if one.answer != other.answer:
                return "other"
        return "outdated" if self.changed_s(one.answer, now_s) > made_s else ""

    def changed_s(self, answer: int, when_s: float) -> float:
        """When the right answer of a meaning last changed, up to then; -inf: never, as far as that is known."""
        return -inf if self.renewals is None else self.renewals.changed_s(answer, when_s)
