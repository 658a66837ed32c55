"""Taking students away: `export_student`, `export_front`."""

import functools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kdsearch import metrics
from kdsearch.choice import NO_LIMITS, Limits, Measure, Rule, choose, front_within
from kdsearch.confirm import recipe_of
from kdsearch.data.bar import bar
from kdsearch.events import Listener, Note, to_all
from kdsearch.export import DEFAULT_FORMATS, Exported, check_complete, check_formats, check_target, export, taken
from kdsearch.figures import choice_lines
from kdsearch.files import void, writable
from kdsearch.findings import of_member
from kdsearch.interrupts import interrupts
from kdsearch.mistakes import Mistake, user_code
from kdsearch.prepare import Prepared
from kdsearch.results import Results
from kdsearch.store import Store
from kdsearch.stored import Where, confirmed_of, prepared_of, store_of
from kdsearch.study import Study
from kdsearch.tracking import register as enroll
from kdsearch.workspace import Workspace

_OF_A_TRIAL = re.compile(r"trial-\d{5,}")

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ExportedFront:
    """The folder with an export for each member of a front, by rising parameters, and why the others failed, by
    trial.
    """

    folder: Path
    exported: list[Exported]
    failed: dict[int, str]


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What is asked for, whichever students are taken."""

    formats: Sequence[str]
    softmax: bool
    normalize: bool
    recreate: bool
    retrain: bool
    register: bool
    force_best: bool

    def __post_init__(self) -> None:
        check_formats(self.formats)
        if self.recreate and self.retrain:
            raise Mistake("--recreate makes the searched student again, --retrain another one; give one of the two")


@dataclass(frozen=True, kw_only=True)
class _Shelf:
    """A stored study to take students from. `prepared` is loaded when it is first needed: refusals come before."""

    place: Workspace
    store: Store
    results: Results
    order: _Order
    prepared: Callable[[], Prepared]
    tell: Listener
    stopping: Callable[[], bool]

    @property
    def latency(self) -> Measure:
        return lambda numbers: _latencies(self.prepared(), self.store, numbers)

    def take(self, trial: int, to: Path) -> Exported:
        """Raises `Mistake`, at no cost where the trial is not complete."""
        record, order = self.store.record(trial), self.order
        check_complete(record)
        confirmed = confirmed_of(of_member(self.results.findings, trial))
        subject = taken(
            self.prepared(),
            record,
            confirmed,
            recreate=order.recreate,
            retrain=order.retrain,
            tell=self.tell,
            stopping=self.stopping,
        )
        exported = export(
            subject,
            to,
            formats=order.formats,
            softmax=order.softmax,
            normalize=order.normalize,
            say=lambda text: self.tell(Note(text, warning=False)),
            stopping=self.stopping,
        )
        if not order.register:
            return exported
        data = subject.prepared.data
        found = enroll(self.place, self.store.facts, exported.card, exported.folder, data, force=order.force_best)
        return replace(exported, registered=str(found))


def export_student(
    name: str,
    to: Where,
    *,
    trial: int | None = None,
    pick: Rule = "knee",
    limits: Limits = NO_LIMITS,
    formats: Sequence[str] = DEFAULT_FORMATS,
    softmax: bool = False,
    normalize: bool = False,
    recreate: bool = False,
    retrain: bool = False,
    register: bool = True,
    force_best: bool = False,
    study: Study | Where | None = None,
    workspace: Where | None = None,
    storage: str | None = None,
    say: Say = void,
    listeners: Sequence[Listener] = (),
) -> Exported:
    """Export a trial's student: `trial`, or the one that `pick` chooses within the limits (see `kdsearch.choice`).

    Latencies that the study did not measure are measured now, on this machine. `formats` are of
    `kdsearch.export.FORMATS`; `softmax` and `normalize` put those into the ones that hold a network. With `recreate`
    weights that are gone or damaged are trained again from the recipe, to be what was searched; `retrain` has the
    recipe trained on training plus validation data instead, by the same teacher and from the same seeds, so that the
    accuracy is from the test split alone. `register` makes `student.onnx` a version in MLflow's model registry, whose
    alias `best` moves to it where it is better on the validation split, or by `force_best`; an MLflow that is away
    keeps nothing from being exported. `study` is needed where the study file has moved or the study was not made from a
    file. `say` is told what was chosen and why, and the runner-up; `listeners` hear of a training.

    Raises `Mistake`, and `StopRequestedError` after Ctrl-C, with what was trained kept: the same call goes on from it.
    """
    if trial is not None and limits.given:
        raise Mistake("a trial chosen by number is not picked within limits; give either the trial or the limits")
    order = _Order(
        formats=formats,
        softmax=softmax,
        normalize=normalize,
        recreate=recreate,
        retrain=retrain,
        register=register,
        force_best=force_best,
    )
    check_target(Path(to))  # before the work is done
    with _shelf(name, order, study, workspace, storage, listeners) as shelf:
        results = shelf.results
        if trial is None:
            choice = choose(results.frame, results.facts, pick, limits, shelf.latency)
            for line in choice_lines(choice, results.findings):
                say(line)
            trial = choice.trial
        elif trial not in results.frame.index:
            raise Mistake(f"the study {name!r} has no trial {trial}; it has 0 to {len(results.records) - 1}")
        return shelf.take(trial, Path(to))


def export_front(
    name: str,
    to: Where,
    *,
    limits: Limits = NO_LIMITS,
    formats: Sequence[str] = DEFAULT_FORMATS,
    softmax: bool = False,
    normalize: bool = False,
    recreate: bool = False,
    retrain: bool = False,
    register: bool = True,
    force_best: bool = False,
    study: Study | Where | None = None,
    workspace: Where | None = None,
    storage: str | None = None,
    say: Say = void,
    listeners: Sequence[Listener] = (),
) -> ExportedFront:
    """Export every member of the front within the limits to a folder of its own, TO/trial-00012.

    The arguments are those of `export_student`; `say` gets a line for each student. One that fails keeps no other from
    being written. Raises `Mistake` where nothing can be exported, and where `to` holds anything but such folders.
    """
    order = _Order(
        formats=formats,
        softmax=softmax,
        normalize=normalize,
        recreate=recreate,
        retrain=retrain,
        register=register,
        force_best=force_best,
    )
    folder = Path(to)
    before = _trials_in(folder)
    exported: list[Exported] = []
    failed: dict[int, str] = {}
    with _shelf(name, order, study, workspace, storage, listeners) as shelf:
        members = front_within(shelf.results.frame, shelf.results.facts, limits, shelf.latency)
        places = {number: folder / f"trial-{number:05d}" for number in members}
        for place in places.values():
            check_target(place)
        shelf.prepared()  # what is wrong with the study is wrong for every member
        for number, place in places.items():
            try:
                exported.append(shelf.take(number, place))
            except Mistake as mistake:
                failed[number] = str(mistake)
                say(f"trial {number} was not exported: {mistake}")
            else:
                say(f"trial {number}: {place}")
    for left in sorted(set(before) - {place.name for place in places.values()}):
        say(f"{folder / left} is from before: it is not on the front within the limits now")
    return ExportedFront(folder=folder.resolve(), exported=exported, failed=failed)


def _trials_in(folder: Path) -> list[str]:
    """The names of the exports of trials in a folder. Raises `Mistake` where it holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise Mistake(f"--to {folder} is a file; name a folder")
    with writable(folder):
        found = sorted(folder.iterdir()) if folder.is_dir() else []
    if others := [path.name for path in found if not (path.is_dir() and _OF_A_TRIAL.fullmatch(path.name))]:
        raise Mistake(f"the folder {folder} is not empty: it holds {', '.join(others[:5])}; name another")
    return [path.name for path in found]


@contextmanager
def _shelf(
    name: str,
    order: _Order,
    study: Study | Where | None,
    workspace: Where | None,
    storage: str | None,
    listeners: Sequence[Listener],
) -> Iterator[_Shelf]:
    place = Workspace.chosen(workspace)
    store = store_of(name, place, storage)
    tell = to_all(listeners)
    with interrupts() as interrupted:
        yield _Shelf(
            place=place,
            store=store,
            results=Results.of(store),
            order=order,
            prepared=functools.cache(
                lambda: prepared_of(store.facts, study, place, listener=tell, stopping=interrupted)
            ),
            tell=tell,
            stopping=interrupted,
        )


def _latencies(prepared: Prepared, store: Store, numbers: Sequence[int]) -> dict[int, float]:
    """Milliseconds of one example for each trial's student, measured now: each distinct student once, without its
    weights, on which latency does not depend.
    """
    data = prepared.data
    recipes = {number: recipe_of(prepared, store.record(number)) for number in numbers}
    written = {number: json.dumps(recipe.to_json()["student"]) for number, recipe in recipes.items()}
    students = {written[number]: recipe.student for number, recipe in recipes.items()}
    measured = {}
    with bar("measuring latency on this machine", len(students), "students") as advance:
        for text, student in students.items():
            with user_code(f"{type(student).__name__}"):
                measured[text] = metrics.latency_ms(student.build(data.shape, data.classes), data.shape)
            advance(1)
    return {number: measured[text] for number, text in written.items()}
