"""Tables that are asked by name: for a name they do not have, they say which come near."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

__all__ = ["Named", "UnknownName", "named_alike"]

T = TypeVar("T")
_SHOWN = 4
_NEAR = 0.6  # the cutoff of difflib itself


class UnknownName(KeyError):
    """A `KeyError` that is a sentence."""

    def __str__(self) -> str:
        return str(self.args[0])


class Named(dict[str, T]):
    """A dict of names, for what users type; else a dict like any other.

    Parameters
    ----------
    what
        What has these names: "metric", "provider".
    values
        What is in it. Dicts in it are looked through too, when a name is not found.

    Examples
    --------
    >>> metrics = Named("metric", {"ttft_s": {"p50": 0.2, "p95": 0.7}, "ttft_ok_s": {"p95": 0.7}, "requests": 3})
    >>> metrics["ttft"]
    Traceback (most recent call last):
    llmsim.named.UnknownName: there is no metric 'ttft'; did you mean ['ttft_s'] or ['ttft_ok_s']?
    >>> metrics["ttft_p95"]
    Traceback (most recent call last):
    llmsim.named.UnknownName: there is no metric 'ttft_p95'; did you mean ['ttft_s']['p95']?
    """

    def __init__(self, what: str, values: Mapping[str, T]) -> None:
        super().__init__(values)
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, dict(self))

    def __missing__(self, name: object) -> T:
        paths = {".".join(path): "".join(f"[{part!r}]" for part in path) for path in _paths(self)}
        near = [paths[one] for one in named_alike(str(name), paths)]
        known = f"known: {', '.join(map(str, self)) or 'none'}"
        raise UnknownName(f"there is no {self.what} {name!r}; {f'did you mean {_or(near)}?' if near else known}")


def named_alike(name: str, known: Mapping[str, object]) -> list[str]:
    """The known names that begin like `name`, in their order; else the one that comes nearest; else none.

    Examples
    --------
    >>> named_alike("ttft", {"e2e_s": 1, "ttft_s": 2, "ttft_ok_s": 3, "ttft_s.p50": 4})
    ['ttft_s', 'ttft_ok_s']
    >>> named_alike("eror_rate", {"error_rate": 1, "hit_rate": 2}), named_alike("x", {"error_rate": 1})
    (['error_rate'], [])
    """
    begin = [one for one in known if name and one.casefold().startswith(name.casefold())]
    whole = [one for one in begin if "." not in one]
    return (whole or begin)[:_SHOWN] or get_close_matches(name, [*known], n=1, cutoff=_NEAR)


def _or(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _paths(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, Mapping):
            yield from _paths(value, (*above, name))
