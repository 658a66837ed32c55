"""What a worker on Ray does with a segment. Ray keeps its process for further ones, and the study with it.

A student trains on the GPU, or the share of one, that Ray gave to its segment.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cloudpickle
import ray
import torch

from kdsearch.data.base import Data
from kdsearch.executors.base import Job, load_job, run_segment
from kdsearch.executors.ray_board import told
from kdsearch.executors.ray_files import OutOfSightError, UnfitError, folder_here
from kdsearch.mistakes import DiskError, Mistake
from kdsearch.signals import Signals
from kdsearch.training import Epoch
from kdsearch.trial import Failed, Progress, Segment


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A study as this process has it; `copied`: from a copy of its folder, which is this machine's own."""

    data: Data
    signals: Signals
    copied: bool


_ready: dict[bytes, _Ready] = {}
"""The study that this process last worked for, by its pickled job."""


def work(pickled_job: bytes, files: dict[str, Any], board: Any, trial: int, pickled_segment: bytes) -> bytes:
    """Run a segment; gives a pickled Progress, Failed, the Mistake that keeps all workers from working,
    `OutOfSightError` where it needs `files` and has none, or `UnfitError` where only this machine cannot.
    """
    told(board, {"trial": trial, "line": None})  # taken up
    torch.set_num_threads(1)  # whatever OMP_NUM_THREADS the machine has: the bits of signals depend on it

    def on_epoch(line: Epoch) -> bool:
        return told(board, {"trial": trial, "line": line})

    try:
        study = _study(pickled_job, files)
        device = _device()
        result: Progress | Failed | Exception = _run(cloudpickle.loads(pickled_segment), study, on_epoch, device)
    except (Mistake, OutOfSightError, UnfitError) as error:
        result = error
    return bytes(cloudpickle.dumps(result))


def _study(pickled_job: bytes, files: dict[str, Any]) -> _Ready:
    if pickled_job not in _ready:
        job: Job = cloudpickle.loads(pickled_job)
        try:
            folder = folder_here(job, files)
            _, data, signals = load_job(replace(job, folder=folder))
        except OSError as error:
            raise _unfit(str(error)) from None
        _ready.clear()
        _ready[pickled_job] = _Ready(data=data, signals=signals, copied=folder != job.folder)
    return _ready[pickled_job]


def _run(segment: Segment, study: _Ready, on_epoch: Callable[[Epoch], bool], device: str) -> Progress | Failed:
    try:
        return run_segment(segment, study.data, study.signals, on_epoch, device)
    except DiskError as error:
        if study.copied:
            raise _unfit(str(error)) from None
        raise  # of a disk that all share


def _unfit(reason: str) -> UnfitError:
    return UnfitError(
        ray.get_runtime_context().get_node_id(),
        f"the machine {os.uname().nodename} cannot hold or read the study's files ({reason})",
    )


def _device() -> str:
    """Where a student trains. Raises `Mistake` where Ray gave a GPU that torch cannot use: it would be held in vain."""
    if not ray.get_gpu_ids():
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    raise Mistake(
        f"a trial has a GPU of {os.uname().nodename} (--gpus-per-trial), which torch {torch.__version__} there cannot "
        "use; install a torch that is built for it on that machine (pytorch.org), or leave --gpus-per-trial out"
    )
