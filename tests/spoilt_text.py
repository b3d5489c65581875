# ruff: noqa: E501 - long tuples of wrong things
"""Ways to spoil a text that is to be YAML."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["TEXTUAL"]


def _truncated(text: str, luck: random.Random) -> bytes:
    return text.encode()[: luck.randrange(len(text))]


def _bytes(text: str, luck: random.Random) -> bytes:
    content = bytearray(text.encode())
    for _ in range(luck.choice((1, 1, 5, 50))):
        content[luck.randrange(len(content))] = luck.randrange(256)
    return bytes(content)


def _punctuated(text: str, luck: random.Random) -> bytes:
    at = luck.randrange(len(text))
    mark = luck.choice(
        (
            "\t",
            "\n",
            " ",
            ":",
            ": ",
            "- ",
            "{",
            "}",
            "[",
            "]",
            '"',
            "'",
            "#",
            "&a ",
            "*a",
            "!!str ",
            "? ",
            "| ",
            "> ",
            "%",
            "@",
            "`",
            ",",
            "---\n",
            "...\n",
            "\u2028",
            "\ufeff",
            "\x7f",
        )
    )
    return (text[:at] + mark + text[at:]).encode()


def _lines(text: str, luck: random.Random) -> bytes:
    lines = text.splitlines()
    at, other = luck.randrange(len(lines)), luck.randrange(len(lines))
    match luck.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines[at] = "\t" + lines[at]
        case _:
            lines[at] = " " * luck.choice((1, 2, 3)) + lines[at]
    return "\n".join(lines).encode()


def _encoded(text: str, luck: random.Random) -> bytes:
    return (text + "# é\n").encode(luck.choice(("utf-16", "utf-32", "latin-1", "utf-8-sig", "utf-7", "cp500")))


def _line_ends(text: str, luck: random.Random) -> bytes:
    return text.replace("\n", luck.choice(("\r\n", "\r", "\u2028"))).encode()


def _bomb(text: str, luck: random.Random) -> bytes:
    levels = luck.choice((5, 9, 30))
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(levels))
    return (bomb + text + luck.choice(("", "b: &b [*b]\n", "c: *nothing\n", "<<: *a1\n", "<<: &c {<<: *c}\n"))).encode()


def _endless(text: str, luck: random.Random) -> bytes:
    more = luck.choice(
        (
            "[" * 5000,
            "{a: " * 5000,
            "- " * 5000,
            "x: " + "y" * 300_000,
            "? " * 3000,
            "#" * 300_000,
            "&a " * 100,
            '"' * 9999,
            "!" * 5000,
        )
    )
    return (text + "zzz: " + more).encode()


def _nothing(_: str, luck: random.Random) -> bytes:
    return luck.choice(
        (
            b"",
            b"\n",
            b"---\n---\n",
            b"# nothing\n",
            b"\x00",
            b"null",
            b"[]",
            b"{}",
            b"42",
            b"\xff\xfe",
            b"--- !!python/object/apply:os.system [true]\n",
            b"%YAML 9.9\n---\n{}",
            b"%TAG ! x\n---\n!a b",
        )
    )


TEXTUAL: tuple[Callable[[str, random.Random], bytes], ...] = (
    _truncated, _truncated, _bytes, _bytes, _punctuated, _punctuated, _lines, _lines, _encoded, _line_ends, _bomb, _endless, _nothing,
)  # fmt: skip
