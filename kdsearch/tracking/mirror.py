"""MLflow as a mirror of the database: one writer, on a thread of its own, that never stops or slows a search.

An experiment and a parent run per study, a child run per trial and per run on a fresh seed. Each is looked up by its
tags before it is created, and a line of a curve carries the time it was measured at, so that mirroring twice adds
nothing. What a tracking server missed while it was away is filled in at the search's end or by the next run. The parent
run's pages are drawn again while the search goes on, in a fiftieth of its time at most.
Left out: screened trials, which were never trained, have no run.
"""

import contextlib
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from kdsearch.events import (
    Happening,
    RepeatEnded,
    RepeatsBegan,
    RepeatsEnded,
    SearchBegan,
    SearchEnded,
    TrialBegan,
    TrialEnded,
    TrialEpoch,
)
from kdsearch.files import void
from kdsearch.ledger import Confirmed
from kdsearch.masking import masked
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.tracking import standing
from kdsearch.tracking.pace import Pace
from kdsearch.tracking.writer import Writer
from kdsearch.training import Epoch
from kdsearch.workspace import Workspace

Pages = Callable[[list[TrialRecord], StudyFacts, Confirmed], dict[str, str]]
"""File names and contents of what the parent run shows, from trials and confirmations: injected, for only `report`
draws.
"""

_FLUSH_SECONDS = 2.0
_RETRY_SECONDS = 30.0
_MIRRORED = (
    *(SearchBegan, TrialBegan, TrialEpoch, TrialEnded, SearchEnded),
    *(RepeatsBegan, RepeatEnded, RepeatsEnded),
)


class Mirror:
    """A listener that mirrors what happens to MLflow. `complain` gets one line when the server is lost or back.

    MLFLOW_TRACKING_URI is honoured; without it the workspace's own database is used.
    """

    def __init__(self, workspace: Workspace, pages: Pages, complain: Callable[[str], None]) -> None:
        self._workspace = workspace
        self._pages = pages
        self._complain = complain
        self._queue: queue.Queue[Happening | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._writer: Writer | None = None
        self._facts: StudyFacts | None = None
        self._away_until: float | None = None
        self._records: dict[int, TrialRecord] = {}
        self._front: dict[int, TrialRecord] = {}
        self._moved: dict[int, TrialRecord] = {}  # those of whom the store may not know whether they are on the front
        self._pace = Pace()
        self._drawn = True  # whether the pages show all complete trials
        # the parent's beginning: before its first child's, or the UI would not nest them
        self._made_ms = self._began_ms = time.time_ns() // 1_000_000

    @classmethod
    def catch_up(
        cls, workspace: Workspace, pages: Pages, facts: StudyFacts, records: list[TrialRecord], confirmed: Confirmed
    ) -> None:
        """Mirror a study that nobody is at work on, here and now. Raises `Mistake`, and what MLflow raises where it is
        away.
        """
        mirror = cls(workspace, pages, void)
        mirror._note(SearchBegan(facts, records, len(records), 0))
        writer = Writer(workspace, facts, mirror._began_ms)
        for record in records:
            writer.trial(record)
        for run in confirmed.records:
            writer.repeat(run)
        mirror._settle(writer, records, facts, confirmed)
        unfinished = any(record.state == "running" for record in records)
        writer.search("KILLED" if unfinished else "FINISHED")

    def __call__(self, happening: Happening) -> None:
        if isinstance(happening, _MIRRORED):
            self._queue.put(happening)

    def __enter__(self) -> "Mirror":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        lines: dict[int, list[Epoch]] = defaultdict(list)
        flushed = time.monotonic()
        while True:
            with contextlib.suppress(queue.Empty):
                happening = self._queue.get(timeout=_FLUSH_SECONDS)
                if happening is None:
                    return
                if isinstance(happening, TrialEpoch):
                    lines[happening.trial].append(happening.line)
                else:
                    self._attempt(happening, lines)
            if (lines or not self._drawn) and time.monotonic() - flushed > _FLUSH_SECONDS:
                self._attempt(None, lines)
                flushed = time.monotonic()

    def _attempt(self, happening: Happening | None, lines: dict[int, list[Epoch]]) -> None:
        """Mirror one thing; a store that is away is tried again later, for the next thing or at the end."""
        last = isinstance(happening, (SearchEnded, RepeatsEnded))
        try:
            self._note(happening)
            if self._away_until is not None and time.monotonic() < self._away_until and not last:
                lines.clear()  # the trials' records keep them
                return
            self._mirror(happening, lines)
        except Exception as error:  # whatever a tracking store does must not reach the search
            if self._away_until is None:  # once for each time that it is lost
                reason = masked(str(error).strip().split("\n")[0])[:200]
                self._complain(
                    f"MLflow is away ({type(error).__name__}: {reason}); a later run fills in what is missing"
                )
            self._away_until = time.monotonic() + _RETRY_SECONDS
            self._writer = None
        else:
            self._away_until = None
        lines.clear()

    def _note(self, happening: Happening | None) -> None:
        """What is known whether the store is there or not."""
        match happening:
            case SearchBegan():
                self._facts = happening.facts
                self._began_ms = min([record.began_ms for record in happening.records], default=self._made_ms)
                self._recall(happening.records, happening.facts)
            case RepeatsBegan():
                self._facts = happening.facts
            case TrialEnded():
                self._enter(happening.record)

    def _mirror(self, happening: Happening | None, lines: dict[int, list[Epoch]]) -> None:
        if self._facts is None:
            return
        if self._writer is None:
            self._writer = Writer(self._workspace, self._facts, self._began_ms)
        writer = self._writer
        for number, part in lines.items():
            writer.curve(number, part)
        match happening:
            case None:
                self._draw(writer)
            case SearchBegan():
                writer.search("RUNNING")
                for record in happening.records:
                    writer.trial(record)
                self._stand(writer)
            case TrialBegan():
                writer.begin(happening.record)
            case TrialEnded():
                writer.trial(happening.record)
                self._stand(writer)
            case SearchEnded():
                for record in happening.records:
                    writer.trial(record)
                self._settle(writer, happening.records, happening.facts, happening.confirmed)
                status = "KILLED" if happening.interrupted else "FAILED" if happening.failed else "FINISHED"
                writer.search(status)
            case RepeatEnded():
                writer.repeat(happening.record)
            case RepeatsEnded():
                for run in happening.confirmed.records:
                    writer.repeat(run)
                self._settle(writer, happening.trials, happening.facts, happening.confirmed)
                writer.end()

    def _recall(self, records: list[TrialRecord], facts: StudyFacts) -> None:
        self._records = {record.number: record for record in records}
        self._front = {number: self._records[number] for number in standing.front(records, facts)}
        self._moved = dict(self._records)

    def _enter(self, record: TrialRecord) -> None:
        """Compare a trial that has just ended to the front alone: whoever is on it now was, or is the trial itself."""
        self._records[record.number] = record
        if record.state != "complete" or self._facts is None:
            return
        rivals = {**self._front, record.number: record}
        self._front = {number: rivals[number] for number in standing.front(rivals.values(), self._facts)}
        self._moved |= rivals
        self._drawn = False

    def _stand(self, writer: Writer) -> None:
        writer.stand(self._moved.values(), self._front)
        self._moved.clear()

    def _settle(self, writer: Writer, records: list[TrialRecord], facts: StudyFacts, confirmed: Confirmed) -> None:
        """What is only known in the end: ranks, gains over the student alone, the pages as they stay."""
        self._facts = facts
        writer.teacher(facts)
        self._recall(records, facts)
        writer.stand(records, self._front, standing.ranks(records, facts), standing.gains(confirmed, facts))
        self._show(writer, records, facts, confirmed)

    def _draw(self, writer: Writer) -> None:
        """Draw the pages of a search that goes on, where that is due."""
        if self._drawn or self._facts is None or not self._pace.due():
            return
        with self._pace.spending():
            # fresh seeds come after the search: an earlier confirmation is shown again when this one ends
            records = [self._records[number] for number in sorted(self._records)]
            self._show(writer, records, self._facts, Confirmed())

    def _show(self, writer: Writer, trials: list[TrialRecord], facts: StudyFacts, confirmed: Confirmed) -> None:
        for name, content in self._pages(trials, facts, confirmed).items():
            writer.page(name, content)
        self._drawn = True
