"""LiteLLM's cache, cooldowns, limits and timeouts, as policies."""

from __future__ import annotations

from typing import Any, NamedTuple

from llmsim.scenario.imports.litellm_groups import Deployment, setting
from llmsim.scenario.imports.plan import PolicyPlan, Said, amount, duration
from llmsim.scenario.imports.source import Section

__all__ = ["cache", "cooldown", "limits", "timeout"]

_DEFAULT = "LiteLLM's default"
#: constants.py of 1.106.2: DEFAULT_COOLDOWN_TIME_SECONDS, DEFAULT_FAILURE_THRESHOLD_PERCENT (to be exceeded) and its
#: minimum of requests in the current minute, request_timeout.
_COOLDOWN_S, _RATE, _MINIMUM, _TIMEOUT_S = 5.0, "50.1%", 5, 6000.0
#: cooldown_handlers.py: of 4xx only 401, 402, 404, 408 and 429 cool; and a connection error never does.
_GONE: list[str | int] = [401, 402, 404]
_FAILURES: list[str | int] = [408, 429, "5xx", "timeout"]
_ALLOWED = ("RateLimitErrorAllowedFails", "TimeoutErrorAllowedFails", "InternalServerErrorAllowedFails")
_ALLOWED_OTHERS = (
    "BadRequestErrorAllowedFails",
    "AuthenticationErrorAllowedFails",
    "ContentPolicyViolationErrorAllowedFails",
)
#: The SDK's own timeout, the longest that a call waits for one of max_parallel_requests (openai-python: 600 s).
_SDK_TIMEOUT = "10m"
#: LiteLLM's semaphore has no bound; a line has one.
_LINE = 100_000
_CHAT_CALLS = {"completion", "acompletion"}


def cache(library: Section) -> list[PolicyPlan]:
    """``litellm_settings.cache``."""
    params = library.sub("cache_params")
    if not library.flag("cache"):
        library.idle(("cache", "cache_params"), "there is no cache")
        return []
    if (params.text("mode") or "").lower() == "default_off":
        library.note("not expressed", "cache_params", "each request asks for the cache by itself; here none does")
        return []
    calls = params.get("supported_call_types")
    library.file.mark(params.at("supported_call_types"), whole=True)
    if isinstance(calls, list) and not _CHAT_CALLS & {str(call) for call in calls}:
        library.note("not expressed", "cache_params", "a cache that is not for chats")
        return []
    kind = (params.text("type") or "local").lower()
    ttl = params.number("ttl", low=0)
    if "semantic" in kind:
        return [PolicyPlan("semantic_cache", _semantic(params, kind, ttl))]
    settings = {"ttl": params.said("ttl", duration(ttl))} if ttl else {}
    if not ttl:
        library.note("approximated", "cache", "LiteLLM keeps answers without a ttl until the store drops them; 1h here")
    settings |= {
        "scope": Said("global", "LiteLLM's cache key has no user in it"),
        "cacheable": Said("all", "whatever the temperature"),
    }
    if kind not in ("local", "disk"):
        settings["shared"] = params.said("type", value=True)
    return [PolicyPlan("cache", settings)]


def _semantic(params: Section, kind: str, ttl: float | None) -> dict[str, Said]:
    """A cache that compares meanings (caching/redis_semantic_cache.py: similarity is 1 - cosine distance)."""
    threshold = params.number("similarity_threshold")
    if threshold is None or threshold > 1:
        message = "LiteLLM's semantic caches need a similarity_threshold between 0 and 1"
        params.file.problem(params.at("similarity_threshold"), message, "Write similarity_threshold: 0.8.")
        threshold = 1.0
    params.note(
        "approximated",
        "type",
        "LiteLLM compares whole conversations by their meaning; here only the last message may be in other words",
    )
    if kind != "redis-semantic":
        params.note("approximated", "type", f"answers that {kind} keeps are kept in memory, for all replicas")
    by_user = (params.text("semantic_cache_scope") or "key") == "end_user"
    why = params.why("semantic_cache_scope") if by_user else f"{_DEFAULT}: by key, team and organisation"
    return {
        "threshold": params.said("similarity_threshold", threshold),
        "ttl": params.said("ttl", duration(ttl)) if ttl else Said(None, "LiteLLM keeps answers that have no ttl"),
        "backend": params.said("type", "redis" if kind == "redis-semantic" else "memory"),
        "scope": Said("user" if by_user else "tenant", why),
        "cacheable": Said("all", "whatever the temperature"),
        "tools": Said(True, "requests with tools, too"),
        "on_new_model": Said("serve", "LiteLLM does not look at the model that answered"),
        "shared": params.said("type", value=True),
    }


def cooldown(own: list[Deployment], router: Section, library: Section) -> list[PolicyPlan]:
    """When a deployment is left alone, and for how long."""
    allowed = setting("allowed_fails", router, library)
    timed = setting("cooldown_time", router, library)
    number, time_s = allowed.number("allowed_fails", whole=True), timed.number("cooldown_time")
    policy = router.sub("allowed_fails_policy")
    fails = [policy.number(key, whole=True) for key in _ALLOWED]
    why = allowed.why("allowed_fails") if number is not None else ""
    if any(fail is not None for fail in fails):
        number, why = min(fail for fail in fails if fail is not None), router.why("allowed_fails_policy")
        router.file.note("approximated", policy.path, "one number for all errors that count: the least")
    for key in _ALLOWED_OTHERS:
        if key in policy:
            policy.note("not expressed", key, "an error of the request, after which no upstream is left alone here")
    time_s, time_why = _time(own, time_s, timed)
    if router.flag("disable_cooldowns"):
        for section in (router, library):
            section.idle(("allowed_fails", "cooldown_time", "allowed_fails_policy"), "cooldowns are disabled")
        router.idle(("disable_cooldowns",), "there is none")
        return []
    settings = {
        "time": Said(duration(time_s), time_why),
        "jitter": Said("0%", "LiteLLM's end at once for all replicas"),
        "max": Said("24h", "LiteLLM does not bound a Retry-After"),
    }
    if number is not None:
        allowed.file.note("approximated", allowed.at("allowed_fails"), _IN_A_ROW)
        settings |= {
            "failures": Said(int(number) + 1, f"more than allowed_fails ({why})"),
            "at_once": Said([402], "here one error has to be enough; with allowed_fails LiteLLM counts them all"),
            "on": Said([401, 404, *_FAILURES], "what counts"),
        }
        return [PolicyPlan("cooldown", settings)]
    several = len(own) > 1
    if not several and timed.get("cooldown_time") is None:
        return []
    first = [429, *_GONE] if several else _GONE
    settings |= {
        "at_once": Said(first, f"{_DEFAULT}: what is not retried, and 429 where there is another deployment"),
        "on": Said(first, "the same: without allowed_fails nothing counts failures in a row"),
    }
    plans = [PolicyPlan("cooldown", settings)]
    if several:
        breaker = {
            "failure_rate": Said(_RATE, f"{_DEFAULT}: more than half of this minute's calls failed"),
            "sliding_window": Said("60s", "a minute"),
            "minimum_calls": Said(_MINIMUM, f"{_DEFAULT}: at least {_MINIMUM} calls"),
            "wait_in_open": Said(duration(time_s), time_why),
            "permitted_in_half_open": Said(_MINIMUM, "LiteLLM does not probe: as many as its minimum of calls"),
            "on": Said(_FAILURES, "all but connection errors"),
        }
        plans.append(PolicyPlan("circuit_breaker", breaker))
    return plans


_IN_A_ROW = (
    "LiteLLM counts failures within a cooldown_time, here they count in a row; and a Retry-After is heeded at once"
)


def _time(own: list[Deployment], time_s: float | None, timed: Section) -> tuple[float, str]:
    why = timed.why("cooldown_time") if time_s else f"{_DEFAULT}: 5 s"
    per = [(d, d.number("cooldown_time")) for d in own]
    given = [(d, value) for d, value in per if value]
    if given:
        holder = given[0][0].holder("cooldown_time")
        assert holder is not None
        if len({value for _, value in per}) == 1:
            return float(given[0][1] or 0), holder.why("cooldown_time")
        holder.note("not expressed", "cooldown_time", "a cooldown of one deployment; here they are alike")
    return time_s or _COOLDOWN_S, why


def _same(deployments: list[Deployment], key: str, *, low: float = 0.0) -> tuple[float | None, str]:
    """The number that all deployments have at a key, and why; None and "" where they differ."""
    numbers = [deployment.number(key, low=low) for deployment in deployments]
    holder = deployments[0].holder(key)
    if numbers[0] is None or len(set(numbers)) > 1 or holder is None:
        return None, ""
    return numbers[0], holder.why(key)


def limits(deployments: list[Deployment], router: Section) -> list[PolicyPlan]:
    """Limits that the proxy itself keeps to, as far as they are the same for all deployments."""
    plans = []
    checked = bool(router.flag("enable_pre_call_checks"))
    usage = str(router.get("routing_strategy") or "").startswith("usage-based")
    windows = any("max_input_tokens" in d.info or "max_tokens" in d.info for d in deployments)
    if not windows and not any(d.holder(key) for d in deployments for key in ("rpm", "tpm")):
        router.idle(("enable_pre_call_checks",), "no rpm, tpm or max_input_tokens says what to check")
    settings: dict[str, Said] = {}
    when = router.why("enable_pre_call_checks" if checked else "routing_strategy")
    for key, word in (("rpm", "requests"), ("tpm", "tokens")):
        number, why = _same(deployments, key)
        if number and (checked or usage):
            settings[word] = Said(f"{amount(number)}/min", f"{why}; {when}")
        elif checked or usage:
            for deployment in deployments:
                holder = deployment.holder(key)
                if holder is not None and len(deployments) > 1:
                    text = f"{key} differs between deployments, and a rate_limit in front of each is the same for all: "
                    holder.note("approximated", key, f"{text}only the provider itself keeps to it ({when})")
                    break
    if settings:
        settings["shared"] = (
            Said(True, "LiteLLM counts in redis, for all replicas")
            if _redis(router)
            else Said(False, "each replica counts for itself")
        )
        plans.append(PolicyPlan("rate_limit", settings))
    plans += _parallel(deployments, router)
    return plans


def _redis(router: Section) -> bool:
    return any(key in router for key in ("redis_host", "redis_url"))


def _parallel(deployments: list[Deployment], router: Section) -> list[PolicyPlan]:
    number, why = _same(deployments, "max_parallel_requests", low=1)
    default = router.number("default_max_parallel_requests", low=1, whole=True)
    if number is None and all(d.holder("max_parallel_requests") is None for d in deployments):
        number, why = default, router.why("default_max_parallel_requests")
    else:
        router.idle(("default_max_parallel_requests",), "deployments have their own")
    if number is None:
        for deployment in deployments:
            holder = deployment.holder("max_parallel_requests")
            if holder is not None:
                text = "a limit of one deployment; a concurrency_limit in front of each is the same for all"
                holder.note("not expressed", "max_parallel_requests", text)
        return []
    queue: dict[str, Any] = {"limit": _LINE, "timeout": _SDK_TIMEOUT}
    return [
        PolicyPlan(
            "concurrency_limit",
            {
                "limit": Said(int(number), why),
                "queue": Said(queue, "who finds no place waits, as long as the SDK does"),
            },
        )
    ]


class _Limit(NamedTuple):
    seconds: float
    why: str
    holder: Section
    key: str


def timeout(deployments: list[Deployment], router: Section, library: Section) -> list[PolicyPlan]:
    """Limits of one call. httpx applies them to the wait for the answer's head and to each gap, not to the whole."""
    whole = [_first(deployment, ("timeout", "request_timeout"), router, library) for deployment in deployments]
    streams = [
        _first(deployment, ("stream_timeout", "timeout", "request_timeout"), router, library)
        for deployment in deployments
    ]
    most, longest = (max(limits, key=lambda one: one.seconds) for limits in (whole, streams))
    used = {(limit.holder.path, limit.key) for limit in (*whole, *streams)}
    for holder, key in ((router, "stream_timeout"), (router, "timeout"), (library, "request_timeout")):
        if (holder.path, key) not in used:
            holder.idle((key,), "others come before it for all deployments")
    for limit in streams:
        if limit.seconds != longest.seconds:
            text = f"{duration(limit.seconds)} for some deployments; a timeout is the same for all, the longest: "
            text += f"{duration(longest.seconds)} ({longest.why})"
            limit.holder.note("not expressed", limit.key, text)
    if longest.key == "stream_timeout" and most.seconds != longest.seconds:
        other = f"ttft: {duration(most.seconds)} ({most.why})"
        text = f"the limit of streams; without them (gateway.stream: false) it would be {other}"
        longest.holder.note("approximated", longest.key, text)
    settings = {
        "ttft": Said(duration(longest.seconds), longest.why),
        "inter_token": Said(duration(longest.seconds), "the same: httpx limits every wait for data alike"),
    }
    return [PolicyPlan("timeout", settings)]


def _first(deployment: Deployment, keys: tuple[str, ...], router: Section, library: Section) -> _Limit:
    """What holds for a deployment: its own key before the router's, a more special key before another."""
    found = None
    for key in keys:
        for holder in (deployment.holder(key), router if key != "request_timeout" else library):
            number = None if holder is None else holder.number(key)
            if number and holder is not None and found is None:
                found = _Limit(number, holder.why(key), holder, key)
    return found or _Limit(_TIMEOUT_S, f"{_DEFAULT}: request_timeout 6000 s", library, "request_timeout")
