"""An address that is called over HTTP: what it may look like, whom to trust there, and a client for it."""

from __future__ import annotations

import functools
import importlib.util
import ssl
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

__all__ = ["certificates", "check_endpoint", "check_http2", "is_loopback", "new_client"]

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def new_client(
    base_url: str, connect_timeout_s: float, keep_alive_s: float, verify: ssl.SSLContext, *, http2: bool = False
) -> httpx.AsyncClient:
    """A client with no limit of its own but that for connecting."""
    return httpx.AsyncClient(
        # How many calls may run at once is for policies to say; a limit here would be a hidden queue.
        limits=httpx.Limits(
            max_connections=None,
            max_keepalive_connections=None if keep_alive_s > 0 else 0,
            keepalive_expiry=keep_alive_s,
        ),
        timeout=httpx.Timeout(None, connect=connect_timeout_s),
        headers={"User-Agent": "llmsim"},
        # No cookies: they would tie calls together that are independent.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        verify=verify,
        http2=http2,
        # A proxy from the environment cannot reach a server on this machine.
        trust_env=not is_loopback(base_url),
    )


def is_loopback(base_url: str) -> bool:
    """Whether this is on the same machine."""
    return httpx.URL(base_url).host in _LOOPBACK


@functools.cache
def certificates(scheme: str) -> ssl.SSLContext:
    """Whom to trust: loaded once and early, since it takes 20 ms and more, which the loop would stand still.

    Plain http needs no certificates; its context trusts nobody.
    """
    return httpx.create_ssl_context() if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def check_endpoint(name: str, base_url: str, extra_headers: Mapping[str, str]) -> None:
    """Refuse what cannot work, without quoting what may be a secret."""
    if not name:
        raise ValueError("a provider needs a name: policies address it by that")
    url = httpx.URL(base_url)
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url of {name!r} must be like https://api.openai.com/v1")
    if url.userinfo or url.query or url.fragment:
        raise ValueError(f"base_url of {name!r} must have no user, query or fragment; put the key into api_key_env")
    if any(header.lower() in ("authorization", "proxy-authorization") for header in extra_headers):
        raise ValueError(f"extra_headers of {name!r} must not hold credentials; put the key into api_key_env")


def check_http2(base_url: str) -> None:
    """Refuse HTTP/2 where it cannot be spoken.

    Raises
    ------
    ValueError
        The package for it is not installed, or the address has no TLS, in which it is agreed upon.
    """
    if importlib.util.find_spec("h2") is None:
        raise ValueError("HTTP/2 needs the package h2; pip install llmsim[http2]")
    if httpx.URL(base_url).scheme != "https":
        raise ValueError("HTTP/2 is agreed upon in TLS; base_url must begin with https://")
