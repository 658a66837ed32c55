"""What a report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from kdsearch.findings import Finding
from kdsearch.records import Session, StudyFacts, TrialRecord
from kdsearch.surroundings import Surroundings

if TYPE_CHECKING:
    from kdsearch.importance import Importance  # a second of scikit-learn's forests


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a report is made of: `table` is `Results.frame`, `records` the trials it was made from, `sessions` the
    study's runs, `surroundings` in what they were, `findings` what fresh seeds gave, `importances` which parameters
    mattered, `teacher_test` the teacher's accuracy on the test split where a confirmation measured it, `links` the
    addresses of the trials' MLflow runs, by trial, where a UI is known.
    """

    table: pd.DataFrame
    facts: StudyFacts
    records: Sequence[TrialRecord] = ()
    sessions: Sequence[Session] = ()
    surroundings: Sequence[Surroundings] = ()
    findings: Sequence[Finding] = ()
    importances: "Sequence[Importance]" = ()
    teacher_test: float | None = None
    links: Mapping[int, str] = field(default_factory=dict)
