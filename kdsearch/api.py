"""What users do with a study, as functions: run, confirm, list, status.

Every function takes the workspace's folder (default: KDSEARCH_WORKSPACE, else `runs`) and the database's URL (default:
the workspace's own SQLite file).
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from kdsearch import frame as frames
from kdsearch.accounting import account
from kdsearch.choice import notable
from kdsearch.confirm import SEEDS, Control, comparison_plan, front_plan
from kdsearch.confirm import confirm as confirm_plan
from kdsearch.events import Listener, to_all
from kdsearch.executors import Executor
from kdsearch.executors.engine import Engine
from kdsearch.findings import of_member
from kdsearch.interrupts import interrupts
from kdsearch.lease import driven
from kdsearch.ledger import Confirmed
from kdsearch.legible import IllegibleError
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_storage
from kdsearch.prepare import Prepared
from kdsearch.records import StudyFacts
from kdsearch.reporting import mirrored_pages
from kdsearch.results import Results
from kdsearch.search import confirm_study as search_confirm
from kdsearch.search import search
from kdsearch.signal_files import space_bytes
from kdsearch.stopping import Rule
from kdsearch.store import Store, study_names
from kdsearch.stored import Where, confirmed_of, given, source_of, store_of
from kdsearch.study import VARIED, Study
from kdsearch.tracking import Mirror
from kdsearch.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd


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
    address: str | None = None,
    gpus_per_trial: float = 0.0,
    stall_minutes: float | None = None,
    worker_memory_gb: float | None = None,
    smoke: bool = False,
    confirm: bool = True,
    listeners: Sequence[Listener] = (),
    progress: bool | None = None,
    track: bool = True,
    complain: Callable[[str], None] | None = None,
) -> Results:
    """Run a study, or continue the one of its name, and mirror it to MLflow (unless `track` is false). Unless `confirm`
    is false it ends with the confirmation of at most three front members: knee, most accurate, and the smallest within
    one point of the teacher, each with the same student alone, on five fresh seeds (two with `smoke`).

    `trials`, `minutes`, `epochs` (of all trials together) and `patience` replace the study's budget, `stopping` its
    rule of early stopping ("none" for none), `stall_minutes` its patience with a segment that makes no progress (0: no
    end of it). A worker with more than `worker_memory_gb` gigabytes of its own is ended and replaced. `study` is a
    study file or a `Study` made in a script or a notebook.
    Ctrl-C ends the run with everything kept: the next run goes on from there; a second one ends it at once.
    `progress` is shown in a notebook, in one display that is kept up to date, and not in a script, unless it is True or
    False. `complain` gets what is worth a line besides: that display by default, else `print`. Raises `Mistake` for
    what the user can mend, `StopRequestedError` if stopped while the teacher is trained.
    """
    asked = Engine(
        name=engine,
        workers=workers,
        address=address,
        gpus_per_trial=gpus_per_trial,
        worker_memory_gb=worker_memory_gb,
    )
    source = given(study)
    if smoke:
        source = replace(source, smoke=True)
    place = Workspace.chosen(workspace)
    with interrupts() as interrupted, ExitStack() as stack:
        loaded = study if isinstance(study, Study) and not smoke else source.load()
        heard, complain = _shown(progress, listeners, complain, stack)
        if track:
            heard.append(stack.enter_context(Mirror(place, mirrored_pages, complain)))
        taken: list[Confirmed] = []
        tell = to_all(heard)

        def then(prepared: Prepared, store: Store, executor: Executor) -> None:
            members = notable(frames.frame(store.records(), store.facts), store.facts)
            if members:
                plan = front_plan(prepared, [store.record(number) for number in members], seeds=2 if smoke else SEEDS)
                taken.append(confirm_plan(prepared, store, executor, plan, tell=tell, stopping=interrupted))

        ended = search(
            source,
            place,
            study=loaded,
            storage_url=storage,
            engine=asked,
            stall_minutes=stall_minutes,
            budget={"trials": trials, "minutes": minutes, "epochs": epochs, "patience": patience},
            rule=stopping,
            listeners=heard,
            stopping=interrupted,
            then=then if confirm else None,
        )
        store = store_of(ended.facts.name, place, storage)
        confirmed = taken[0] if taken else ended.confirmed
        return Results(ended.facts, ended.records, confirmed, ended, interrupted(), store)


def confirm_study(
    study: Study | Where,
    *,
    seeds: int = SEEDS,
    trials: Sequence[int] | None = None,
    controls: Sequence[Control] = (),
    compare: str | None = None,
    workspace: Where | None = None,
    storage: str | None = None,
    file: Where | None = None,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    gpus_per_trial: float = 0.0,
    stall_minutes: float | None = None,
    worker_memory_gb: float | None = None,
    listeners: Sequence[Listener] = (),
    progress: bool | None = None,
    track: bool = True,
    complain: Callable[[str], None] | None = None,
) -> Results:
    """Train front members again on `seeds` fresh seeds, each beside the same student alone and the `controls` asked for
    ("permuted", "starts"), and read the test split once for every run.

    With `compare` ("start", "layers", "temperature", "alpha", or one of the study's own comparisons) recipes that
    differ in that choice alone are trained instead. `trials` are the members: by default the whole front, in a
    comparison the three that a search confirms. What was trained before is not trained again, and an interrupted call
    is gone on with by the same call. `study` is a stored study's name, or a study file or `Study`, which need not have
    been searched for comparisons of its own; `file` is where a stored study's file is now. `progress`,
    `complain`, `stall_minutes` and `worker_memory_gb` are as for `run`. Raises `Mistake`.
    """
    place = Workspace.chosen(workspace)
    asked = Engine(
        name=engine,
        workers=workers,
        address=address,
        gpus_per_trial=gpus_per_trial,
        worker_memory_gb=worker_memory_gb,
    )
    stored = isinstance(study, str) and not study.endswith(".py")
    source = source_of(store_of(str(study), place, storage).facts, file) if stored else given(study)
    if not stored and (compare is None or compare in VARIED):
        store_of(source.load().name, place, storage)  # before a teacher is trained for a study that has no trials
    taken: list[Results] = []
    with interrupts() as interrupted, ExitStack() as stack:
        heard, complain = _shown(progress, listeners, complain, stack)
        if track:
            heard.append(stack.enter_context(Mirror(place, mirrored_pages, complain)))
        tell = to_all(heard)

        def then(prepared: Prepared, store: Store, executor: Executor) -> None:
            table = frames.frame(store.records(), store.facts)
            chosen = _members(table, store.facts, trials, compare is None)
            members = [store.record(number) for number in chosen]
            if compare is None:
                plan = front_plan(prepared, members, seeds=seeds, controls=controls)
            else:
                plan = comparison_plan(prepared, compare, members, seeds=seeds)
            confirmed = confirm_plan(prepared, store, executor, plan, tell=tell, stopping=interrupted)
            taken.append(Results(store.facts, store.records(), confirmed, interrupted=interrupted(), store=store))

        search_confirm(
            source,
            place,
            then,
            storage_url=storage,
            create=not stored,
            engine=asked,
            stall_minutes=stall_minutes,
            listeners=heard,
            stopping=interrupted,
        )
    return taken[0]


def _shown(
    progress: bool | None, listeners: Sequence[Listener], complain: Callable[[str], None] | None, stack: ExitStack
) -> tuple[list[Listener], Callable[[str], None]]:
    """The listeners, with a screen for as long as `stack` is open where progress is shown, and who gets complaints."""
    from kdsearch.progress import in_notebook, listener

    if not (in_notebook() if progress is None else progress):
        return list(listeners), complain or print
    screen = stack.enter_context(listener(Console()))
    return [*listeners, screen], complain or screen.say


def _members(
    table: "pd.DataFrame", facts: StudyFacts, trials: Sequence[int] | None, whole_front: bool
) -> Sequence[int]:
    if trials is None:
        return [int(number) for number in frames.front(table).index] if whole_front else notable(table, facts)
    for number in trials:
        if number not in table.index or table["state"].to_dict()[number] != "complete":
            raise Mistake(f"the study {facts.name!r} has no complete trial {number}; only such a one can be confirmed")
    return trials


def open_study(name: str, *, workspace: Where | None = None, storage: str | None = None) -> Results:
    """A study's stored trials. Raises `Mistake`, with the names there are, for an unknown one."""
    return Results.of(store_of(name, Workspace.chosen(workspace), storage))


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
        except IllegibleError:
            raise
        except Mistake:
            continue  # another program's study in the same database
        found.append(Results.of(store))
    return found


def status(name: str, *, workspace: Where | None = None, storage: str | None = None) -> dict[str, Any]:
    """What `kdsearch status --json` prints; trials that an interrupted run left count as paused. `signals_mb` is what
    the teacher's signals take on this machine's disk, `account` where the time went (`kdsearch.accounting.account`),
    `made_with` in what it was run (`kdsearch.surroundings.Surroundings`), the last now; empty for older studies.
    """
    store = store_of(name, Workspace.chosen(workspace), storage)
    results = Results.of(store)
    counts = dict.fromkeys(("complete", "pruned", "screened", "failed", "running", "paused"), 0)
    for record in results.records:
        counts[record.state] += 1
    at_work = bool(counts["running"]) and (driven(Workspace.chosen(workspace).study(name)) or store.driven)
    paused = sum(record.state == "running" and (record.waiting or not at_work) for record in results.records)
    counts["paused"], counts["running"] = paused, counts["running"] - paused
    return {
        "study": name,
        "teacher": {
            # not measured yet where a search has just begun
            "accuracy": None if math.isnan(results.facts.teacher["accuracy"]) else results.facts.teacher["accuracy"],
            "parameters": results.facts.teacher["parameters"],
            **(
                {"test_accuracy": results.confirmed.teacher_test_accuracy}
                if results.confirmed.teacher_test_accuracy is not None
                else {}
            ),
        },
        "trials": counts,
        "account": account(results.records, store.sessions()),
        "made_with": [dataclasses.asdict(one) for one in store.surroundings()],
        "signals_mb": round(space_bytes(Workspace.chosen(workspace).signals(name)) / 1e6, 3),
        "hypervolume": results.hypervolume,
        "reference": results.facts.reference,
        "front": [
            {
                "trial": record.number,
                "parameters": int(record.known["parameters"]),
                "accuracy": record.measured["accuracy"],
                "params": record.params,
                **confirmed_of(of_member(results.findings, record.number)),
            }
            for record in (results.records[number] for number in results.front.index)
        ],
        "findings": [dataclasses.asdict(finding) for finding in results.findings],
    }
