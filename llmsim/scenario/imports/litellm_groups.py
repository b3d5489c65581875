"""Model groups of a LiteLLM configuration: which there are, which one is imported, and what it falls back on."""

from __future__ import annotations

from fnmatch import fnmatchcase
from shlex import quote
from typing import NamedTuple

from llmsim.scenario.document import Path
from llmsim.scenario.imports.models import Model, model_of, provider_name
from llmsim.scenario.imports.source import Section, SourceFile, shown
from llmsim.scenario.keys import nearest

__all__ = ["Deployment", "Groups", "setting"]


class Deployment(NamedTuple):
    """One entry of ``model_list``."""

    group: str
    entry: Section
    params: Section  #: litellm_params
    info: Section  #: model_info
    model: Model

    def holder(self, key: str) -> Section | None:
        """Where a key is written that may stand in litellm_params or beside it."""
        return next((section for section in (self.params, self.entry) if key in section), None)

    def number(self, key: str, *, low: float = 0.0, whole: bool = False) -> float | None:
        """The number of such a key."""
        holder = self.holder(key)
        return None if holder is None else holder.number(key, low=low, whole=whole)


def setting(key: str, *sections: Section) -> Section:
    """The first of these sections that has a key (router_settings before litellm_settings), the first if none has.

    The key is marked as read in the others, and it is said there that it has no effect.
    """
    having = [section for section in sections if key in section]
    for other in having[1:]:
        first, second = having[0].get(key), other.get(key)
        if first != second:
            other.note("not expressed", key, f"{shown('.'.join(map(str, having[0].at(key))))} comes before it")
        other.file.mark(other.at(key), whole=True)
    return having[0] if having else sections[0]


class Groups:
    """The model groups of a file.

    Parameters
    ----------
    file
        The configuration.
    router, library
        Its ``router_settings`` and ``litellm_settings``.
    """

    def __init__(self, file: SourceFile, router: Section, library: Section) -> None:
        self._file = file
        self._router, self._library = router, library
        self.by_name: dict[str, list[Deployment]] = {}
        for entry in file.top.subs("model_list"):
            params, info = entry.sub("litellm_params"), entry.sub("model_info")
            group = entry.text("model_name")
            if group is None:
                file.problem(entry.path, "this deployment is in no group", "Write model_name: beside litellm_params:.")
                continue
            base = info.text("base_model") or params.text("base_model")
            named = model_of(params.text("model") or "")
            model = Model(named.vendor, model_of(base, named.vendor).name) if base else named
            self.by_name.setdefault(group, []).append(Deployment(group, entry, params, info, model))
        self._aliases = self._read_aliases()
        self._taken: set[str] = set()
        self._names: dict[Path, str] = {}
        self._sources: dict[Path, str] = {}  #: of fallbacks: whose they are

    def name(self, deployment: Deployment) -> str:
        """What the provider of a deployment is called."""
        path = deployment.entry.path
        if path not in self._names:
            self._names[path] = provider_name(deployment.model, self._taken, deployment.group)
        return self._names[path]

    def _read_aliases(self) -> dict[str, str]:
        found = {}
        aliases = self._router.sub("model_group_alias")
        for alias in aliases.keys:
            target = aliases.get(alias)
            if isinstance(target, dict):
                target = target.get("model")
                self._file.mark(aliases.at(alias), whole=True)
            found[alias] = str(target)
        return found

    def resolve(self, name: str) -> str | None:
        """The group that a request for this model is answered by, None if there is none."""
        name = self._aliases.get(name, name)
        if name in self.by_name:
            return name
        by_id = [group for group, own in self.by_name.items() if any(d.info.get("id") == name for d in own)]
        patterns = [group for group in self.by_name if "*" in group and fnmatchcase(name, group)]
        return next(iter(by_id or sorted(patterns, key=len, reverse=True)), None)

    def chosen(self, wanted: str | None) -> str | None:
        """The group to import: the one asked for, else the first that answers chats and names its model."""
        if not self.by_name:
            self._file.problem(("model_list",), "there are no deployments", "Write model_list: with at least one.")
            return None
        if wanted is not None:
            found = self.resolve(wanted)
            if found is None:
                message = f"there is no model group {shown(wanted)!r}"
                hint = nearest(wanted, [shown(name) for name in (*self.by_name, *self._aliases)])
                self._file.problem(("model_list",), message, hint)
            return found
        chats = [
            name
            for name, own in self.by_name.items()
            if "*" not in name and all(d.info.get("mode") in (None, "chat", "completion") for d in own)
        ]
        return next(iter(chats), next(iter(self.by_name)))

    def leave_out(self, used: set[str]) -> None:
        """Say which groups are not imported, and how to get them."""
        for name, own in self.by_name.items():
            if name in used:
                continue
            path = own[0].entry.at("model_name")
            where = ", ".join(str(self._file.line(d.entry.path)) for d in own)
            many = f" ({len(own)} deployments, lines {where})" if len(own) > 1 else ""
            text = f"another model group{many}; --model-group {quote(shown(name))} imports it"
            self._file.note("not expressed", path, text)
            for deployment in own:
                self._file.mark(deployment.entry.path, whole=True)
        for path, source in self._sources.items():
            if source not in {*used, "*"}:
                self._file.note("not copied", path, "fallbacks of a group that is not imported")
        self._router.idle(("model_group_alias",), "other names of groups")

    # Fallbacks

    def fallbacks(self, kind: str, group: str, *, depth: int) -> tuple[list[str], str]:
        """Groups that a group falls back on, those of its fallbacks included, in the order they are asked; and why.

        LiteLLM sends a request that falls back through the same function again, with the other group's own fallbacks,
        and ``*`` and ``default_fallbacks`` stand for groups that have none (router_utils/fallback_event_handlers.py).
        It may ask a group twice in that way (BerriAI/litellm#19985); here each is asked once.

        Parameters
        ----------
        kind
            ``fallbacks``, ``context_window_fallbacks`` or ``content_policy_fallbacks``.
        depth
            At most so many.
        """
        section = setting(kind, self._router, self._library)
        table = self._table(section, kind)
        reasons = [section.why(kind)] if kind in section else []
        if kind == "fallbacks":
            default = setting("default_fallbacks", self._router, self._library)
            names = self._list(default, "default_fallbacks", default.get("default_fallbacks"))
            if names:
                table.setdefault("*", names)
                reasons.append(default.why("default_fallbacks"))
        order: list[str] = []
        self._follow(table, group, [group], order)
        if len(order) > depth:
            text = f"more fallbacks than max_fallbacks ({depth}): {len(order) - depth} left"
            section.note("not expressed", kind, text)
        return order[:depth], "; ".join(reasons) if order else ""

    def _follow(self, table: dict[str, list[str]], group: str, seen: list[str], order: list[str]) -> None:
        for name in table.get(group, table.get("*", [])):
            if name not in seen:
                seen.append(name)
                order.append(name)
                self._follow(table, name, seen, order)

    def _table(self, section: Section, kind: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for entry in section.subs(kind):
            for group in entry.keys:
                path = entry.at(group)
                self._file.mark(path, whole=True)
                source = "*" if group == "*" else self.resolve(group)
                if source is None:
                    self._file.note("not expressed", path, "there is no such model group")
                else:
                    found.setdefault(source, self._list(entry, group, entry.get(group)))
                    self._sources[path] = source
        return found

    def _list(self, section: Section, key: str, value: object) -> list[str]:
        self._file.mark(section.at(key), whole=True)
        if value is None:
            return []
        names = []
        for item in value if isinstance(value, list) else [value]:
            name = item.get("model") if isinstance(item, dict) else item
            if isinstance(item, dict):
                section.note("not expressed", key, "other prompts or parameters for a fallback")
            target = self.resolve(str(name))
            if target is None:
                section.note("not expressed", key, f"there is no model group {shown(name)!r} to fall back on")
            else:
                names.append(target)
        return names
