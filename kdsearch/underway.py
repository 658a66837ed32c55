"""A trial under way: where it stands, its curve so far, and where its seconds went."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdsearch.files import DamagedError, load_tensors, save_tensors, writable
from kdsearch.recipe import Recipe
from kdsearch.records import Inherited, Spent
from kdsearch.training import Epoch
from kdsearch.trial import Progress, Seeds, TrialState


@dataclass
class UnderWay:
    """One trial that is neither over nor pruned. `since` is when its last work ended, on the driver's clock.
    `state` is None before its first epoch, and while it waits at a rung with its state on disk.

    `inherited` is what another trial trained of it.
    """

    recipe: Recipe
    seeds: Seeds
    known: dict[str, float]
    clock: Callable[[], float]
    state: TrialState | None = None
    curve: list[Epoch] = field(default_factory=list)
    inherited: Inherited | None = None
    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    since: float = 0.0

    def __post_init__(self) -> None:
        self.since = self.clock()

    @property
    def epoch(self) -> int:
        """Epochs of its budget that are trained."""
        return len(self.curve)

    @property
    def in_start(self) -> bool:
        """Whether the student's initialization is still to be trained, in whole or in part."""
        return self.epoch < self.recipe.start_epochs

    def take_in(self, result: Progress) -> None:
        """What a segment gave, and its seconds; what no worker spent on the trial since the last one is waiting."""
        self.state = result.state
        self.curve += result.curve
        for line in result.curve:
            self.spent["distil" if line["stage"] == "distil" else "start"] += line["seconds"]
            self.spent["evaluation"] += line["evaluation_seconds"]
        self.spent["evaluation"] += result.measuring_seconds
        self.spent["signals"] += result.signals_seconds
        now = self.clock()
        self.spent["waiting"] += max(0.0, now - self.since - result.worked_seconds)
        self.since = now

    def save(self, path: Path, **notes: Any) -> None:
        """Write the state and the curve, from which `saved` goes on, and further notes."""
        assert self.state is not None
        tensors, state = self.state.pack()
        with writable(path):
            save_tensors(path, tensors, {"state": state, "curve": self.curve, **notes})

    @contextmanager
    def checkpointing(self) -> Iterator[None]:
        """Time spent in here is for keeping the trial's state."""
        try:
            yield
        finally:
            now = self.clock()
            self.spent["checkpointing"] += now - self.since
            self.since = now

    def rounded(self) -> Spent:
        return {name: round(seconds, 4) for name, seconds in self.spent.items()}


def saved(path: Path) -> tuple[TrialState, list[Epoch], dict[str, Any]]:
    """The state, curve and all notes that `UnderWay.save` wrote. Raises `FileNotFoundError` and `DamagedError`."""
    tensors, notes = load_tensors(path)
    try:
        return TrialState.unpack(tensors, notes["state"]), notes["curve"], notes
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedError(f"{path}: it is no state of a trial ({error!r})") from None
