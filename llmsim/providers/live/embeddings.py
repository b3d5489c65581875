"""Vectors of texts from any endpoint that speaks OpenAI's embeddings: what a semantic cache compares questions by."""

from __future__ import annotations

import asyncio
import functools
import json
import math
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from llmsim.errors import AuthError, ContentFiltered, ContextTooLong
from llmsim.gateway.caching import Incomparable, Question, StoreError
from llmsim.pricing import FREE, TokenPrice, list_price
from llmsim.providers.live.auth import EnvironmentKey
from llmsim.providers.live.endpoint import certificates, check_endpoint, new_client
from llmsim.providers.live.errors import error_from_answer, error_object
from llmsim.providers.live.sockets import SocketWatch
from llmsim.providers.live.timings import Timings
from llmsim.providers.live.wire import estimate_tokens
from llmsim.units import BadValue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OpenAIEmbeddings"]

_KEPT_COUNTS = 1024  #: texts whose token counts are remembered: more than are embedded at once


class OpenAIEmbeddings:
    """An embedder for `LiveStores` (and for all that takes an `Embedder`), over HTTP.

    One call for each text that is compared: a semantic cache embeds what was no exact match. Whatever goes wrong is a
    `StoreError`, so a cache without its embedder misses, and nobody is refused for it. There are no retries: by the
    time of a second one the answer itself would have come.

    Parameters
    ----------
    model
        The endpoint's name for it: ``text-embedding-3-small``.
    base_url
        Up to and including the version: ``https://api.openai.com/v1``.
    api_key_env
        Name of the environment variable with the key, which is read when a call is made and kept nowhere. None: the
        server wants no key.
    dimensions
        Of its vectors; others are refused. 1536 is what ``text-embedding-3-small`` makes.
    shorten
        Ask for that many, where the model can make shorter ones than its own (OpenAI's third generation can).
    timeout_s
        Longest wait for a vector. 2 s is what LiteLLM's and aisix's semantic caches allow.
    price
        Per token. None: the price that OpenAI lists, if `base_url` is OpenAI's and genai-prices knows the model, else
        nothing.

    Attributes
    ----------
    name
        What its vectors are filed under: those of two names are never compared.

    Examples
    --------
    >>> embedder = OpenAIEmbeddings("text-embedding-3-small", base_url="https://api.openai.com/v1", dimensions=1536)
    >>> embedder
    OpenAIEmbeddings('text-embedding-3-small', base_url='https://api.openai.com/v1', api_key_env='OPENAI_API_KEY')
    >>> round(embedder.price.input * 1e6, 6)  # USD for a million tokens
    0.02
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        dimensions: int,
        api_key_env: str | None = "OPENAI_API_KEY",
        shorten: bool = False,
        timeout_s: float = 2.0,
        price: TokenPrice | None = None,
    ) -> None:
        check_endpoint(model, base_url, {})
        if dimensions < 1 or not timeout_s > 0:
            raise ValueError(f"dimensions and timeout_s of {model!r} must be more than 0")
        self.model = model
        self.base_url = base_url.rstrip("/")
        self.dimensions = dimensions
        self.timeout_s = timeout_s
        self.name = f"{model}/{dimensions}" if shorten else model
        self._price = price
        self._shorten = shorten
        self._key = EnvironmentKey(api_key_env)
        self._certificates = certificates(httpx.URL(base_url).scheme)
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._counts: dict[str, int] = {}

    @functools.cached_property
    def price(self) -> TokenPrice:
        """Per input token."""  # looked up when it is wanted: the list takes a second to load
        return _listed(self.model, self.base_url) if self._price is None else self._price

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, base_url={self.base_url!r}, api_key_env={self._key.variable!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- the Embedder contract -----------------------------------------------------------------------------------------

    async def probe(self, question: Question) -> NDArray[np.float32]:
        """The unit vector of its words, shape ``(dimensions,)``.

        Raises
        ------
        StoreError
            If it cannot be had.
        """
        vectors = await self.embed([question.words])
        vector: NDArray[np.float32] = vectors[0]
        return vector

    def tokens(self, question: Question) -> int:
        """Tokens that are billed: what the server said once it has answered, until then an estimate."""
        return self.count_tokens(question.words)

    def count_tokens(self, text: str) -> int:
        """Tokens that are billed for a text."""
        return self._counts.get(text) or estimate_tokens(text)

    # -- the call ------------------------------------------------------------------------------------------------------

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, shape ``(len(texts), dimensions)``, in one call.

        Raises
        ------
        StoreError
            If they cannot be had; `Incomparable` if that is because of a text.
        """
        if "" in texts:  # OpenAI's answer to that is a 400, which may be anything
            raise Incomparable(f"{self!r}: an empty text has no vector")
        try:
            self._key.check(self.model)
        except AuthError as error:
            raise StoreError(f"{self!r}: {error}") from None
        body: dict[str, Any] = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        if self._shorten:
            body["dimensions"] = self.dimensions
        status, headers, text = await self._post(body)
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        if not 200 <= status < 300 or error_object(answer) is not None:
            said = error_from_answer(status, headers, text, upstream=self.model)
            kind = Incomparable if isinstance(said, ContextTooLong | ContentFiltered) else StoreError
            raise kind(f"{self!r}: HTTP {status}: {said}")
        vectors = self._vectors(answer, len(texts))
        self._count(answer, texts)
        return vectors

    async def _post(self, body: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        client = self._client_here()
        watch = SocketWatch(client, Timings(asyncio.get_running_loop().time()))
        request = client.build_request(
            "POST", f"{self.base_url}/embeddings", json=body, extensions={"trace": watch.trace}
        )
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await client.send(request, auth=self._key)
            return answer.status_code, self._key.plain_headers(answer.headers), self._key.blot(answer.text)
        except httpx.HTTPError as error:
            problem = self._key.blot(f"{type(error).__name__}: {error}".removesuffix(": "))
        except TimeoutError:
            self._keep(watch.close())
            problem = f"no answer within {self.timeout_s:g} s"
        except asyncio.CancelledError:
            self._keep(watch.close())
            raise
        # Not inside of except: httpx's frames hold the key.
        raise StoreError(f"{self!r}: {problem}")

    def _vectors(self, answer: Any, count: int) -> NDArray[np.float32]:
        import numpy as np

        expected = f"{count} vector{'s' if count != 1 else ''} of {self.dimensions} numbers"
        try:
            # By their index: the order of the list is not promised.
            rows = sorted(answer["data"], key=lambda row: int(row.get("index", 0)))
            vectors = np.array([row["embedding"] for row in rows], dtype=np.float64)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise StoreError(f"{self!r}: the answer is not {expected}; is base_url right?") from None
        if vectors.shape != (count, self.dimensions):
            raise StoreError(f"{self!r}: {expected} expected, and {vectors.shape} came; write dimensions as it is")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise StoreError(f"{self!r}: a vector without a direction came")
        unit: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
        return unit

    def _count(self, answer: Any, texts: Sequence[str]) -> None:
        """Remember what a text was billed; of several together only the sum is known."""
        usage = answer.get("usage")
        billed = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        if len(texts) == 1 and type(billed) is int and 0 < billed < math.inf:
            self._counts[texts[0]] = billed
            while len(self._counts) > _KEPT_COUNTS:
                del self._counts[next(iter(self._counts))]

    # -- connections ---------------------------------------------------------------------------------------------------

    def _client_here(self) -> httpx.AsyncClient:
        """The client of the running loop; the connections of a loop that is gone are forgotten with it."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise RuntimeError(f"{self!r} has connections on another event loop that still runs; make one for each")
            self._client, self._loop = None, loop
            self._closing.clear()
        if self._client is None:
            self._client = new_client(self.base_url, self.timeout_s, 5.0, self._certificates)
        return self._client

    def _keep(self, closing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(closing)
        self._closing.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close all connections. A later call opens new ones."""
        client = self._client_here()
        self._client = self._loop = None
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)
        await client.aclose()


def _listed(model: str, base_url: str) -> TokenPrice:
    """What OpenAI asks for it, where it is OpenAI that is asked."""
    if httpx.URL(base_url).host != "api.openai.com":
        return FREE
    try:
        return list_price(f"openai/{model}").price
    except BadValue:
        return FREE
