"""The description of a trace, for people."""

from __future__ import annotations

from typing import Any

from llmsim.report.figures import MISSING, count, share
from llmsim.report.text import columns
from llmsim.units import format_duration

__all__ = ["table"]


def table(found: dict[str, Any]) -> str:
    """What `llmsim.traffic.trace_stats.describe` found, as blocks of text."""
    blocks = [
        [_headline(found)],
        columns(_arrivals(found)),
        columns(_fits(found)),
        columns(_lengths(found)),
        columns(_who(found)),
        [f"  Note: {note}." for note in found["notes"]],
        ["  In a scenario:", f"    base_rate: {_rate(found['rate_per_s'])}", f"    arrivals: {found['suggestion']}"],
    ]
    if found["hours"] and found["hours"]["amplitude"] > 0.05:
        hours = found["hours"]
        when = f"# the peak is {hours['peak_hour']:.0f} h after the hour of the first request"
        blocks[-1].append(f"    diurnal: {{amplitude: {min(hours['amplitude'], 1):.0%}}}    {when}")
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _headline(found: dict[str, Any]) -> str:
    what = f"{found['requests']:,} requests in {format_duration(found['span_s'])}, {_number(found['rate_per_s'])}/s"
    return f"{found['name']} ({found['format']}): {what}"


def _rate(per_s: float) -> str:
    """As a scenario writes it."""
    for factor, unit in ((1, "s"), (60, "min"), (3600, "h")):
        if per_s * factor >= 0.1:
            return f"{per_s * factor:.3g}/{unit}" if per_s * factor < 1000 else f"{per_s * factor:.0f}/{unit}"
    return f"{per_s * 86400:.3g}/day"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3g}"


def _arrivals(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    gaps, minutes, bursts = found["gaps"], found["minutes"], found["on_off"]
    rows = [("arrivals", "", "")]
    if gaps:
        local = f"{_number(gaps['local_cv'])} inside short windows" if gaps["local_cv"] is not None else ""
        rows.append(("  cv of the gaps (Poisson: 1)", _number(gaps["cv"]), local))
    idc = found["index_of_dispersion"]
    rows += [(f"  dispersion of counts per {w} (Poisson: 1)", _number(idc[w]), "") for w in idc]
    if minutes:
        rows.append(
            (
                "  busiest minute / mean",
                _number(minutes["peak_to_mean"]),
                f"{minutes['lowest']:,} to {minutes['highest']:,} a minute",
            )
        )
        rows.append(("  one minute and the next correlate", _number(minutes["autocorrelation"]), ""))
    told = f"{bursts['pauses']:,} longer than {format_duration(bursts['pause_above_s'])}"
    rows.append(("  share of time in pauses", share(bursts["pause_share"]), told))
    if bursts["detected"]:
        size = f"{bursts['size_p50']:.0f} requests (p90 {bursts['size_p90']:.0f})"
        length = f"{format_duration(bursts['burst_p50_s'])} (p90 {format_duration(bursts['burst_p90_s'])})"
        rate = f"{_number(bursts['inside_rate_per_s'])}/s with cv {_number(bursts['inside_cv'])}"
        rows.append(("  on and off: a burst is", size, f"in {length}, at {rate}"))
    rows.append(("  failed", share(found["failed_ratio"]), ""))
    return rows


def _fits(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    gaps = found["gaps"]
    if not gaps or not gaps["fits"]:
        return []
    rows = [("gaps as", "KS distance", "")]
    for fit in gaps["fits"]:
        parameters = ", ".join(f"{key} {value:.3g}" for key, value in fit.items() if key not in ("family", "ks"))
        rows.append((f"  {fit['family']}", _number(fit["ks"]), parameters))
    return rows


def _lengths(found: dict[str, Any]) -> list[tuple[str, ...]]:
    names = ("mean", "p5", "p50", "p90", "p95", "p99", "max")
    rows: list[tuple[str, ...]] = [("tokens", *names)]
    notes = []
    for side in ("input", "output"):
        about = found[f"{side}_tokens"]
        if about is None:
            rows.append((f"  {side}", *[MISSING] * len(names)))
            continue
        rows.append((f"  {side}", *(count(round(about[name])) for name in names)))
        if about["mixture"]:
            parts = " + ".join(
                f"{part['weight']:.2f} LN({part['mu']:.3f}, {part['sigma']:.3f})"
                for part in about["mixture"]["components"]
            )
            ks = f"KS {_number(about['mixture']['ks'])}; one lognormal: {_number(about['lognormal']['ks'])}"
            notes.append((f"  {side} as", f"{parts}   ({ks})"))
    text = [(line.strip(" \n"),) for line in columns(rows, indent="")]
    return [*text, *((f"{first}  {second}",) for first, second in notes)]


def _who(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    correlation = found["token_rank_correlation"]
    if correlation is not None:
        rows.append(("rank correlation of input and output tokens", _number(correlation)))
    clients, sessions, routes = found["clients"], found["sessions"], found["routes"]
    if clients:
        tops = ", ".join(f"the {n} largest {share(clients[f'top_{n}_share'])}" for n in (1, 5, 10))
        rows.append(("clients", f"{clients['number']:,}; {tops}; {clients['for_80_percent']} send 80 %"))
    if sessions:
        rows.append(("sessions", f"{sessions['number']:,} of {_number(sessions['requests_mean'])} requests on average"))
    if routes:
        rows.append(("routes", ", ".join(f"{name or 'none'} {share(part)}" for name, part in routes.items())))
    return rows
