"""What a YAML parser means, in plain words."""

from __future__ import annotations

from typing import Any

from llmsim.errors import Problem

__all__ = ["syntax_problem"]

#: Part of the parser's own sentence → what is wrong, what to do. The first match counts; {line} is where it began.
_WORDS: tuple[tuple[str, str, str], ...] = (
    ("found character '\\t'", "a tab stands here, and YAML is indented with spaces", "Replace it by spaces."),
    ("expected ',' or ']'", "the list opened in line {line} is not closed, or a comma is missing", "Add , or ]."),
    ("expected ',' or '}'", "the mapping opened in line {line} is not closed, or a comma is missing", "Add , or }}."),
    (
        "mapping values are not allowed",
        "a second colon stands in this line, or the line above is not finished",
        "Look for a missing colon above; put a value that contains ': ' in quotes.",
    ),
    ("could not find expected ':'", "a key without a colon begins in line {line}", "Write it like key: value."),
    ("found unexpected end of stream", "the quote opened in line {line} is not closed", "Add the closing quote."),
    ("found unexpected document separator", "the quote opened in line {line} is not closed", "Add the closing quote."),
    (
        "expected <block end>",
        "this line does not fit the lines above: its indentation differs, or something was not closed",
        "Indent it like its neighbours (the block began in line {line}).",
    ),
    ("expected the node content", "a value is missing before this", "Write one, or remove the sign."),
    ("that cannot start any token", "a value cannot begin with this character", "Put it in quotes."),
    ("sequence entries are not allowed", "a list item cannot begin here", "Start it in a line of its own: '- …'."),
    ("mapping keys are not allowed", "a '? ' cannot stand here", "Write key: value."),
    ("while scanning a block scalar", "| or > must end its line", "Put a text that begins with it in quotes."),
    ("while scanning an a", "a value that begins with & or * is an anchor or alias", "Put it in quotes if it is text."),
    (" tag", "tags are not allowed; a scenario holds plain values only", "Put a text that begins with ! in quotes."),
    ("while scanning a directive", "a line cannot begin with %", "Put it in quotes, or remove it."),
    ("unknown escape character", "this backslash means nothing in double quotes", "Use single quotes, or \\\\."),
    ("did not find expected <document start>", "something stands after the end of the document", "Remove it."),
    ("expected '<document start>'", "something stands after the end of the scenario", "Remove it."),
)


def syntax_problem(error: Any) -> Problem:
    """A parser error as a `Problem` with line and column."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    began = error.context_mark.line + 1 if error.context_mark is not None else line
    said = " ".join(str(part) for part in (error.context, error.problem) if part)
    for part, message, hint in _WORDS:
        if part in said:
            return Problem(message.format(line=began), "", line, column, hint.format(line=began))
    return Problem(f"cannot be read as YAML: {' '.join(said.split())}", "", line, column, "Check the line above, too.")
