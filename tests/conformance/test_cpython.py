"""CPython's own asyncio tests, on the simulation's loop.

They come from the interpreter's ``test`` package, which some distributions leave out.
"""

import asyncio
import gc
import importlib
import unittest

import pytest

from llmsim.engine import SimLoop

MODULES = ["test_locks", "test_queues", "test_taskgroups", "test_timeouts", "test_waitfor", "test_context"]
MORE = ["test_runners", "test_futures2"]
SLOW = ["test_tasks", "test_futures"]
#: They hand work to real threads, which a simulation refuses.
NOT_OURS = ("RunCoroutineThreadsafeTests",)

pytestmark = pytest.mark.filterwarnings("ignore")  # CPython's tests provoke and check their own warnings

loops = []


class Loop(SimLoop):
    _default_executor = None  # a utility of the tests looks at it

    def __init__(self):
        super().__init__()
        loops.append(self)


class Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = Loop


def cases(name):
    try:
        module = importlib.import_module(f"test.test_asyncio.{name}")
    except ImportError as error:
        reason = f"this Python comes without its test package: {error}"
        return [pytest.param(None, id=name, marks=pytest.mark.skip(reason=reason))]
    marks = [pytest.mark.slow] if name in SLOW else []
    return [
        pytest.param(case, id=case.id().removeprefix("test.test_asyncio."), marks=marks)
        for case in flat(unittest.defaultTestLoader.loadTestsFromModule(module))
        if type(case).__name__ not in NOT_OURS
    ]


def flat(suite):
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from flat(one)
        else:
            yield one


@pytest.fixture(scope="module", autouse=True)
def policy():
    # Some of them look for garbage hundreds of times: not through all that other tests have left.
    gc.collect()
    gc.freeze()
    before = asyncio.get_event_loop_policy()
    yield
    asyncio.set_event_loop_policy(before)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for name in (*MODULES, *MORE, *SLOW) for case in cases(name)])
def test_of_cpython(case):
    asyncio.set_event_loop_policy(Policy())
    result = unittest.TestResult()
    case.run(result)
    for _, text in (*result.errors, *result.failures):
        pytest.fail(text)
    for _, reason in result.skipped:
        pytest.skip(reason)


@pytest.mark.slow
def test_they_really_ran_here():
    if not loops:
        pytest.skip("no test of CPython ran")
    assert len(loops) > 100
    assert sum(loop.events for loop in loops) > 1000
