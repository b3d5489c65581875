"""Presets in scenarios: their keys are the gateway's, where the keys beside ``preset:`` say nothing else."""

from __future__ import annotations

from typing import Any

from llmsim.errors import Problem
from llmsim.gateway.presets import preset_names, read_preset
from llmsim.scenario.document import Document
from llmsim.scenario.keys import nearest

__all__ = ["POLICIES", "with_preset"]

#: The keys of a gateway that are policies, in whatever form.
POLICIES = ("policies", "upstream", "entry")


def with_preset(document: Document) -> tuple[Any, list[Problem]]:
    """The document's data with the keys of its gateway's preset written out, and what is wrong with the preset.

    To write it out twice makes no difference. Who changes the data copies it first: all scenarios share a preset.
    """
    given = document.get(("gateway",))
    name = given.get("preset") if isinstance(given, dict) else None
    if not name or not isinstance(name, str):  # what is no text, the schema refuses
        return document.data, []
    if name not in preset_names():
        hint = nearest(name, preset_names())
        without = {key: value for key, value in given.items() if key != "preset"}
        unknown = document.problem(("gateway", "preset"), f"there is no preset {name!r}", hint)
        return {**document.data, "gateway": without}, [unknown]
    return {**document.data, "gateway": {**read_preset(name).gateway, **given}}, []
