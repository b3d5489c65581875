"""What targets of a Portkey config have, or inherit from the strategies above: retry, cache, timeout, breaker."""

from __future__ import annotations

from typing import NamedTuple

from llmsim.scenario.imports.plan import PolicyPlan, Said, amount, duration
from llmsim.scenario.imports.source import Section

__all__ = ["Kept", "cache", "kept", "retry", "upstream"]

#: src/globals.ts: MAX_RETRIES, RETRY_STATUS_CODES; portkey.ai/docs: "triggered up to 5 times".
_MOST_RETRIES = 5
_RETRIED = [429, 500, 502, 503, 504]
#: portkey.ai/docs, automatic-retries: 1, 2, 4, 8, 16 s; retryHandler.ts: randomize false.
_BACKOFF = {"initial": "1s", "max": "16s", "multiplier": "2x", "jitter": "none"}
#: portkey.ai/docs, circuit-breaker: "min: 30s"; failure codes default to those above 500.
_LEAST_COOLDOWN_S = 30.0
_BROKEN = [502, 503, 504, 529]
#: The open-source gateway's default.
_TTL = "24h"


class Kept(NamedTuple):
    """Settings of a target; each its own, or that of the nearest strategy above."""

    retry: Section | None = None
    cache: Section | None = None  #: the section that has it
    timeout: Section | None = None  #: the section that has it
    breaker: Section | None = None
    model: str | None = None


def kept(section: Section, strategy: Section, above: Kept) -> Kept:
    """What holds at a target or strategy."""
    found = above
    if "retry" in section:
        found = found._replace(retry=section.sub("retry"))
    if "cache" in section:
        found = found._replace(cache=section)
    for holder in (section, strategy):
        if "request_timeout" in holder:
            found = found._replace(timeout=holder)
        if "cb_config" in holder:
            found = found._replace(breaker=holder.sub("cb_config"))
    params = section.sub("override_params")
    model = params.text("model")
    return found._replace(model=model) if model else found


def _agreed(sections: list[Section | None], what: str) -> Section | None:
    """The one that the first target has; a note for each other."""
    first = sections[0]
    for section in sections[1:]:
        if section is None and first is not None:
            text = f"targets without {what} get it too: here it is the same for all"
            first.file.note("approximated", first.path, text)
            break
    for other in dict.fromkeys(s.path for s in sections if s is not None):
        if first is None or other != first.path:
            holder = next(s for s in sections if s is not None and s.path == other)
            text = f"{what} of one target; here it is the same for all, as the first target has it"
            if first is not None and holder.file.document.get(other) == first.file.document.get(first.path):
                holder.file.mark(other, whole=True)
                continue
            holder.file.note("not expressed", other, text)
            holder.file.mark(other, whole=True)
    return first


def retry(targets: list[Kept]) -> list[PolicyPlan]:
    """``retry``: the same target again."""
    section = _agreed([target.retry for target in targets], "a retry")
    if section is None:
        return []
    attempts = section.number("attempts", whole=True)
    if attempts is None:
        section.file.problem(section.path, "attempts is missing", "Write attempts: 3.")
        return []
    if attempts > _MOST_RETRIES:
        section.note("approximated", "attempts", f"Portkey retries at most {_MOST_RETRIES} times")
    number = min(int(attempts), _MOST_RETRIES)
    settings = {"max_attempts": Said(number + 1, f"{section.why('attempts')}, and the first call")}
    if not number:
        return [PolicyPlan("retry", settings)]
    codes = section.numbers("on_status_codes")
    why = section.why("on_status_codes") if codes else "Portkey's default"
    # A call without an answer is retried whatever the codes; Portkey's own timeout is a 408.
    on: list[str | int] = [code for code in codes or _RETRIED if 400 <= code <= 599]
    lost = sorted(set(codes) - set(on))
    if lost:
        text = f"{', '.join(map(str, lost))} is no status of a failure, and only failures are retried"
        section.note("not expressed", "on_status_codes", text)
    settings["on"] = Said([*on, "connection_failed", *(["timeout"] if 408 in on else [])], why)
    settings["by_status"] = Said(True, "nothing but the status is looked at")
    settings["backoff"] = Said(_BACKOFF, "Portkey's: 1, 2, 4, 8, 16 s, without jitter")
    flag = "use_retry_after_header" if "use_retry_after_header" in section else "use_retry_after_headers"
    if section.flag(flag):
        settings |= {
            "retry_after_jitter": section.said(flag, value=False),
            "max_retry_after": Said("60s", "Portkey gives up when it is asked to wait for 60 s or more"),
        }
    else:
        settings["honor_retry_after"] = Said(False, "Portkey's default: use_retry_after_header is false")
    settings["honor_should_retry"] = Said(False, "Portkey does not read x-should-retry")
    return [PolicyPlan("retry", settings)]


def cache(top: Section, targets: list[Kept]) -> list[PolicyPlan]:
    """``cache``."""
    holder = _agreed([target.cache for target in targets], "a cache") if _below(top, targets) else targets[0].cache
    if holder is None:
        return []
    if isinstance(holder.get("cache"), str):
        mode, why, age, age_why = str(holder.get("cache")), holder.why("cache"), None, ""
    else:
        section = holder.sub("cache")
        mode, why = section.text("mode") or "simple", section.why("mode")
        age, age_why = section.number("max_age"), section.why("max_age")
    if mode not in ("simple", "semantic"):
        holder.file.problem(holder.at("cache"), "there is no such mode of a cache", "Write mode: simple or semantic.")
    if mode == "semantic":
        text = (
            "Portkey compares conversations of up to four messages by their meaning and leaves the system prompt out; "
        )
        text += "here only the last message may be in other words"
        holder.file.note("approximated", holder.at("cache"), text)
    if age:
        text = "taken as seconds, as portkey.ai documents it; the open-source gateway counts milliseconds"
        holder.file.note("chosen", holder.sub("cache").at("max_age"), text)
    settings = {
        "ttl": Said(duration(age) if age else _TTL, age_why if age else "the open-source gateway's default"),
        "scope": Said("global", f"{why}: the key is the request, whoever sends it"),
        "cacheable": Said("all", "whatever the temperature"),
        "shared": Said(True, "one cache for all replicas"),
    }
    if mode == "simple":
        return [PolicyPlan("cache", settings)]
    settings |= {
        "threshold": Said(0.95, "Portkey's own: a cosine of 0.95 and more"),
        "on_new_model": Said("serve", "the key is the request, whichever model answered"),
    }
    return [PolicyPlan("semantic_cache", settings)]


def _below(top: Section, targets: list[Kept]) -> bool:
    """Whether some target has a cache of its own."""
    return any(target.cache is not None and target.cache.path != top.path for target in targets)


def upstream(targets: list[Kept]) -> list[PolicyPlan]:
    """``cb_config`` and ``request_timeout``."""
    plans = _breaker(_agreed([target.breaker for target in targets], "a cb_config"))
    limits = [(t.timeout.number("request_timeout"), t.timeout) if t.timeout else (None, None) for t in targets]
    given = [(number, holder) for number, holder in limits if number and holder is not None]
    if not given:
        return plans
    longest, holder = max(given, key=lambda one: one[0])
    for number, other in given:
        if number != longest:
            text = f"{amount(number)} ms of one target; here a timeout is the same for all: the longest"
            other.note("not expressed", "request_timeout", text)
    if len(given) < len(limits):
        text = "targets without a request_timeout get it too: here it is the same for all"
        holder.file.note("approximated", holder.at("request_timeout"), text)
    why = f"{holder.why('request_timeout')}, in ms; over once the answer begins"
    return [*plans, PolicyPlan("timeout", {"ttft": Said(duration(longest / 1000), why)})]


def _breaker(section: Section | None) -> list[PolicyPlan]:
    if section is None:
        return []
    codes = section.numbers("failure_status_codes")
    why = section.why("failure_status_codes") if codes else "Portkey's default: above 500"
    chosen: list[str | int] = [*codes] if codes else [*_BROKEN]
    chosen += ["connection_failed"] if not codes or {500, 503} & set(codes) else []
    chosen += ["timeout"] if 408 in codes else []
    wait_ms = section.number("cooldown_interval")
    wait_s = max((wait_ms or 0) / 1000, _LEAST_COOLDOWN_S)
    wait_why = section.why("cooldown_interval") if wait_ms else "Portkey's minimum"
    share = section.number("failure_threshold_percentage", low=0)
    least = section.number("minimum_requests", low=1, whole=True)
    count = section.number("failure_threshold", low=0, whole=True)
    plans = []
    if count is not None:
        settings = {
            "failures": Said(int(count) + 1, f"more than {section.why('failure_threshold')}"),
            "time": Said(duration(wait_s), wait_why),
            "jitter": Said("0%", "Portkey has none"),
            "at_once": Said(["auth_error"], "a cooldown wants one; Portkey has none at once"),
            "on": Said(chosen, why),
            "when_all": Said("ask", "if all are open Portkey passes the breaker by"),
        }
        section.note("approximated", "failure_threshold", "Portkey counts failures, here they count in a row")
        plans.append(PolicyPlan("cooldown", settings))
    if share:
        breaker = {
            "failure_rate": section.said("failure_threshold_percentage", f"{amount(share)}%"),
            "wait_in_open": Said(duration(wait_s), wait_why),
            "on": Said(chosen, why),
        }
        if least:
            breaker["minimum_calls"] = section.said("minimum_requests", int(least))
        text = (
            "over 30 s and with probes, where Portkey counts since it closed and closes by itself; and no way past it"
        )
        section.note("approximated", "failure_threshold_percentage", text)
        plans.append(PolicyPlan("circuit_breaker", breaker))
    return plans
