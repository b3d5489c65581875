"""A Ctrl-C that Python would print and forget."""

from __future__ import annotations

import signal
import sys
from typing import Any

import pytest

from llmsim.chaos.hearing import Hearing


class Going:
    """Goes away just when Ctrl-C is pressed, or fails at it."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    def __del__(self) -> None:
        if self.failure is not None:
            raise self.failure
        signal.raise_signal(signal.SIGINT)


def test_one_that_is_lost_is_raised_again_and_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda one: printed.append(one.exc_type))
    before = sys.unraisablehook
    with Hearing() as hearing:
        hearing.check()
        Going()
        with pytest.raises(KeyboardInterrupt):
            hearing.check()
        hearing.check()  # once
        Going(ValueError("what else goes wrong there is somebody's to know"))
    assert printed == [ValueError]
    assert sys.unraisablehook is before
