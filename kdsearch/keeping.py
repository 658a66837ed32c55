"""The files of a study's trials: checkpoints while they run, their starts to be shared, their students at the end."""

from pathlib import Path

from kdsearch.files import save_tensors, writable
from kdsearch.training import Epoch
from kdsearch.trial import TrialState
from kdsearch.underway import UnderWay, saved
from kdsearch.workspace import Workspace


class Keeper:
    """Reads and writes the trials' files of the study `name` in `workspace`."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self._workspace = workspace
        self._name = name

    def keep(self, number: int, trial: UnderWay) -> None:
        """Write the trial's state and curve, from which `recall` goes on."""
        trial.save(self._path(number), trial=number)

    def recall(self, number: int) -> tuple[TrialState, list[Epoch]]:
        """The last kept state and the curve up to it. Raises `FileNotFoundError` and `DamagedError`."""
        state, curve, _ = saved(self._path(number))
        return state, curve

    def holds(self, number: int) -> bool:
        """Whether there is a state to recall."""
        return self._path(number).exists()

    def hand_over(self, number: int, successor: int) -> None:
        """The state of `number` is now that of `successor`."""
        self._path(number).replace(self._path(successor))

    def drop(self, number: int) -> None:
        """The trial is over and its state not needed any more."""
        self._path(number).unlink(missing_ok=True)

    def keep_student(self, number: int, trial: UnderWay) -> None:
        """Write the trained student's weights, from which it is exported."""
        assert trial.state is not None
        notes = {"study": self._name, "trial": number, "fingerprint": trial.recipe.fingerprint()}
        path = self._workspace.student(self._name, number)
        with writable(path):
            save_tensors(path, trial.state.train.module, notes)

    def log(self, number: int, trace: str) -> Path:
        """Write the traceback of a trial that raised; gives its path."""
        path = self._workspace.study(self._name) / "logs" / f"trial-{number:05d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(trace, encoding="utf-8")
        return path

    def _path(self, number: int) -> Path:
        return self._workspace.checkpoint(self._name, number)
