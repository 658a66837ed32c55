"""Training a recipe anew, in this process: a student whose weights are gone, or one that learns from more data.

A training is kept after each segment, so that one which is interrupted is gone on with. Segments run with one thread,
as a search's do: on the same kind of machine, with the same versions, the same seeds give the same bits.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from kdsearch.confirm import recipe_of
from kdsearch.events import AnewBegan, AnewEpoch, Listener, Note
from kdsearch.executors.base import run_segment
from kdsearch.export.subject import Subject, TrainedOn, check_complete, kept, searched
from kdsearch.files import DamagedError, load_tensors, save_tensors, void, writable
from kdsearch.mistakes import Mistake, UserCodeError
from kdsearch.plain import digest
from kdsearch.prepare import Prepared
from kdsearch.recipe import Recipe
from kdsearch.records import TrialRecord
from kdsearch.signals import Signals
from kdsearch.training import Epoch, StopRequestedError
from kdsearch.trial import Failed, Progress, Seeds, Segment
from kdsearch.underway import UnderWay, saved

Stopping = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A student's weights, and its accuracy on the validation split; None where it has learned from that split too."""

    weights: Mapping[str, Tensor]
    accuracy: float | None


def train_anew(
    prepared: Prepared,
    recipe: Recipe,
    seeds: Seeds,
    *,
    trial: int,
    trained_on: TrainedOn = "train",
    keep: bool = False,
    tell: Listener = void,
    stopping: Stopping = lambda: False,
) -> Trained:
    """Train `recipe` (its hint layers named) from nothing, or go on from where an interrupted call was; `trial` is what
    it is called. With `keep` the end is kept too, and given by the next call.

    Raises `StopRequestedError` where `stopping` said so, with everything kept; `Mistake` where it diverges, and
    `UserCodeError` for what the student's own code raises.
    """
    scored = trained_on == "train"
    prepared = prepared if scored else on_both(prepared)
    path = _path(prepared, recipe, seeds, keep)
    under_way = _begun(path, recipe, seeds, trial, tell)
    tell(AnewBegan(prepared.study.name, trial, under_way.epoch, recipe.epochs))

    def on_epoch(line: Epoch) -> bool:
        shown = line if scored else {name: part for name, part in line.items() if name != "validation_accuracy"}
        tell(AnewEpoch(trial, shown))
        return stopping()

    while True:
        result = _segment(prepared, under_way, trial, on_epoch)
        under_way.take_in(result)
        for note in result.notes:
            tell(Note(note))
        if result.measured is None or keep:
            under_way.save(path)
        if result.measured is not None:
            break
        if stopping():
            raise StopRequestedError
    if not keep:
        path.unlink(missing_ok=True)
    return Trained(weights=result.state.train.module, accuracy=result.measured["accuracy"] if scored else None)


def taken(
    prepared: Prepared,
    record: TrialRecord,
    confirmed: Mapping[str, Any] | None = None,
    *,
    recreate: bool = False,
    retrain: bool = False,
    tell: Listener = void,
    stopping: Stopping = lambda: False,
) -> Subject:
    """The student of a complete trial to be exported: as it was kept, or `recreated` or `retrained` where asked for."""
    if retrain:
        return retrained(prepared, record, confirmed, tell=tell, stopping=stopping)
    if recreate:
        return recreated(prepared, record, confirmed, tell=tell, stopping=stopping)
    return kept(prepared, record, confirmed)


def recreated(
    prepared: Prepared,
    record: TrialRecord,
    confirmed: Mapping[str, Any] | None = None,
    *,
    tell: Listener = void,
    stopping: Stopping = lambda: False,
) -> Subject:
    """The student of a complete trial: the one in the workspace, or where that is gone or damaged the recipe trained
    again from the trial's own seeds, and put back.

    Raises `Mistake` where that does not have the accuracy that was searched, and as `train_anew` does.
    """
    check_complete(record)
    path = prepared.workspace.student(prepared.study.name, record.number)
    try:
        weights, _ = load_tensors(path)
        return searched(prepared, record, weights, confirmed)
    except FileNotFoundError:
        tell(Note(f"the weights of trial {record.number} are gone: it is trained again"))
    except DamagedError as error:
        tell(Note(f"the weights of trial {record.number} are damaged ({error}): it is trained again"))
    recipe = recipe_of(prepared, record)
    seeds = Seeds(**record.seeds)
    trained = train_anew(prepared, recipe, seeds, trial=record.number, tell=tell, stopping=stopping)
    assert trained.accuracy is not None
    _check_same(record, trained.accuracy, len(prepared.data.validation))
    notes = {"study": prepared.study.name, "trial": record.number, "fingerprint": recipe.fingerprint()}
    with writable(path):
        save_tensors(path, trained.weights, notes)
    return searched(prepared, record, trained.weights, confirmed)


def retrained(
    prepared: Prepared,
    record: TrialRecord,
    confirmed: Mapping[str, Any] | None = None,
    *,
    tell: Listener = void,
    stopping: Stopping = lambda: False,
) -> Subject:
    """The recipe of a complete trial, trained from its own seeds on training plus validation data; kept, so that it is
    trained once. Raises as `train_anew` does.
    """
    check_complete(record)
    recipe, seeds = recipe_of(prepared, record), Seeds(**record.seeds)
    both: TrainedOn = "train and validation"
    trained = train_anew(
        prepared, recipe, seeds, trial=record.number, trained_on=both, keep=True, tell=tell, stopping=stopping
    )
    return Subject(
        prepared=prepared,
        trial=record.number,
        params=record.params,
        recipe=recipe,
        seeds=seeds,
        weights=trained.weights,
        searched=None,
        trained_on=both,
        confirmed=confirmed or {},
    )


def on_both(prepared: Prepared) -> Prepared:
    """The same study with its validation split among the training data. The teacher is the same, and so is what it says
    of each example; it is kept beside the rest, under a key of its own.
    """
    data = prepared.data.joined()
    key = digest({"teacher": prepared.teacher.key, "data": data.fingerprint})[:32]
    signals = Signals(
        lambda: prepared.teacher,
        key,
        data,
        prepared.workspace.signals(prepared.study.name),
        prepared.study.signals_gb,
    )
    return dataclasses.replace(prepared, data=data, signals=signals)


def _check_same(record: TrialRecord, now: float, examples: int) -> None:
    """Raise `Mistake` unless the recreated student has the accuracy that was searched."""
    before = record.measured["accuracy"]
    if now == before:
        return
    apart = round(abs(now - before) * examples)
    raise Mistake(
        f"trained again, trial {record.number} has a validation accuracy of {now:.2%}, the search saw {before:.2%} "
        f"({apart} of {examples} examples): another machine or version, or a teacher trained with other threads, gives "
        "other bits. Export where it was searched, or take another student of this recipe with --retrain, whose "
        "accuracy is from the test split"
    )


def _begun(path: Path, recipe: Recipe, seeds: Seeds, trial: int, tell: Listener) -> UnderWay:
    under_way = UnderWay(recipe, seeds, {}, time.monotonic)
    try:
        under_way.state, under_way.curve, _ = saved(path)
    except FileNotFoundError:
        pass  # nothing is trained of it yet
    except DamagedError as error:
        tell(Note(f"trial {trial} begins again: {error}"))
    return under_way


def _segment(prepared: Prepared, under_way: UnderWay, trial: int, on_epoch: Callable[[Epoch], bool]) -> Progress:
    recipe = under_way.recipe
    # as in a search, a segment never crosses from the start into the distil stage
    stage_end = recipe.start_epochs if under_way.in_start else recipe.epochs
    segment = Segment(
        trial=trial,
        recipe=recipe,
        seeds=under_way.seeds,
        state=under_way.state,
        upto=min(under_way.epoch + prepared.study.segment_epochs, stage_end),
        objectives=("accuracy",),
    )
    result = run_segment(segment, prepared.data, prepared.signals, on_epoch)
    if isinstance(result, Failed):
        said = f"trial {trial} cannot be trained again: {result.reason}"
        raise UserCodeError(said, result.trace) if result.trace else Mistake(said)
    return result


def _path(prepared: Prepared, recipe: Recipe, seeds: Seeds, keep: bool) -> Path:
    parts = {
        "keep": keep,  # what is kept at its end is not for those who want it trained
        "recipe": recipe.fingerprint(),
        "seeds": dataclasses.asdict(seeds),
        "data": prepared.data.fingerprint,
        "teacher": prepared.teacher.key,
    }
    return prepared.workspace.anew(prepared.study.name) / f"{digest(parts)[:16]}.safetensors"
