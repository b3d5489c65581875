"""When things happened at the socket of one live call."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any

__all__ = ["CONNECT_HEADER", "Timings"]

#: On a live response whose call had to connect: the seconds that took (name, TCP, TLS).
CONNECT_HEADER = "x-llmsim-connect-s"
#: "Time taken processing your API request" (platform.openai.com/docs/api-reference, Debugging requests).
PROCESSING_HEADER = "openai-processing-ms"


class Timings:
    """Moments of a call, in seconds on the clock of its event loop; NaN for what has not happened.

    Attributes
    ----------
    start_s
        The call began. What lies between this and the request on its way is connecting, and the work of the client.
    connect_s
        Seconds spent on a new connection; 0 for a call on one that was open.
    sent_s
        The last byte of the request was handed to the system.
    head_s
        The head of the answer had arrived.
    chunks_s
        Arrivals of the pieces of text, shape ``(chunks,)``. Pieces that come in one packet have nearly the same moment.
    end_s
        The text was complete.
    http_version
        ``HTTP/1.1`` or ``HTTP/2``.
    server_s
        What the server says it took until the first text, of its own accord: llama.cpp's ``timings.prompt_ms`` (without
        the wait for a slot), or the header ``openai-processing-ms``. NaN: it does not say.
    """

    __slots__ = ("chunks_s", "connect_s", "end_s", "head_s", "http_version", "sent_s", "server_s", "start_s")

    def __init__(self, start_s: float) -> None:
        self.start_s = start_s
        self.connect_s = 0.0
        self.sent_s = self.head_s = self.end_s = self.server_s = math.nan
        self.chunks_s = array("d")
        self.http_version = ""

    def told(self, answer: Mapping[str, Any]) -> None:
        """Note the server's own timings, if an event or a whole answer has them (llama.cpp)."""
        timings = answer.get("timings")
        took_ms = timings.get("prompt_ms") if isinstance(timings, dict) else None
        if isinstance(took_ms, int | float) and took_ms >= 0:
            self.server_s = took_ms / 1000

    def told_in_headers(self, headers: Mapping[str, str]) -> None:
        """Note them, if a header of the answer has them (OpenAI)."""
        try:
            took_s = float(headers.get(PROCESSING_HEADER, "nan")) / 1000
        except ValueError:
            return
        if took_s >= 0:
            self.server_s = took_s

    @property
    def head_wait_s(self) -> float:
        """From the request, sent, to the head of the answer: on some servers the wait for a slot."""
        return self.head_s - self.sent_s

    @property
    def first_s(self) -> float:
        """Arrival of the first text."""
        return self.chunks_s[0] if self.chunks_s else math.nan

    @property
    def longest_gap_s(self) -> float:
        """Longest silence between two pieces of text; NaN for fewer than two."""
        return max((b - a for a, b in zip(self.chunks_s, self.chunks_s[1:], strict=False)), default=math.nan)

    def __repr__(self) -> str:
        return (
            f"<Timings connect {self.connect_s:.4f}s, head after {self.head_wait_s:.4f}s, "
            f"first text after {self.first_s - self.start_s:.4f}s, {len(self.chunks_s)} chunks>"
        )
