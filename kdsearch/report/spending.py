"""What a study had spent at a moment: epochs, and minutes at work, the pauses between its runs left out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdsearch.store import Session, TrialRecord

Floats = NDArray[np.float64]


def epochs_spent(records: Sequence[TrialRecord], moments_ms: ArrayLike) -> Floats:
    """Epochs that all trials had trained by each of the moments (milliseconds since the epoch), shared ones once."""
    ends_ms = np.sort([end for record in records for end in _epoch_ends(record)])
    found = np.searchsorted(ends_ms, np.asarray(moments_ms, dtype=np.float64), side="right")
    return found.astype(np.float64)


def minutes_at_work(records: Sequence[TrialRecord], sessions: Sequence[Session], moments_ms: ArrayLike) -> Floats:
    """Minutes from the first trial to each of the moments in which the study was at work: time in its runs, and time
    in epochs of a run that left no record of itself, as one that was killed.
    """
    spans = [(session.began_ms, session.began_ms + 1000 * session.seconds) for session in sessions]
    for record in records:
        own = record.curve[len(record.curve) - record.epochs_trained :]
        for line, end in zip(own, _epoch_ends(record), strict=True):
            spans.append((end - 1000 * (line["seconds"] + line["evaluation_seconds"]), end))
    moments = np.asarray(moments_ms, dtype=np.float64)
    if not spans:
        return np.zeros_like(moments)
    ordered = np.array(sorted(spans), dtype=np.float64)
    first = min((record.began_ms for record in records if record.began_ms), default=ordered[0, 0])
    began, ended = np.maximum(ordered[:, 0], first), np.maximum(np.maximum.accumulate(ordered[:, 1]), first)
    free = np.maximum(began[1:] - ended[:-1], 0)  # gaps before all spans but the first
    idle = np.concatenate([[0.0], np.cumsum(free)])
    place = np.searchsorted(began, moments, side="right") - 1
    inside = np.minimum(moments, ended[np.maximum(place, 0)]) - began[0] - idle[np.maximum(place, 0)]
    return np.asarray(np.where(place < 0, 0.0, inside) / 60_000)


def _epoch_ends(record: TrialRecord) -> list[float]:
    """When each epoch that this trial trained itself ended; trials of old do not say, and then it is their own end."""
    own = record.curve[len(record.curve) - record.epochs_trained :]
    return [float(line.get("at_ms", record.ended_ms or record.began_ms)) for line in own]
