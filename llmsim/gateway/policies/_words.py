"""The lists in policies: ``on:`` words, and upstreams in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from llmsim.error_words import ERROR_WORDS, error_matcher
from llmsim.errors import PolicyError

if TYPE_CHECKING:
    from llmsim.gateway.contract import Run

__all__ = ["ELSEWHERE", "ErrorWord", "Listed", "Names", "OnWords", "Table", "known_upstreams", "on_words", "tables"]

K = TypeVar("K")
V = TypeVar("V")


def _listed(value: Any) -> Any:
    if isinstance(value, str | int):
        raise ValueError(f"this takes a list; write [{value}]")
    return value


def _known(word: str | int) -> str | int:
    error_matcher((word,))
    return word


class Listed:
    """For pydantic: a bare word is a frequent slip, and deserves better than "should be a valid tuple"."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(_listed, handler(source))


class _ErrorWord:
    """For pydantic: which words an ``on:`` list takes, said at the word that is wrong and in the JSON Schema."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(_known, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Callable[[Any], Any]) -> dict[str, Any]:
        return {
            "anyOf": [
                {"enum": [*ERROR_WORDS, "4xx", "5xx"]},
                {"type": "integer", "minimum": 400, "maximum": 599},
            ]
        }


ErrorWord = Annotated[str | int, _ErrorWord()]
#: Errors that another upstream may be spared: what `fallback` and `cascade` go on from.
ELSEWHERE: tuple[str | int, ...] = (
    "rate_limited",
    "quota_exhausted",
    "server_error",
    "timeout",
    "connection_failed",
    "stream_broken",
    "circuit_open",
    "rejected",
)

OnWords = Annotated[tuple[ErrorWord, ...], Listed()]
Names = Annotated[tuple[str, ...], Listed()]


def on_words(spec: Any, key: str = "on") -> None:
    """Check a frozen spec's ``on`` (or what else such a list is called) and make it a tuple: specs stay hashable.

    Raises
    ------
    ValueError
        For an unknown word, an empty list, or a bare word.
    """
    words = _listed(getattr(spec, key))
    if not words:
        raise ValueError(
            f"{key} is empty, so nothing would ever match; write {key}: [server_error, timeout] or leave it out"
        )
    error_matcher(words)
    object.__setattr__(spec, key, tuple(words))


class Table(dict[K, V]):
    """A mapping in a frozen spec: hashable, and not to be changed."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return dict.__repr__(self)


def tables(spec: Any, *fields: str) -> None:
    """Make these mappings of a frozen spec hashable; their lists become tuples."""
    for field in fields:
        mapping = getattr(spec, field)
        pairs = {key: tuple(value) if isinstance(value, list) else value for key, value in mapping.items()}
        object.__setattr__(spec, field, Table(pairs))


def known_upstreams(run: Run, names: Iterable[str], field: str) -> None:
    """Refuse names that are not configured.

    Raises
    ------
    PolicyError
        For the first one that is not among ``run.upstreams``.
    """
    for upstream in names:
        if run.upstreams and upstream not in run.upstreams:
            near = get_close_matches(upstream, run.upstreams, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"configured: {', '.join(run.upstreams)}"
            raise PolicyError(f"unknown upstream {upstream!r} in {field}; {hint}", policy=run.name)
