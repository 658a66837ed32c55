"""Training recipes again on fresh seeds, on any executor: what confirmations and comparisons are made of.

Runs with one seed share it whatever they train: the same student begins with the same weights and sees its examples in
the same order, so that two recipes can be compared seed by seed.
"""

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdsearch.attempts import Attempts, Lost
from kdsearch.events import Listener, Note, RepeatBegan, RepeatEnded, RepeatEpoch, RepeatsBegan, TrialEpoch
from kdsearch.executors import Executor
from kdsearch.files import DamagedError
from kdsearch.ledger import Ledger, RepeatRecord
from kdsearch.mistakes import DiskError
from kdsearch.patience import UnansweredError
from kdsearch.plain import digest
from kdsearch.prepare import Prepared
from kdsearch.recipe import Recipe
from kdsearch.seeds import derive
from kdsearch.trial import Failed, Progress, Seeds, Segment
from kdsearch.underway import UnderWay, saved


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One run to be made: `recipe` (its hint layers named) on the fresh seed number `seed`, with the teacher's signals
    `permuted` over the examples or as they are.
    """

    label: str
    recipe: Recipe
    seed: int
    permuted: bool = False

    def arm(self, prepared: Prepared) -> str:
        """The key of what is trained, whatever the seed and the question."""
        return arm_key(prepared, self.recipe, permuted=self.permuted)

    def seeds(self, study_seed: int) -> Seeds:
        """No search uses these: they do not depend on a trial or a recipe."""
        start, distil = (derive(study_seed, "repeat", self.seed, stage) for stage in ("start", "distil"))
        return Seeds(start=start, distil=distil)


def arm_key(prepared: Prepared, recipe: Recipe, *, permuted: bool = False) -> str:
    facts = prepared.facts
    parts = {"recipe": recipe.fingerprint(), "permuted": permuted, "seed": facts.seed}
    return digest({**parts, "data": facts.data["fingerprint"], "teacher": facts.teacher["key"]})[:16]


class Repeats:
    """Trains what is wanted and not in the ledger yet. Not to be used twice."""

    def __init__(
        self,
        prepared: Prepared,
        ledger: Ledger,
        executor: Executor,
        *,
        tell: Listener,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prepared = prepared
        self._ledger = ledger
        self._executor = executor
        self._tell = tell
        self._stopping = stopping
        self._clock = clock
        self._folder = prepared.workspace.confirm(prepared.study.name)
        self._wanted: list[Repeat] = []
        self._under_way: dict[int, UnderWay] = {}
        self._attempts = Attempts(executor, clock=clock, stall_minutes=prepared.study.stall_minutes)
        self._began_ms: dict[int, int] = {}

    def run(self, wanted: Sequence[Repeat]) -> bool:
        """Train all of `wanted`, each once; gives whether all of them are over (else it was asked to stop).

        What an interrupted call had under way goes on from its last kept state. A run that failed is tried again.
        """
        over = {(record.arm, record.seed) for record in self._ledger.read().records if record.state == "complete"}
        keyed = {(repeat.arm(self._prepared), repeat.seed): repeat for repeat in wanted}
        self._wanted = [repeat for key, repeat in keyed.items() if key not in over]
        done = len(keyed) - len(self._wanted)
        self._tell(RepeatsBegan(self._prepared.facts, len(keyed), done, self._executor.capacity))
        self._executor.go_on()  # a search that ended by its budget has stopped them
        ready = deque(range(len(self._wanted)))
        while (ready or self._attempts) and not self._stopping():
            while ready and len(self._attempts) < self._executor.capacity and not self._stopping():
                self._submit(ready.popleft())
            for number, outcome in self._attempts.outcomes(self._pass_on):
                if self._settle(number, outcome):
                    ready.appendleft(number)
        for number, outcome in self._attempts.wind_down(self._pass_on):  # what running segments have trained is kept
            self._settle(number, outcome)
        return not ready and not self._under_way

    def _pass_on(self, event: TrialEpoch | Note) -> None:
        if isinstance(event, Note):
            self._tell(event)
            return
        repeat = self._wanted[event.trial]
        self._tell(RepeatEpoch(repeat.label, repeat.seed, event.line))

    def _submit(self, number: int) -> None:
        repeat = self._wanted[number]
        if number not in self._under_way:
            self._under_way[number] = self._begun(number)
        trial = self._under_way[number]
        recipe = repeat.recipe
        stage_end = recipe.start_epochs if trial.in_start else recipe.epochs
        seed = self._prepared.study.seed
        segment = Segment(
            trial=number,
            recipe=recipe,
            seeds=trial.seeds,
            state=trial.state,
            upto=min(trial.epoch + self._prepared.study.segment_epochs, stage_end),
            objectives=self._prepared.study.objectives,
            confirming=True,
            permuted=derive(seed, "permuted", repeat.seed) if repeat.permuted else None,
        )
        self._attempts.submit(segment)

    def _begun(self, number: int) -> UnderWay:
        repeat = self._wanted[number]
        self._began_ms[number] = time.time_ns() // 1_000_000
        known = {"parameters": float(self._prepared.screen.parameters(repeat.recipe.student))}
        trial = UnderWay(repeat.recipe, repeat.seeds(self._prepared.study.seed), known, self._clock)
        try:
            trial.state, trial.curve, _ = saved(self._path(repeat))
        except FileNotFoundError:
            pass  # it had not come to its first state
        except DamagedError as error:
            self._tell(Note(f"{repeat.label}, seed {repeat.seed}, begins again: {error}"))
        self._tell(
            RepeatBegan(
                label=repeat.label,
                seed=repeat.seed,
                epoch=trial.epoch,
                epochs=repeat.recipe.epochs,
                start_epochs=repeat.recipe.start_epochs,
                family=type(repeat.recipe.student).__name__,
                parameters=known["parameters"],
            )
        )
        return trial

    def _settle(self, number: int, result: Progress | Failed | Lost) -> bool:
        """Take in what a segment gave; whether there is more of the run to train."""
        repeat, trial = self._wanted[number], self._under_way[number]
        if isinstance(result, Lost):
            self._tell(Note(f"{repeat.label}, seed {repeat.seed}: {result.reason}; its segment will be run again"))
            return True
        if isinstance(result, Failed):
            self._end(number, failed=result.reason)
            return False
        trial.take_in(result)
        if result.measured is not None:
            self._end(number, measured=result.measured)
            return False
        trial.save(self._path(repeat))
        return True

    def _end(self, number: int, *, measured: dict[str, float] | None = None, failed: str | None = None) -> None:
        repeat, trial = self._wanted[number], self._under_way.pop(number)
        record = RepeatRecord(
            arm=repeat.arm(self._prepared),
            seed=repeat.seed,
            label=repeat.label,
            state="complete" if failed is None else "failed",
            fingerprint=repeat.recipe.fingerprint(),
            recipe=repeat.recipe.to_json(),
            described=repeat.recipe.describe(),
            seeds=dataclasses.asdict(trial.seeds),
            known=trial.known,
            measured=measured or {},
            curve=trial.curve,
            reason=failed,
            began_ms=self._began_ms[number],
            ended_ms=time.time_ns() // 1_000_000,
        )
        try:
            self._ledger.add(record)
        except (UnansweredError, DiskError):
            trial.save(self._path(repeat))  # at its end: the next run has but to measure it
            raise
        self._path(repeat).unlink(missing_ok=True)
        self._tell(RepeatEnded(record))

    def _path(self, repeat: Repeat) -> Path:
        return self._folder / f"{repeat.arm(self._prepared)}-{repeat.seed}.safetensors"
