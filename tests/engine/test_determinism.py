"""Nothing depends on hash seeds or memory addresses."""

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmsim.engine import simulate


async def story(loop):
    """Everything that goes through a set somewhere in asyncio, with all delays equal."""
    seen = []

    async def worker(name):
        try:
            await asyncio.sleep(1 + hash(name) % 1)
            seen.append(name)
            if name % 7 == 3:
                raise ValueError(name)
            return name
        except asyncio.CancelledError:
            seen.append(("cancelled", name))
            raise

    ballast = [object() for _ in range(len(os.environ.get("BALLAST", "")))]
    tasks = [asyncio.create_task(worker(i)) for i in range(40)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    seen += [task.get_coro().__name__ + str(tasks.index(task)) for task in done]
    seen += [tasks.index(task) for task in pending]
    seen += [type(result).__name__ for result in await asyncio.gather(*tasks, return_exceptions=True)]
    try:
        async with asyncio.TaskGroup() as group:
            for i in range(40):
                group.create_task(worker(i * 7 + 4 if i != 20 else 3))
    except* ValueError as errors:
        seen += [str(error) for error in errors.exceptions]
    for one in asyncio.as_completed({asyncio.ensure_future(worker(i * 7)) for i in range(20)}):
        seen.append(await one)
    left = [asyncio.create_task(worker(i)) for i in range(30)]
    await asyncio.sleep(0.5)
    del ballast
    return seen, left


def digest():
    seen, left = simulate(story)
    assert all(task.done() for task in left)
    return hashlib.sha256(repr(seen).encode()).hexdigest()


@pytest.mark.parametrize("seed", [*(pytest.param(one, marks=pytest.mark.slow) for one in "01"), "31337"])
def test_the_same_in_other_processes(seed):
    code = "from engine.test_determinism import digest; print(digest())"
    folder = Path(__file__).parent
    environment = {**os.environ, "PYTHONHASHSEED": seed, "BALLAST": "x" * int(seed)}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder.parent), str(folder.parents[1])])
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == digest()


def test_the_same_in_a_second_run():
    first = digest()
    ballast = [asyncio.Event() for _ in range(1000)]
    assert digest() == first
    del ballast


def test_as_completed_starts_coroutines_in_order():
    async def main(loop):
        async def worker(number):
            started.append(number)

        for one in asyncio.as_completed([worker(i) for i in range(50)]):
            await one

    started = []
    simulate(main)
    assert started == list(range(50))
