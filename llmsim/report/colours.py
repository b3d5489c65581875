"""Colours and hatches of what is drawn, one table for pictures and pages: no colour tells anything alone."""

from __future__ import annotations

__all__ = ["CLASS_STYLE", "COST_STYLE", "FAULT", "KEY_STYLE", "LOAD", "PART_STYLE"]

LOAD = "#8a5a00"  #: the offered load: dark on white, visible on black, not used by an outcome
FAULT = "#bb5500"

#: Colour and hatch of every class of outcomes. Colours: Paul Tol's "bright" scheme, safe for colour-blind readers;
#: hatches tell them apart without any colour.
CLASS_STYLE: dict[str, tuple[str, str]] = {
    "cache_hits": ("#66ccee", ""),
    "semantic_hits": ("#99ddff", "oo"),
    "answered": ("#4477aa", ""),
    "rate_limited": ("#ccbb44", "////"),
    "server_errors": ("#ee6677", "\\\\\\\\"),
    "timeouts": ("#aa3377", "xxxx"),
    "all_failed": ("#994455", "++++"),
    "shed": ("#228833", "...."),
    "unusable": ("#8b6fc0", "||||"),
    "abandoned": ("#bbbbbb", "----"),
    "other_failures": ("#888888", "oooo"),
}

#: Of routes, tenants, users: the same scheme, with hatches that tell neighbours apart without colour.
KEY_STYLE: tuple[tuple[str, str], ...] = (
    ("#4477aa", ""),
    ("#ccbb44", "////"),
    ("#228833", ""),
    ("#ee6677", "\\\\\\\\"),
    ("#66ccee", ""),
    ("#aa3377", "xxxx"),
    ("#994455", ""),
)

#: Of the parts of the time to an answer.
PART_STYLE: dict[str, tuple[str, str]] = {
    "gateway": ("#ccbb44", "////"),
    "queue": ("#ee6677", "\\\\\\\\"),
    "prefill": ("#66ccee", ""),
    "generation": ("#4477aa", ""),
}

#: Of the parts of a bill: what was of use, what was not, what a cheaper fallback spared, what comes beside tokens.
COST_STYLE: dict[str, tuple[str, str]] = {
    "useful": ("#4477aa", ""),
    "wasted": ("#ee6677", "\\\\\\\\"),
    "cheaper": ("#228833", "...."),
    "beside": ("#ccbb44", ""),
}
