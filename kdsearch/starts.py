"""Shared starts: trials with the same student, start, optimizer and seed share the trained start, on disk by its key.

A start is trained by the first trial that needs it; others wait for it, and take over if that trial fails. Starts of a
finished study may be deleted: that costs only time.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from kdsearch.files import DamagedError
from kdsearch.recipe import Recipe
from kdsearch.training import Epoch
from kdsearch.trial import Seeds, TrialState
from kdsearch.underway import UnderWay, saved


@dataclass(frozen=True, kw_only=True)
class SharedStart:
    """A start's end: the student's state, its lines of the curve, and the trial that trained it."""

    state: TrialState
    curve: list[Epoch]
    trial: int


class Starts:
    """The starts of one study, kept in `folder`: which are trained, and which trial trains or waits for one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owners: dict[str, int] = {}
        self._parked: dict[str, list[int]] = defaultdict(list)

    def claim(self, number: int, recipe: Recipe, seeds: Seeds) -> bool:
        """Whether trial `number` is to train its start itself; if not, it is parked until the owner is done."""
        key = _key(recipe, seeds)
        if self._owners.setdefault(key, number) == number:
            return True
        self._parked[key].append(number)
        return False

    def find(self, recipe: Recipe, seeds: Seeds) -> SharedStart | None:
        """The start of this recipe where it has been trained. Raises `DamagedError` where its file is torn."""
        path = self._path(recipe, seeds)
        try:
            state, curve, notes = saved(path)
        except FileNotFoundError:
            return None
        except DamagedError:
            path.unlink()  # it is trained again
            raise
        return SharedStart(state=state, curve=curve, trial=notes["trial"])

    def keep(self, number: int, trial: UnderWay) -> None:
        """Keep the start that trial `number` has trained, at whose end it stands."""
        trial.save(self._path(trial.recipe, trial.seeds), trial=number)

    def release(self, number: int, recipe: Recipe, seeds: Seeds) -> list[int]:
        """Trial `number` is done with its start, or has failed: gives the trials that waited for it."""
        key = _key(recipe, seeds)
        if self._owners.get(key) != number:
            return []
        del self._owners[key]
        return self._parked.pop(key, [])

    def _path(self, recipe: Recipe, seeds: Seeds) -> Path:
        return self._folder / f"{_key(recipe, seeds)}.safetensors"


def _key(recipe: Recipe, seeds: Seeds) -> str:
    return f"{recipe.start_fingerprint()}-{seeds.start:016x}"
