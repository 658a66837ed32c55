"""What a worker on Ray does with a segment. Ray keeps its process for further ones, and the study with it.

A student trains on the GPU, or the share of one, that Ray gave to its segment, where torch can use it.
"""

from dataclasses import replace
from typing import Any

import cloudpickle
import ray
import torch

from kdsearch.executors.base import Job, load_job, run_segment
from kdsearch.executors.ray_board import told
from kdsearch.executors.ray_files import OutOfSightError, folder_here
from kdsearch.mistakes import Mistake
from kdsearch.training import Epoch

_ready: dict[bytes, Any] = {}
"""Data and signals of the study that this process last worked for, by its pickled job."""


def work(pickled_job: bytes, files: dict[str, Any], board: Any, trial: int, pickled_segment: bytes) -> bytes:
    """Run a segment; gives a pickled Progress, Failed, the Mistake that keeps this worker from working at all, or
    `OutOfSightError` where it needs `files` and has none.
    """
    told(board, {"trial": trial, "line": None})  # taken up
    torch.set_num_threads(1)  # whatever OMP_NUM_THREADS the machine has: the bits of signals depend on it
    try:
        if pickled_job not in _ready:
            job: Job = cloudpickle.loads(pickled_job)
            _, data, signals = load_job(replace(job, folder=folder_here(job, files)))
            _ready.clear()
            _ready[pickled_job] = (data, signals)
    except (Mistake, OutOfSightError) as error:
        return bytes(cloudpickle.dumps(error))
    data, signals = _ready[pickled_job]
    segment = cloudpickle.loads(pickled_segment)
    device = "cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu"

    def on_epoch(line: Epoch) -> bool:
        return told(board, {"trial": trial, "line": line})

    return bytes(cloudpickle.dumps(run_segment(segment, data, signals, on_epoch, device)))
