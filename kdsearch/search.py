"""Running a study: what must hold before its driver may begin."""

import os
from collections.abc import Callable, Sequence

from filelock import FileLock, Timeout

from kdsearch.driver import Driver
from kdsearch.events import Listener, SearchEnded
from kdsearch.files import writable
from kdsearch.mistakes import Mistake
from kdsearch.prepare import Prepared
from kdsearch.sampling import check_first
from kdsearch.screening import check_space
from kdsearch.space import replay
from kdsearch.store import Store, open_storage, study_names

ENGINES = ("local", "inline")


def search(
    prepared: Prepared,
    *,
    storage_url: str | None = None,
    engine: str = "local",
    workers: int | None = None,
    trials: int | None = None,
    minutes: float | None = None,
    listeners: Sequence[Listener] = (),
    stopping: Callable[[], bool] = lambda: False,
) -> SearchEnded:
    """Run or continue a study until it has `trials` trials (screened ones not counted) or `minutes` have passed.

    `storage_url` is the workspace's SQLite database by default; `workers` the number of cores. `stopping` is asked
    several times a second; where it says True, running trials are kept at the epoch they are in and taken up by the
    next run. Raises `Mistake` where the study cannot run or does not fit its stored trials.
    """
    study = prepared.study
    target = trials if trials is not None else study.trials
    limit = minutes if minutes is not None else study.minutes
    for name, value in (("trials", target), ("minutes", limit), ("workers", workers)):
        if value is not None and value <= 0:
            raise Mistake(f"{name} must be above 0, got {value}")
    if engine not in ENGINES:
        raise Mistake(f"the engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    check_space(study, prepared.screen, possible=check_first(study, prepared.screen))
    folder = prepared.workspace.study(study.name)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "driver.lock", timeout=0)
    try:
        with lock:
            storage = open_storage(storage_url or prepared.workspace.storage_url, create=True)
            if study.name in study_names(storage):
                store = Store(storage, study.name)
                check_fits(store, prepared)
            else:
                store = Store.create(storage, prepared.facts)
            driver = Driver(prepared, store, listeners, stopping)
            return driver.run(engine, workers or cores(), target, limit)
    except Timeout:
        raise Mistake(
            f"another run of the study {study.name!r} is at work in {prepared.workspace.root}; wait for it or stop it"
        ) from None


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_fits(store: Store, prepared: Prepared) -> None:
    """Raise `Mistake` where the study file no longer gives what its stored trials were made from."""
    remedy = (
        f"undo the change, or give the study another name to start anew (its {len(store.frozen_trials())} trials stay)"
    )
    if changed := store.facts.differences(prepared.facts):
        raise Mistake(f"the study {store.facts.name!r} has changed in {', '.join(changed)}; {remedy}")
    for record in store.records():
        if not record.proposed:
            continue  # the space raised on these parameters
        try:
            now = replay(prepared.study.space, record.params).fingerprint()
        except Mistake as mistake:
            raise Mistake(f"the space no longer fits stored trial {record.number}: {mistake}; {remedy}") from None
        if now != record.proposed:
            raise Mistake(
                f"the space gives another recipe for the parameters of stored trial {record.number} "
                f"({record.params}) than it did then; {remedy}"
            )
