"""What users do, as functions: run, list, status, report, export. The command line only parses and prints.

Every function takes the workspace's folder (default: KDSEARCH_WORKSPACE, else `runs`) and the database's URL (default:
the workspace's own SQLite file).
"""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from rich.console import Console

from kdsearch import frame as frames
from kdsearch.accounting import account
from kdsearch.confirm import ALONE, SEEDS, Control, comparison_plan, front_plan
from kdsearch.confirm import confirm as confirm_plan
from kdsearch.events import Listener, to_all
from kdsearch.executors import Executor
from kdsearch.export import Exported
from kdsearch.export import export as export_trial
from kdsearch.findings import Finding, findings_frame, of_member
from kdsearch.interrupts import interrupts
from kdsearch.ledger import Confirmed
from kdsearch.mistakes import Mistake
from kdsearch.prepare import Prepared, draft
from kdsearch.results import Results
from kdsearch.search import confirm_study as search_confirm
from kdsearch.search import search
from kdsearch.signal_files import space_bytes
from kdsearch.stopping import Rule
from kdsearch.store import Store, StudyFacts, TrialRecord, open_storage, study_names
from kdsearch.study import VARIED, Source, Study, check_name
from kdsearch.tracking import Mirror
from kdsearch.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

Where = str | os.PathLike[str]


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
    rule of early stopping ("none" for none). `study` is a study file or a `Study` made in a script or a notebook.
    Ctrl-C ends the run with everything kept: the next run goes on from there; a second one ends it at once.
    `progress` is shown in a notebook, in one display that is kept up to date, and not in a script, unless it is True or
    False. `complain` gets what is worth a line besides: that display by default, else `print`. Raises `Mistake` for
    what the user can mend, `StopRequestedError` if stopped while the teacher is trained.
    """
    source = _given(study)
    if smoke:
        source = replace(source, smoke=True)
    place = Workspace.chosen(workspace)
    with interrupts() as interrupted, ExitStack() as stack:
        loaded = study if isinstance(study, Study) and not smoke else source.load()
        heard, complain = _shown(progress, listeners, complain, stack)
        if track:
            heard.append(stack.enter_context(Mirror(place, _pages, complain)))
        taken: list[Confirmed] = []
        tell = to_all(heard)

        def then(prepared: Prepared, store: Store, executor: Executor) -> None:
            members = frames.notable(frames.frame(store.records(), store.facts), store.facts)
            if members:
                plan = front_plan(prepared, [store.record(number) for number in members], seeds=2 if smoke else SEEDS)
                taken.append(confirm_plan(prepared, store, executor, plan, tell=tell, stopping=interrupted))

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
            then=then if confirm else None,
        )
        store = _store(ended.facts.name, place, storage)
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
    been searched for comparisons of its own; `file` is where a stored study's file is now. `progress` and `complain`
    are as for `run`. Raises `Mistake`.
    """
    place = Workspace.chosen(workspace)
    stored = isinstance(study, str) and not study.endswith(".py")
    source = _source(_store(str(study), place, storage).facts, file) if stored else _given(study)
    if not stored and (compare is None or compare in VARIED):
        _store(source.load().name, place, storage)  # before a teacher is trained for a study that has no trials
    taken: list[Results] = []
    with interrupts() as interrupted, ExitStack() as stack:
        heard, complain = _shown(progress, listeners, complain, stack)
        if track:
            heard.append(stack.enter_context(Mirror(place, _pages, complain)))
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
            engine=engine,
            workers=workers,
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
        return [int(number) for number in frames.front(table).index] if whole_front else frames.notable(table, facts)
    for number in trials:
        if number not in table.index or table["state"].to_dict()[number] != "complete":
            raise Mistake(f"the study {facts.name!r} has no complete trial {number}; only such a one can be confirmed")
    return trials


def open_study(name: str, *, workspace: Where | None = None, storage: str | None = None) -> Results:
    """A study's stored trials. Raises `Mistake`, with the names there are, for an unknown one."""
    return Results.of(_store(name, Workspace.chosen(workspace), storage))


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
        found.append(Results.of(store))
    return found


def status(name: str, *, workspace: Where | None = None, storage: str | None = None) -> dict[str, Any]:
    """What `kdsearch status --json` prints; trials that an interrupted run left count as paused. `signals_mb` is what
    the teacher's signals take on this machine's disk, `account` where the time went (`kdsearch.accounting.account`).
    """
    store = _store(name, Workspace.chosen(workspace), storage)
    results = Results.of(store)
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
            **(
                {"test_accuracy": results.confirmed.teacher_test_accuracy}
                if results.confirmed.teacher_test_accuracy is not None
                else {}
            ),
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
                **_confirmed(of_member(results.findings, record.number)),
            }
            for record in (results.records[number] for number in results.front.index)
        ],
        "findings": [dataclasses.asdict(finding) for finding in results.findings],
    }


def _confirmed(finding: Finding | None) -> dict[str, Any]:
    """What `status` says of a front member once it is confirmed."""
    if finding is None or (own := finding.arms[0].test) is None:
        return {}
    control = finding.arm(ALONE)
    beside = dataclasses.asdict(control.test) if control is not None and control.test is not None else None
    return {
        "test_accuracy": dataclasses.asdict(own),
        "alone_test_accuracy": beside,
        "verdict": control.said if control is not None else None,
    }


def write_report(
    name: str,
    *others: str,
    to: Where | None = None,
    ui: str | None = None,
    workspace: Where | None = None,
    storage: str | None = None,
    complain: Callable[[str], None] = print,
) -> Path:
    """Write the study's page, by default to `reports/NAME/index.html`; gives its path. With `others` the page compares
    the studies instead, by default in `reports/NAME-vs-OTHER`.

    `ui` is the address of an MLflow UI, to which the trials then lead (default: MLFLOW_TRACKING_URI where that is a web
    address; a server that is lost is told to `complain`, and the page is without links). Raises `Mistake`, also where
    the folder holds what kdsearch did not write.
    """
    from kdsearch import report
    from kdsearch.files import writable
    from kdsearch.report.folders import check_ours

    names = [name, *others]
    for one in names:
        check_name(one)
    folder = Path(to) if to is not None else Path("reports") / "-vs-".join(names)
    place = Workspace.chosen(workspace)
    with writable(folder):
        check_ours(folder)  # before the work is done
    materials = [Results.of(_store(one, place, storage)).material for one in names]
    if others:
        return report.write_comparison(materials, folder)
    links = _links(place, materials[0].facts, ui, complain)
    return report.write_report(dataclasses.replace(materials[0], links=links), folder)


def _links(place: Workspace, facts: StudyFacts, ui: str | None, complain: Callable[[str], None]) -> dict[int, str]:
    """The addresses of the trials' MLflow runs, none where no UI is known. One that was asked for must be there; a
    tracking server that happens to be lost keeps no report from being written.
    """
    from kdsearch.tracking import run_links

    if ui is not None:
        return run_links(place, facts, ui)
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not address.startswith(("http://", "https://")):
        return {}
    try:
        return run_links(place, facts, address)
    except Mistake as mistake:
        complain(f"the report has no links to MLflow: {mistake}")
        return {}


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
    results = Results.of(store)
    if trial is not None:
        if trial not in results.frame.index:
            raise Mistake(f"the study {name!r} has no trial {trial}; it has 0 to {len(results.records) - 1}")
        chosen = trial
    else:
        chosen = frames.pick(results.frame, results.facts, pick, max_parameters=max_parameters, max_drop=max_drop)
    confirmed = _confirmed(of_member(results.findings, chosen))
    return export_trial(_prepared(store.facts, study, place), store.record(chosen), Path(to), confirmed)


def _source(facts: StudyFacts, study: Study | Where | None) -> Source:
    """Where the stored study is read from: what the caller gives, else its file."""
    chosen = study if study is not None else facts.file
    if chosen is None:
        raise Mistake(f"the study {facts.name!r} was not made from a file; give the Study itself")
    if not isinstance(chosen, Study) and not Path(chosen).exists():
        raise Mistake(f"the study file {chosen} is not there any more; say where it is now with --study FILE")
    return replace(_given(chosen), smoke=facts.smoke)


def _given(study: Study | Where) -> Source:
    return Source.of(study) if isinstance(study, Study) else Source(path=Path(study))


def _prepared(facts: StudyFacts, study: Study | Where | None, workspace: Workspace) -> Prepared:
    """The stored study made ready again, from its file or from what the caller gives; refused where it has changed."""
    planned = draft(_source(facts, study), workspace)
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


def _pages(records: list[TrialRecord], facts: StudyFacts, confirmed: Confirmed) -> dict[str, str]:
    from kdsearch.report import growth_page, pareto_page

    results = Results(facts, records, confirmed)
    pages = {
        "pareto.html": pareto_page(results.material),
        "growth.html": growth_page(results.material),
        "front.csv": results.front.to_csv(),
    }
    if results.findings:
        pages["findings.csv"] = findings_frame(results.findings).to_csv(index=False)
    return pages
