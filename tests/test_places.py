"""Errors about code of a notebook name its cell: nobody knows the file that a kernel makes of it."""

import sys
import time
from types import SimpleNamespace

import pytest

import llmsim as ls
from llmsim.errors import PolicyError, VirtualTimeError

SMALL = {
    "version": 1,
    "replications": 1,
    "clock": {"duration": "2s"},
    "traffic": {"base_rate": "5/s"},
    "providers": {"a": {}},
}


@ls.policy
async def forgets(request, call_next):
    return call_next(request)


@ls.policy
async def raises(request, call_next):
    raise ValueError("oops")


@ls.policy
async def sleeps(request, call_next):
    time.sleep(1)
    return await call_next(request)


@ls.policy
async def fails_in_on_end(request, call_next):
    response = await call_next(request)
    response.on_end(lambda outcome, usage: outcome.no_such_thing)
    return response


@pytest.fixture
def notebook(monkeypatch):
    """A kernel in which this file is the seventh cell."""

    def name(file):
        return ("Cell", "In[7]") if file == __file__ else None

    shell = SimpleNamespace(compile=SimpleNamespace(format_code_name=name))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


@pytest.mark.parametrize("bad", [forgets, raises, sleeps, fails_in_on_end], ids=lambda policy: policy.name)
def test_an_error_names_the_cell(notebook, bad):
    with pytest.raises((PolicyError, VirtualTimeError), match=r"Cell In\[7\], line \d+") as caught:
        ls.run(ls.load(SMALL).with_gateway([bad]))
    assert __file__ not in str(caught.value)


def test_a_leak_is_blamed_on_the_cell(notebook):
    @ls.policy
    async def forgets_a_stream(request, call_next):
        await call_next(request)
        return await call_next(request)

    result = ls.run(ls.load(SMALL).with_gateway([forgets_a_stream]))
    (who,) = set(result.events.filter(result.events["kind"] == "leaked_stream")["policy"])
    assert who.startswith("forgets_a_stream (Cell In[7], line ")


def test_an_ipython_that_names_no_cells_is_no_reason_to_fail(monkeypatch):
    """`format_code_name` came with IPython 8; Colab has 7.34, and there no policy of one's own could begin."""
    shell = SimpleNamespace(compile=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with pytest.raises(PolicyError, match="oops") as caught:
        ls.run(ls.load(SMALL).with_gateway([raises]))
    assert caught.value.where.startswith(f"{__file__}:")


def test_outside_of_one_it_is_file_and_line():
    with pytest.raises(PolicyError) as caught:
        ls.run(ls.load(SMALL).with_gateway([raises]))
    file, _, line = caught.value.where.rpartition(":")
    assert file == __file__ and line.isdigit()
