"""Each event as one JSON object on a line of its own, for programs that watch a search.

Every object has `event` and `time` (ISO-8601, UTC). Figures that are not finite are null. Accuracies are fractions.

- `teacher_epoch`: `member`, `epochs`, `line` (of its curve: `epoch`, `loss`, `validation_accuracy`, `seconds` ...)
- `teacher_measured`: `accuracy`
- `search_began`: `study`, `target`, `workers`, `minutes`, `teacher` and `data` as in the study's facts, `trials`: how
  many there are so far by state
- `trial_began`: the trial's fields, `adopted`; `trial_ended`: the trial's fields. These are `trial`, `state`,
  `params`, `recipe` (flat), `known`, `measured`, `reason`, `seconds`, `epochs_trained`, `spent`, `began_ms`, `ended_ms`
- `segment_began`: `trial`, `epoch`, `epochs`; `segment_ended`: `trial`; `trial_waits`: `trial`, `epoch`, `epochs`
- `trial_epoch`: `trial`, `line`
- `repeats_began`: `study`, `wanted`, `done`, `workers`; `repeats_ended`: `study`, `runs`, `interrupted`
- `repeat_began`: `label`, `seed`, `epoch`, `epochs`, `start_epochs`, `family`, `parameters`
- `repeat_epoch`: `label`, `seed`, `line`
- `repeat_ended`: `label`, `seed`, `arm`, `state`, `known`, `measured`, `reason`, `seconds`
- `anew_began`: `study`, `trial`, `epoch`, `epochs`; `anew_epoch`: `trial`, `line`
- `note`: `text`, `warning`
- `search_ended`: `study`, `stopped`, `interrupted`, `failed`, `trials` by state
- `result`, the last: what `kdsearch status --json` prints, `report` (the page's path) and `interrupted`

Left out: the curves of ended trials, whose lines came before; errors of the command itself, which go to standard error.
"""

import dataclasses
import json
import math
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from kdsearch.events import (
    Happening,
    Note,
    RepeatEnded,
    RepeatsBegan,
    RepeatsEnded,
    SearchBegan,
    SearchEnded,
    TrialBegan,
    TrialEnded,
)
from kdsearch.records import TrialRecord

_TRIAL = (
    "state",
    "params",
    "known",
    "measured",
    "reason",
    "seconds",
    "epochs_trained",
    "spent",
    "began_ms",
    "ended_ms",
)
_RUN = ("label", "seed", "arm", "state", "known", "measured", "reason", "seconds")


class JsonLog:
    """A listener that writes each event to `stream` as one JSON object on a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = False
        self._lock = threading.Lock()  # complaints come from other threads

    def __enter__(self) -> "JsonLog":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        """What is worth a line besides: a warning."""
        self(Note(text))

    def __call__(self, happening: Happening) -> None:
        self.write(event_name(type(happening)), fields(happening))

    def write(self, event: str, content: Mapping[str, Any]) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = json.dumps({"event": event, "time": stamp, **_finite(dict(content))}, allow_nan=False)
        with self._lock:
            if self._lost:
                return
            try:
                self._stream.write(text + "\n")
                self._stream.flush()
            except BrokenPipeError:  # who reads the log has ended: no reason to end a search
                self._lost = True
                print("kdsearch: nobody reads the JSON log any more; going on without it", file=sys.stderr)


@contextmanager
def own_stdout() -> Iterator[TextIO]:
    """Standard output for the caller alone: what anything else in this process or its workers prints there meanwhile
    goes to standard error.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(kept, "w", encoding="utf-8", closefd=False) as stream:
            yield stream
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def event_name(kind: type) -> str:
    """`TrialEnded` as trial_ended."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def fields(happening: Happening) -> dict[str, Any]:
    """What an event's object has beside its name and time."""
    match happening:
        case SearchBegan(facts=facts):
            plan = {"target": happening.target, "workers": happening.workers, "minutes": happening.minutes}
            about = {"teacher": facts.teacher, "data": facts.data}
            return {"study": facts.name, **plan, **about, "trials": _states(happening.records)}
        case TrialBegan(record=record, adopted=adopted):
            return {**_trial(record), "adopted": adopted}
        case TrialEnded(record=record):
            return _trial(record)
        case RepeatsBegan(facts=facts):
            counts = {"wanted": happening.wanted, "done": happening.done, "workers": happening.workers}
            return {"study": facts.name, **counts}
        case RepeatEnded(record=run):
            return {name: getattr(run, name) for name in _RUN}
        case RepeatsEnded(facts=facts, confirmed=confirmed, interrupted=interrupted):
            return {"study": facts.name, "runs": len(confirmed.records), "interrupted": interrupted}
        case SearchEnded(facts=facts):
            how = {name: getattr(happening, name) for name in ("stopped", "interrupted", "failed")}
            return {"study": facts.name, **how, "trials": _states(happening.records)}
        case _:
            return dataclasses.asdict(happening)


def _trial(record: TrialRecord) -> dict[str, Any]:
    return {
        "trial": record.number,
        "recipe": record.described,
        **{name: getattr(record, name) for name in _TRIAL},
    }


def _states(records: Sequence[TrialRecord]) -> dict[str, int]:
    return dict(Counter(record.state for record in records))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return value
