"""Gateways that others configured: LiteLLM's ``config.yaml`` and Portkey's configs, read into a scenario."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple

from llmsim.errors import Problem, ScenarioError
from llmsim.scenario.imports.litellm import from_litellm
from llmsim.scenario.imports.plan import Plan
from llmsim.scenario.imports.portkey import from_portkey
from llmsim.scenario.imports.source import SourceFile, shown, snake
from llmsim.scenario.imports.splice import spliced
from llmsim.scenario.imports.write import note_line, sections_of, written

__all__ = ["FORMATS", "Imported", "import_gateway"]

FORMATS = ("litellm", "portkey")
_LITELLM = {"model_list", "router_settings", "litellm_settings", "general_settings"}
_PORTKEY = {"strategy", "targets", "retry", "provider", "virtual_key", "override_params", "cache", "request_timeout"}


class Imported(NamedTuple):
    """A gateway that was read.

    Parameters
    ----------
    plan
        Its providers and policies, with the origin of each setting.
    source
        What it was read from, for comments.
    """

    plan: Plan
    source: str

    @property
    def notes(self) -> list[str]:
        """What is not as it is there, a line each."""
        return [note_line(note) for note in self.plan.notes]

    def scenario(self) -> str:
        """A whole scenario: YAML with comments."""
        return written(self.plan, self.source)

    def into(self, scenario: str, source: str = "scenario") -> str:
        """A scenario's text with these ``providers:`` and ``gateway:`` in place of its own; the rest is untouched.

        Raises
        ------
        ScenarioError
            If the text is no scenario, or is none any more with these sections.
        """
        sections = sections_of(self.plan, self.source)
        notes = "".join(f"  # {line}\n" for line in self.notes)
        head, rest = sections["gateway"].split("\n", 1)
        return spliced(scenario, {**sections, "gateway": f"{head}\n{notes}{rest}"}, source)


def import_gateway(
    text: str | bytes, source: str = "config.yaml", *, format: str | None = None, model_group: str | None = None
) -> Imported:
    """Read another gateway's configuration.

    Parameters
    ----------
    text
        YAML or JSON.
    source
        What comments and messages call it.
    format
        ``litellm`` or ``portkey``; None: by its keys.
    model_group
        Which of LiteLLM's model groups; None: the first that answers chats.

    Raises
    ------
    ScenarioError
        With all problems, their lines, and what to type instead.

    Examples
    --------
    >>> config = '''
    ... model_list: [{model_name: chat, litellm_params: {model: gpt-4o-mini, api_key: sk-1}}]
    ... router_settings: {num_retries: 3}
    ... '''
    >>> import_gateway(config).plan.policy("retry")["max_attempts"]
    4
    """
    file = SourceFile(text, source)
    chosen = format or _guessed(file)
    if chosen not in FORMATS:
        near = get_close_matches(chosen, FORMATS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Write one of {', '.join(FORMATS)}."
        raise ScenarioError([Problem(f"there is no format {chosen!r}", hint=hint)], "--format")
    if chosen == "portkey" and model_group is not None:
        raise ScenarioError([Problem("a Portkey config has no model groups", hint="Leave it out.")], "--model-group")
    plan = from_litellm(file, model_group) if chosen == "litellm" else from_portkey(file)
    plan.notes = sorted(dict.fromkeys(file.notes), key=lambda note: note.line or 0)
    return Imported(plan, shown(source))


def _guessed(file: SourceFile) -> str:
    """The format whose keys stand at the top."""
    keys = {snake(key) for key in file.document.data}
    found = {name: sorted(keys & known) for name, known in (("litellm", _LITELLM), ("portkey", _PORTKEY))}
    likely = [name for name, own in found.items() if own]
    if len(likely) == 1:
        return likely[0]
    if likely:
        both = "; ".join(f"{', '.join(own)} as in {name}" for name, own in found.items())
        what = f"the file has {both}"
    else:
        what = (
            "this is neither a LiteLLM config (top-level keys model_list, router_settings, litellm_settings) "
            "nor a Portkey config (strategy, targets, provider, retry, cache)"
        )
    raise ScenarioError([Problem(what, "", 1, 1, "Say which: --format litellm or --format portkey.")], file.source)
