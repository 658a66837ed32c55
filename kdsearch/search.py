"""Running a study: what must hold before its teacher is trained and its driver begins."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kdsearch.driver import Driver
from kdsearch.events import Happening, Listener, SearchEnded
from kdsearch.files import writable
from kdsearch.mistakes import Mistake
from kdsearch.prepare import Draft, draft
from kdsearch.sampling import check_first
from kdsearch.screening import check_space
from kdsearch.space import check_compatible, replay
from kdsearch.store import Store, open_storage, study_names
from kdsearch.study import Source, Study
from kdsearch.workspace import Workspace

ENGINES = ("local", "inline")


def search(
    source: Source,
    workspace: Workspace,
    *,
    study: Study | None = None,
    storage_url: str | None = None,
    engine: str = "local",
    workers: int | None = None,
    trials: int | None = None,
    minutes: float | None = None,
    listeners: Sequence[Listener] = (),
    stopping: Callable[[], bool] = lambda: False,
) -> SearchEnded:
    """Run or continue a study until it has `trials` trials (screened ones not counted) or `minutes` have passed.

    `study` is `source`'s, loaded already; `storage_url` the workspace's SQLite database by default; `workers` the
    number of cores. `stopping` is asked between epochs and several times a second; where it says True, running trials
    are kept at the epoch they are in and taken up by the next run. Everything that can be wrong is found before the
    teacher is trained. Raises `Mistake` where the study cannot run or does not fit its stored trials, and
    `StopRequestedError` if stopped while the teacher is trained.
    """
    study = study if study is not None else source.load()
    target = trials if trials is not None else study.trials
    limit = minutes if minutes is not None else study.minutes
    for name, value in (("trials", target), ("minutes", limit), ("workers", workers)):
        if value is not None and value <= 0:
            raise Mistake(f"{name} must be above 0, got {value}")
    if engine not in ENGINES:
        raise Mistake(f"the engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "inline" and workers is not None and workers > 1:
        raise Mistake(
            f"the engine inline runs one trial at a time, got {workers} workers; leave them out, or use local"
        )

    def tell(happening: Happening) -> None:
        for listener in listeners:
            listener(happening)

    workspace.make()
    with _only_driver(workspace.study(study.name)):
        storage = open_storage(storage_url or workspace.storage_url, create=True)
        planned = draft(source, workspace, study)
        store = Store(storage, study.name) if study.name in study_names(storage) else None
        if store is not None:
            check_fits(store, planned)
        check_space(study, planned.screen, possible=check_first(study, planned.screen))
        prepared = planned.ready(listener=tell, stopping=stopping)
        driver = Driver(prepared, store or Store.create(storage, prepared.facts), tell, stopping)
        return driver.run(engine, workers or cores(), target, limit)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_fits(store: Store, planned: Draft) -> None:
    """Raise `Mistake` where the study file no longer gives what its stored trials were made from."""
    trials = store.frozen_trials()
    remedy = f"undo the change, or give the study another name to start anew (its {len(trials)} trials stay)"
    if changed := store.facts.differences(planned.facts):
        raise Mistake(f"the study {store.facts.name!r} has changed in {', '.join(changed)}; {remedy}")
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


@contextmanager
def _only_driver(folder: Path) -> Iterator[None]:
    """Hold the study's lock, which the operating system releases when this process ends, however it ends."""
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        # a moment's patience: `status` takes the lock for an instant to see whether a driver is alive
        with FileLock(folder / "driver.lock", timeout=2):
            yield
    except Timeout:
        raise Mistake(
            f"another run of the study {folder.name!r} is at work in {folder.parent}; wait for it or stop it"
        ) from None
