"""Runs segments as Ray tasks, on one machine or on all of a cluster. The only home of Ray.

Workers read data, teacher and signals from the study's folder where they see it (a shared file system), else from a
copy of it that Ray's object store brings to each machine once. Segments, and with them students' states, travel by
value. Ray retries nothing: the driver counts. One small actor beside the driver, the board, passes epochs on to it and
the wish to stop to the workers, who ask after each epoch; it ends with the driver, as all of its tasks do.
"""

import os
import tempfile
import time
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

# before the import, which reads them
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # CPU tasks may still see a machine's accelerators

import cloudpickle
import numpy as np
import ray
from filelock import FileLock
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kdsearch.events import TrialEpoch
from kdsearch.executors.base import Job, LostError, load_job, run_segment
from kdsearch.files import write_atomically
from kdsearch.mistakes import Mistake
from kdsearch.trial import Failed, Progress, Segment

_LOOK_SECONDS = 2.0
"""Between two looks at how large the cluster is."""
_ANSWER_SECONDS = 30.0
"""A board that does not answer for so long is gone, and with it Ray."""
_PATIENCE_SECONDS = 60.0
"""How long a cluster that must be there may take to show a processor."""


class Cluster:
    """An executor on Ray. `workers` is how many segments are under way at a time: where the cluster has fewer cores the
    others wait in its queue, which an autoscaler takes as the wish for more machines. Left out, it is as many as there
    are, and follows the machines that come and go.
    """

    def __init__(self, job: Job, workers: int | None, *, address: str | None = None, cpus: float = 1.0) -> None:
        self._wanted = workers
        self._cpus = cpus
        self._own = address is None and not ray.is_initialized()
        _connect(address, workers)
        self._looked = -_LOOK_SECONDS
        self._cores = 0
        self._board = _started_board()
        self._job = ray.put(cloudpickle.dumps(job))
        self._files = _Files(job.folder)
        self._task = ray.remote(num_cpus=cpus, max_retries=0)(_work)
        self._refs: dict[Future[Progress | Failed], Any] = {}
        self._out_of_sight: deque[tuple[Segment, Future[Progress | Failed]]] = deque()

    @property
    def capacity(self) -> int:
        """How many segments the driver keeps under way."""
        if self._wanted is not None:
            return self._wanted
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._cores = int(ray.cluster_resources().get("CPU", 0) / self._cpus)
        return max(1, self._cores)

    def submit(self, segment: Segment) -> "Future[Progress | Failed]":
        future: Future[Progress | Failed] = Future()
        future.add_done_callback(lambda over: self._refs.pop(over, None))
        self._begin(segment, future, {})
        return future

    def _begin(self, segment: Segment, future: "Future[Progress | Failed]", files: dict[str, Any]) -> None:
        ref = self._task.remote(self._job, files, self._board, cloudpickle.dumps(segment))
        self._refs[future] = ref

        def ended(done: "Future[bytes]") -> None:
            result = _outcome(done, segment.trial)
            if isinstance(result, _OutOfSightError) and not files:
                self._out_of_sight.append((segment, future))  # this is Ray's own thread, which must not wait for Ray
            elif isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        ref.future().add_done_callback(ended)

    def wait(
        self, under_way: "Collection[Future[Progress | Failed]]", timeout: float
    ) -> "set[Future[Progress | Failed]]":
        while self._out_of_sight:
            self._begin(*self._out_of_sight.popleft(), self._files.refs())  # once more, with the files in its hands
        return wait(under_way, timeout=timeout, return_when=FIRST_COMPLETED).done

    def events(self) -> list[TrialEpoch]:
        return [TrialEpoch(message["trial"], message["line"]) for message in self._asked("take")]

    def stop(self) -> None:
        self._asked("stop")

    def go_on(self) -> None:
        self._asked("go_on")

    def abandon(self, future: "Future[Progress | Failed]") -> None:
        if (ref := self._refs.get(future)) is not None:
            ray.cancel(ref, force=True)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def shutdown(self) -> None:
        for ref in list(self._refs.values()):
            ray.cancel(ref, force=True)
        if self._own:
            ray.shutdown()
        else:
            ray.kill(self._board)

    def _asked(self, what: str) -> Any:
        try:
            return ray.get(getattr(self._board, what).remote(), timeout=_ANSWER_SECONDS)
        except (RayError, GetTimeoutError) as error:
            raise Mistake(
                f"the connection to Ray is lost ({type(error).__name__}); every finished segment is kept: run again"
            ) from None


class Board:
    """What driver and workers tell each other. Plain values only."""

    def __init__(self) -> None:
        self._told: list[dict[str, Any]] = []
        self._stopping = False

    def tell(self, message: dict[str, Any]) -> bool:
        """Take a message from a worker; gives whether it is to stop."""
        self._told.append(message)
        return self._stopping

    def take(self) -> list[dict[str, Any]]:
        told, self._told = self._told, []
        return told

    def stop(self) -> None:
        self._stopping = True

    def go_on(self) -> None:
        self._stopping = False


class _OutOfSightError(Exception):
    """The worker's machine does not see the study's folder."""


class _Files:
    """The study's files in Ray's object store, for machines that do not see its folder: put there when they are first
    needed, and those that are new since then with each further segment.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[tuple[int, int], Any]] = {}

    def refs(self) -> dict[str, Any]:
        """Relative paths and references to their bytes."""
        for name in ("data", "teacher", "signals"):
            for path in sorted((self._folder / name).rglob("*")):
                if path.is_file() and not path.name.startswith(".") and path.suffix != ".lock":
                    state = (path.stat().st_mtime_ns, path.stat().st_size)
                    key = path.relative_to(self._folder).as_posix()
                    if key not in self._known or self._known[key][0] != state:
                        self._known[key] = (state, ray.put(np.fromfile(path, dtype=np.uint8)))
        return {key: [ref] for key, (_, ref) in self._known.items()}  # in lists: fetched only where needed


def _connect(address: str | None, workers: int | None) -> None:
    if not ray.is_initialized():
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        try:
            if address is None:
                ray.init(num_cpus=workers, include_dashboard=False, **quiet)
            else:
                ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError, RayError) as error:
            said = str(error).strip().split("\n")[0]
            raise Mistake(
                f"no Ray cluster at {address!r} ({said}); start one with `ray start --head`, or leave --address out"
            ) from None
    until = time.monotonic() + _PATIENCE_SECONDS
    while not ray.cluster_resources().get("CPU"):
        if workers is not None or time.monotonic() > until:
            break  # an autoscaler may bring them
        time.sleep(0.5)


def _started_board() -> Any:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, max_restarts=0)(Board).options(scheduling_strategy=here).remote()


# in the workers

_ready: dict[bytes, Any] = {}


def _work(pickled_job: bytes, files: dict[str, Any], board: Any, pickled_segment: bytes) -> bytes:
    """Run a segment; gives a pickled Progress, Failed, or the Mistake that keeps this worker from working at all."""
    try:
        if pickled_job not in _ready:
            job: Job = cloudpickle.loads(pickled_job)
            _, data, signals = load_job(replace(job, folder=_folder(job, files)))
            _ready.clear()
            _ready[pickled_job] = (data, signals)
        data, signals = _ready[pickled_job]
    except (Mistake, _OutOfSightError) as error:
        return bytes(cloudpickle.dumps(error))
    segment = cloudpickle.loads(pickled_segment)

    def on_epoch(line: Any) -> bool:
        return bool(ray.get(board.tell.remote({"trial": segment.trial, "line": line})))

    return bytes(cloudpickle.dumps(run_segment(segment, data, signals, on_epoch)))


def _folder(job: Job, files: dict[str, Any]) -> Path:
    """The study's folder as this machine sees it, else a copy of what workers read, made once a machine."""
    if (job.folder / "data").is_dir():
        return job.folder
    if not files:
        raise _OutOfSightError
    copy = Path(tempfile.gettempdir()) / f"kdsearch-{os.getuid()}-{job.data_fingerprint[:16]}-{job.teacher_key[:16]}"
    copy.mkdir(mode=0o700, exist_ok=True)
    if copy.is_symlink() or copy.stat().st_uid != os.getuid():
        raise Mistake(f"{copy} belongs to somebody else; remove it on {os.uname().nodename}")
    with FileLock(copy / "copy.lock"):
        for name, (ref,) in files.items():
            path = copy / name
            if not path.resolve().is_relative_to(copy.resolve()):
                raise Mistake(f"a file of the study would leave its folder: {name!r}")
            if not path.exists():
                array = ray.get(ref)
                write_atomically(path, array.tofile)
    return copy


# in the driver


def _outcome(done: "Future[bytes]", trial: int) -> Progress | Failed | Exception:
    """What became of a task."""
    error = done.exception()
    if isinstance(error, OutOfMemoryError):
        reason = "out of memory on its machine: give the cluster fewer --workers, or the study a smaller batch_size"
        return Failed(trial=trial, reason=reason, trace=str(error))
    if isinstance(error, RayTaskError):
        return error.cause if isinstance(error.cause, Exception) else error
    if isinstance(error, RayError):
        return LostError(f"its worker was lost ({type(error).__name__})")
    if error is not None:
        return error if isinstance(error, Exception) else LostError(str(error))
    result: Progress | Failed | Exception = cloudpickle.loads(done.result())
    return result


@contextmanager
def cluster(job: Job, workers: int | None, address: str | None) -> Iterator[Cluster]:
    """A cluster for as long as it is needed. Raises `Mistake` where there is none at `address`."""
    made = Cluster(job, workers, address=address)
    try:
        yield made
    finally:
        made.shutdown()
