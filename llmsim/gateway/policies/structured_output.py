"""Hand out JSON that can be used, or say that there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.errors import BadOutput
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._answers import JsonAnswer, json_answer, schema_check
from llmsim.gateway.registry import register
from llmsim.gateway.whole import whole
from llmsim.types import CallNext, Message, Request, Response
from llmsim.units import PositiveCount

__all__ = ["StructuredOutput"]

_TOKEN = 4  #: characters, as OpenAI's rule of thumb for English has it


@register("structured_output")
@dataclass(frozen=True, kw_only=True)
class StructuredOutput:
    """Check the answer to a request with a ``response_schema``, repair it, or ask again.

    **Protects from** answers that cannot be parsed: JSON in a Markdown fence or between words, a missing bracket, a
    missing key. Strict parsing fails for a third of the answers of small models (67 % succeed for llama-3-8B with a
    DSPy prompt: weaviate/structured-rag), repair saves most of these at no cost, and a second call most of the others.

    **Costs** the stream: the answer is read to its end first, so the time to its first token is that of its last. A
    re-ask costs a second call with a longer prompt; in the bill the first one is retry work.

    **Makes things worse** when it is trusted for more than form: what fits the schema may still be wrong. And when
    it repeats itself: a retry on ``bad_output`` outside multiplies the re-asks, and a model that cannot do what is
    asked costs `max_attempts` times as much before it fails.

    What it does not do is make anything up. A text that stops in the middle of a string or a number, or at
    ``max_tokens``, has lost something; json-repair would complete it, and the result fit the schema
    (mastra-ai/mastra#24442, vercel/ai PR 18770). It is asked for again, or refused; cut at ``max_tokens``, it is
    refused at once, for the same call would be cut again at the same price. What is repaired comes out as strict JSON;
    a value is accepted only if it fits the schema.

    Requests without a ``response_schema`` pass through as they are, streams included.

    It stands inside of `cache`, which then keeps what was checked (without `explain`, a cache further in would answer a
    re-ask with the very answer that was bad), and outside of a `max_tokens` that asks again.

    Parameters
    ----------
    repair
        Whether to take off fences and words around the JSON, close its brackets, mend its quotes and commas.
    max_attempts
        Calls in all, the first included. 2: one re-ask; chosen.
    explain
        Whether a re-ask shows the model its answer and says what is wrong with it. Only the latest one: prompts that
        grow by every failure run away (567-labs/instructor PR 2213).
    temperature
        Of re-asks; None (default): as the caller had it.

    Notes
    -----
    Raises `BadOutput` when the last answer cannot be used (a ``fallback`` outside with ``bad_output`` in its `on` can
    ask another model), `BadRequest` for a schema that is none. Emits ``json_repaired``, ``json_reasked`` (``attempt``:
    the number of the one to come) or ``json_unusable`` for each answer that was not right, with its ``error`` and the
    upstream it was ``answered_by``.

    Validates with jsonschema (drafts up to 2020-12). fastjsonschema is faster but compiles the schema to Python code,
    and a gateway's schemas come from its callers; pydantic needs classes.

    Examples
    --------
    >>> StructuredOutput(max_attempts=3).repair
    True
    >>> StructuredOutput(repair=False, max_attempts=1).max_attempts  # only a check
    1
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    repair: bool = True
    max_attempts: PositiveCount = 2
    explain: bool = True
    temperature: float | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts includes the first; write 1 for no re-ask, not {self.max_attempts}")
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature must be 0 to 2, not {self.temperature:g}; leave it out for the caller's")
        if self.temperature is not None and self.max_attempts == 1:
            raise ValueError("temperature is that of re-asks, and there are none; write max_attempts: 2")

    def start(self, run: Run) -> Handler:
        """No state."""
        return _StructuredOutputHandler(self, run)


class _StructuredOutputHandler:
    __slots__ = ("_run", "_spec")

    def __init__(self, spec: StructuredOutput, run: Run) -> None:
        self._spec = spec
        self._run = run

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        if request.response_schema is None:
            return await call_next(request)
        check = schema_check(request.response_schema)
        spec, attempt, asked = self._spec, 1, request
        while True:
            response = await call_next(asked)
            text = await response.read()
            answer = json_answer(text, response.finish_reason, check, repair=spec.repair)
            if not answer.error:
                if answer.repaired:
                    self._run.emit("json_repaired", request, error=answer.repaired, answered_by=response.upstream)
                return whole(response, answer.text, "stop" if answer.repaired else "")
            if attempt >= spec.max_attempts or answer.lost:
                self._run.emit("json_unusable", request, error=answer.error, answered_by=response.upstream)
                raise BadOutput(
                    f"{answer.error}; after {attempt} of {spec.max_attempts} calls", upstream=response.upstream
                )
            attempt += 1
            fields = {"attempt": attempt, "error": answer.error, "answered_by": response.upstream}
            self._run.emit("json_reasked", request, **fields)
            asked = self._again(request, answer, response)

    def _again(self, request: Request, answer: JsonAnswer, response: Response) -> Request:
        spec = self._spec
        if spec.temperature is not None:
            request = request._replace(temperature=spec.temperature)
        if not spec.explain or request.messages is None:
            return request
        complaint = f"This cannot be used: {answer.error}. Answer again, with nothing but JSON that fits the schema."
        said = Message("assistant", answer.text), Message("user", complaint)
        more = response.tokens_delivered + len(complaint) // _TOKEN
        return request._replace(messages=(*request.messages, *said), input_tokens=request.input_tokens + more)
