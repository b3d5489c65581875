"""vLLM: a self-hosted server. It has no rate limits; whoever finds it busy waits.

Errors have the shape ``{"error": {"message", "type", "param", "code": <status>}}`` (vllm-project/vllm
vllm/entrypoints/openai/engine/protocol.py; up to 0.9 without the outer object: #4667). Too long a prompt is told only
in words (#37011 wants to change that). After the 200 the same object comes as an event, followed by ``[DONE]``
(openai/chat_completion/serving.py). A wrong key is answered ``{"error": "Unauthorized"}``. vLLM itself never sheds
load and filters nothing: the 503, the 402 and the filter are those of a proxy before it [not confirmed].
"""

from __future__ import annotations

from llmsim.errors import ServerError
from llmsim.providers.dialects.account import Account, Refused
from llmsim.providers.dialects.answers import Answer, rendered
from llmsim.providers.dialects.dialect import KINDS, Dialect
from llmsim.providers.dialects.limits import Failure

__all__ = ["Vllm"]

#: status, type and words.
_FAILURES: dict[Failure, tuple[int, str, str]] = {
    "server_error": (500, "InternalServerError", "Internal server error"),
    "overloaded": (503, "ServiceUnavailableError", "no healthy upstream"),
    "slow_down": (503, "ServiceUnavailableError", "no healthy upstream"),
    "quota": (402, "PaymentRequired", "no budget left"),
    "auth": (401, "", "Unauthorized"),
    "context_too_long": (400, "BadRequestError", ""),
    "content_filter": (400, "content_filter", "refused by the content filter"),
    "in_stream": (500, "InternalServerError", "EngineCore encountered an issue."),
}


class Vllm(Dialect):
    """See the module."""

    name = "vllm"
    reads = frozenset()
    window_holds_max_tokens = True  # vllm-project/vllm#20409

    def refusal(self, account: Account, refused: Refused, *, model: str = "") -> Answer:
        raise AssertionError("an account without limits refuses nobody")

    def failure(
        self, kind: Failure, *, model: str = "", input_tokens: int = 0, context_tokens: int = 0, output_tokens: int = 0
    ) -> Answer:
        status, word, message = _FAILURES[kind]
        if kind == "context_too_long":
            message = (
                f"This model's maximum context length is {context_tokens} tokens. "
                f"However, you requested {input_tokens + output_tokens} tokens "
                f"({input_tokens} in the messages, {output_tokens} in the completion)."
            )
        error: object = {"message": message, "type": word, "param": None, "code": status} if word else message
        body = rendered({"error": error})
        if kind == "in_stream":
            return Answer(kind=ServerError, message=message, status=200, body=body, event="", stands_for=status)
        if kind == "slow_down":
            return Answer(kind=KINDS["overloaded"], message=message, status=status, body=body)
        return Answer(kind=KINDS[kind], message=message, status=status, body=body)
