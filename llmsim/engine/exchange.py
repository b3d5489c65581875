"""Exchange what a builtin function does, for everybody who holds it, and put it back.

``from time import monotonic``, ``def __init__(self, timer=time.monotonic)``, ``partial(time.time)``: by the time a
simulation starts, the clock has been copied to where no module attribute reaches it. But all copies are the *same
object*, and a builtin function of CPython is a small struct that says which C function to call with which ``self``.
So both are exchanged: the C function by the one of CPython's own API that calls a Python callable with the same
arguments (``PyObject_CallNoArgs`` and relatives), and ``self`` by the callable. Exceptions, references and speed
(0.1 us) are those of any call; no callback into ctypes is involved.

This relies on the first fields of ``PyCFunctionObject``, the same in CPython 3.9 to 3.14. They are compared with what
is known of each function before anything is written. Where they do not match (another interpreter) the attribute is
replaced instead, in every loaded module that holds the function; that misses default arguments, closures and partials.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, ModuleType
from typing import Any

__all__ = ["Exchange"]

_HEAD = object.__basicsize__  #: reference count and type; more in a free-threaded or tracing build
_POINTERS = ctypes.c_void_p * 2
#: By calling convention (METH_* flags): the C function that calls a callable which stands in place of ``self``.
_CALLERS = {
    0x0001: "PyObject_CallObject",  # METH_VARARGS: f(self, args)
    0x0003: "PyObject_Call",  # METH_VARARGS | METH_KEYWORDS: f(self, args, kwargs)
    0x0004: "PyObject_CallNoArgs",  # METH_NOARGS: f(self, NULL)
    0x0008: "PyObject_CallOneArg",  # METH_O: f(self, arg)
    0x0082: "PyObject_Vectorcall",  # METH_FASTCALL | METH_KEYWORDS: f(self, args, nargs, kwnames)
}


class _Method(ctypes.Structure):
    """``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class Exchange:
    """One builtin function and what stands in for it.

    Parameters
    ----------
    module, name
        Where the function lives.
    make
        Gets the original, which goes on working, and returns what is to be called instead.
    in_place
        False: replace attributes only, as on an interpreter where nothing else works.
    """

    def __init__(
        self,
        module: ModuleType,
        name: str,
        make: Callable[[Callable[..., Any]], Callable[..., Any]],
        *,
        in_place: bool = True,
    ) -> None:
        self._function: Any = getattr(module, name)
        self._fields = _fields(self._function, name) if in_place else None
        self._holders: list[tuple[dict[str, Any], str]] = []
        self.original = self._function
        if self._fields is not None:
            method = _Method.from_address(self._fields[0])
            self._method = _Method(method.name, _address(_CALLERS[method.flags]), method.flags, method.doc)
            self.original = _copy(self._function, self._fields[0])
        self._replacement = make(self.original)
        self._begun = False

    @property
    def in_place(self) -> bool:
        """Whether it reaches every holder of the function, not only modules."""
        return self._fields is not None

    def begin(self) -> None:
        """Let everybody who calls the function call the replacement."""
        if self._begun:
            return
        self._begun = True
        if self._fields is not None:
            # The struct owns a reference to what stands in `self`; and what it points to must not go before it.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._replacement))
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))
            self._write(ctypes.addressof(self._method), id(self._replacement))
            return
        for module in list(sys.modules.values()):
            names = getattr(module, "__dict__", {})
            self._holders += [(names, name) for name, value in list(names.items()) if value is self._function]
        for names, name in self._holders:
            names[name] = self._replacement

    def end(self) -> None:
        """Put the original back."""
        if not self._begun:
            return
        self._begun = False
        if self._fields is not None:
            self._write(*self._fields)
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(self._replacement))
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(self))
            return
        for names, name in self._holders:
            if names.get(name) is self._replacement:
                names[name] = self._function
        self._holders.clear()

    def _write(self, method: int, instance: int) -> None:
        # One slice assignment, in C, so that no other thread can call in between.
        _POINTERS.from_address(id(self._function) + _HEAD)[:] = [method, instance]


def _fields(function: Any, name: str) -> tuple[int, int] | None:
    """Addresses of the method definition and of ``self``; None unless all of it is as expected."""
    if sys.implementation.name != "cpython" or type(function) is not BuiltinFunctionType:
        return None
    if BuiltinFunctionType.__basicsize__ < _HEAD + ctypes.sizeof(_POINTERS):
        return None
    method, instance = _POINTERS.from_address(id(function) + _HEAD)
    if instance != id(function.__self__) or not method:
        return None
    definition = _Method.from_address(method)
    if definition.name != name.encode() or definition.flags not in _CALLERS or not definition.function:
        return None
    return method, instance


def _address(name: str) -> int:
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


def _copy(function: Any, method: int) -> Callable[..., Any]:
    """Make a second builtin of the same definition, which the exchange of the first does not touch."""
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype = ctypes.py_object
    new.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.py_object)
    copy: Callable[..., Any] = new(method, function.__self__, function.__module__)
    return copy
