"""`kdsearch gc`: space freed safely, also while a search runs.

What goes belongs to nobody any more, or can be computed again and is not waited for. While a study's driver is alive
only that goes which no driver looks at: checkpoints of trials that are over, states of confirmed runs, temporary files
that nobody has written to for an hour; and, asked for, students that are dominated, which they stay. Front members'
students never go.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kdsearch import frame as frames
from kdsearch.driving import alone, at_work
from kdsearch.files import DamagedError, read_note, void, writable, write_text
from kdsearch.lease import AtWorkError, driven
from kdsearch.ledger import Confirmed
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_database
from kdsearch.owner import check_owner, owner_of
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.store import Store
from kdsearch.stored import Where
from kdsearch.upkeep import leftovers
from kdsearch.upkeep.against import freed_students
from kdsearch.upkeep.flaw import removing
from kdsearch.upkeep.rows import Rows
from kdsearch.upkeep.shelf import FREED, IDLE_SECONDS, KINDS, Orphan, beside_signals, lies_still, size_bytes, trial_of
from kdsearch.workspace import Workspace

Students = Literal["all", "front"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What may go besides what nobody needs. `pruned`: states from which a larger budget could take pruned trials up;
    `signals`: those of studies that no driver is at work on, which the next run asks the teacher for again;
    `students` "front": weights of dominated students, but for the trials in `keep` and those that were confirmed, and
    weights of no trial in a folder that is surely the study's.
    """

    pruned: bool = False
    signals: bool = False
    students: Students = "all"
    keep: Collection[int] = ()

    def __post_init__(self) -> None:
        if self.students not in ("all", "front"):
            raise Mistake(f"students to be kept must be all or front, got {self.students!r}")


@dataclass(frozen=True)
class Freed:
    """How many files, or folders, of each kind went (with `dry_run`: would go), and their bytes."""

    dry_run: bool
    files: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, size: int) -> None:
        self.files[kind] = self.files.get(kind, 0) + 1
        self.bytes[kind] = self.bytes.get(kind, 0) + size

    @property
    def mb(self) -> float:
        return sum(self.bytes.values()) / 1e6

    def as_json(self) -> dict[str, Any]:
        kinds = {kind: {"files": self.files[kind], "mb": round(self.bytes[kind] / 1e6, 3)} for kind in self.files}
        return {"dry_run": self.dry_run, "mb": round(self.mb, 3), "kinds": kinds}


def collect_garbage(
    name: str | None = None,
    *,
    dry_run: bool = False,
    pruned: bool = False,
    signals: bool = False,
    students: Students = "all",
    keep: Collection[int] = (),
    idle_seconds: float = IDLE_SECONDS,
    say: Callable[[str], None] = void,
    workspace: Where | None = None,
    storage: str | None = None,
) -> Freed:
    """Free what the study `name` needs no more, or all studies of the workspace and what killed processes left; with
    `dry_run` only say what that would be.

    `pruned`, `signals`, `students` and `keep` are those of `Wanted`. Files that were written to in the last
    `idle_seconds` are taken to be somebody's. `say` is told where it has to look whether a driver lives.
    Raises `Mistake` where there is no such study, or its folder is another's; in a workspace `say` is told of that one.
    """
    wanted = Wanted(pruned=pruned, signals=signals, students=students, keep=keep)
    place = Workspace.chosen(workspace)
    rows = Rows(open_database(storage or place.storage_url, create=False))
    freed = Freed(dry_run)
    for known in rows.ours() if name is None else [name]:
        store = Store(rows.storage, known)
        try:
            check_owner(place.study(known), store.facts.id)
        except Mistake as mistake:
            if name is not None:
                raise
            say(str(mistake))
        else:
            _free_study(place, rows, store, wanted, freed, idle_seconds, say)
    if name is None:
        strays = [*leftovers.of_the_workspace(place.root, idle_seconds)]
        for orphan in [*strays, *leftovers.of_the_temporary_folder(idle_seconds)]:
            _free(orphan, freed)
    return freed


def _free_study(
    place: Workspace,
    rows: Rows,
    store: Store,
    wanted: Wanted,
    freed: Freed,
    idle_seconds: float,
    say: Callable[[str], None],
) -> None:
    folder = place.study(store.facts.name)
    if not folder.is_dir():
        return
    with ExitStack() as stack:
        alive = driven(folder) if not freed.dry_run else at_work(rows.storage, folder)
        if not alive and not freed.dry_run:
            try:
                stack.enter_context(alone(rows.database, folder, tell=say))  # none begins meanwhile
            except AtWorkError:
                alive = True
        _sweep(place, store, wanted, freed, idle_seconds, alive=alive)


def _sweep(place: Workspace, store: Store, wanted: Wanted, freed: Freed, idle_seconds: float, *, alive: bool) -> None:
    facts, folder = store.facts, place.study(store.facts.name)
    files = leftovers.listed(folder, KINDS)
    records, confirmed = store.records(), store.ledger.read()
    for orphan in leftovers.of_a_study(folder, files, records, confirmed, alive=alive, idle_seconds=idle_seconds):
        if orphan.kind != "students" or (wanted.students == "front" and owner_of(folder) == facts.id):
            _free(orphan, freed)  # a student costs a training
    if not alive:
        for orphan in _idle(facts, files, records, wanted, idle_seconds):
            _free(orphan, freed)
    if wanted.students == "front":
        _free_students(place, facts, _dominated(facts, records, confirmed, wanted.keep), freed)


def _idle(
    facts: StudyFacts,
    files: dict[str, list[Path]],
    records: Sequence[TrialRecord],
    wanted: Wanted,
    idle_seconds: float,
) -> Iterator[Orphan]:
    """What goes while no driver is at work."""
    waiting = {f"{record.seeds['start']:016x}" for record in records if record.state == "running" and record.seeds}
    for path in files["starts"]:
        if path.stem.rsplit("-", 1)[-1] not in waiting:
            yield Orphan(kind="starts", path=path, why="no trial waits for it")
    states = {record.number: record.state for record in records}
    for path in files["checkpoints"] if wanted.pruned else ():
        number = trial_of(path)
        if number is not None and states.get(number) == "pruned":
            yield Orphan(kind="pruned states", path=path, why=f"trial {number} is pruned")
    for path in files["signals"]:
        unused = path.suffix == ".npy" and lies_still(path, idle_seconds)
        if unused and (wanted.signals or _of_another_teacher(path, facts)):
            yield Orphan(kind="signals", path=path, why="no trial is being trained with them")


def _of_another_teacher(path: Path, facts: StudyFacts) -> bool:
    """Whether signals are not of the teacher that the study's trials have; a --retrain's are neither, and can be had
    again.
    """
    try:
        return bool(read_note(path.with_suffix(".json"))["teacher"] != facts.teacher["key"])
    except (FileNotFoundError, DamagedError, KeyError):
        return False  # damaged: the doctor's


def _dominated(
    facts: StudyFacts, records: Sequence[TrialRecord], confirmed: Confirmed, keep: Collection[int]
) -> list[int]:
    """Complete trials that are not on the front; more trials never bring one of them back."""
    if not records:
        return []
    table = frames.frame(records, facts)
    kept = {*keep, *frames.front(table).index, *(question.trial for question in confirmed.questions)}
    measured = frames.comparable(table, facts).index
    return [int(number) for number in measured if number not in kept]


def _free_students(place: Workspace, facts: StudyFacts, numbers: Sequence[int], freed: Freed) -> None:
    paths = {number: place.student(facts.name, number) for number in numbers}
    present = {number: path for number, path in paths.items() if path.exists()}
    if not present:
        return
    if not freed.dry_run:  # first it is written that they are meant to be gone
        note = place.study(facts.name) / "students" / FREED
        with writable(note):
            write_text(note, json.dumps(sorted(freed_students(place, facts.name) | set(present))))
    for path in present.values():
        _free(Orphan(kind="dominated students", path=path, why="another is as accurate and as small"), freed)


def _free(orphan: Orphan, freed: Freed) -> None:
    beside = beside_signals(orphan.path) if orphan.path.suffix == ".npy" else []
    freed.add(orphan.kind, sum(size_bytes(path) for path in (orphan.path, *beside)))
    if not freed.dry_run:
        with writable(orphan.path):
            removing(orphan.path, *beside)()
