"""A LiteLLM proxy's ``config.yaml`` as a gateway.

One *model group* is imported: in LiteLLM a request names the group that answers it, and each group has deployments,
retries and fallbacks of its own; a scenario has one gateway. Its deployments and those of the groups it falls back on
become providers. Within the group a ``route`` chooses, a ``retry`` outside of it chooses anew, and a ``fallback``
outside of that goes on to the other groups: the order of LiteLLM's own loops.

Defaults are those of LiteLLM 1.106.2 (router.py, constants.py, router_utils/cooldown_handlers.py).
"""

from __future__ import annotations

from llmsim.scenario.imports.litellm_groups import Deployment, Groups, setting
from llmsim.scenario.imports.litellm_limits import cache, cooldown, limits, timeout
from llmsim.scenario.imports.litellm_words import reason
from llmsim.scenario.imports.models import dialect_of, simulated
from llmsim.scenario.imports.plan import Plan, PolicyPlan, Said, amount, duration, price
from llmsim.scenario.imports.source import Section, SourceFile, leftovers, shown

__all__ = ["from_litellm"]

_DEFAULT = "LiteLLM's default"
#: router_utils: DEFAULT_MAX_RETRIES of the OpenAI SDK; ROUTER_MAX_FALLBACKS.
_NUM_RETRIES, _MAX_FALLBACKS = 2, 5
#: INITIAL_RETRY_DELAY, MAX_RETRY_DELAY and JITTER, in seconds.
_FIRST_S, _MOST_S, _JITTER_S = 0.5, 8.0, 0.75
#: router.py, should_retry_this_error and utils.py, _should_retry: statuses are all that is looked at; 401 and 403 are
#: retried where another deployment may know better.
_RETRIED: list[str | int] = [408, 409, 429, "5xx", "timeout", "connection_failed"]
_RETRIED_ELSEWHERE: list[str | int] = [401, 403]
_STRATEGIES = {
    "simple-shuffle": "weighted",
    "least-busy": "least_busy",
    "latency-based-routing": "latency",
    "usage-based-routing": "quota",
    "usage-based-routing-v2": "quota",
    "cost-based-routing": "cost",
}
_ONE = "the group has one deployment: there is nothing to choose"
#: retry_policy's words.
_CLASSES = {
    "RateLimitErrorRetries": "rate_limited",
    "TimeoutErrorRetries": "timeout",
    "InternalServerErrorRetries": "server_error",
}
_INCURABLE = ("BadRequestErrorRetries", "AuthenticationErrorRetries", "ContentPolicyViolationErrorRetries")


def from_litellm(file: SourceFile, model_group: str | None) -> Plan:
    """The gateway of one model group.

    Raises
    ------
    ScenarioError
        If the group is not there, or a value is not what its key takes.
    """
    router, library = file.top.sub("router_settings"), file.top.sub("litellm_settings")
    groups = Groups(file, router, library)
    group = groups.chosen(model_group)
    file.check()
    assert group is not None
    plan = Plan(group, "litellm")
    chains = _Chains(groups, group, router)
    for deployment in chains.deployments:
        plan.providers[groups.name(deployment)] = _provider(deployment, router)
    chains.say_what_never_happens(plan.providers)
    own = groups.by_name[group]
    plan.policies += cache(library)
    plan.policies += chains.policies(len(own) > 1)
    plan.policies += _retry(own, router, library)
    plan.policies += _route(own, [groups.name(deployment) for deployment in own], router)
    plan.upstream += limits(chains.deployments, router)
    plan.upstream += cooldown(own, router, library)
    plan.upstream += timeout(chains.deployments, router, library)
    _alike(file, groups, chains.groups, group)
    groups.leave_out(chains.groups)
    leftovers(file, reason)
    file.check()
    return plan


def _alike(file: SourceFile, groups: Groups, used: set[str], group: str) -> None:
    """Retries and cooldowns depend on whether a group has several deployments; here they are those of one group."""
    for other in sorted(used - {group}):
        several = len(groups.by_name[other]) > 1
        if several != (len(groups.by_name[group]) > 1):
            path = groups.by_name[other][0].entry.at("model_name")
            waits = "at once" if several else "after a backoff"
            text = (
                f"LiteLLM retries {waits} in this group and cools its deployments otherwise; here as in {shown(group)}"
            )
            file.note("approximated", path, text)


class _Chains:
    """What a group falls back on, after which errors."""

    def __init__(self, groups: Groups, group: str, router: Section) -> None:
        self._group = group
        self._groups = groups
        self._limit = router.number("max_fallbacks", low=1, whole=True)
        self._limit_why = router.why("max_fallbacks") if self._limit else _DEFAULT
        depth = int(self._limit or _MAX_FALLBACKS)
        self._general = groups.fallbacks("fallbacks", group, depth=depth)
        self._after = {
            "context_too_long": groups.fallbacks("context_window_fallbacks", group, depth=depth),
            "content_filtered": groups.fallbacks("content_policy_fallbacks", group, depth=depth),
        }
        names = [group, *self._general[0], *(name for order, _ in self._after.values() for name in order)]
        self.groups = set(names)
        self.deployments = [d for name in dict.fromkeys(names) for d in groups.by_name[name]]

    def say_what_never_happens(self, providers: dict[str, dict[str, Said]]) -> None:
        """An order after an error has no effect where simulated providers do not make that error."""
        if not any("context_window" in settings for settings in providers.values()):
            self._never("context_too_long", "context_window: 128k")
        self._never("content_filtered", "errors: {content_filter: 1%}")

    def _never(self, word: str, write: str) -> None:
        names, why = self._after[word]
        if names:
            path = self._groups.by_name[self._group][0].entry.at("model_name")
            text = f"the order after {word} ({why}) waits for an error that never comes: give providers {write}"
            self._groups.by_name[self._group][0].entry.file.note("approximated", path, text)

    def policies(self, several: bool) -> list[PolicyPlan]:  # noqa: FBT001 - whether the group has several deployments
        """The fallback, if there is any."""
        order, why = self._general
        after = {word: (self._names(names), said) for word, (names, said) in self._after.items() if names}
        if not order and not after:
            return []
        settings: dict[str, Said] = {}
        if not several:
            settings["order"] = Said([*self._names([self._group]), *self._names(order)], why or "this group alone")
        on = ["any"] if order else list(after)
        settings["on"] = Said(on, "fallbacks are for all errors" if order else "only these have fallbacks")
        orders = {word: names for word, (names, _) in after.items()}
        reasons = [said for _, said in after.values()]
        if several and order:
            # Without an order a fallback goes on to what the route prefers next, which is in this group.
            orders["any"] = self._names(order)
            reasons.append(why)
        if orders:
            settings["orders"] = Said(orders, "; ".join(reasons))
        if order:
            settings["max_fallbacks"] = Said(self._most(order), self._limit_why)
        return [PolicyPlan("fallback", settings)]

    def _most(self, order: list[str]) -> int:
        """Upstreams that `max_fallbacks` groups have."""
        most = int(self._limit or _MAX_FALLBACKS)
        return most + len(self._names(order)) - len(order)

    def _names(self, groups: list[str]) -> list[str]:
        names: list[str] = []
        for group in groups:
            own = self._groups.by_name[group]
            if len(own) > 1 and group != self._group:
                path = own[0].entry.at("model_name")
                text = "a group to fall back on: its deployments are asked in order, each with all retries"
                own[0].entry.file.note("approximated", path, text)
            names += [self._groups.name(deployment) for deployment in own]
        return list(dict.fromkeys(names))


def _provider(deployment: Deployment, router: Section) -> dict[str, Said]:
    """The simulated provider of a deployment."""
    found = simulated(deployment.model)
    settings = dict(found.settings)
    if found.loss:
        deployment.params.file.note("approximated", deployment.params.at("model"), found.loss)
    limit, why = _rate_limit(deployment, settings)
    if limit:
        settings["rate_limit"] = Said(limit, why)
    costs = {}
    for key, word in (("input_cost_per_token", "input"), ("output_cost_per_token", "output")):
        for section in (deployment.params, deployment.info):
            cost = section.number(key)
            if cost is not None:
                costs[word] = (price(cost), section.why(key))
    if len(costs) == 2:
        values = {word: text for word, (text, _) in costs.items()}
        settings["price"] = Said(values, "; ".join(why for _, why in costs.values()))
    elif costs:
        word, (_, why) = next(iter(costs.items()))
        deployment.entry.file.note("not expressed", deployment.entry.path, f"a price of {word} tokens only ({why})")
    _window(deployment, settings, router)
    return settings


def _window(deployment: Deployment, settings: dict[str, Said], router: Section) -> None:
    info = deployment.info
    key = "max_input_tokens" if "max_input_tokens" in info else "max_tokens"
    window = info.number(key, low=1, whole=True)
    if window is not None and not router.flag("enable_pre_call_checks"):
        info.note("not expressed", key, "without enable_pre_call_checks LiteLLM does not look at it")
    elif window is not None:
        why = f"{info.why(key)}; {router.why('enable_pre_call_checks')}"
        settings["context_window"] = Said(int(window), why)
        info.note("approximated", key, "here prompt and answer together must fit")


def _rate_limit(deployment: Deployment, settings: dict[str, Said]) -> tuple[dict[str, str], str]:
    """The quota that an operator writes down for a deployment is what its provider is taken to allow."""
    dialect = settings["dialect"].value if "dialect" in settings else dialect_of(deployment.model.vendor)
    limit, reasons = {}, []
    for key, word in (("rpm", "requests"), ("tpm", "tokens")):
        holder = deployment.holder(key)
        number = deployment.number(key, low=0)
        if not number or holder is None:
            continue
        if dialect == "vllm":
            holder.note("not expressed", key, "a vLLM server has no limits of its own")
            continue
        if word == "tokens" and dialect in ("anthropic", "gemini"):
            word = "input_tokens"  # noqa: PLW2901
            holder.note("approximated", key, f"{dialect} limits input tokens apart: taken as those")
        limit[word] = f"{amount(number)}/min"
        reasons.append(holder.why(key))
    return limit, "; ".join(reasons)


def _retry(own: list[Deployment], router: Section, library: Section) -> list[PolicyPlan]:
    section = setting("num_retries", router, library)
    number, why = section.number("num_retries", whole=True), section.why("num_retries")
    if number is None:
        number, why = float(_NUM_RETRIES), f"{_DEFAULT}: {_NUM_RETRIES} retries"
    per = [(d, d.number("num_retries", whole=True)) for d in own]
    values = {value for _, value in per}
    if values != {None}:
        holder = next(d.holder("num_retries") for d, value in per if value is not None)
        assert holder is not None
        if len(values) == 1:
            (only,) = values
            number, why = float(only or 0), holder.why("num_retries")
            section.idle(("num_retries",), "the deployments' own come before it")
        else:
            holder.note("not expressed", "num_retries", "retries of one deployment; a retry is the same for all")
    rules = _rules(router, number)
    attempts = int(number) + 1
    settings = {"max_attempts": Said(attempts, why)}
    if attempts == 1 and not rules:
        router.idle(("retry_after",), "there are no retries")
        return [PolicyPlan("retry", settings)]
    retried = _RETRIED + (_RETRIED_ELSEWHERE if len(own) > 1 else [])
    settings["on"] = Said(retried, "408, 409, 429 and 5xx" + (", 401 and 403" if len(own) > 1 else ""))
    settings["by_status"] = Said(True, "nothing but the status is looked at")
    if rules:
        settings["rules"] = Said(rules, router.why("retry_policy"))
    settings |= _backoff(len(own) > 1, int(number), router)
    return [PolicyPlan("retry", settings)]


def _backoff(several: bool, retries: int, router: Section) -> dict[str, Said]:  # noqa: FBT001 - deployments in the group
    floor = router.number("retry_after") or 0.0
    if several:
        if floor:
            text = "with several deployments LiteLLM tries another at once, unless all of them cool down"
            router.note("not expressed", "retry_after", text)
        none = {"initial": "0s", "jitter": "none"}
        return {
            "backoff": Said(none, "another deployment is tried at once"),
            "honor_retry_after": Said(False, "another deployment is tried at once"),
            "honor_should_retry": Said(False, "LiteLLM does not read x-should-retry"),
        }
    ceiling, spread = _MOST_S + _JITTER_S, duration(_JITTER_S)
    why = router.why("retry_after") if floor else f"{_DEFAULT}: min(0.5 s * 2^n, 8 s) + U(0, 0.75 s)"
    backoff = {"initial": duration(_FIRST_S), "max": duration(ceiling), "jitter": "added", "spread": spread}
    if floor > _FIRST_S:
        # min(max(0.5 * 2^n, retry_after), 8): the same time until the powers of two have passed it.
        first = min(floor, _MOST_S)
        backoff |= {"initial": duration(first), "growth": "constant"}
        if retries > 1 and _FIRST_S * 2 ** (retries - 1) > first and first < _MOST_S:
            router.note("approximated", "retry_after", "LiteLLM's later waits are longer, up to 8 s")
    return {
        "backoff": Said(backoff, why),
        "max_retry_after": Said("60s", "LiteLLM heeds a Retry-After up to 60 s"),
        "beyond_max_retry_after": Said("back_off", "and else waits as if there were none"),
        "honor_should_retry": Said(False, "LiteLLM does not read x-should-retry"),
    }


def _rules(router: Section, number: float) -> list[dict[str, object]]:
    policy = router.sub("retry_policy")
    rules: list[dict[str, object]] = []
    for key, word in _CLASSES.items():
        retries = policy.number(key, whole=True)
        if retries is not None and retries != number:
            rules.append({"on": [word], "max_attempts": int(retries) + 1})
    for key in _INCURABLE:
        if policy.number(key, whole=True):
            policy.note("not expressed", key, "the same call cannot end differently, so a retry does not make it")
    return rules


def _route(own: list[Deployment], names: list[str], router: Section) -> list[PolicyPlan]:
    word = router.text("routing_strategy") or "simple-shuffle"
    strategy = _STRATEGIES.get(word)
    orders = [deployment.number("order") for deployment in own]
    args = router.sub("routing_strategy_args")
    if strategy is None:
        router.note("not expressed", "routing_strategy", "no such strategy here; taken as simple-shuffle")
    why = router.why("routing_strategy") if "routing_strategy" in router else f"{_DEFAULT}: simple-shuffle"
    if len(own) == 1:
        router.idle(("routing_strategy", "routing_strategy_args"), _ONE)
        for key in ("weight", "order"):
            holder = own[0].holder(key)
            if holder is not None:
                holder.idle((key,), _ONE)
        return []
    for key in args.keys:
        args.note("not expressed", key, "route averages latencies over decay: (10s) or a quantile's window:")
    if any(order is not None for order in orders) and len(set(orders)) > 1:
        return [_priority(own, names, orders, strategy)]
    for deployment in own:
        deployment.params.idle(("order",), "the same for all")
    settings = {"to": Said(names, f"deployments of {own[0].group}"), "strategy": Said(strategy or "weighted", why)}
    if settings["strategy"].value == "weighted":
        settings |= _weights(own, names)
    else:
        for deployment in own:
            deployment.params.idle(("weight",), f"{word} does not look at it")
    if strategy == "latency":
        settings["explore"] = Said("0%", "LiteLLM always takes the fastest")
    if strategy == "quota":
        text = "LiteLLM counts this minute's tokens itself; quota goes by what answers say is left"
        router.note("approximated", "routing_strategy", text)
    return [PolicyPlan("route", settings)]


def _weights(own: list[Deployment], names: list[str]) -> dict[str, Said]:
    """By weight, else rpm, else tpm: whichever the first deployment has."""
    for key in ("weight", "rpm", "tpm"):
        numbers = [deployment.number(key) for deployment in own]
        if numbers[0] is None or not any(numbers):
            continue
        holder = own[0].holder(key)
        assert holder is not None
        weights = {name: float(number or 0) for name, number in zip(names, numbers, strict=True)}
        if len(set(weights.values())) == 1:
            return {}
        shares = {name: int(weight) if weight == int(weight) else weight for name, weight in weights.items()}
        return {"weights": holder.said(key, shares)}
    return {}


def _priority(own: list[Deployment], names: list[str], orders: list[float | None], strategy: str | None) -> PolicyPlan:
    """The lowest order first; those without one last."""
    holder = next(section for d in own if (section := d.holder("order")) is not None)
    levels = sorted({order for order in orders if order is not None})
    groups = [[n for n, order in zip(names, orders, strict=True) if order == level] for level in levels]
    rest = [name for name, order in zip(names, orders, strict=True) if order is None]
    groups += [rest] if rest else []
    if strategy != "least_busy" and any(len(group) > 1 for group in groups):
        holder.note("approximated", "order", "among deployments of one order the least busy is chosen")
    settings = {"strategy": Said("priority", holder.why("order")), "groups": Said(groups, "the lowest order first")}
    return PolicyPlan("route", settings)
