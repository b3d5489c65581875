"""What ``live.yaml`` says about a provider, as a frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from llmsim.pricing import TokenPriceOrModel
from llmsim.traffic.speech import TEMPLATE_TOKENS
from llmsim.units import BadValue, Count, Duration, PositiveDuration

__all__ = ["LiveFile", "LiveProvider"]

FORBID: dict[str, Any] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class LiveProvider:
    """An upstream that is really called.

    Parameters
    ----------
    api
        The protocol it speaks: ``openai-chat`` is OpenAI's chat completions and whatever copies it (vLLM, llama.cpp,
        Groq, Together, OpenRouter, LiteLLM's proxy, Azure's v1 API); ``azure-chat`` the same at Azure's older paths;
        ``openai-responses``; ``anthropic`` (messages); ``gemini`` (generateContent).
    base_url
        Up to and without the path of a call: ``https://api.openai.com/v1``.
    model
        Default: the scenario's.
    key_env
        Name of the environment variable that holds the API key. None: the server wants no key. Keys themselves do not
        belong into files.
    price
        Per token; default: the scenario's.
    connect_timeout
        Longest time for connecting.
    keep_alive
        How long an idle connection may be used again.
    http2
        Offer HTTP/2, where calls share a connection (https only; needs ``pip install llmsim[http2]``). What its server
        allows at once on a connection is then a queue that nobody sees.
    head_waits_for_slot
        The server sends the head of a streamed answer when the call gets a slot, and not at once (llama.cpp does): the
        time until then is the ``queue_s`` of the attempt. Of other servers nobody knows how long a call waited.
    extra_headers, extra_body
        Sent with every call. Not for keys.
    include_usage
        Ask for usage at the end of a stream (chat completions only; the others always report it).
    max_tokens_field
        Where chat completions want the longest answer: ``max_tokens``, which most servers know, or
        ``max_completion_tokens``, which OpenAI's reasoning models insist on.
    api_version
        Of ``azure-chat``, as its URLs want it: ``2024-10-21``.
    template_tokens
        What the model's chat template adds to a prompt: generated prompts are shorter by so many tokens.
    """

    __pydantic_config__: ClassVar = FORBID

    api: Literal["openai-chat", "azure-chat", "openai-responses", "anthropic", "gemini"] = "openai-chat"
    base_url: str
    model: str = ""
    key_env: str | None = None
    price: TokenPriceOrModel | None = None
    connect_timeout: PositiveDuration = 10.0
    keep_alive: Duration = 5.0
    http2: bool = False
    head_waits_for_slot: bool = False
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    include_usage: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    api_version: str = ""
    template_tokens: Count = TEMPLATE_TOKENS

    def __post_init__(self) -> None:
        from llmsim.providers.live.auth import check_variable
        from llmsim.providers.live.endpoint import check_endpoint, check_http2

        try:
            check_variable(self.key_env, "key_env")
        except ValueError as error:
            raise BadValue(str(error), "key_env") from None
        try:
            check_endpoint("this provider", self.base_url, self.extra_headers)
        except ValueError as error:
            raise BadValue(str(error), "base_url") from None
        if self.http2:
            try:
                check_http2(self.base_url)
            except ValueError as error:
                raise BadValue(str(error), "http2") from None
        if (self.api == "azure-chat") != bool(self.api_version):
            raise BadValue("api_version belongs to azure-chat, which needs it; write api_version: 2024-10-21", "api")
        for word, standard in (("include_usage", True), ("max_tokens_field", "max_tokens")):
            if getattr(self, word) != standard and self.api not in ("openai-chat", "azure-chat"):
                raise BadValue(f"{self.api} has no such option; {word} is for openai-chat and azure-chat", word)


@dataclass(frozen=True, kw_only=True)
class LiveFile:
    """Live providers by the names they have in scenarios.

    Parameters
    ----------
    version
        Of the file format: 1.
    providers
        For every provider of the scenario, whom to call in its place.
    """

    __pydantic_config__: ClassVar = FORBID

    version: Literal[1]
    providers: dict[str, LiveProvider]
