"""What users do, as functions: run, list, status, report, export. The command line only parses and prints.

Every function takes the workspace's folder (default: KDSEARCH_WORKSPACE, else `runs`) and the database's URL (default:
the workspace's own SQLite file).
"""

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from kdsearch import frame as frames
from kdsearch.accounting import account
from kdsearch.events import Listener, SearchEnded
from kdsearch.export import Exported
from kdsearch.export import export as export_trial
from kdsearch.mistakes import Mistake
from kdsearch.prepare import Prepared, draft
from kdsearch.search import search
from kdsearch.signal_files import space_bytes
from kdsearch.stopping import Rule
from kdsearch.store import Store, StudyFacts, TrialRecord, open_storage, study_names
from kdsearch.study import Source, Study
from kdsearch.tracking import Mirror
from kdsearch.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

Where = str | os.PathLike[str]


@dataclass(frozen=True)
class Results:
    """A study's trials as tables. `ended` says how the last run went, None for a study that was only opened."""

    facts: StudyFacts
    records: Sequence[TrialRecord]
    ended: SearchEnded | None = None

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """One row per trial; see `kdsearch.frame.frame` for the columns."""
        return frames.frame(self.records, self.facts)

    @property
    def front(self) -> "pd.DataFrame":
        """The non-dominated trials by rising parameters."""
        return frames.front(self.frame)

    @property
    def hypervolume(self) -> float:
        return frames.hypervolume(self.frame, self.facts)


def run(
    study: Study | Where,
    *,
    workspace: Where | None = None,
    storage: str | None = None,
    trials: int | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    patience: int | None = None,
    stopping: str | Rule | None = None,
    workers: int | None = None,
    engine: str = "local",
    smoke: bool = False,
    listeners: Sequence[Listener] = (),
    track: bool = True,
    complain: Callable[[str], None] = print,
) -> Results:
    """Run a study, or continue the one of its name, and mirror it to MLflow (unless `track` is false).

    `trials`, `minutes`, `epochs` (of all trials together) and `patience` replace the study's budget, `stopping` its
    rule of early stopping ("none" for none). `study` is a study file or a `Study` made in a script or a notebook.
    Ctrl-C ends the run with everything kept: the next run goes on from there; a second one ends it at once. `complain`
    gets what is worth a line besides. Raises `Mistake` for what the user can mend, `StopRequestedError` if stopped
    while the teacher is trained.
    """
    source = Source.of(study) if isinstance(study, Study) else Source(path=Path(study))
    if smoke:
        source = replace(source, smoke=True)
    place = Workspace.chosen(workspace)
    with _interrupts() as interrupted, ExitStack() as stack:
        loaded = study if isinstance(study, Study) and not smoke else source.load()
        heard = list(listeners)
        if track:
            heard.append(stack.enter_context(Mirror(place, _pages, complain)))
        ended = search(
            source,
            place,
            study=loaded,
            storage_url=storage,
            engine=engine,
            workers=workers,
            budget={"trials": trials, "minutes": minutes, "epochs": epochs, "patience": patience},
            rule=stopping,
            listeners=heard,
            stopping=interrupted,
        )
    return Results(ended.facts, ended.records, ended)


def open_study(name: str, *, workspace: Where | None = None, storage: str | None = None) -> Results:
    """A study's stored trials. Raises `Mistake`, with the names there are, for an unknown one."""
    store = _store(name, Workspace.chosen(workspace), storage)
    return Results(store.facts, store.records())


def studies(*, workspace: Where | None = None, storage: str | None = None) -> list[Results]:
    """All of kdsearch's studies in the workspace, by name."""
    place = Workspace.chosen(workspace)
    if storage is None and not (place.root / "optuna.db").exists():
        return []
    opened = open_storage(storage or place.storage_url, create=False)
    found = []
    for name in study_names(opened):
        try:
            store = Store(opened, name)
        except Mistake:
            continue  # another program's study in the same database
        found.append(Results(store.facts, store.records()))
    return found


def status(name: str, *, workspace: Where | None = None, storage: str | None = None) -> dict[str, Any]:
    """What `kdsearch status --json` prints; trials that an interrupted run left count as paused. `signals_mb` is what
    the teacher's signals take on this machine's disk, `account` where the time went (`kdsearch.accounting.account`).
    """
    store = _store(name, Workspace.chosen(workspace), storage)
    results = Results(store.facts, store.records())
    counts = dict.fromkeys(("complete", "pruned", "screened", "failed", "running", "paused"), 0)
    for record in results.records:
        counts[record.state] += 1
    driven = bool(counts["running"]) and _driven(Workspace.chosen(workspace).study(name))
    paused = sum(record.state == "running" and (record.waiting or not driven) for record in results.records)
    counts["paused"], counts["running"] = paused, counts["running"] - paused
    return {
        "study": name,
        "teacher": {
            # not measured yet where a search has just begun
            "accuracy": None if math.isnan(results.facts.teacher["accuracy"]) else results.facts.teacher["accuracy"],
            "parameters": results.facts.teacher["parameters"],
        },
        "trials": counts,
        "account": account(results.records, store.sessions()),
        "signals_mb": round(space_bytes(Workspace.chosen(workspace).signals(name)) / 1e6, 3),
        "hypervolume": results.hypervolume,
        "reference": results.facts.reference,
        "front": [
            {
                "trial": record.number,
                "parameters": int(record.known["parameters"]),
                "accuracy": record.measured["accuracy"],
                "params": record.params,
            }
            for record in (results.records[number] for number in results.front.index)
        ],
    }


def write_report(
    name: str, *, to: Where | None = None, workspace: Where | None = None, storage: str | None = None
) -> Path:
    """Write the study's page, by default to `reports/NAME/index.html`; gives its path."""
    from kdsearch import report
    from kdsearch.files import writable

    results = open_study(name, workspace=workspace, storage=storage)
    folder = Path(to) if to is not None else Path("reports") / name
    with writable(folder):
        return report.write_report(results.frame, results.facts, folder)


def export_student(
    name: str,
    to: Where,
    *,
    trial: int | None = None,
    pick: frames.Rule = "knee",
    max_parameters: int | None = None,
    max_drop: float | None = None,
    study: Study | Where | None = None,
    workspace: Where | None = None,
    storage: str | None = None,
) -> Exported:
    """Export a trial's student: `trial`, or the one that `pick` chooses within the limits (see `kdsearch.frame.pick`).

    `study` is needed where the study file has moved or the study was not made from a file. Raises `Mistake`.
    """
    if trial is not None and (max_parameters is not None or max_drop is not None):
        raise Mistake("a trial chosen by number is not picked within limits; give either the trial or the limits")
    place = Workspace.chosen(workspace)
    store = _store(name, place, storage)
    results = Results(store.facts, store.records())
    if trial is not None:
        if trial not in results.frame.index:
            raise Mistake(f"the study {name!r} has no trial {trial}; it has 0 to {len(results.records) - 1}")
        chosen = trial
    else:
        chosen = frames.pick(results.frame, results.facts, pick, max_parameters=max_parameters, max_drop=max_drop)
    return export_trial(_prepared(store.facts, study, place), store.record(chosen), Path(to))


def _prepared(facts: StudyFacts, study: Study | Where | None, workspace: Workspace) -> Prepared:
    """The stored study made ready again, from its file or from what the caller gives; refused where it has changed."""
    if isinstance(study, Study):
        source = Source.of(study)
    else:
        path = study if study is not None else facts.file
        if path is None:
            raise Mistake(
                f"the study {facts.name!r} was not made from a file; pass it: export_student(..., study=STUDY)"
            )
        if not Path(path).exists():
            raise Mistake(f"the study file {path} is not there any more; say where it is now with --study FILE")
        source = Source(path=Path(path))
    planned = draft(replace(source, smoke=facts.smoke), workspace)
    if changed := facts.differences(planned.facts):
        raise Mistake(
            f"the study {facts.name!r} has changed in {', '.join(changed)} since its trials were made; undo the change"
        )
    return planned.ready()


def _store(name: str, workspace: Workspace, storage: str | None) -> Store:
    return Store(open_storage(storage or workspace.storage_url, create=False), name)


def _driven(folder: Path) -> bool:
    """Whether a driver is at work on the study in `folder`."""
    try:
        with FileLock(folder / "driver.lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # no such folder here: the database is shared, the workspace is another's


def _pages(records: list[TrialRecord], facts: StudyFacts) -> dict[str, str]:
    from kdsearch.report import pareto_page

    table = frames.frame(records, facts)
    return {"pareto.html": pareto_page(table, facts), "front.csv": frames.front(table).to_csv()}


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Ctrl-C or a polite kill asks for a clean stop; a second one raises KeyboardInterrupt where it happens."""
    asked = threading.Event()

    def handle(_number: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # signals belong to the main thread
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
