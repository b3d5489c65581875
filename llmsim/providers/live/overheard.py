"""Errors that a server writes into an event stream without making an event of them.

Google's servers break a stream off with an error object in plain JSON, over several lines and without ``data:``
(maximhq/bifrost#5262; google-genai reads those lines too). A decoder of events takes them for unknown fields, and drops
them.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

import httpx

from llmsim.providers.live.errors import ErrorObject, error_object

__all__ = ["Overheard"]

#: Characters remembered of the end of a stream. Error objects of Google's with all their details are 2,000 and less.
_KEPT = 16_384
_LINE = re.compile(r"[\r\n](?=[\[{])")


class Overheard:
    """The text of an answer on its way to the decoder of events; its end is remembered.

    Parameters
    ----------
    response
        The answer, its body not read.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.headers = response.headers
        self._response = response
        self._texts: deque[str] = deque()
        self._length = 0
        self._whole = True  # nothing is forgotten

    async def aiter_text(self) -> AsyncGenerator[str, None]:
        """As of the answer."""
        async for text in self._response.aiter_text():
            self._texts.append(text)
            self._length += len(text)
            while self._length - len(self._texts[0]) > _KEPT:
                self._length -= len(self._texts.popleft())
                self._whole = False
            yield text

    def error(self) -> tuple[ErrorObject, str] | None:
        """The last error that stands there as plain JSON, and the JSON; None without one. For a stream that broke."""
        text = "".join(self._texts)
        starts = [found.end() for found in _LINE.finditer(text)]
        if self._whole and text[:1] in ("{", "["):
            starts.insert(0, 0)
        for start in reversed(starts):
            answer, end = _decoded(text, start)
            found = error_object(answer)
            if found is not None:
                return found, text[start:end]
        return None


def _decoded(text: str, start: int) -> tuple[Any, int]:
    try:
        return json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, start
