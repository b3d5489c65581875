"""OpenAI chat completions over httpx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsim.pricing import FREE, TokenPrice
from llmsim.providers.live.auth import EnvironmentKey
from llmsim.providers.live.openai_wire import ChatCompletions, MaxTokensField
from llmsim.providers.live.upstream import LiveUpstream

__all__ = ["OpenAIChat"]


class OpenAIChat(LiveUpstream):
    """An upstream that speaks OpenAI's chat completions, as very many do.

    Parameters
    ----------
    name, base_url, model, price, connect_timeout_s, keep_alive_s, extra_headers, extra_body, deadline_header, \
    context_window
        See `llmsim.providers.live.upstream.LiveUpstream`; ``base_url`` is ``https://api.openai.com/v1``, say.
    api_key_env
        Name of the environment variable with the API key; read again for every call, never stored. None: no key.
    include_usage
        Ask for usage at the end of a stream. Turn it off for servers that refuse ``stream_options``.
    max_tokens_field
        Where the longest answer stands: ``max_completion_tokens`` for OpenAI's reasoning models.
    api_version, key_header
        For Azure's older paths: ``api-version`` of the query, and ``api-key`` as the header that takes the key.

    Examples
    --------
    >>> OpenAIChat("primary", base_url="https://api.openai.com/v1/", model="gpt-4o-mini")
    OpenAIChat('primary', base_url='https://api.openai.com/v1', model='gpt-4o-mini', api_key_env='OPENAI_API_KEY')
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        model: str,
        api_key_env: str | None = "OPENAI_API_KEY",
        price: TokenPrice = FREE,
        connect_timeout_s: float = 10.0,
        keep_alive_s: float = 5.0,
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        deadline_header: str | None = None,
        include_usage: bool = True,
        context_window: int | None = None,
        max_tokens_field: MaxTokensField = "max_tokens",
        api_version: str = "",
        key_header: str = "Authorization",
    ) -> None:
        super().__init__(
            name,
            ChatCompletions(include_usage=include_usage, api_version=api_version, max_tokens_field=max_tokens_field),
            base_url=base_url,
            model=model,
            key=EnvironmentKey(api_key_env, key_header),
            price=price,
            connect_timeout_s=connect_timeout_s,
            keep_alive_s=keep_alive_s,
            extra_headers=extra_headers,
            extra_body=extra_body,
            deadline_header=deadline_header,
            context_window=context_window,
        )
