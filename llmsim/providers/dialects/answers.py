"""An answer of a provider that is not a success: as it stands on the wire, and as an error of the tree."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from llmsim.errors import GatewayError, StreamBroken

__all__ = ["NO_HEADERS", "Answer", "in_ms", "in_seconds", "rendered"]

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Answer(NamedTuple):
    """What the provider sends instead of a completion.

    Parameters
    ----------
    kind
        What it is in the error tree.
    message
        The vendor's words, as in the body.
    status, headers, body
        On the wire. An error after the 200 has status 200 and a `body` that is the event's data.
    retry_after_s
        When to come back, where it says so.
    event
        For an error after the 200: the event's name ("" for a bare ``data:``). None: an ordinary answer.
    stands_for
        The status an error after the 200 would have had as an answer.
    """

    kind: type[GatewayError]
    message: str
    status: int
    body: str
    headers: Mapping[str, str] = NO_HEADERS
    retry_after_s: float | None = None
    event: str | None = None
    stands_for: int | None = None

    def error(self, upstream: str, tokens_delivered: int = 0) -> GatewayError:
        """The same as a gateway sees it.

        An event that comes before any content is the error it names, with the status that it stands for: a policy that
        looks at statuses must not take it for a success. After content, the stream is broken.
        """
        if self.event is not None and tokens_delivered:
            return StreamBroken(
                self.message,
                tokens_delivered=tokens_delivered,
                upstream=upstream,
                status=self.status,
                headers=self.headers,
                body=self.body,
            )
        return self.kind(
            self.message,
            upstream=upstream,
            status=self.status if self.event is None else self.stands_for,
            headers=self.headers,
            body=self.body,
            retry_after_s=self.retry_after_s,
        )

    def sse(self) -> str:
        """An error after the 200 as a server-sent event."""
        name = f"event: {self.event}\n" if self.event else ""
        return f"{name}data: {self.body}\n\n"


def rendered(body: Any) -> str:
    """JSON as it stands in a body."""
    return json.dumps(body, ensure_ascii=False)


def in_ms(wait_s: float) -> int:
    """A wait in milliseconds, and one more: who comes back at the exact moment may be short by a rounding error."""
    return round(wait_s * 1000) + 1


def in_seconds(wait_s: float) -> int:
    """A wait in whole seconds, rounded up as if it were a millisecond longer (see `in_ms`), at least one."""
    return max(math.ceil(wait_s + 0.001), 1)
