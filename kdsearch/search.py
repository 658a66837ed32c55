"""Running a study: what must hold before its teacher is trained and its driver begins."""

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from kdsearch.budget import Budget
from kdsearch.database import Database
from kdsearch.driver import Driver
from kdsearch.driving import Lease, leased
from kdsearch.events import Listener, Note, SearchEnded, to_all
from kdsearch.executors import Executor, Inline, Job
from kdsearch.executors.engine import Engine
from kdsearch.lease import only_driver
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_database
from kdsearch.owner import check_owner, claim
from kdsearch.patience import Patience
from kdsearch.prepare import Draft, Prepared, draft
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.sampling import check_first
from kdsearch.screening import check_space
from kdsearch.source import Source
from kdsearch.space import check_compatible, replay
from kdsearch.stopping import Rule
from kdsearch.store import Store, is_stored
from kdsearch.study import Study, rule_of
from kdsearch.surroundings import Surroundings, last_difference
from kdsearch.watching import Rhythm
from kdsearch.workspace import Workspace

DEFAULT_ENGINE = Engine()
Then = Callable[[Prepared, Store, Executor], None]
"""What is done with a study that is ready, its database and its workers."""
PATIENCE_SECONDS = 1800.0
"""For how long a driver waits for a database that does not answer."""
RHYTHM = Rhythm()
_BEHIND = 10
"""How nice the teacher's measuring is to the workers (the kernel's niceness)."""


def search(
    source: Source,
    workspace: Workspace,
    *,
    study: Study | None = None,
    storage_url: str | None = None,
    engine: Engine = DEFAULT_ENGINE,
    stall_minutes: float | None = None,
    budget: Mapping[str, float | None] | None = None,
    rule: str | Rule | None = None,
    listeners: Sequence[Listener] = (),
    stopping: Callable[[], bool] = lambda: False,
    then: Then | None = None,
) -> SearchEnded:
    """Run or continue a study until its budget is used.

    `study` is `source`'s, loaded already; `storage_url` the workspace's SQLite database by default. What replaces
    the study's own: `stall_minutes`, those values of `budget` (the `Budget`'s) that are not None, and the stopping rule
    `rule` (`"none"` for none). `stopping` is asked between epochs and several times a second; where it says True,
    running trials are kept at the epoch they are in and taken up by the next run. Everything that can be wrong is found
    before the teacher is trained. `then` is called with the same workers once the search is over, unless it failed or
    was stopped. Raises `Mistake` where the study cannot run or does not fit its stored trials, and
    `StopRequestedError` if stopped while the teacher is trained.
    """
    study = _patient(study if study is not None else source.load(), stall_minutes)
    planned_budget = budget_of(study, budget or {})
    planned_rule = rule_of(rule if rule is not None else study.stopping)
    tell = to_all(listeners)
    workspace.make()
    url = storage_url or workspace.storage_url
    folder = workspace.study(study.name)
    with only_driver(folder), _driven(url, study.name, True, tell, stopping) as driving:
        database, lease = driving
        storage = database.cached()
        planned = draft(source, workspace, study)
        store = Store(storage, study.name) if is_stored(storage, study.name, study.objectives) else None
        check_owner(folder, store.facts.id if store is not None else None)
        if store is not None:
            check_fits(store, planned)
        check_space(study, planned.screen, possible=check_first(study, planned.screen))
        records = store.records() if store is not None else []
        most = _most(planned_budget, records) if then is None else None
        workers_of = partial(engine.workers_for, most=most)
        # beside workers in other processes the driver measures the teacher
        with _made_ready(planned, workers_of, tell, stopping, measure=engine.name == "inline") as (prepared, executor):
            store = store or Store.create(storage, prepared.facts)
            claim(folder, store.facts.id)
            _note_losses(store, tell)
            _note_surroundings(store, engine, tell)
            with _measuring(prepared, store.facts) as teacher_accuracy:
                driver = Driver(
                    prepared,
                    store,
                    executor,
                    budget=planned_budget,
                    rule=planned_rule,
                    tell=tell,
                    stopping=lambda: stopping() or lease.lost,
                    teacher_accuracy=teacher_accuracy,
                )
                ended = driver.run()
                lease.check()
                if then is not None and not ended.interrupted and not ended.failed:
                    then(replace(prepared, facts=store.facts), store, executor)
                return ended


def confirm_study(
    source: Source,
    workspace: Workspace,
    then: Then,
    *,
    storage_url: str | None = None,
    create: bool = False,
    engine: Engine = DEFAULT_ENGINE,
    stall_minutes: float | None = None,
    listeners: Sequence[Listener] = (),
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Make a study ready as `search` does, without searching, and call `then` with its workers.

    A study that is not stored yet is created where `create` says so, else a `Mistake`, as is one that has changed.
    """
    study = _patient(source.load(), stall_minutes)
    workspace.make()
    url, tell = storage_url or workspace.storage_url, to_all(listeners)
    folder = workspace.study(study.name)
    with only_driver(folder), _driven(url, study.name, create, tell, stopping) as driving:
        storage = driving[0].cached()
        planned = draft(source, workspace, study)
        store = None if create and not is_stored(storage, study.name, study.objectives) else Store(storage, study.name)
        check_owner(folder, store.facts.id if store is not None else None)
        if store is not None:
            check_fits(store, planned)
        workers_of = partial(engine.workers_for, most=None)
        with _made_ready(planned, workers_of, tell, stopping) as (prepared, executor):
            store = store or Store.create(storage, prepared.facts)
            claim(folder, store.facts.id)
            then(replace(prepared, facts=store.facts), store, executor)


def _note_losses(store: Store, tell: Listener) -> None:
    """Say what of the study's account is left out; its trials are not touched by that."""
    if lost := store.left_out():
        said = "; ".join(f"{one.what}: {one.reason}" for one in lost)
        tell(Note(f"left out of the account ({said}); `kdsearch doctor {store.facts.name} --repair` drops it"))


def _note_surroundings(store: Store, engine: Engine, tell: Listener) -> None:
    """Record in what the study is run from now on, and say so where that may change bits."""
    facts = store.facts
    now = Surroundings.here(
        engine=engine.name,
        workers=engine.workers,
        seed=facts.seed,
        data=facts.data["fingerprint"],
        teacher=facts.teacher["key"],
        at_ms=time.time_ns() // 1_000_000,
    )
    if (difference := last_difference(store.surroundings(), now)) is not None:
        tell(Note(difference, warning=False))
    store.note_surroundings(now)


@contextmanager
def _driven(
    url: str, name: str, create: bool, tell: Listener, stopping: Callable[[], bool]
) -> Iterator[tuple[Database, Lease]]:
    """The database, as a driver has it: it is waited for, and nobody else drives this study meanwhile."""
    patience = Patience(
        seconds=PATIENCE_SECONDS, tell=lambda text, warning: tell(Note(text, warning=warning)), stopping=stopping
    )
    database = open_database(url, create=create, patience=patience)
    with leased(database, name, tell=lambda text: tell(Note(text)), stopping=stopping, rhythm=RHYTHM) as lease:
        yield database, lease


@contextmanager
def _made_ready(
    planned: Draft,
    workers_of: "Callable[[Job], AbstractContextManager[Executor] | None]",
    tell: Listener,
    stopping: Callable[[], bool],
    *,
    measure: bool = True,
) -> Iterator[tuple[Prepared, Executor]]:
    """The study with its teacher, and its workers, who get ready while the teacher is trained; without any, trials run
    here.
    """
    workers = workers_of(planned.job)
    if workers is None:
        prepared = planned.ready(listener=tell, stopping=stopping, measure=measure)
        yield prepared, Inline(prepared.data, prepared.signals, stopping)
        return
    planned.keep_data(tell)
    with workers as executor:
        yield planned.ready(listener=tell, stopping=stopping, measure=measure), executor


def _patient(study: Study, stall_minutes: float | None) -> Study:
    return study if stall_minutes is None else replace(study, stall_minutes=stall_minutes)


def budget_of(study: Study, instead: Mapping[str, float | None]) -> Budget:
    """The study's budget with those values of `instead` that are not None in place of its own. Raises `Mistake`."""
    own = Budget(trials=study.trials, minutes=study.minutes, epochs=study.total_epochs, patience=study.patience)
    given: dict[str, Any] = {name: value for name, value in instead.items() if value is not None}
    return replace(own, **given)


@contextmanager
def _measuring(prepared: Prepared, facts: StudyFacts) -> Iterator[Future[float] | None]:
    """Measure the teacher where the study's `facts` lack its accuracy, beside the workers and behind them.

    Leaving the context ends the measuring, done or not.
    """
    if not math.isnan(facts.teacher["accuracy"]):
        yield None
        return
    future: Future[float] = Future()
    ended = threading.Event()

    def measure() -> None:
        if hasattr(os, "setpriority"):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _BEHIND)
        torch.set_num_threads(1)
        try:
            future.set_result(prepared.teacher_accuracy(ended.is_set))
        except Exception as error:
            future.set_exception(error)

    thread = threading.Thread(target=measure, name="teacher accuracy")
    thread.start()
    try:
        yield future
    finally:
        ended.set()
        thread.join()  # torch would abort the process if it ended in the middle of an operation


def _most(budget: Budget, records: Sequence[TrialRecord]) -> int:
    """As many workers as there are trials left to train."""
    return budget.trials - sum(record.state in ("complete", "failed", "pruned") for record in records)


def check_fits(store: Store, planned: Draft) -> None:
    """Raise `Mistake` where the study file no longer gives what its stored trials were made from, or the database not
    what was written there.
    """
    trials = store.frozen_trials()
    remedy = f"undo the change, or give the study another name to start anew (its {len(trials)} trials stay)"
    if changed := store.facts.differences(planned.facts):
        raise Mistake(f"the study {store.facts.name!r} has changed in {', '.join(changed)}; {remedy}")
    for _, mistake in store.unreadable():
        raise mistake
    for record, trial in zip(store.records(), trials, strict=True):
        if not record.proposed:
            continue  # the space raised on these parameters
        try:
            recipe, replayed = replay(planned.study.space, record.params)
            check_compatible(trial.distributions, replayed.distributions)
        except Mistake as mistake:
            raise Mistake(f"the space no longer fits stored trial {record.number}: {mistake}; {remedy}") from None
        if recipe.fingerprint() != record.proposed:
            raise Mistake(
                f"the space gives another recipe for the parameters of stored trial {record.number} "
                f"({record.params}) than it did then; {remedy}"
            )
