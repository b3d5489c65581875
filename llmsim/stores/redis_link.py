"""The way to a Redis: connections, a time limit for everything, and one error for whatever can go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from llmsim.gateway.caching import StoreError
from llmsim.stores.redis_scripts import Script

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["TIMEOUT_S", "RedisLink"]

#: Longest wait for one answer. redis-py's own default is 5 s (8.1), longer than most models take to their first token:
#: then a slow cache would cost more than none. A search among 10,000 takes 0.4 to 1.3 ms (see stores/redis.py).
TIMEOUT_S = 1.0

#: Redis runs commands one after the other, so more connections would only lengthen its queue; with fewer, callers would
#: wait for each other's round trip.
_CONNECTIONS = 16

#: How a server without vector sets, or without the scripts of Redis 7, says so. "Error compiling" is what the first
#: line of a script is to Redis 6.
_TOO_OLD = ("unknown redis command", "unknown command", "error compiling", "unexpected engine in script shebang")
_NEEDED = "it has no vector sets; `backend: redis` needs Redis 8.0 or later (Valkey has none)"


class RedisLink:
    """Asks a Redis. Everything that goes wrong is a `StoreError`, and none of those quotes the password.

    A connection whose answer was not awaited (a time limit, a caller that left) is closed and never used again, so no
    answer can reach anybody else. A lost connection is opened anew by whoever needs it next.

    Parameters
    ----------
    url
        ``redis://[user:password@]host[:port][/db]``, ``rediss://…`` (TLS) or ``unix://…``, with redis-py's options
        behind a question mark: ``?socket_timeout=0.25`` for another limit than `TIMEOUT_S`.

    Raises
    ------
    ValueError
        If that is no such address, or redis-py is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
            from redis.exceptions import ConnectionError as Lost
        except ImportError:
            raise ValueError("`backend: redis` needs redis-py; pip install 'llmsim[redis]'") from None
        # Once more, at once, and only for a connection that is lost: usually the server has been restarted since.
        options: dict[str, Any] = {
            "protocol": 2,  # what all servers speak, without a greeting
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
            "max_connections": _CONNECTIONS,
            "timeout": None,  # for a free connection: within ours
            "retry": Retry(NoBackoff(), 1, supported_errors=(Lost,)),
        }
        pool: BlockingConnectionPool | None
        try:
            pool = BlockingConnectionPool.from_url(url, **options)
            pool.connection_class(**pool.connection_kwargs)  # which is where an option that there is not is noticed
        except (ValueError, TypeError):
            pool = None
        if pool is None:  # not inside of except: the message of a wrong port quotes what may be a password
            raise ValueError("the address of a Redis is written like redis://:password@host:6379/0")
        given = pool.connection_kwargs
        given["decode_responses"] = False  # vectors are no text
        self.address = f"{given.get('host', 'localhost')}:{given.get('port', 6379)}/{given.get('db', 0)}"
        if "path" in given:
            self.address = str(given["path"])
        self.timeout_s = float(given["socket_timeout"])
        self._secrets = [str(word) for word in (given.get("password"),) if word]
        self._redis: Redis = Redis.from_pool(pool)

    def __repr__(self) -> str:
        return f"RedisLink({self.address!r})"

    async def fields(self, key: str, *names: str) -> list[bytes | None] | None:
        """These fields of a hash; None if the key holds something else."""

        async def ask() -> Any:
            from redis.exceptions import ResponseError

            execute: Any = self._redis.execute_command
            try:
                return await execute("HMGET", key, *names)
            except ResponseError as error:
                if str(error).startswith("WRONGTYPE"):
                    return None
                raise

        got = await self._asked(ask)
        return got if isinstance(got, list) and len(got) == len(names) else None

    async def run(self, script: Script, prefix: str, *values: str | bytes | float) -> Any:
        """Run a script on the keys that begin with `prefix`."""

        async def ask() -> Any:
            from redis.exceptions import NoScriptError

            execute: Any = self._redis.execute_command
            try:
                return await execute("EVALSHA", script.sha, 1, prefix, *values)
            except NoScriptError:  # a Redis that was started since, or never saw it
                return await execute("EVAL", script.text, 1, prefix, *values)

        return await self._asked(ask)

    async def _asked(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        from redis.exceptions import TimeoutError as Late

        try:
            async with asyncio.timeout(self.timeout_s):  # one for all steps: waiting for a connection, opening it, …
                return await ask()
        except (TimeoutError, Late):
            problem = f"no answer within {self.timeout_s:g} s"
        except Exception as error:  # redis-py's own, the system's, those of a parser fed with rubbish
            problem = self._said(error)
        # Not inside of except: its frames hold the password.
        raise StoreError(f"redis at {self.address}: {problem}")

    def _said(self, error: Exception) -> str:
        text = str(error) or type(error).__name__
        if any(words in text.lower() for words in _TOO_OLD):
            return _NEEDED
        for secret in self._secrets:
            text = text.replace(secret, "[password]")
        return text

    async def aclose(self) -> None:
        """Close all connections. A later question opens new ones."""
        await self._redis.aclose(close_connection_pool=True)
