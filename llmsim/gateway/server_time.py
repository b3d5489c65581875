"""What a server says of its own time, whoever's stream its answer comes in."""

from __future__ import annotations

import math

from llmsim.types import Response

__all__ = ["server_s_of"]


def server_s_of(response: Response | None) -> float:
    """Of the time to the first chunk, what the server says it took itself; NaN: it does not say.

    `Response.timings` is whatever the stream has under that name: of a live provider of ours a
    `llmsim.providers.live.timings.Timings`, of one's own anything at all.

    Examples
    --------
    >>> server_s_of(None)
    nan
    """
    said = getattr(response.timings, "server_s", None) if response is not None else None
    return float(said) if isinstance(said, int | float) else math.nan
