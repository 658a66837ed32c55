"""Where trials stand among each other, as MLflow's tags and metrics say it."""

from collections.abc import Iterable, Sequence

import numpy as np

from kdsearch import pareto
from kdsearch.confirm import ALONE
from kdsearch.findings import findings, of_member
from kdsearch.ledger import Confirmed
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.study import CONFIRM, signs


def front(records: Iterable[TrialRecord], facts: StudyFacts) -> set[int]:
    """The numbers of the non-dominated complete trials."""
    numbers, points_ND = _points(records, facts)
    return {numbers[index] for index in pareto.front(points_ND)}


def ranks(records: Iterable[TrialRecord], facts: StudyFacts) -> dict[int, int]:
    """The non-dominated rank of every complete trial: 0 on the front, 1 on the front of what is left, and so on."""
    numbers, points_ND = _points(records, facts)
    if points_ND.shape[1] == 2:
        return dict(zip(numbers, map(int, pareto.ranks(points_ND)), strict=True))
    found: dict[int, int] = {}
    left, rank = np.arange(len(numbers)), 0
    while len(left):
        members = pareto.front(points_ND[left])
        found |= {numbers[index]: rank for index in left[members]}
        left, rank = np.delete(left, members), rank + 1
    return found


def gains(confirmed: Confirmed, facts: StudyFacts) -> dict[int, float]:
    """By how much a confirmed trial's mean accuracy on test is above that of its student alone, as a fraction."""
    found = findings(confirmed, facts)
    given = {}
    for question in confirmed.questions:
        if question.name != CONFIRM or (number := question.trial) is None:
            continue
        finding = of_member(found, number)
        alone = finding.arm(ALONE) if finding is not None else None
        if alone is not None and alone.difference is not None:
            given[number] = alone.difference.mean
    return given


def _points(records: Iterable[TrialRecord], facts: StudyFacts) -> tuple[Sequence[int], pareto.Points]:
    """Numbers and objectives, all to be minimized, of the complete trials."""
    complete = [record for record in records if record.state == "complete"]
    directions = signs(facts.objectives)
    rows = [
        [
            sign * {**record.known, **record.measured}[name]
            for sign, name in zip(directions, facts.objectives, strict=True)
        ]
        for record in complete
    ]
    return [record.number for record in complete], np.array(rows, dtype=float).reshape(-1, len(directions))
