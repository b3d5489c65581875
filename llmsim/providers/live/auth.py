"""The API key: read from the environment when a request is sent, and never kept, shown or passed on."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping

import httpx

from llmsim.errors import AuthError
from llmsim.providers.live.quiet_logs import keep_out

__all__ = ["EnvironmentKey", "check_variable"]

#: Shorter values ("none", "x", what local servers are given) are no secrets, and blotting them out would maul texts.
_SECRET_LENGTH = 8
_BLOT = "[key]"
_NOT_SET = "is not set"
_ADVICE = "; export it, or say api_key_env=None for a server that wants no key"

#: Answer headers that can carry credentials or a session.
_PRIVATE_HEADERS = frozenset(
    {
        "api-key",
        "authorization",
        "proxy-authorization",
        "set-cookie",
        "www-authenticate",
        "x-api-key",
        "x-goog-api-key",
    }
)


def check_variable(variable: str | None, field: str = "api_key_env") -> None:
    """See to it that what should be a variable's name can be one: a key in its place would be in every repr and error.

    Raises
    ------
    ValueError
        It cannot; the message does not repeat it, as it may be the key itself.
    """
    if variable is not None and not (variable.isascii() and variable.isidentifier()):
        none = "leave key_env out" if field == "key_env" else f"say {field}=None"
        raise ValueError(
            f"{field} is the name of an environment variable, like OPENAI_API_KEY; export the key there, or {none} if "
            "the server wants none"
        )


class EnvironmentKey(httpx.Auth):
    """The value of an environment variable in a header: as a bearer token, unless another header is named.

    It only knows the variable's *name*, so no repr, pickle or debugger of the provider can show the key.

    Parameters
    ----------
    variable
        Name of the environment variable; None: the server wants no key.
    header
        Which header takes the key as it is: ``x-api-key`` (Anthropic), ``x-goog-api-key`` (Google), ``api-key``
        (Azure). Default: ``Authorization``, which takes it as a bearer token.

    Raises
    ------
    ValueError
        From `check_variable`.
    """

    def __init__(self, variable: str | None, header: str = "Authorization") -> None:
        check_variable(variable)
        self.variable = variable
        self.header = header

    def __repr__(self) -> str:
        return f"EnvironmentKey({self.variable!r})"

    def check(self, upstream: str) -> None:
        """See to it that there is a key and that it can be sent.

        Raises
        ------
        AuthError
            The variable is not set, or its value cannot stand in a header. Checked here because h11 would quote the
            value in its own message.
        """
        problem = self.problem()
        if problem:
            advice = _ADVICE if problem == _NOT_SET else ""
            raise AuthError(f"the environment variable {self.variable} {problem}{advice}", upstream=upstream)

    def problem(self) -> str:
        """What is wrong with the variable, as the end of a sentence about it; empty if nothing is."""
        # Raises nothing itself: its frame holds the key, and must be gone before there is a traceback.
        key = self._value()
        if key is None:
            return ""
        if not key:
            return _NOT_SET
        if " " in key or not (key.isascii() and key.isprintable()):
            return "cannot be an API key: its value has characters that an HTTP header cannot carry"
        return ""

    def _value(self) -> str | None:
        return None if self.variable is None else os.environ.get(self.variable, "").strip()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Put the key into the request at the last moment (called by httpx)."""
        if self.variable is not None:
            keep_out(self.variable, self.blot)
            bearer = "Bearer " if self.header == "Authorization" else ""
            request.headers[self.header] = f"{bearer}{self._value()}"
        yield request

    def blot(self, text: str) -> str:
        """`text` without the key: some servers quote it in their errors."""
        key = self._value() or ""
        return text.replace(key, _BLOT) if len(key) >= _SECRET_LENGTH else text

    def plain_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Answer headers as a dict with lower-case names, without credentials."""
        return {
            name.lower(): self.blot(value) for name, value in headers.items() if name.lower() not in _PRIVATE_HEADERS
        }
