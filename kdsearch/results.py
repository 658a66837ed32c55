"""A study's trials and what was confirmed of them, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from kdsearch import frame as frames
from kdsearch import summary
from kdsearch.events import SearchEnded
from kdsearch.findings import Finding, findings, with_confirmation
from kdsearch.ledger import Confirmed
from kdsearch.mistakes import Mistake
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.store import Store

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from kdsearch.report import Material


@dataclass(frozen=True)
class Results:
    """A study's trials as tables. `confirmed` is what runs on fresh seeds gave; `ended` says how the last search went,
    None for a study that was only opened; `interrupted` that a confirmation was stopped before it was whole. `store` is
    the database that they are from, None where there is none: what a report shows besides is read from it.

    In a notebook they show the front and what was confirmed of it.
    """

    facts: StudyFacts
    records: Sequence[TrialRecord]
    confirmed: Confirmed = field(default_factory=Confirmed)
    ended: SearchEnded | None = None
    interrupted: bool = False
    store: Store | None = field(default=None, repr=False, compare=False)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per trial; see `kdsearch.frame.frame` for the columns, and `kdsearch.findings.with_confirmation` for
        those of the confirmed.
        """
        return with_confirmation(frames.frame(self.records, self.facts), self.confirmed, self.facts)

    @cached_property
    def findings(self) -> list[Finding]:
        """What confirmations of the present front and comparisons found."""
        return findings(self.confirmed, self.facts, {int(number) for number in self.front.index})

    @classmethod
    def of(cls, store: Store) -> "Results":
        return cls(store.facts, store.records(), store.ledger.read(), store=store)

    @property
    def front(self) -> pd.DataFrame:
        """The non-dominated trials by rising parameters."""
        return frames.front(self.frame)

    @property
    def hypervolume(self) -> float:
        return frames.hypervolume(self.frame, self.facts)

    @cached_property
    def material(self) -> "Material":
        """What a report of them is made of."""
        from kdsearch.importance import importances  # a second of scikit-learn's forests
        from kdsearch.report import Material

        return Material(
            table=self.frame,
            facts=self.facts,
            records=self.records,
            sessions=self.store.sessions() if self.store is not None else (),
            surroundings=self.store.surroundings() if self.store is not None else (),
            findings=self.findings,
            importances=importances(self.records, self.store.frozen_trials()) if self.store is not None else (),
            teacher_test=self.confirmed.teacher_test_accuracy,
        )

    def figure(self, name: str = "pareto") -> "go.Figure":
        """One of the report's charts as a Plotly figure, which a notebook shows. Raises `Mistake`, with the names there
        are, for an unknown one, and with what is missing where there is too little to draw.
        """
        from kdsearch.report.charts import CHARTS

        if name not in CHARTS:
            raise Mistake(f"a figure must be one of {', '.join(CHARTS)}, got {name!r}")
        chart = CHARTS[name](self.material)
        if chart.figure is None:
            raise Mistake(f"there is no figure {name!r} of {self.facts.name} yet: {chart.missing}")
        return chart.figure

    def __repr__(self) -> str:
        return f"Results({summary.sentence(self)})"

    def _repr_html_(self) -> str:
        return summary.html(self)
