"""What a trace looks like in numbers: how often, how unevenly, how long, and how a scenario would say so."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.traffic.fits import (
    Fit,
    best_mixture,
    exponential_fit,
    gamma_fit,
    lognormal_fit,
    weibull_fit,
)
from llmsim.traffic.seasons import DAY_S
from llmsim.traffic.traces import Trace
from llmsim.units import format_duration

__all__ = ["describe", "index_of_dispersion"]

Floats = NDArray[np.float64]

_WINDOWS_S = (1, 10, 60)
_LEAST_WINDOWS = 10  # of fewer a variance says nothing
_PAUSE = 12  # mean gaps; of Poisson arrivals, 6 gaps in a million are as long
_LOCAL_S = 300.0
_FITTED = 100_000
_BATCHED = 0.5  # share of gaps of exactly 0 above which times are those of batches


def describe(trace: Trace) -> dict[str, Any]:
    """Statistics of a trace, for JSON: units in the names, None for what its length does not allow.

    Returns
    -------
    dict
        ``requests, span_s, rate_per_s, failed_ratio``; ``gaps`` (mean_s, cv, local_cv, zero_ratio, batch_s, fits);
        ``index_of_dispersion`` by window; ``minutes`` (peak_to_mean, lowest, highest, autocorrelation); ``hours``
        (factors, amplitude and peak_hour, counted from the first request); ``on_off``;
        ``input_tokens`` and ``output_tokens`` (quantiles, lognormal, mixture); ``token_rank_correlation``;
        ``clients, sessions, routes``; ``suggestion``, the words of a scenario; ``notes``.
    """
    times = trace.times_s
    count = len(times)
    found: dict[str, Any] = {
        "name": trace.name,
        "format": trace.format,
        "requests": count,
        "span_s": trace.span_s,
        "rate_per_s": count / trace.span_s,
        "failed_ratio": float(trace.failed.mean()),
        "gaps": _gaps(times),
        "index_of_dispersion": {f"{w}s": index_of_dispersion(times, trace.span_s, w) for w in _WINDOWS_S},
        "minutes": _minutes(trace),
        "hours": _hours(trace),
        "on_off": _on_off(times, trace.span_s),
        "input_tokens": _tokens(trace.input_tokens),
        "output_tokens": _tokens(trace.output_tokens),
        "token_rank_correlation": _rank_correlation(trace),
        "clients": _shares(trace.client),
        "sessions": _sessions(trace),
        "routes": _routes(trace),
    }
    found["suggestion"] = _suggestion(found)
    found["notes"] = _notes(trace, found)
    return found


def index_of_dispersion(times_s: Floats, span_s: float, window_s: float) -> float | None:
    """Variance over mean of the counts in windows of that length: 1 for Poisson. None for too few windows."""
    windows = int(span_s / window_s)
    if windows < _LEAST_WINDOWS:
        return None
    counts = np.histogram(times_s, np.arange(windows + 1) * window_s)[0]
    return float(counts.var() / counts.mean()) if counts.any() else None


def _gaps(times: Floats) -> dict[str, Any] | None:
    gaps = np.diff(times)
    if len(gaps) < 2 or not gaps.any():
        return None
    positive = gaps[gaps > 0]
    zero_ratio = 1 - len(positive) / len(gaps)
    batch_s = float(positive.min()) if zero_ratio > _BATCHED else None
    fits: list[Fit] = []
    if batch_s is None and len(positive) >= 20:
        some = _thinned(positive)
        fits = [family(some) for family in (exponential_fit, gamma_fit, weibull_fit, lognormal_fit)]
    return {
        "mean_s": float(gaps.mean()),
        "cv": float(gaps.std() / gaps.mean()),
        "local_cv": _local_cv(times) if batch_s is None else None,
        "zero_ratio": zero_ratio,
        "batch_s": batch_s,
        "fits": [fit.to_dict() for fit in sorted(fits, key=lambda fit: fit.ks)],
    }


def _thinned(x: Floats) -> Floats:
    """At most `_FITTED` values at even steps of rank: what is left differs from all by 1e-5 in KS distance."""
    if len(x) <= _FITTED:
        return x
    return np.asarray(np.sort(x)[np.linspace(0, len(x) - 1, _FITTED).astype(np.int64)], dtype=np.float64)


def _local_cv(times: Floats) -> float | None:
    """Median over short windows of the cv of the gaps inside: 1 where a drifting rate is all there is.

    Windows of five minutes, or of as many as 50 requests take.
    """
    window_s = max(_LOCAL_S, 50 * float(times[-1]) / len(times))
    edges = np.searchsorted(times, np.arange(0.0, times[-1] + window_s, window_s))
    cvs = []
    for first, last in pairwise(edges.tolist()):
        gaps = np.diff(times[first:last])
        if len(gaps) >= 30 and gaps.any():
            cvs.append(float(gaps.std() / gaps.mean()))
    return float(np.median(cvs)) if len(cvs) >= 3 else None


def _hours(trace: Trace) -> dict[str, Any] | None:
    """The shape of the day, by hours since the first request; of traces of two days and more."""
    days = int(trace.span_s / DAY_S)
    if days < 2:
        return None
    inside = trace.times_s[trace.times_s < days * DAY_S]
    counts = np.histogram(inside % DAY_S, np.arange(25) * (DAY_S / 24))[0]
    factors = counts / counts.mean()
    wave = complex(np.mean(factors * np.exp(2j * math.pi * (np.arange(24) + 0.5) / 24)))
    return {
        "factors": [round(float(factor), 3) for factor in factors],
        "amplitude": 2 * abs(wave),
        "peak_hour": math.degrees(math.atan2(wave.imag, wave.real)) / 15 % 24,
    }


def _minutes(trace: Trace) -> dict[str, Any] | None:
    minutes = int(trace.span_s / 60)
    if minutes < 2:
        return None
    counts = np.histogram(trace.times_s, np.arange(minutes + 1) * 60.0)[0]
    varied = minutes >= _LEAST_WINDOWS and counts[:-1].std() > 0 and counts[1:].std() > 0
    return {
        "peak_to_mean": float(counts.max() / counts.mean()) if counts.any() else None,
        "lowest": int(counts.min()),
        "highest": int(counts.max()),
        "autocorrelation": float(np.corrcoef(counts[1:], counts[:-1])[0, 1]) if varied else None,
    }


def _on_off(times: Floats, span_s: float) -> dict[str, Any]:
    """Pauses of more than `_PAUSE` mean gaps, and the bursts between them."""
    gaps = np.diff(times)
    threshold_s = _PAUSE * span_s / max(len(times), 1)
    pause = gaps > threshold_s
    found: dict[str, Any] = {
        "pause_above_s": threshold_s,
        "pauses": int(pause.sum()),
        "pause_share": float(gaps[pause].sum() / span_s),
    }
    ends = np.append(np.flatnonzero(pause), len(times) - 1)
    starts = np.append(0, np.flatnonzero(pause) + 1)
    sizes, lengths = ends - starts + 1, times[ends] - times[starts]
    found["detected"] = bool(pause.sum() >= 5 and found["pause_share"] >= 0.25 and sizes.mean() >= 5)
    if found["detected"]:
        long = lengths > 0
        inside = np.concatenate([[0.0], np.where(pause, 0.0, gaps)])
        within = gaps[~pause]
        found |= {
            "pause_mean_s": float(gaps[pause].mean()),
            "burst_p50_s": float(np.median(lengths)),
            "burst_p90_s": float(np.quantile(lengths, 0.9)),
            "burst_mean_s": float(lengths.mean()),
            "size_p50": float(np.median(sizes)),
            "size_p90": float(np.quantile(sizes, 0.9)),
            "inside_rate_per_s": float(len(times) / max(inside.sum(), 1e-9)),
            "inside_cv": float(within.std() / within.mean()) if within.any() else None,
            "density_cv": _cv(sizes[long] / lengths[long]) if (sizes[long] >= 5).sum() >= 5 else None,
        }
    return found


def _cv(values: Floats) -> float:
    """Coefficient of variation of a lognormal with the quartiles of these: outliers of tiny bursts do not count."""
    low, high = np.quantile(np.log(values), [0.25, 0.75])
    sigma = float(high - low) / 1.349  # quartiles of a normal distribution are 1.349 standard deviations apart
    return math.sqrt(math.expm1(min(sigma**2, 3.0)))


def _tokens(tokens: NDArray[np.int64]) -> dict[str, Any] | None:
    known = tokens[tokens > 0].astype(np.float64)
    if not len(known):
        return None
    p5, p50, p90, p95, p99 = (float(one) for one in np.quantile(known, [0.05, 0.5, 0.9, 0.95, 0.99]))
    found: dict[str, Any] = {
        "known": len(known),
        "mean": float(known.mean()),
        "p5": p5,
        "p50": p50,
        "p90": p90,
        "p95": p95,
        "p99": p99,
        "max": float(known.max()),
        "lognormal": None,
        "mixture": None,
    }
    if len(known) >= 30 and known.std() > 0:
        some = _thinned(known)
        found["lognormal"] = lognormal_fit(some).to_dict()
        found["mixture"] = best_mixture(some).to_dict()
    return found


def _rank_correlation(trace: Trace) -> float | None:
    both = (trace.input_tokens > 0) & (trace.output_tokens > 0)
    if both.sum() < 10:
        return None
    ranks = [_ranks(column[both]) for column in (trace.input_tokens, trace.output_tokens)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if all(rank.std() > 0 for rank in ranks) else None


def _ranks(values: NDArray[np.int64]) -> Floats:
    """Places in order; equal values share the mean of theirs. (`scipy.stats.rankdata` takes a second to import.)"""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place], dtype=np.float64)


def _shares(client: NDArray[np.int64] | None) -> dict[str, Any] | None:
    if client is None or not (client >= 0).any():
        return None
    counts = np.sort(np.bincount(client[client >= 0]))[::-1]
    counts = counts[counts > 0]
    reached = np.cumsum(counts) / counts.sum()
    return {
        "number": len(counts),
        **{f"top_{n}_share": float(reached[min(n, len(counts)) - 1]) for n in (1, 5, 10)},
        "for_80_percent": int(np.searchsorted(reached, 0.8 - 1e-12)) + 1,
    }


def _sessions(trace: Trace) -> dict[str, Any] | None:
    if trace.session is None or not (trace.session >= 0).any():
        return None
    counts = np.bincount(trace.session[trace.session >= 0])
    counts = counts[counts > 0]
    return {"number": len(counts), "requests_mean": float(counts.mean()), "requests_max": int(counts.max())}


def _routes(trace: Trace) -> dict[str, float] | None:
    if trace.route is None:
        return None
    counts = np.bincount(trace.route[trace.route >= 0], minlength=len(trace.routes))
    return {name: float(count / len(trace)) for name, count in zip(trace.routes, counts, strict=True)}


def _suggestion(found: dict[str, Any]) -> str:
    """The words of a scenario whose arrivals are like these."""
    bursts, minutes, gaps = found["on_off"], found["minutes"], found["gaps"]
    if bursts["detected"]:
        ratio = max(bursts["burst_p90_s"] / max(bursts["burst_p50_s"], 1e-9), 1.0)
        p99 = bursts["burst_p50_s"] * ratio ** (2.3263 / 1.2816)  # normal quantiles at .99 and .9
        spread = f", spread: {min(bursts['density_cv'], 5.0):.1f}" if bursts["density_cv"] else ""
        burst = f"{{lognormal: {{p50: {_s(bursts['burst_p50_s'])}, p99: {_s(p99)}}}}}"
        inner = bursts["inside_cv"] or 1.0
        inside = f", gamma: {{cv: {min(inner, 10.0):.1f}}}" if inner > 1.2 else ""
        return f"{{on_off: {{burst: {burst}, pause: {{exponential: {_s(bursts['pause_mean_s'])}}}{spread}}}{inside}}}"
    idc = found["index_of_dispersion"]["60s"]
    local = gaps["local_cv"] if gaps else None
    memory = minutes["autocorrelation"] if minutes else None
    per_minute = found["rate_per_s"] * 60
    # A drifting rate: dispersion that lasts beyond a minute, and gaps as even as Poisson's in the short run.
    if idc is not None and idc > 3 and memory is not None and memory > 0.2 and (local is None or local < 1.3):
        of_rate = min(memory * idc / (idc - 1), 0.99)  # the counts' own noise hides some of the correlation
        memory_s = max(-60 / math.log(of_rate), 1.0)
        cv = min(math.sqrt((idc - 1) / per_minute / _seen(memory_s, found["span_s"])), 5.0)
        inside = f", gamma: {{cv: {local:.2f}}}" if local is not None and local >= 1.02 else ""
        return f"{{drift: {{cv: {cv:.2g}, memory: {_s(memory_s)}}}{inside}}}"
    # Where days are seen, their shape is not the gaps' affair: what counts is how uneven they are within an hour or so.
    cv = (local if found["hours"] and local else gaps["cv"]) if gaps else 1.0
    if gaps is None or not gaps["fits"] or cv < 1.15:
        return "poisson"
    family = min((fit for fit in gaps["fits"] if fit["family"] in ("gamma", "weibull")), key=lambda fit: fit["ks"])
    return f"{{{family['family']}: {{cv: {min(cv, 10.0):.2g}}}}}"


def _seen(memory_s: float, span_s: float) -> float:
    """Share of its variance that a process with an exponential correlation shows around its mean over `span_s`."""
    ratio = memory_s / span_s
    return max(1 - 2 * ratio * (1 - ratio * (1 - math.exp(-1 / ratio))), 0.1)


def _s(seconds: float) -> str:
    return format_duration(float(f"{seconds:.3g}"))


def _notes(trace: Trace, found: dict[str, Any]) -> list[str]:
    notes = []
    gaps = found["gaps"]
    if gaps and gaps["batch_s"] is not None:
        notes.append(
            f"{gaps['zero_ratio']:.1%} of the gaps are 0: times stand on a grid of {_s(gaps['batch_s'])}, so gaps and "
            "windows shorter than that say nothing"
        )
    if trace.format == "servegen":
        notes.append("ServeGen says how often clients send, not when: these requests are drawn from that")
    for side in ("input", "output"):
        column = getattr(trace, f"{side}_tokens")
        unknown = float((column <= 0).mean())
        if unknown > found["failed_ratio"] + 1e-9 and unknown > 0:
            notes.append(f"{side} tokens are not told for {unknown:.1%} of the requests")
    if len(trace) < 500:
        notes.append(f"{len(trace)} requests are few: fits are rough")
    return notes
