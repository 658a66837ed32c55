"""What became of a Ray task that ran a segment, told apart by what Ray says."""

from concurrent.futures import Future

import cloudpickle
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from kdsearch.executors.base import LostError
from kdsearch.mistakes import Mistake
from kdsearch.trial import Failed, Progress


def outcome_of(done: "Future[bytes]", trial: int) -> Progress | Failed | Exception:
    """What became of a task. Never raises: the driver would wait for its future for ever."""
    error = done.exception()
    if isinstance(error, RayTaskError):
        return _raised(error)
    if isinstance(error, OutOfMemoryError):
        reason = (
            "out of memory on its machine: let it take fewer at a time (fewer --workers, or ray start --num-cpus), or "
            "give the study a smaller batch_size"
        )
        return Failed(trial=trial, reason=reason, trace=str(error))
    if isinstance(error, RayError):  # a node, a worker, or a task that was cancelled
        return LostError(f"its worker was lost ({type(error).__name__})")
    if error is not None:
        return error if isinstance(error, Exception) else LostError(str(error))
    try:
        result: Progress | Failed | Exception = cloudpickle.loads(done.result())
    except Exception as unreadable:
        return unreadable
    return result


def _raised(error: RayTaskError) -> Exception:
    """What a worker raised outside of the trial's own code."""
    cause = error.cause
    if isinstance(cause, RayError):  # an object or a machine that it needed was lost
        return LostError(f"its worker was lost ({type(cause).__name__})")
    if isinstance(cause, ImportError) or "failed to import" in str(cause):
        return Mistake(f"a machine of the cluster cannot run this ({cause}); install the same packages on all of them")
    return cause if isinstance(cause, Exception) else error
