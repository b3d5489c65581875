"""A Portkey config as a gateway.

A config is a tree: strategies (fallback, loadbalance, conditional, single) with targets, which are strategies or
providers again. A scenario has one `route` inside one `fallback`, so the tree is flattened: who may be asked first,
with which share, and who comes after a failure. What that loses is said.

Formats and defaults: portkey.ai/docs (api-reference/config-object, product/ai-gateway/...) and Portkey-AI/gateway at
669825cb (src/handlers/retryHandler.ts, src/globals.ts).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from llmsim.scenario.document import Path, dotted
from llmsim.scenario.imports.models import Model, known_vendor, model_of, provider_name, simulated, vendor_in
from llmsim.scenario.imports.plan import NoteKind, Plan, PolicyPlan, Said
from llmsim.scenario.imports.portkey_limits import Kept, cache, kept, retry, upstream
from llmsim.scenario.imports.source import Section, SourceFile, leftovers, shown, snake

__all__ = ["from_portkey"]

_MODES = ("single", "fallback", "loadbalance", "conditional")
_REQUEST = "parameters of requests: a scenario's traffic says what is asked for"
_HOOKS = "checks before or after a call; write a policy of your own for one that changes what is answered"
_KNOWN: dict[str, tuple[NoteKind, str]] = {
    "metadata": ("not copied", "labels of requests"),
    "name": ("not copied", "labels of requests"),
    "weight": ("not copied", "there is no load balancer above it"),
    "prompt_id": ("not copied", "labels of requests"),
    "strict_open_ai_compliance": ("not copied", "the form of answers"),
    "transform_to_form_data": ("not copied", "the form of answers"),
    "model_pricing_config": ("not expressed", "prices; write price: {input: $1/Mtok, output: $2/Mtok}"),
    "sticky_session": ("not expressed", "sticky routing; see route with strategy: sticky"),
    "sticky": ("not expressed", "sticky routing; see route with strategy: sticky"),
    "allowed_models": ("not expressed", "which models may be asked for"),
}


@dataclass
class _Leaf:
    """A target that is a provider."""

    section: Section
    kept: Kept
    model: Model
    name: str = ""


class _Flat(NamedTuple):
    """A strategy without its tree."""

    first: list[tuple[_Leaf, float]]  #: who may be asked first, with its share
    then: list[_Leaf]  #: who is asked after a failure, in order


@dataclass
class _Reader:
    file: SourceFile
    taken: set[str] = field(default_factory=set)
    #: Of the outermost fallback.
    statuses: list[int] | None = None
    fallback: Path | None = None
    leaves: list[_Leaf] = field(default_factory=list)

    def flat(self, section: Section, above: Kept) -> _Flat:
        strategy = section.sub("strategy")
        own = kept(section, strategy, above)
        if "targets" not in section:
            return _Flat([(self._leaf(section, own), 1.0)], [])
        targets = section.subs("targets")
        mode = strategy.text("mode") or "single"
        if mode not in _MODES:
            self.file.problem(strategy.at("mode"), f"there is no mode {shown(mode)!r}", f"Write {', '.join(_MODES)}.")
            mode = "single"
        if not targets:
            self.file.problem(section.at("targets"), "there are no targets", "Write at least one provider.")
            return _Flat([], [])
        if mode == "fallback":
            return self._fallback(strategy, targets, own)
        if mode == "loadbalance":
            return self._balance(targets, own)
        target = self._chosen(strategy, targets) if mode == "conditional" else targets[0]
        for other in targets:
            if other is not target:
                self.file.mark(other.path, whole=True)
                if mode == "single":
                    self.file.note("not expressed", other.path, "mode single has one target: the first")
        return self.flat(target, own)

    def _leaf(self, section: Section, own: Kept) -> _Leaf:
        provider = section.text("provider") or section.peek("virtual_key")
        # A provider may be @slug and a model @slug/model, with the name that somebody gave an account.
        vendor = known_vendor(provider) or vendor_in(provider)
        text = own.model or ""
        if text.startswith("@"):
            account, _, text = text.partition("/")
            vendor = vendor or vendor_in(account)
        leaf = _Leaf(section, own, model_of(text, vendor) if text else Model(vendor, ""))
        leaf.name = provider_name(
            leaf.model, self.taken, "target" if leaf.model.vendor else f"target-{len(self.leaves) + 1}"
        )
        self.leaves.append(leaf)
        return leaf

    def _fallback(self, strategy: Section, targets: list[Section], own: Kept) -> _Flat:
        statuses = strategy.numbers("on_status_codes")
        if self.fallback is None:
            self.fallback, self.statuses = strategy.path, statuses
        elif statuses != self.statuses:
            text = f"the codes of {shown(dotted(self.fallback))} are taken for this fallback, too"
            at = strategy.at("on_status_codes") if "on_status_codes" in strategy else strategy.path
            self.file.note("not expressed", at, text)
        flats = [self.flat(target, own) for target in targets]
        then = list(flats[0].then)
        if then:
            self.file.note("approximated", targets[0].path, "a fallback in a fallback is one list here")
        for target, flat in zip(targets[1:], flats[1:], strict=True):
            if len(flat.first) > 1:
                text = "a load balancer to fall back on: its targets are asked one after the other, the heaviest first"
                self.file.note("approximated", target.path, text)
            then += [leaf for leaf, _ in sorted(flat.first, key=lambda one: -one[1])] + flat.then
        return _Flat(flats[0].first, then)

    def _balance(self, targets: list[Section], own: Kept) -> _Flat:
        weights = [target.number("weight") for target in targets]
        shares = [1.0 if weight is None else weight for weight in weights]  # "Unset weights default to 1"
        if not any(shares):
            self.file.problem(targets[0].at("weight"), "all weights are 0", "Give one target a weight above 0.")
            shares = [1.0] * len(targets)
        flats = [self.flat(target, own) for target in targets]
        first, then = [], []
        for target, flat, share in zip(targets, flats, shares, strict=True):
            total = sum(weight for _, weight in flat.first) or 1.0
            single = len(flat.first) == 1
            first += [(leaf, share if single else share * weight / total) for leaf, weight in flat.first]
            if flat.then:
                text = "a fallback of one branch: failures of the other branches go on to its targets, too"
                self.file.note("approximated", target.path, text)
            then += flat.then
        return _Flat(first, then)

    def _chosen(self, strategy: Section, targets: list[Section]) -> Section:
        """The default of a conditional strategy."""
        wanted = strategy.text("default")
        strategy.note(
            "not expressed", "conditions", "routing by what a request is: only the default target is imported"
        )
        return next((target for target in targets if wanted and target.get("name") == wanted), targets[0])


def from_portkey(file: SourceFile) -> Plan:
    """The gateway of a config.

    Raises
    ------
    ScenarioError
        If a value is not what its key takes.
    """
    reader = _Reader(file)
    top = file.top
    flat = reader.flat(top, Kept())
    plan = Plan("portkey", "portkey")
    file.check()
    order = [leaf for leaf, _ in flat.first] + flat.then
    for leaf in order:
        found = simulated(leaf.model)
        plan.providers[leaf.name] = found.settings
        if found.loss:
            file.note("approximated", leaf.section.path, found.loss)
    plan.policies += cache(top, [leaf.kept for leaf in order])
    plan.policies += _fallback_policy(reader, flat)
    balanced = _route(flat, top)
    again = retry([leaf.kept for leaf in order])
    plan.policies += [*balanced, *again]  # a retry stays with the target, so it stands inside of the route
    plan.upstream += upstream([leaf.kept for leaf in order])
    leftovers(file, _reason, _KNOWN)
    file.check()
    return plan


def _fallback_policy(reader: _Reader, flat: _Flat) -> list[PolicyPlan]:
    if not flat.then:
        return []
    assert reader.fallback is not None
    line = f"line {reader.file.line(reader.fallback)}: {shown(dotted(reader.fallback))}"
    on: list[str | int] = ["4xx", "5xx", "timeout", "connection_failed", "circuit_open"]
    why = "without on_status_codes: any answer that is not 2xx"
    if reader.statuses:
        # A connection that fails is a 500 or 503 to Portkey, its own timeout a 408; an open breaker is always passed.
        on, why = [*reader.statuses, "circuit_open"], f"{line}.on_status_codes"
        on += ["connection_failed"] if {500, 503} & set(reader.statuses) else []
        on += ["timeout"] if 408 in reader.statuses else []
    then = list(dict.fromkeys(leaf.name for leaf in flat.then))
    if len(flat.first) == 1:
        order = [flat.first[0][0].name, *then]
        return [PolicyPlan("fallback", {"order": Said(order, line), "on": Said(on, why)})]
    # Without an order a fallback goes on to what the route prefers next: an order for each error says where to.
    orders = {str(word): then for word in on}
    return [PolicyPlan("fallback", {"on": Said(on, why), "orders": Said(orders, f"{line}; not to the route's others")})]


def _route(flat: _Flat, top: Section) -> list[PolicyPlan]:
    if len(flat.first) < 2:
        return []
    names = [leaf.name for leaf, _ in flat.first]
    shares = {name: weight for name, (_, weight) in zip(names, flat.first, strict=True)}
    settings = {"to": Said(names, "the targets of loadbalance"), "strategy": Said("weighted", "mode: loadbalance")}
    if len(set(shares.values())) > 1:
        whole = {name: int(share) if share == int(share) else share for name, share in shares.items()}
        settings["weights"] = Said(whole, f"lines {_lines(flat, top.file)}: weight")
    return [PolicyPlan("route", settings)]


def _lines(flat: _Flat, file: SourceFile) -> str:
    lines = [file.line(leaf.section.at("weight")) or file.line(leaf.section.path) for leaf, _ in flat.first]
    return ", ".join(str(line) for line in dict.fromkeys(lines))


def _reason(path: Path) -> tuple[NoteKind, str] | None:
    word = snake(str(path[-1]))
    if "override_params" in [snake(str(part)) for part in path[:-1]]:
        return "not copied", _REQUEST
    if "guardrail" in word or word.endswith("_hooks") or word == "hooks":
        return "not expressed", _HOOKS
    return _KNOWN.get(word)
