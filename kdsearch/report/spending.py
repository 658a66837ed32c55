"""What a study had spent at a moment: epochs, and minutes at work, the pauses between its runs left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdsearch.records import Session, TrialRecord

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spending:
    """When a study's epochs ended, rising, and when it was `at work`, as spans (began, ended) that do not overlap; all
    in milliseconds since the epoch.
    """

    epoch_ends: Floats
    spans: Floats

    @classmethod
    def of(cls, records: Sequence[TrialRecord], sessions: Sequence[Session]) -> "Spending":
        """Epochs count for the trial that trained them; trials of old do not say when one ended, and then it is when
        the trial did. At work is time in the study's runs, from its first trial on, and time in epochs of a run that
        left no record of itself, as one that was killed.
        """
        ends, seconds = [], []
        for record in records:
            own = record.curve[len(record.curve) - record.epochs_trained :]
            over = record.ended_ms or record.began_ms
            ends += [line.get("at_ms", over) for line in own]
            seconds += [line["seconds"] + line["evaluation_seconds"] for line in own]
        ended = np.array(ends, dtype=np.float64)
        runs = [(session.began_ms, session.began_ms + 1000 * session.seconds) for session in sessions]
        spans = np.vstack(
            [np.reshape(runs, (-1, 2)), np.column_stack([ended - 1000 * np.array(seconds, dtype=np.float64), ended])]
        )
        first = min((record.began_ms for record in records if record.began_ms), default=-np.inf)
        return cls(np.sort(ended), _joined(np.maximum(spans, first)))

    def epochs(self, moments_ms: ArrayLike) -> Floats:
        """Epochs trained by each of the moments."""
        found = np.searchsorted(self.epoch_ends, np.asarray(moments_ms, dtype=np.float64), side="right")
        return found.astype(np.float64)

    def minutes(self, moments_ms: ArrayLike) -> Floats:
        """Minutes at work until each of the moments."""
        moments = np.asarray(moments_ms, dtype=np.float64)
        if not len(self.spans):
            return np.zeros_like(moments)
        began, ended = self.spans.T
        before = np.concatenate([[0.0], np.cumsum(ended - began)])  # at work in the spans before each
        place = np.searchsorted(began, moments, side="right") - 1
        inside = before[place] + np.minimum(moments, ended[place]) - began[place]
        return np.asarray(np.where(place < 0, 0.0, inside) / 60_000)


def _joined(spans: Floats) -> Floats:
    """The union of spans, (N, 2), as spans that do not overlap."""
    if not len(spans):
        return spans
    began, ended = spans[np.argsort(spans[:, 0], kind="stable")].T
    until = np.maximum.accumulate(ended)
    opens = np.concatenate([[True], began[1:] > until[:-1]])
    closes = np.concatenate([opens[1:], [True]])
    return np.column_stack([began[opens], until[closes]])
