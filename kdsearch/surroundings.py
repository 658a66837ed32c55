"""What bits depend on besides the recipe, the seeds, the data and the teacher: versions, processor, threads."""

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import torch

from kdsearch import __version__


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """In what a study was run. `versions` are those of `versions()` and of optuna, which proposes; `processor` its
    name; `threads` how many of torch's the driver had, which train the teacher (students have one each); `engine` and
    the number of `workers` that was asked for (None: as many as there are cores) decide on the order of proposals.
    """

    versions: dict[str, str]
    processor: str
    threads: int
    engine: str
    workers: int | None = None
    seed: int
    data: str
    teacher: str
    at_ms: int = field(default=0, compare=False)

    @classmethod
    def here(
        cls, *, engine: str, workers: int | None, seed: int, data: str, teacher: str, at_ms: int
    ) -> "Surroundings":
        """This process's. `data` and `teacher` are their fingerprint and key."""
        return cls(
            versions={**versions(), "optuna": importlib.metadata.version("optuna")},
            processor=processor(),
            threads=torch.get_num_threads(),
            engine=engine,
            workers=workers,
            seed=seed,
            data=data,
            teacher=teacher,
            at_ms=at_ms,
        )

    def changed(self, before: "Surroundings") -> list[str]:
        """By what the same recipe and seeds may give other bits now than `before`, as "torch 2.12.0, now 2.13.0"."""
        pairs = {name: (then, self.versions.get(name, "none")) for name, then in before.versions.items()}
        pairs["processor"] = (before.processor, self.processor)
        return [f"{name} {then}, now {now}" for name, (then, now) in pairs.items() if then != now]

    def __str__(self) -> str:
        named = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{named}; {self.processor}; {self.threads} threads; engine {self.engine}"


def last_difference(known: Sequence[Surroundings], now: Surroundings) -> str | None:
    """What is worth a note where a study goes on elsewhere than it was last run; None where nothing is."""
    if not known or not (changed := now.changed(known[-1])):
        return None
    return (
        f"this study was last run with {'; '.join(changed)}: the same recipe and seeds may give other bits than they "
        "did then, and figures that differ in the last digits"
    )


def versions() -> dict[str, str]:
    """What a training's bits may depend on, as it is here."""
    return {
        "kdsearch": __version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
    }


def processor() -> str:
    """The processor's name as the system has it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
