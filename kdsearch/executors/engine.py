"""Which workers a user asks for, checked before anything is begun, and had once there is a job for them."""

import importlib.util
import math
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

from kdsearch.executors.base import Executor, Job
from kdsearch.executors.local import Local
from kdsearch.mistakes import Mistake

ENGINES = ("local", "ray", "inline")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """`workers` segments are under way at a time: as many as there are cores where it is None, or on Ray room.

    `address` and `gpus_per_trial` are of a Ray cluster: its head's HOST:PORT, or "auto"; a share of one GPU, 0.0001 to
    1, or a whole number of them. A local worker that takes more than `worker_memory_gb` for itself is ended and
    replaced. Raises `Mistake` where such workers cannot be had.
    """

    name: str = "local"
    workers: int | None = None
    address: str | None = None
    gpus_per_trial: float = 0.0
    worker_memory_gb: float | None = None

    def __post_init__(self) -> None:
        name = self.name
        if name not in ENGINES:
            raise Mistake(f"the engine must be one of {', '.join(ENGINES)}, got {name!r}")
        if self.workers is not None and self.workers <= 0:
            raise Mistake(f"workers must be above 0, got {self.workers}")
        if name == "inline" and self.workers is not None and self.workers > 1:
            raise Mistake(
                f"the engine inline runs one trial at a time, got {self.workers} workers; leave them out, or use local"
            )
        _check_memory(name, self.worker_memory_gb)
        _check_cluster(name, self.address, self.gpus_per_trial)

    def workers_for(self, job: Job, most: int | None) -> "AbstractContextManager[Executor] | None":
        """Its workers, no more than `most` unless a number was asked for; None for inline, which has none."""
        if self.name == "inline":
            return None
        if self.name == "ray":
            from kdsearch.executors.ray import cluster  # an extra: not everybody has Ray

            return cluster(job, self.workers, self.address, self.gpus_per_trial)
        wanted = self.workers or cores()
        return Local(job, max(1, min(wanted, most)) if most is not None else wanted, self.worker_memory_gb)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_memory(name: str, worker_memory_gb: float | None) -> None:
    if worker_memory_gb is None:
        return
    if name != "local":
        raise Mistake(f"--worker-memory limits the processes of the engine local; the engine is {name}")
    if not 0 < worker_memory_gb < math.inf:
        raise Mistake(f"a worker's memory must be above 0 GB, got {worker_memory_gb}")


def _check_cluster(name: str, address: str | None, gpus_per_trial: float) -> None:
    if address is not None and name != "ray":
        raise Mistake(f"--address is of a Ray cluster, for --engine ray; the engine is {name}")
    if gpus_per_trial and name != "ray":
        raise Mistake(f"--gpus-per-trial is for --engine ray; the engine is {name}, which trains on processors")
    if gpus_per_trial and not _gives_gpus(gpus_per_trial):
        raise Mistake(
            "gpus_per_trial must be a share of one GPU, 0.0001 to 1, or a whole number of them, got "
            f"{gpus_per_trial!r}; a student trains on one"
        )
    if name == "ray" and importlib.util.find_spec("ray") is None:
        raise Mistake("the engine ray needs Ray, which is not installed; pip install 'kdsearch[ray]'")


def _gives_gpus(share: float) -> bool:
    """Whether Ray can give a task so many GPUs."""
    return 0.0001 <= share <= 1 or (math.isfinite(share) and share > 1 and share == int(share))
