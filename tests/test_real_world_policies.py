"""Policies that touch the real world: refused with their line, and no policy can swallow the refusal."""

import asyncio
import socket
import threading
import time

import pytest
from test_bad_policies import place, run

import llmsim as ls
from llmsim.errors import VirtualTimeError


@ls.policy
async def opens_a_socket(request, call_next):
    socket.create_connection(("127.0.0.1", 9))


@ls.policy
async def opens_a_stream(request, call_next):
    await asyncio.open_connection("127.0.0.1", 9)


@ls.policy
async def sleeps_for_real(request, call_next):
    time.sleep(0.01)
    return await call_next(request)


@ls.policy
async def starts_a_thread(request, call_next):
    threading.Thread(target=print).start()
    return await call_next(request)


@ls.policy
async def goes_to_a_thread(request, call_next):
    await asyncio.to_thread(print)
    return await call_next(request)


REAL = [
    (opens_a_socket, "create_connection", "sockets"),
    (opens_a_stream, "open_connection", "sockets"),
    (sleeps_for_real, "time.sleep", r"asyncio\.sleep"),
    (starts_a_thread, "threading.Thread", "thread"),
    (goes_to_a_thread, "to_thread", "thread"),
]


@pytest.mark.parametrize(("bad", "line", "message"), REAL, ids=lambda case: getattr(case, "name", None))
def test_the_real_world_is_refused_with_the_line(bad, line, message):
    with pytest.raises(VirtualTimeError, match=message) as caught:
        run(bad)
    assert f"{place(bad.function, line)} in {bad.name}" in str(caught.value)


@pytest.mark.parametrize(("bad", "line", "message"), REAL, ids=lambda case: getattr(case, "name", None))
def test_a_policy_cannot_swallow_the_refusal(bad, line, message):
    @ls.policy
    async def keeps_quiet(request, call_next):
        try:
            return await bad.function(request, call_next)
        except Exception:
            return await call_next(request)

    with pytest.raises(VirtualTimeError, match=message) as caught:
        run(keeps_quiet)
    assert place(bad.function, line) in str(caught.value)
