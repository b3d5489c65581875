"""A tuning as an Optuna study: a file that ``optuna.load_study`` and optuna-dashboard read.

It is written when a tuning ends or is interrupted, in one go, from what its replications said; what must survive a kill
are these, and they are in the journal (`llmsim.tuning.journal`). The study that proposes settings is another one: its
samplers need finite costs and an order of choices. This one has what people ask about. Its format is Optuna's journal
and not SQLite, which takes 1.6 s of CPU to load and to lay out, and would say no more.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmsim import __version__
from llmsim.errors import LlmsimError
from llmsim.report.numbers import jsonable
from llmsim.report.paired import interval_of_median
from llmsim.tuning.objective import centre
from llmsim.tuning.settings_runs import Entry
from llmsim.tuning.space import Dimension, shown
from llmsim.tuning.stages import Stages

__all__ = ["check_place", "write_study"]

_NAME = "llmsim tune "


def check_place(place: Path, study: Path | None = None) -> None:
    """That it can be written there in the end, and nothing else than such a study is written over.

    Parameters
    ----------
    place
        The file.
    study
        Where replications are kept meanwhile.

    Raises
    ------
    LlmsimError
        There is something else, or will be, or there is no such folder.
    """
    if not place.absolute().parent.is_dir():
        raise LlmsimError(f"{place}: there is no folder {place.parent}; make it first, or name another file")
    if study is not None and place.resolve() == study.resolve():
        raise LlmsimError(f"{place} is where finished replications are kept; name another file for Optuna")
    if not place.exists():
        return
    try:
        with place.open("rb") as file:
            ours = json.loads(file.readline())["study_name"].startswith(_NAME)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        ours = False
    if not ours:
        raise LlmsimError(f"{place} is no Optuna study of llmsim; name another file")


def write_study(place: Path, stages: Stages) -> None:
    """Write it, in place of an earlier one.

    Every setting that was tried is a trial, in order, the settings as they are first if the space has them: ``PRUNED``
    if it got fewer replications than others, for the reason in its attribute ``stopped``. Where it got as many as a
    verdict needs, a constraint is at most 0 if and only if its limit has the verdict PASS; with fewer, if it holds in
    the median (``limits`` says which). The attribute ``winner`` marks what won: the best trial, unless no trial passes.
    ``interval`` is that of the median over replications, 95 %.

    The study has the attributes ``winner`` and ``as_it_is``, each with its settings, the number of its ``trial`` and
    what stands in that trial's attributes. What there is can lie outside of the space, or differ between scenarios:
    then it is no trial, its number is null and it stands in the study alone.

    Parameters
    ----------
    place
        The file.
    stages
        As far as they got.

    Raises
    ------
    LlmsimError
        It cannot be written, or something else is there.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    check_place(place)
    goals, names = stages.plan.goals, [one.name for one in stages.runs.scenarios]
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as folder:
            beside = Path(folder) / place.name
            study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(beside))),
                study_name=_NAME + ", ".join(names),
                directions=["minimize" if goal.low_is_good else "maximize" for goal in goals],
            )
            with warnings.catch_warnings():  # experimental, and how dashboards know what a value is
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([goal.name for goal in goals])
            tried = _tried(stages)
            for name, value in _about(stages, [entry for entry, _ in tried]).items():
                study.set_user_attr(name, value)
            study.add_trials([_trial(stages, entry, settings) for entry, settings in tried])
            beside.replace(place)
    except OSError as error:
        raise LlmsimError(f"{place} cannot be written: {error.strerror or error}") from None
    finally:
        optuna.logging.set_verbosity(before)


def _about(stages: Stages, tried: Sequence[Entry]) -> dict[str, Any]:
    plan = stages.plan
    chosen = {"winner": stages.winner, "as_it_is": stages.current}
    return {
        **{name: _chosen(stages, entry, tried) for name, entry in chosen.items()},
        "llmsim": __version__,
        "scenarios": [one.name for one in stages.runs.scenarios],
        "space": [str(one) for one in stages.runs.space.dimensions],
        "seed": plan.seed,
        "held_out_seed": stages.held_seed,
        "replications": plan.most,
        "held_out_replications": plan.held_out,
    }


def _chosen(stages: Stages, entry: Entry | None, tried: Sequence[Entry]) -> dict[str, Any] | None:
    """Which settings these are, and what is known of them; None: interrupted before they were."""
    if entry is None or not entry.done:
        return None
    question = stages.question
    values = [goal.value(cost) for goal, cost in zip(stages.plan.goals, stages.costs(entry), strict=True)]
    return {
        "trial": tried.index(entry) if entry in tried else None,
        "settings": {path: shown(value) for path, value in entry.settings.items()} or "as it is",
        "values": jsonable(values),
        "constraints": dict(zip(_limit_names(stages), question.outside(entry), strict=True)),
        **_told(stages, entry, values, question.costs(entry, stages.plan.most)),
    }


def _tried(stages: Stages) -> list[tuple[Entry, dict[str, Any]]]:
    """What has all dimensions, and their values."""
    found = [(entry, dict(entry.settings)) for entry in stages.tried if entry.done]
    winner = stages.winner
    if winner is not None and winner.settings and winner not in stages.tried:
        found.append((winner, dict(winner.settings)))  # the end of a range, run to see whether it has an effect
    now = [stages.runs.space.current(one) for one in stages.runs.scenarios]
    same = now[0] is not None and all(one == now[0] for one in now)
    return [(stages.current, dict(now[0] or {})), *found] if same and stages.current.done else found


def _trial(stages: Stages, entry: Entry, settings: dict[str, Any]) -> Any:
    from optuna.trial import TrialState, create_trial

    goals, question = stages.plan.goals, stages.question
    whole = entry.done >= stages.plan.most and not entry.stopped
    costs = question.costs(entry, stages.plan.most)
    values = [goal.value(cost) for goal, cost in zip(goals, stages.costs(entry), strict=True)]
    steps = {n: goals[0].value(centre(goals[0], costs[0][:n])) for n in range(1, len(costs[0]) + 1)}
    dimensions = stages.runs.space.dimensions
    return create_trial(
        state=TrialState.COMPLETE if whole else TrialState.PRUNED,
        values=values if whole else None,
        params={_name(one): _value(one, settings[one.path]) for one in dimensions},
        distributions={_name(one): _distribution(one) for one in dimensions},
        intermediate_values=steps if len(goals) == 1 else None,  # Optuna has them for one goal only
        constraints=dict(zip(_limit_names(stages), question.outside(entry), strict=True)),
        user_attrs=_told(stages, entry, values, costs),
    )


def _told(stages: Stages, entry: Entry, values: list[float], costs: list[list[float]]) -> dict[str, Any]:
    goals, held = stages.plan.goals, stages.held.get(id(entry))
    told: dict[str, Any] = {
        "replications": entry.done,
        "limits": stages.limits(entry),
        "interval": {
            goal.name: interval_of_median([goal.value(cost) for cost in mine])
            for goal, mine in zip(goals, costs, strict=True)
        },
    }
    if entry.stopped:
        told |= {"stopped": entry.stopped, "so_far": values}
    if entry is stages.current:
        told["as_it_is"] = True
    if entry is stages.winner:
        told["winner"] = True
    if held is not None:
        told["held_out"] = [goal.value(cost) for goal, cost in zip(goals, held.held_out, strict=True)]
    plain: dict[str, Any] = jsonable(told)
    return plain


def _limit_names(stages: Stages) -> list[str]:
    """Of every limit, with its scenario where there are several."""
    scenarios, places = stages.runs.scenarios, stages.question.places()
    of = [f" ({one.name})" if len(scenarios) > 1 else "" for one in scenarios]
    return [f"{line.key} {line.text}{of[scenario]}" for scenario, _, line in places]


def _name(one: Dimension) -> str:
    """Optuna's values are bare numbers, so the unit stands in the name."""
    return f"{one.path} ({''.join(one.unit)})" if one.unit is not None and any(one.unit) else one.path


def _value(one: Dimension, value: Any) -> Any:
    if one.kind == "range":
        return int(one.number(value)) if one.whole else one.number(value)
    return value if one.kind == "choice" and isinstance(value, str | int | float) else shown(value)


def _distribution(one: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if one.kind != "range":
        return CategoricalDistribution([_value(one, choice) for choice in one.choices])
    if one.whole:
        return IntDistribution(int(one.low), int(one.high), log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)
