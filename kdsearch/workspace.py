"""The workspace: where studies, databases and artifacts live. One folder, `runs/` by default."""

import os
from dataclasses import dataclass
from pathlib import Path

from kdsearch.files import writable

_BESIDE = ("", "-journal", "-wal", "-shm")  # as SQLite names what it keeps beside a database
OWN_NAMES = frozenset(("artifacts", "logs", *(f"{base}.db{end}" for base in ("optuna", "mlflow") for end in _BESIDE)))
"""What lies in a workspace beside its studies; in lower case, as some file systems know no other."""


@dataclass(frozen=True)
class Workspace:
    """`optuna.db`, `mlflow.db`, `artifacts/`, and a folder per study with `data/`, `teacher/`, `signals/`, `starts/`,
    `checkpoints/`, `students/`, `confirm/` and `anew/`. Study names are checked where a `Study` is made: they cannot
    lead out of `root`.
    """

    root: Path

    @classmethod
    def chosen(cls, root: str | os.PathLike[str] | None) -> "Workspace":
        """`root`, else KDSEARCH_WORKSPACE, else `runs` in the current folder."""
        return cls(Path(root if root is not None else os.environ.get("KDSEARCH_WORKSPACE", "runs")).resolve())

    def make(self) -> None:
        """Create the folder. Raises `Mistake` where it cannot be written."""
        with writable(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".kdsearch-{os.getpid()}"
            probe.touch()
            probe.unlink()

    @property
    def storage_url(self) -> str:
        return f"sqlite:///{self.root / 'optuna.db'}"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    def study(self, name: str) -> Path:
        return self.root / name

    def signals(self, name: str) -> Path:
        return self.study(name) / "signals"

    def checkpoint(self, name: str, trial: int) -> Path:
        return self.study(name) / "checkpoints" / f"trial-{trial:05d}.safetensors"

    def starts(self, name: str) -> Path:
        return self.study(name) / "starts"

    def confirm(self, name: str) -> Path:
        """States of runs on fresh seeds that are not over."""
        return self.study(name) / "confirm"

    def anew(self, name: str) -> Path:
        """States of recipes that are trained again to be exported."""
        return self.study(name) / "anew"

    def student(self, name: str, trial: int) -> Path:
        return self.study(name) / "students" / f"trial-{trial:05d}.safetensors"
