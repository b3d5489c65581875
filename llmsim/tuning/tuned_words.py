"""A tuning in sentences, and as plain values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from llmsim.report.figures import share
from llmsim.tuning.held_out import decided
from llmsim.tuning.rivals import APART
from llmsim.tuning.settings_runs import told
from llmsim.tuning.space import shown
from llmsim.tuning.tuned_figures import cost, moves
from llmsim.tuning.tuned_front import as_it_is, front_note, place_of
from llmsim.tuning.undone import needed_note, no_gain_note
from llmsim.units import counted, format_duration

if TYPE_CHECKING:
    from llmsim.tuning.edges import Edge
    from llmsim.tuning.rivals import Apart
    from llmsim.tuning.tuned import Held, Tuned
    from llmsim.tuning.undone import Alone

__all__ = ["as_dict", "headline", "notes"]

#: From here on a winner's figure on the luck it was chosen on is called optimistic: the share by which it is better
#: there than on held-out luck, relative to what it gains at all.
_OPTIMISTIC = 0.1
_MOST_NAMED = 2  # limits in a headline


def headline(found: Tuned) -> str:
    """The answer in a sentence."""
    name = " + ".join(one.name for one in found.scenarios)
    best, current = found.best, found.current
    if best is None or current is None:
        so_far = f"; the best so far: {told(found.so_far)}" if found.so_far else ""
        return f"{name}: interrupted after {counted(found.account.trials, 'trial')}{so_far}"
    if not best.settings:
        return f"{name}: {as_it_is(found, current)}"
    told_of = f"{moves(found, best, current)}, on luck it has not seen"
    if best.holds == "FAIL":
        return f"{name}: nothing was found that holds its limits; the nearest: {told_of}"
    if current.holds == "FAIL" and best.holds == "PASS":
        return f"{name}: holds what fails as it is ({_failing(current)}); {told_of}"
    if found.verdict == "better":
        doubt = "" if best.holds == "PASS" else "; whether its limits hold is undecided"
        return f"{name}: {told_of}{doubt}"
    elsewhere = any(change.verdict == "better" for change in best.changes)
    where = f" in {found.goals[0].name}, but in another goal" if elsewhere else ""
    return f"{name}: no better than what you have{where}: {told_of}"


def _failing(current: Held) -> str:
    lines = list(dict.fromkeys(f"{one.line.key} {one.line.text}" for one in current.limits if one.verdict == "FAIL"))
    more = f" and {len(lines) - _MOST_NAMED} more" if len(lines) > _MOST_NAMED else ""
    return ", ".join(lines[:_MOST_NAMED]) + more


def notes(found: Tuned) -> list[str]:
    """What else is to be known."""
    lines = [line for line in (needed_note(found), no_gain_note(found), _price(found)) if line]
    if found.best is not None and found.current is not None and found.best.settings:
        lines.append(_optimism(found, found.best, found.current))
    if found.current is not None and any(one.settings for one in found.front):
        lines.append(front_note(found, found.current))
    if found.best is not None:
        binds = found.binds
        if binds:
            them = "it" if len(binds) == 1 else "them"
            lines.append(f"What binds: {', '.join(binds)}. Without {them} a neighbour would do better.")
        elif found.best.limits and found.sensitivity and found.best.holds != "FAIL":
            lines.append("No limit binds: no neighbour that breaks one would do better.")
    lines += [_edge(found, edge) for edge in found.edges]
    if found.best is not None and found.current is not None:
        lines.append(_held_out(found, found.best, found.current))
    if found.best is not None and found.apart is not None:
        lines += _apart(found.apart)
    lines.append(_spent(found))
    if found.best is not None and found.best.settings and not found.improves:
        better = found.best.holds != "FAIL" and any(change.verdict == "better" for change in found.best.changes)
        lines.append(
            "Better in one goal and not in another: which of them counts is for you to say."
            if better
            else "Keep what you have: nothing here says that the other is better."
        )
    if len(found.scenarios) == 1:
        lines += [goal.sum.meaning for goal in found.goals if goal.sum.meaning]
    if found.recipe:
        lines.append(found.recipe)
    if found.idle:
        lines.append(f"Left out, as nothing that happens here depends on it: {', '.join(found.idle)}.")
    return lines


def _price(found: Tuned) -> str:
    """What gets worse by it, beside what was asked for; empty: nothing does, surely and by 5 % or more."""
    if not found.improves:
        return ""
    asked = {part.name for goal in found.goals for part in (goal.sum, *goal.sum.parts)}
    worse = []
    for one in found.differences:
        if one.verdict == "worse" and one.name not in asked:
            was, now, change = one.shown()
            worse.append(f"{one.name} {now} instead of {was}, {change}")
    return f"What gets worse by it: {'; '.join(worse)}." if worse else ""


def _spent(found: Tuned) -> str:
    """Where the replications went."""
    account = found.account
    spent = f"{counted(account.tuning, 'replication')} for {counted(account.trials, 'trial')}"
    if account.grid:
        spent += f", {share(account.share)} of the {account.grid} that each of them run to its end would take"
    if account.confirming:
        spent += f"; {account.confirming} more where it was open whether limits hold"
    rest = f"; {account.held_out} on held-out luck, {account.sensitivity} around the winner"
    text = spent + (rest if found.best is not None else "") + "."
    if found.within_s is not None:
        given, took = format_duration(found.within_s), format_duration(found.wall_s)
        text += f" There was no time for more trials in {given} (it took {took}); a faster machine gets further."
    return text


def _optimism(found: Tuned, best: Held, current: Held) -> str:
    goal = found.goals[0]
    tuned, held = best.tuning[0], best.held_out[0]
    text = (
        f"{goal.name} was {cost(found, goal, tuned)} on the luck it was chosen on and is {cost(found, goal, held)} on "
        f"held-out luck (seed {found.held_seed})"
    )
    # Luck alone makes both settings cheaper or dearer: optimism is what the *gain* loses.
    promised, kept = current.tuning[0] - tuned, current.held_out[0] - held
    if not (math.isfinite(promised) and math.isfinite(kept)) or promised <= best.changes[0].least:
        return text + "."  # no gain that matters was promised
    lost = 1 - kept / promised
    if lost > _OPTIMISTIC:
        return f"{text}: of the gain that tuning promised, {share(min(1.0, lost))} was luck."
    return f"{text}: the gain holds up ({share(max(0.0, kept / promised))} of what was promised)."


def _edge(found: Tuned, edge: Edge) -> str:
    tried = next(text.partition(": ")[2] for text in found.space if text.partition(": ")[0] == edge.path)
    where = "upwards" if edge.upper else "downwards"
    return f"The best is at the edge of the range: {edge.path} is {shown(edge.value)} of {tried}; widen it {where}."


def _held_out(found: Tuned, best: Held, current: Held) -> str:
    """What ended the looks at held-out luck."""
    several = len(found.scenarios) > 1
    left = []
    for whose, one in (("", best), ("what you have: ", current)):
        for limit in one.limits:
            if limit.verdict == "UNDECIDED":
                where = f" in {limit.scenario}" if several else ""
                more = f" (about {limit.likely_needed} would probably tell)" if limit.likely_needed else ""
                left.append(f"{whose}whether {limit.line.key} {limit.line.text} holds{where}{more}")
    unsure = [goal.name for goal, one in zip(found.goals, best.changes, strict=True) if one.verdict == "unsure"]
    left += [f"whether {name} is better than what you have" for name in unsure if best.settings]
    looked = f"{best.replications} of at most {best.most} replications"
    if decided(best, current):
        return f"Held-out luck decides it after {looked}."
    return f"Held-out luck leaves open, after {looked}: {'; '.join(left)}. A larger --held-out may tell."


def _apart(apart: Apart) -> list[str]:
    """Whether the replications tell the best settings apart, and how many more would."""
    near = [one for one in apart.rivals if not one.limits]
    lines = []
    if near:
        more = f", and {counted(len(near) - 1, 'other')} by less" if len(near) > 1 else ""
        lines.append(
            f"{counted(apart.replications, 'replication')} do not tell the best settings apart to within "
            f"{share(APART)}: {told(near[0].settings)} may be better by up to {share(near[0].better)}{more}. "
            f"{_more(max(one.needed or 0 for one in near))}"
        )
    elif apart.compared:
        lines.append(
            f"No other setting that ran to its end ({apart.compared} with limits as good) is better than the winner by "
            f"more than {share(apart.most)}, as far as {counted(apart.replications, 'replication')} tell."
        )
    open_ = [one for one in apart.rivals if one.limits]
    if open_:
        more = f" (as of {counted(len(open_) - 1, 'other')})" if len(open_) > 1 else ""
        lines.append(
            f"{told(open_[0].settings)} may be better by up to {share(open_[0].better)}, but whether "
            f"{', '.join(open_[0].limits)} holds is open{more}. {_more(open_[0].needed)}"
        )
    return lines


def _more(needed: int | None) -> str:
    return f"--replications {needed} would probably tell." if needed else "It is too close to tell."


def _held(found: Tuned, one: Held) -> dict[str, Any]:
    goals = found.goals
    return {
        "settings": dict(one.settings),
        "tuning": [goal.value(value) for goal, value in zip(goals, one.tuning, strict=True)],
        "held_out": [goal.value(value) for goal, value in zip(goals, one.held_out, strict=True)],
        "changes": [
            {"change": c.change, "interval": c.interval, "relative": c.relative, "verdict": c.verdict}
            for c in one.changes
        ],
        "limits": [
            {
                "scenario": limit.scenario,
                "metric": limit.line.key,
                "expression": limit.line.text,
                "measured": limit.measured,
                "verdict": limit.verdict,
                "likely_needed": limit.likely_needed,
            }
            for limit in one.limits
        ],
        "holds": one.holds,
        "replications": one.replications,
    }


def _as_it_is(found: Tuned) -> dict[str, Any] | None:
    """Of several goals, how what there is stands beside the others of the front."""
    if len(found.goals) == 1 or found.current is None:
        return None
    place = place_of(found.front, found.current)
    return {
        "others_on_front": place.others,
        "beaten_by": [one.settings for one in place.beaten_by],
        "maybe_beaten_by": [one.settings for one in place.maybe_by],
    }


def _as_dict(apart: Apart) -> dict[str, Any]:
    return {**apart._asdict(), "rivals": [one._asdict() for one in apart.rivals]}


def _alone(found: Tuned, alone: Alone) -> dict[str, Any]:
    change = alone.change
    return {
        "settings": dict(alone.settings),
        "held_out": found.goals[0].value(alone.held_out),
        "change": change.change,
        "interval": change.interval,
        "relative": change.relative,
        "breaks": list(alone.breaks),
    }


def as_dict(found: Tuned) -> dict[str, Any]:
    """Everything but how long it took: what is asked again gives the same, unless time ended the trials."""
    goals = found.goals
    return {
        "scenarios": [one.name for one in found.scenarios],
        "seed": found.seed,
        "held_out_seed": found.held_seed,
        "replications": found.most,
        "held_out_replications": found.held_out,
        "goals": [{"name": goal.name, "verb": goal.verb, "unit": goal.unit} for goal in goals],
        "space": list(found.space),
        "now": found.now,
        "partial": found.partial,
        "within_s": found.within_s,
        "headline": found.headline,
        "verdict": found.verdict,
        "improves": found.improves,
        "settings": found.settings,
        "best": _held(found, found.best) if found.best is not None else None,
        "current": _held(found, found.current) if found.current is not None else None,
        "front": [_held(found, one) for one in found.front],
        "as_it_is": _as_it_is(found),
        "differences": [one._asdict() for one in found.differences],
        "sensitivity": [
            {
                "path": one.path,
                "value": shown(one.value),
                "change": one.change.change,
                "interval": one.change.interval,
                "relative": one.change.relative,
                "breaks": list(one.breaks),
            }
            for one in found.sensitivity
        ],
        "undone": [
            {
                "path": one.path,
                "value": found.now.get(one.path),
                "change": one.change.change,
                "interval": one.change.interval,
                "relative": one.change.relative,
                "breaks": list(one.breaks),
            }
            for one in found.undone
        ],
        "alone": _alone(found, found.alone) if found.alone is not None else None,
        "binds": found.binds,
        "edges": [{"path": one.path, "value": shown(one.value), "upper": one.upper} for one in found.edges],
        "idle": list(found.idle),
        "apart": _as_dict(found.apart) if found.apart is not None else None,
        "account": {**found.account._asdict(), "share": found.account.share},
        "trials": [
            {
                "settings": one.settings,
                "values": [goal.value(c) for goal, c in zip(goals, one.costs, strict=True)],
                "outside": list(one.outside),
                "replications": one.replications,
                "stopped": one.stopped,
                "limits": one.limits,
            }
            for one in found.trials
        ],
    }
