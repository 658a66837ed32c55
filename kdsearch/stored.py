"""From a study's name to what is stored of it, and to the study made ready again from its file."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdsearch.confirm import ALONE
from kdsearch.events import Listener
from kdsearch.findings import Finding
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_storage
from kdsearch.prepare import Prepared, draft
from kdsearch.records import StudyFacts
from kdsearch.source import Source
from kdsearch.store import Store
from kdsearch.study import Study
from kdsearch.workspace import Workspace

Where = str | os.PathLike[str]


def store_of(name: str, workspace: Workspace, storage: str | None) -> Store:
    return Store(open_storage(storage or workspace.storage_url, create=False), name)


def given(study: Study | Where) -> Source:
    return Source.of(study) if isinstance(study, Study) else Source(path=Path(study))


def source_of(facts: StudyFacts, study: Study | Where | None) -> Source:
    """Where the stored study is read from: what the caller gives, else its file."""
    chosen = study if study is not None else facts.file
    if chosen is None:
        raise Mistake(
            f"the study {facts.name!r} names no study file (it came from an archive, or was made without one); name it "
            "with --study FILE, or give the Study itself"
        )
    if not isinstance(chosen, Study) and not Path(chosen).exists():
        raise Mistake(f"the study file {chosen} is not there any more; say where it is now with --study FILE")
    return replace(given(chosen), smoke=facts.smoke)


def prepared_of(
    facts: StudyFacts,
    study: Study | Where | None,
    workspace: Workspace,
    *,
    listener: Listener | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Prepared:
    """The stored study made ready again (see `Draft.ready`), from its file or from what the caller gives; refused where
    it has changed.
    """
    planned = draft(source_of(facts, study), workspace)
    if changed := facts.differences(planned.facts):
        raise Mistake(
            f"the study {facts.name!r} has changed in {', '.join(changed)} since its trials were made; undo the change"
        )
    return planned.ready(listener=listener, stopping=stopping)


def confirmed_of(finding: Finding | None) -> Mapping[str, Any]:
    """What fresh seeds gave for a front member, as JSON-able values; empty until it is confirmed."""
    if finding is None or (own := finding.arms[0].test) is None:
        return {}
    control = finding.arm(ALONE)
    beside = dataclasses.asdict(control.test) if control is not None and control.test is not None else None
    return {
        "test_accuracy": dataclasses.asdict(own),
        "alone_test_accuracy": beside,
        "verdict": control.said if control is not None else None,
    }
