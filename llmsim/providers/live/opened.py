"""Live providers as ``live.yaml`` describes them."""

from __future__ import annotations

from llmsim.gateway.contract import Provider
from llmsim.pricing import TokenPrice
from llmsim.providers.live.openai_chat import OpenAIChat
from llmsim.providers.live.spec import LiveProvider

__all__ = ["live_provider"]


def live_provider(name: str, spec: LiveProvider, *, model: str, price: TokenPrice) -> Provider:
    """A provider that calls what `spec` says; connections are made by its first call.

    Parameters
    ----------
    name
        What the gateway calls it.
    spec
        What the file says.
    model, price
        Where the file says nothing.
    """
    return OpenAIChat(
        name,
        base_url=spec.base_url,
        model=spec.model or model,
        api_key_env=spec.key_env,
        price=price if spec.price is None else spec.price,
        connect_timeout_s=spec.connect_timeout,
        keep_alive_s=spec.keep_alive,
        extra_headers=spec.extra_headers,
        extra_body=spec.extra_body,
        include_usage=spec.include_usage,
    )
