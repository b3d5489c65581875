"""``llmsim cache threshold``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from llmsim.cli.terminal import put

__all__ = ["threshold"]


def threshold(
    value: Annotated[float, typer.Argument(help="The threshold.")],
    *,
    scale: Annotated[
        str, typer.Option("--from", metavar="NAME", help="Whose threshold it is: a library, or a scale.")
    ] = "cosine",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Show what a similarity threshold is on the scales of other semantic caches.

    \b
    Examples:
      llmsim cache threshold 0.8 --from gptcache
      llmsim cache threshold 0.92
      llmsim cache threshold 0.1 --from redisvl --json | jq .cosine
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    from llmsim.stores.scales import LIBRARIES, from_cosine, to_cosine
    from llmsim.stores.scales import scale as scale_of

    try:
        cosine = to_cosine(value, scale)
    except ValueError as error:
        put(str(error), to="stderr")
        raise typer.Exit(2) from None
    rows = [
        {
            "name": each.name,
            "value": from_cosine(cosine, each.name),
            "scale": scale_of(each.name).formula,
            "hit": scale_of(each.name).nearer,
            "default": each.default,
            "default_cosine": each.default_cosine,
            "source": each.source,
        }
        for each in LIBRARIES.values()
    ]
    if as_json:
        import json

        put(json.dumps({"cosine": cosine, "libraries": rows}, indent=2, ensure_ascii=False))
        return
    advice = f"; write semantic_cache: {{threshold: {cosine:.4g}}}" if cosine > 0 else ""
    put(f"{scale} {value:g} is a cosine of {cosine:.4g}{advice}\n")
    header = ("", "threshold", "hit if", "of", "default", "as cosine")
    cells = [header, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        put("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    put("\n--json has the source of each default.")


def _cells(row: Mapping[str, object]) -> tuple[str, ...]:
    sign = ">=" if row["hit"] == "above" else "<="
    own, cosine = row["default"], row["default_cosine"]
    return (
        str(row["name"]),
        f"{row['value']:.4g}",
        sign,
        str(row["scale"]),
        "none" if own is None else f"{own:g}",
        "" if cosine is None else f"{cosine:.4g}",
    )
