"""What the tests of live providers share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from loopback import LoopbackServer, Script

from llmsim.providers.live import OpenAIChat

Use = Callable[[LoopbackServer, OpenAIChat], Awaitable[Any]]


def _live(script: Script, use: Use, **options: Any) -> Any:
    async def main() -> Any:
        options.setdefault("api_key_env", None)
        async with LoopbackServer(script) as server:
            async with OpenAIChat("primary", base_url=server.url, model="m", **options) as provider:
                result = await use(server, provider)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not [task for task in left if task.get_name() != "loopback"], "the provider leaves tasks behind"
            return result

    return asyncio.run(main())


@pytest.fixture
def live() -> Callable[..., Any]:
    """``live(script, use, **options)``: run ``await use(server, provider)``; afterwards no task may be left."""
    return _live
