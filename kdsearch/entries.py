"""A trial in Optuna's database: the attributes that say what it is and what became of it, written and read.

What is fixed when a trial is added is written twice in one transaction: as attributes, and as one text that ends with
its sum, which they are held against. Its results are such a text too, which speaks for what is beside it once the trial
is over. Trials of older versions have no sums. Values of several objectives have no intermediate values in Optuna, so
curves are user attributes.
"""

import json
import time
from collections.abc import Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from kdsearch.legible import check_curve, check_text
from kdsearch.plain import from_json
from kdsearch.records import Inherited, Spent, State, TrialRecord
from kdsearch.sums import sealed, unsealed

_ADDED, _RESULT, _INHERITED = "added", "result", "inherited"
_PARAMS, _RANGES, _SYSTEM = "params", "ranges", "system_attrs"
_OF_A_RANGE = attrgetter("low", "high", "log", "step")
_WRITTEN = ("recipe", "described", "fingerprint", "proposed", "seeds", "known")
_FIXED = {*_WRITTEN, "screened", "began_ms", "ended_ms"}
_WITH_REASON = (TrialState.PRUNED, TrialState.FAIL)
"""Of another state a reason is what a driver wrote before it was killed, and another then led the trial to its end."""
_OF_THE_END = ("reason", "standing", _INHERITED)


def begun(
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    system_attrs: Mapping[str, Any],
    attrs: Mapping[str, Any],
) -> dict[str, Any]:
    """The user attributes of a new trial: those given, when it began, and the text with the sum of what is fixed.
    `inherited` may change until the trial is over, also by the version before: its `result` seals it.
    """
    whole = {**attrs, "began_ms": now_ms()}
    fixed = {name: value for name, value in whole.items() if name in _FIXED}
    beside = {_PARAMS: dict(params), _RANGES: _ranges(distributions), _SYSTEM: dict(system_attrs)}
    return {**whole, _ADDED: sealed({**fixed, **beside})}


def result(
    curve: list[dict[str, Any]], spent: Spent, measured: Mapping[str, float] | None = None, **beside: Any
) -> str:
    """What became of a trial, as one attribute, for each is a transaction of its own. `beside` is what else is written
    of its end, and has to fit from then on: `values`, `reason`, `standing`, `inherited`.
    """
    figures = {"curve": curve, "spent": spent, "measured": dict(measured or {})}
    return sealed({**figures, **beside, "ended_ms": now_ms()})


def read(trial: FrozenTrial) -> TrialRecord:
    """Raises `ValueError`, `TypeError` or `KeyError`, with the name of what is not as kdsearch wrote it."""
    attrs = trial.user_attrs
    _check_begun(trial)
    ended = _ended(trial)
    inherited = attrs.get(_INHERITED)
    record = from_json(
        TrialRecord,
        {
            "number": trial.number,
            "state": _state(trial),
            "params": dict(trial.params),
            **{name: attrs[name] for name in _WRITTEN if name in attrs},
            "measured": ended.get("measured", {}),
            "curve": ended["curve"],
            "spent": ended.get("spent", {}),
            "inherited": from_json(Inherited, inherited) if inherited else None,
            "waiting": bool(attrs.get("waiting", False)) and trial.state == TrialState.RUNNING,
            "reason": attrs.get("screened") or (attrs.get("reason") if trial.state in _WITH_REASON else None),
            "began_ms": attrs.get("began_ms", _ms(trial.datetime_start) or 0),
            "ended_ms": ended.get("ended_ms", _ms(trial.datetime_complete)) if trial.state.is_finished() else None,
        },
    )
    check_curve(record.curve)
    if record.state == "complete" and not ("accuracy" in record.measured and "parameters" in record.known):
        raise ValueError("it is complete and has no accuracy or no parameters")
    return record


def _check_begun(trial: FrozenTrial) -> None:
    """Raise `ValueError` where what was written when the trial was added has changed."""
    attrs = trial.user_attrs
    text = attrs.get(_ADDED)
    if text is None:
        if "began_ms" in attrs:  # older versions did not write it
            raise ValueError(f"its {_ADDED} is gone")
        check_text([attrs.get("described"), trial.params])
        return
    then, summed = unsealed(text)
    if not summed:
        raise ValueError(f"its {_ADDED} has lost its sum")
    if "\\ud" in text:  # half a character, or a whole one of two halves
        check_text(then)
    now = {name: value for name, value in attrs.items() if name in _FIXED}
    now |= {_PARAMS: trial.params, _RANGES: _ranges(trial.distributions)}
    now[_SYSTEM] = {name: trial.system_attrs.get(name) for name in then[_SYSTEM]}  # others may have added some
    if then != now:
        changed = sorted(name for name in then.keys() | now.keys() if not _same(then.get(name), now.get(name)))
        if changed:
            raise ValueError(f"its {' and '.join(changed)} {'is' if len(changed) == 1 else 'are'} not what was written")


def _same(one: Any, other: Any) -> bool:
    """Whether JSON cannot tell them apart: NaN is NaN there, and a tuple a list."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _ranges(distributions: Mapping[str, BaseDistribution]) -> dict[str, list[Any]]:
    return {
        name: list(one.choices if isinstance(one, CategoricalDistribution) else _OF_A_RANGE(one))
        for name, one in distributions.items()
    }


def _ended(trial: FrozenTrial) -> dict[str, Any]:
    """What became of the trial. Before its end that is nothing, whatever a driver had written when it was killed."""
    if not trial.state.is_finished():
        return {"curve": []}
    attrs = trial.user_attrs
    return _result(trial) if _RESULT in attrs else {**attrs, "curve": json.loads(attrs.get("curve", "[]"))}


def _result(trial: FrozenTrial) -> dict[str, Any]:
    """What became of a trial that is over, held against what is beside it."""
    try:
        content, summed = unsealed(trial.user_attrs[_RESULT])
    except (ValueError, TypeError, AttributeError):
        raise ValueError("its results are not what was written") from None
    if not summed and "ended_ms" in content:  # older versions did not write it
        raise ValueError("its results have lost their sum")
    for name in _OF_THE_END:
        if name in content and content[name] != trial.user_attrs.get(name):
            raise ValueError(f"its {name} is not what was written")
    if trial.state == TrialState.COMPLETE:
        if content.get("values", trial.values) != trial.values:
            raise ValueError("its values are not what was written")
        if not set(trial.values) <= set(content["measured"].values()):
            raise ValueError("its values are none of its figures")
    return content


def _state(trial: FrozenTrial) -> State:
    match trial.state:
        case TrialState.COMPLETE:
            return "complete"
        case TrialState.PRUNED:
            return "screened" if "screened" in trial.user_attrs else "pruned"
        case TrialState.FAIL:
            return "failed"
        case TrialState.RUNNING | TrialState.WAITING:
            return "running"


def now_ms() -> int:
    """Milliseconds since the epoch, which no time zone and no daylight saving moves."""
    return time.time_ns() // 1_000_000


def _ms(moment: datetime | None) -> int | None:
    """Of studies of older versions, which have Optuna's own times alone: local, of nobody knows which zone."""
    return int(moment.timestamp() * 1000) if moment is not None else None
