"""A study's trials and what was confirmed of them, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from kdsearch import frame as frames
from kdsearch.events import SearchEnded
from kdsearch.findings import Finding, findings, with_confirmation
from kdsearch.ledger import Confirmed
from kdsearch.store import Store, StudyFacts, TrialRecord


@dataclass(frozen=True)
class Results:
    """A study's trials as tables. `confirmed` is what runs on fresh seeds gave; `ended` says how the last search went,
    None for a study that was only opened; `interrupted` that a confirmation was stopped before it was whole.
    """

    facts: StudyFacts
    records: Sequence[TrialRecord]
    confirmed: Confirmed = field(default_factory=Confirmed)
    ended: SearchEnded | None = None
    interrupted: bool = False

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
        return cls(store.facts, store.records(), store.ledger.read())

    @property
    def front(self) -> pd.DataFrame:
        """The non-dominated trials by rising parameters."""
        return frames.front(self.frame)

    @property
    def hypervolume(self) -> float:
        return frames.hypervolume(self.frame, self.facts)
