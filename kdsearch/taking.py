"""Taking a student away: `export_student`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from kdsearch import frame as frames
from kdsearch.events import Listener, to_all
from kdsearch.export import DEFAULT_FORMATS, Exported, check_formats, check_target, export, taken
from kdsearch.findings import of_member
from kdsearch.interrupts import interrupts
from kdsearch.mistakes import Mistake
from kdsearch.results import Results
from kdsearch.stored import Where, confirmed_of, prepared_of, store_of
from kdsearch.study import Study
from kdsearch.tracking import register as enroll
from kdsearch.training import StopRequestedError
from kdsearch.workspace import Workspace


def export_student(
    name: str,
    to: Where,
    *,
    trial: int | None = None,
    pick: frames.Rule = "knee",
    max_parameters: int | None = None,
    max_drop: float | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    softmax: bool = False,
    normalize: bool = False,
    register: bool = True,
    force_best: bool = False,
    recreate: bool = False,
    retrain: bool = False,
    listeners: Sequence[Listener] = (),
    study: Study | Where | None = None,
    workspace: Where | None = None,
    storage: str | None = None,
) -> Exported:
    """Export a trial's student: `trial`, or the one that `pick` chooses within the limits (see `kdsearch.frame.pick`).

    `formats` are of `kdsearch.export.FORMATS`; `softmax` and `normalize` put those into the ones that hold a network.
    `register` makes `student.onnx` a version in MLflow's model registry, whose alias `best` moves to it where it is
    better on the validation split, or by `force_best`; an MLflow that is away keeps nothing from being exported.
    `study` is needed where the study file has moved or the study was not made from a file. With `recreate` weights that
    are gone or damaged are trained again from the recipe, to be what was searched; `retrain` has the recipe trained on
    training plus validation data instead, by the same teacher and from the same seeds, so that the accuracy is from the
    test split alone. `listeners` hear of such a training; Ctrl-C ends it with `StopRequestedError` and all kept, and
    the same call goes on from there. Raises `Mistake`.
    """
    if recreate and retrain:
        raise Mistake("--recreate makes the searched student again, --retrain another one; give one of the two")
    if trial is not None and (max_parameters is not None or max_drop is not None):
        raise Mistake("a trial chosen by number is not picked within limits; give either the trial or the limits")
    check_formats(formats)  # before the work is done
    check_target(Path(to))
    place = Workspace.chosen(workspace)
    store = store_of(name, place, storage)
    results = Results.of(store)
    if trial is not None:
        if trial not in results.frame.index:
            raise Mistake(f"the study {name!r} has no trial {trial}; it has 0 to {len(results.records) - 1}")
        chosen = trial
    else:
        chosen = frames.pick(results.frame, results.facts, pick, max_parameters=max_parameters, max_drop=max_drop)
    confirmed = confirmed_of(of_member(results.findings, chosen))
    tell = to_all(listeners)
    with interrupts() as interrupted:
        prepared = prepared_of(store.facts, study, place, listener=tell, stopping=interrupted)
        how = {"recreate": recreate, "retrain": retrain}
        subject = taken(prepared, store.record(chosen), confirmed, **how, tell=tell, stopping=interrupted)
        if interrupted():
            raise StopRequestedError
    exported = export(subject, Path(to), formats=formats, softmax=softmax, normalize=normalize)
    if not register:
        return exported
    data = subject.prepared.data
    found = enroll(place, store.facts, exported.card, exported.folder, data, force=force_best)
    return dataclasses.replace(exported, registered=str(found))
