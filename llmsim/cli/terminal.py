"""Writing to the terminal: colour where there is one, and readers that go away."""

from __future__ import annotations

import os
import re
import sys
from typing import Literal, TextIO

from llmsim.errors import LlmsimError

__all__ = ["bold", "colourful", "no_more", "paint", "put", "redraws", "steady_streams"]

_STYLES = {"PASS": "32", "✓": "32", "EXPECTED": "32", "FAIL": "1;31", "✗": "1;31", "UNDECIDED": "33", "?": "33"}
# Words anywhere; marks only where a line or a cell begins with them, for `?` also ends sentences.
_WORDS = re.compile(r"\b(?:PASS|EXPECTED|FAIL|UNDECIDED)\b|^ *(?:✓|✗|\?)(?= )", re.MULTILINE)


def colourful(stream: TextIO) -> bool:
    """Whether to colour what is written there (no-color.org; FORCE_COLOR for logs that show it)."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def redraws(stream: TextIO) -> bool:
    """Whether what was written there can be written over."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str) -> str:
    r"""Verdicts and their marks in colour. What they say does not depend on it.

    Examples
    --------
    >>> paint("1 of 2: PASS")
    '1 of 2: \x1b[32mPASS\x1b[0m'
    """
    return _WORDS.sub(lambda found: f"\x1b[{_STYLES[found[0].strip()]}m{found[0]}\x1b[0m", text)


def bold(text: str, stream: TextIO) -> str:
    """`text` in bold, where the stream shows it."""
    return f"\x1b[1m{text}\x1b[0m" if text and colourful(stream) else text


def put(text: str, to: Literal["stdout", "stderr"] = "stdout", *, painted: bool = False) -> None:
    """Write a line. A reader that has left (``| head``) is no error: the rest goes nowhere.

    Raises
    ------
    LlmsimError
        Standard output cannot be written: its disk is full. (If standard error cannot, there is nobody to tell.)
    """
    stream: TextIO = getattr(sys, to)
    if painted and colourful(stream):
        text = paint(text)
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        lost = no_more(stream, error)
        if to == "stdout" and not isinstance(error, BrokenPipeError):
            raise lost from None


def no_more(stream: TextIO, error: OSError) -> LlmsimError:
    """Let all that is still to be written go nowhere; what there is to say of it."""
    # Python flushes once more at exit; that must not fail either.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return LlmsimError(f"standard output cannot be written: {error.strerror}")


def steady_streams() -> None:
    """Let a terminal that knows no ✓ show a ? instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
