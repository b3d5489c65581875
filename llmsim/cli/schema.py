"""``llmsim schema``."""

from __future__ import annotations

from llmsim.cli.terminal import put

__all__ = ["schema"]


def schema() -> None:
    """Print the JSON Schema of scenario files, for editors.

    \b
    Examples:
      llmsim schema > scenario.schema.json
    and as the first line of a scenario file:
      # yaml-language-server: $schema=./scenario.schema.json
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    import json

    from llmsim.scenario.jsonschema import json_schema

    put(json.dumps(json_schema(), indent=2, ensure_ascii=False))
