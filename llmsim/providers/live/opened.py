"""Live providers as ``live.yaml`` describes them."""

from __future__ import annotations

from collections.abc import Callable

from llmsim.pricing import TokenPrice
from llmsim.providers.live.anthropic_wire import Messages
from llmsim.providers.live.auth import EnvironmentKey
from llmsim.providers.live.gemini_wire import GenerateContent
from llmsim.providers.live.openai_wire import ChatCompletions
from llmsim.providers.live.responses_wire import Responses
from llmsim.providers.live.spec import LiveProvider
from llmsim.providers.live.upstream import LiveUpstream
from llmsim.providers.live.wire import Wire

__all__ = ["live_provider"]


def _chat(spec: LiveProvider) -> ChatCompletions:
    return ChatCompletions(
        include_usage=spec.include_usage, api_version=spec.api_version, max_tokens_field=spec.max_tokens_field
    )


#: By ``api:``, the protocol, and the header that takes the key.
_APIS: dict[str, tuple[Callable[[LiveProvider], Wire], str]] = {
    "openai-chat": (_chat, "Authorization"),
    "azure-chat": (_chat, "api-key"),
    "openai-responses": (lambda spec: Responses(), "Authorization"),
    "anthropic": (lambda spec: Messages(), "x-api-key"),
    "gemini": (lambda spec: GenerateContent(), "x-goog-api-key"),
}


def live_provider(
    name: str, spec: LiveProvider, *, model: str, price: TokenPrice, context_window: int | None = None
) -> LiveUpstream:
    """A provider that calls what `spec` says; connections are made by its first call.

    Parameters
    ----------
    name
        What the gateway calls it.
    spec
        What the file says.
    model, price
        Where the file says nothing.
    context_window
        For policies that look ahead, where it is known.

    Examples
    --------
    >>> spec = LiveProvider(api="anthropic", base_url="https://api.anthropic.com/v1", key_env="ANTHROPIC_API_KEY")
    >>> live_provider("claude", spec, model="claude-haiku-4-5", price=TokenPrice())
    LiveUpstream('claude', base_url='https://api.anthropic.com/v1', model='claude-haiku-4-5', \
api_key_env='ANTHROPIC_API_KEY')
    """
    wire, header = _APIS[spec.api]
    return LiveUpstream(
        name,
        wire(spec),
        base_url=spec.base_url,
        model=spec.model or model,
        key=EnvironmentKey(spec.key_env, header),
        price=price if spec.price is None else spec.price,
        connect_timeout_s=spec.connect_timeout,
        keep_alive_s=spec.keep_alive,
        extra_headers=spec.extra_headers,
        extra_body=spec.extra_body,
        context_window=context_window,
        http2=spec.http2,
        head_waits_for_slot=spec.head_waits_for_slot,
    )
