"""Amazon Bedrock, the bedrock-runtime endpoint
(docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html).

Counting
    Tokens a minute and a day (by default the minute's × 1440), and requests a minute, per model. At the start, all
    input tokens (also those in the cache) and ``max_tokens`` are deducted; without ``max_tokens`` the model's maximum
    (aws/agent-toolkit-for-aws quota-health.md: of 2M a minute, 1,333 calls with maxTokens 1000 fit, 31 without). At the
    end, input without what was read from the cache, and output times the burndown rate of the model (1; 5 to 15 for
    Anthropic's): `Limits.output_weight`; the rest is given back. In between it is adjusted from time to time, which is
    left out here. That the quotas refill continuously is an assumption [not confirmed].
Answers
    ThrottlingException, 429, with the kind in the header x-amzn-errortype and only words in the body
    (aws-samples/amazon-bedrock-client-for-mac#99); no Retry-After. Others: the user guide's troubleshooting-api-error-
    codes. After the 200, an exception event of the AWS event stream; here its type is the event's name. A blocked
    answer is a stop reason (guardrail_intervened), not an error; that Anthropic's own filter comes through as a
    ValidationException is [not confirmed].
"""

from __future__ import annotations

from llmsim.errors import GatewayError, QuotaExhausted, RateLimited, ServerError
from llmsim.providers.dialects.account import Account, Accounting, Refused
from llmsim.providers.dialects.answers import Answer, rendered
from llmsim.providers.dialects.dialect import KINDS, Dialect
from llmsim.providers.dialects.limits import Failure, Limits
from llmsim.providers.dialects.meters import REQUESTS, TOTAL, Bucket, Meter

__all__ = ["Bedrock"]

_UNSET = 64_000  #: Claude Sonnet's maximum (quota-health.md)
_NAMES = {"requests": "requests", "tokens": "tokens", "tokens_per_day": "tokens per day"}

#: status, exception and words.
_FAILURES: dict[Failure, tuple[int, str, str]] = {
    "server_error": (500, "InternalServerException", "The system encountered an unexpected error during processing."),
    "overloaded": (503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
    "slow_down": (429, "ThrottlingException", "Too many requests, please wait before trying again."),
    "quota": (429, "ThrottlingException", "Too many tokens per day, please wait before trying again."),
    "auth": (403, "UnrecognizedClientException", "The security token included in the request is invalid."),
    "context_too_long": (400, "ValidationException", "Input is too long for requested model."),
    "content_filter": (400, "ValidationException", "Output blocked by content filtering policy"),
    "in_stream": (424, "modelStreamErrorException", "The model stopped while streaming."),
}


class Bedrock(Dialect):
    """See the module."""

    name = "bedrock"
    reads = frozenset({"requests", "tokens", "tokens_per_day", "max_output_tokens", "output_weight"})

    def _meters(self, limits: Limits, epoch_s: float) -> list[Meter]:
        meters: list[Meter] = []
        if limits.requests is not None:
            meters.append(Bucket("requests", REQUESTS, limits.requests, 60))
        if limits.tokens is not None:
            meters.append(Bucket("tokens", TOTAL, limits.tokens, 60))
        if limits.tokens_per_day is not None:
            meters.append(Bucket("tokens_per_day", TOTAL, limits.tokens_per_day / 86400, 86400))
        return meters

    def _accounting(self, limits: Limits) -> Accounting:
        return Accounting(
            unset_output=limits.max_output_tokens or _UNSET,
            settles=True,
            settled_cache_free=True,
            output_weight=1.0 if limits.output_weight is None else limits.output_weight,
        )

    def refusal(self, account: Account, refused: Refused, *, model: str = "") -> Answer:
        message = f"Too many {_NAMES[refused.name]}, please wait before trying again."
        return _answer(
            QuotaExhausted if refused.name == "tokens_per_day" else RateLimited, 429, "ThrottlingException", message
        )

    def failure(
        self, kind: Failure, *, model: str = "", input_tokens: int = 0, context_tokens: int = 0, output_tokens: int = 0
    ) -> Answer:
        status, word, message = _FAILURES[kind]
        if kind == "in_stream":
            body = rendered({"message": message})
            return Answer(kind=ServerError, message=message, status=200, body=body, event=word, stands_for=500)
        return _answer(KINDS[kind], status, word, message)


def _answer(kind: type[GatewayError], status: int, word: str, message: str) -> Answer:
    headers = {"x-amzn-errortype": f"{word}:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    return Answer(kind=kind, message=message, status=status, headers=headers, body=rendered({"message": message}))
