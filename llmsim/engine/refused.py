"""The part of `asyncio.AbstractEventLoop` that touches the real world: every method refuses, clearly."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from llmsim.errors import VirtualTimeError

__all__ = ["NO_ENDING", "NO_PROCESSES", "NO_SOCKETS", "NO_THREADS", "RefusedIo"]

NO_SOCKETS = "a simulation opens no sockets; send to a simulated provider, or give the client a custom transport"
NO_THREADS = "a thread runs in real time and the simulation does not; call the function directly"
NO_PROCESSES = "a process runs in real time and the simulation does not"
NO_ENDING = "it would end the whole program, with every result; raise an exception"
_NO_SIGNALS = "signals belong to the main thread's own loop"


def _refusing(name: str, instead: str) -> Any:
    def method(self: RefusedIo, *_args: object, **_kwargs: object) -> NoReturn:
        self.refuse(f"loop.{name}()", instead)

    method.__name__ = name
    method.__qualname__ = f"RefusedIo.{name}"
    method.__doc__ = f"Refuse: {instead}."
    return method


class RefusedIo(asyncio.AbstractEventLoop):
    """Base of the loop: each I/O method raises through `refuse` instead of a bare NotImplementedError."""

    def refuse(self, what: str, instead: str) -> NoReturn:
        """Raise `VirtualTimeError`; under the guard it also names the user's line, and it sticks."""
        raise VirtualTimeError(f"{what} inside a simulation: {instead}")

    add_reader = _refusing("add_reader", NO_SOCKETS)
    add_writer = _refusing("add_writer", NO_SOCKETS)
    connect_accepted_socket = _refusing("connect_accepted_socket", NO_SOCKETS)
    connect_read_pipe = _refusing("connect_read_pipe", NO_SOCKETS)
    connect_write_pipe = _refusing("connect_write_pipe", NO_SOCKETS)
    create_connection = _refusing("create_connection", NO_SOCKETS)
    create_datagram_endpoint = _refusing("create_datagram_endpoint", NO_SOCKETS)
    create_server = _refusing("create_server", NO_SOCKETS)
    create_unix_connection = _refusing("create_unix_connection", NO_SOCKETS)
    create_unix_server = _refusing("create_unix_server", NO_SOCKETS)
    getaddrinfo = _refusing("getaddrinfo", NO_SOCKETS)
    getnameinfo = _refusing("getnameinfo", NO_SOCKETS)
    remove_reader = _refusing("remove_reader", NO_SOCKETS)
    remove_writer = _refusing("remove_writer", NO_SOCKETS)
    sendfile = _refusing("sendfile", NO_SOCKETS)
    sock_accept = _refusing("sock_accept", NO_SOCKETS)
    sock_connect = _refusing("sock_connect", NO_SOCKETS)
    sock_recv = _refusing("sock_recv", NO_SOCKETS)
    sock_recv_into = _refusing("sock_recv_into", NO_SOCKETS)
    sock_recvfrom = _refusing("sock_recvfrom", NO_SOCKETS)
    sock_recvfrom_into = _refusing("sock_recvfrom_into", NO_SOCKETS)
    sock_sendall = _refusing("sock_sendall", NO_SOCKETS)
    sock_sendfile = _refusing("sock_sendfile", NO_SOCKETS)
    sock_sendto = _refusing("sock_sendto", NO_SOCKETS)
    start_tls = _refusing("start_tls", NO_SOCKETS)
    run_in_executor = _refusing("run_in_executor", NO_THREADS)
    set_default_executor = _refusing("set_default_executor", NO_THREADS)
    subprocess_exec = _refusing("subprocess_exec", NO_PROCESSES)
    subprocess_shell = _refusing("subprocess_shell", NO_PROCESSES)
    add_signal_handler = _refusing("add_signal_handler", _NO_SIGNALS)
    remove_signal_handler = _refusing("remove_signal_handler", _NO_SIGNALS)
