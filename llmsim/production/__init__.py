"""Outside the lab: the policies that were tuned there serve traffic, and say what they do in OpenTelemetry's words.

`ChatApp` is an ASGI application that OpenAI's SDKs can talk to; `live_providers` are those of a ``live.yaml``;
`OpenTelemetry` is what ``gateway.open(..., telemetry=...)`` takes. Each can be had without the others.
"""

from __future__ import annotations

from llmsim.production.chat_app import ChatApp
from llmsim.production.open_telemetry import OpenTelemetry
from llmsim.production.upstreams import live_providers

__all__ = ["ChatApp", "OpenTelemetry", "live_providers"]
