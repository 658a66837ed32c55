"""What a local worker process does: loads the study, runs segments as they come, tells of their epochs."""

import contextlib
import json
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdsearch.spawning import Desk
    from kdsearch.training import Epoch
    from kdsearch.trial import Failed, Progress, Segment

_state: dict[str, Any] = {}


def main(desk: "Desk", pickled_job: bytes) -> None:
    """Run segments, pickled, as they come, until the driver ends."""
    _state["pickled_job"] = pickled_job
    with contextlib.suppress(Exception):  # what goes wrong is told with the first segment, which tries again
        _set_up()
    for pickled_segment in desk.tasks():
        desk.answer(_work(pickled_segment, desk))


def _work(pickled_segment: bytes, desk: "Desk") -> bytes:
    """Run a segment; gives a pickled Progress, Failed, or what keeps this worker from working at all: a Mistake, or an
    error of our own, for the driver to raise.
    """
    import cloudpickle

    try:
        _set_up()  # a segment can be read where the study's own classes are known
        return bytes(cloudpickle.dumps(_worked(cloudpickle.loads(pickled_segment), desk)))
    except Exception as error:
        error.add_note(traceback.format_exc())
        return bytes(cloudpickle.dumps(error))


def _worked(segment: "Segment", desk: "Desk") -> "Progress | Failed":
    from kdsearch.executors.base import run_segment

    def on_epoch(line: "Epoch") -> bool:
        desk.tell(json.dumps({"trial": segment.trial, "line": line}).encode())
        return desk.flagged()

    return run_segment(segment, _state["data"], _state["signals"], on_epoch)


def _set_up() -> None:
    if "data" in _state:
        return
    import cloudpickle
    import torch

    from kdsearch.executors.base import load_job

    torch.set_num_threads(1)
    _, _state["data"], _state["signals"] = load_job(cloudpickle.loads(_state["pickled_job"]))
