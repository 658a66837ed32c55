"""Runs segments as Ray tasks, on one machine or on all of a cluster.

Workers read data, teacher and signals from the study's folder where they see it (a shared file system), else from a
copy of it that Ray's object store brings to each machine once. Segments, and with them students' states, travel by
value. Ray retries nothing: the driver counts. Authentication is Ray's own and stays as it is set: a cluster of this
engine's making has a token, as Ray's default is, and one that is there is asked with the user's.
"""

import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from contextlib import contextmanager, suppress
from typing import Any

# before the import, which reads them
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # CPU tasks may still see a machine's accelerators

import cloudpickle
import ray
from ray._private import worker as ray_worker_module
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from kdsearch.events import TrialEpoch
from kdsearch.executors.base import Job, LostError
from kdsearch.executors.ray_board import exchanged, started_board
from kdsearch.executors.ray_files import OutOfSightError, StoredFiles
from kdsearch.executors.ray_worker import work
from kdsearch.mistakes import Mistake
from kdsearch.trial import Failed, Progress, Segment

_LOOK_SECONDS = 2.0
"""Between two looks at how large the cluster is."""
_PATIENCE_SECONDS = 60.0
"""How long a cluster may take to show a machine that can take a segment, where nobody said how many are coming."""


class Cluster:
    """An executor on the Ray that this process is connected to.

    `workers` is how many segments are under way at a time: where the cluster has room for fewer the others wait in its
    queue, which an autoscaler takes as the wish for more machines. None: as many as there is room for, which follows
    the machines that come and go. Each segment takes one processor and `gpus` of a GPU.
    """

    def __init__(self, job: Job, workers: int | None, *, gpus: float = 0.0) -> None:
        self._wanted = workers
        self._gpus = gpus
        self._looked = -_LOOK_SECONDS
        self._room = 0
        self._board = started_board()
        self._events: list[TrialEpoch] = []
        self._taken_up: set[int] = set()
        self._stopping = False
        self._job = ray.put(cloudpickle.dumps(job))
        self._files = StoredFiles(job.folder)
        self._task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(work)
        self._refs: dict[Future[Progress | Failed], Any] = {}
        self._trials: dict[Future[Progress | Failed], int] = {}
        self._out_of_sight: deque[tuple[Segment, Future[Progress | Failed]]] = deque()
        self._lost: deque[Exception] = deque()
        """What futures say of a Ray that is lost: the first that it is, all others no more than a `LostError`."""

    @property
    def capacity(self) -> int:
        """How many segments the driver keeps under way."""
        if self._wanted is not None:
            return self._wanted
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            with self._noticing_loss():
                self._looked, self._room = now, room(self._gpus)
        return max(1, self._room)

    def submit(self, segment: Segment) -> "Future[Progress | Failed]":
        future: Future[Progress | Failed] = Future()
        self._trials[future] = segment.trial
        self._taken_up.discard(segment.trial)
        future.add_done_callback(self._over)
        with self._noticing_loss():
            self._begin(segment, future, {})
        return future

    def _over(self, future: "Future[Progress | Failed]") -> None:
        self._refs.pop(future, None)
        self._trials.pop(future, None)

    def _begin(self, segment: Segment, future: "Future[Progress | Failed]", files: dict[str, Any]) -> None:
        ref = self._task.remote(self._job, files, self._board, segment.trial, cloudpickle.dumps(segment))
        self._refs[future] = ref

        def ended(done: "Future[bytes]") -> None:
            result = _outcome(done, segment.trial)
            if isinstance(result, OutOfSightError) and not files:
                self._out_of_sight.append((segment, future))  # this is Ray's own thread, which must not wait for Ray
            else:
                _end(future, result)

        ref.future().add_done_callback(ended)

    def wait(
        self, under_way: "Collection[Future[Progress | Failed]]", timeout: float
    ) -> "set[Future[Progress | Failed]]":
        with self._noticing_loss():
            while self._out_of_sight:
                self._begin(*self._out_of_sight.popleft(), self._files.refs())  # once more, with the files in its hands
        if self._lost:
            self._give_up(under_way)
        return wait(under_way, timeout=timeout, return_when=FIRST_COMPLETED).done

    def events(self) -> list[TrialEpoch]:
        self._exchange()
        events, self._events = self._events, []
        return events

    def running(self, future: "Future[Progress | Failed]") -> bool:
        """Whether a worker has taken this segment up, rather than that it waits in Ray's queue for one."""
        return self._trials.get(future) in self._taken_up

    def stop(self) -> None:
        self._stopping = True
        self._exchange()

    def go_on(self) -> None:
        self._stopping = False
        self._exchange()

    def _exchange(self) -> None:
        if self._lost:
            return
        messages: list[dict[str, Any]] = []
        with self._noticing_loss():
            messages = exchanged(self._board, stopping=self._stopping)
        for message in messages:
            if message["line"] is None:
                self._taken_up.add(message["trial"])
            else:
                self._events.append(TrialEpoch(message["trial"], message["line"]))

    @contextmanager
    def _noticing_loss(self) -> Iterator[None]:
        """Whoever finds Ray lost notes it for `wait`, which alone tells of it: what is under way is over then."""
        try:
            yield
        except RayError as error:
            if not self._lost:
                said = f"the connection to Ray is lost ({type(error).__name__})"
                self._lost.append(Mistake(f"{said}; every finished segment is kept: run again"))
                self._lost.append(LostError(said))

    def _give_up(self, under_way: "Collection[Future[Progress | Failed]]") -> None:
        for future in under_way:
            if not future.done():
                self.abandon(future)
                _end(future, self._lost.popleft() if len(self._lost) > 1 else self._lost[0])

    def abandon(self, future: "Future[Progress | Failed]") -> None:
        if (ref := self._refs.get(future)) is not None:
            with self._noticing_loss():
                ray.cancel(ref, force=True)

    def shutdown(self) -> None:
        with suppress(RayError):  # of a Ray that is lost nothing is left to end
            for ref in list(self._refs.values()):
                ray.cancel(ref, force=True)
            ray.kill(self._board)


@contextmanager
def cluster(job: Job, workers: int | None, address: str | None, gpus: float = 0.0) -> Iterator[Cluster]:
    """An executor for as long as it is needed, on the cluster at `address`, else on a Ray of this machine's own.

    Raises `Mistake` where there is no such cluster, or none of its machines could ever take a segment.
    """
    with _connected(address, workers):
        _await_room(workers, gpus, own=address is None)
        made = Cluster(job, workers, gpus=gpus)
        try:
            yield made
        finally:
            made.shutdown()


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[None]:
    """Be connected to Ray within. A connection that the caller's process has already is used, and left as it is."""
    if ray.is_initialized():
        here = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", here):
            raise Mistake(f"this process is connected to the Ray at {here}, not {address}; call ray.shutdown() before")
        yield
        return
    if address not in (None, "auto"):
        _check_reachable(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    # of a machine that dies Ray would print pages, to standard output, which is for events; its log files have them
    vars(ray_worker_module)["print_to_stdstream"] = lambda *_, **__: None
    polite = signal.getsignal(signal.SIGTERM)
    try:
        if address is None:
            # "local": never a cluster that happens to be there, in RAY_ADDRESS or on this machine
            ray.init("local", num_cpus=workers or _cores(), include_dashboard=False, **quiet)
        else:
            ray.init(address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        where = "no Ray can be started here" if address is None else f"no Ray cluster can be used at {address!r}"
        look = "see that this user has its token (~/.ray/auth_token) and its version of Ray, or leave --address out"
        way_out = "use --engine local" if address is None else look
        raise Mistake(f"{where} ({said}); {way_out}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, polite)  # Ray's own would end the run without keeping what is under way
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise `Mistake` where nobody listens: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "//" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Mistake(f"--address must be HOST:PORT of the cluster's head, or auto, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_SECONDS / 4).close()
    except OSError as error:
        raise Mistake(
            f"no Ray cluster answers at {address!r} ({error}); start one with ray start --head, or leave --address out"
        ) from None


def _await_room(workers: int | None, gpus: float, *, own: bool) -> None:
    """Wait for a first machine that can take a segment, unless more `workers` are asked for than may be there yet."""
    until = time.monotonic() + (0.0 if own else _PATIENCE_SECONDS)
    while (workers is None or own) and not room(gpus):
        if time.monotonic() >= until:
            needs = f"a processor and {gpus:g} of a GPU" if gpus else "a processor"
            raise Mistake(
                f"no machine of the Ray cluster has {needs} for a trial; lower --gpus-per-trial, add machines, or say "
                "with --workers how many an autoscaler is to bring"
            )
        time.sleep(0.5)


def room(gpus: float) -> int:
    """How many segments the machines of the cluster have room for at a time."""
    return sum(_fit(machine["Resources"], gpus) for machine in ray.nodes() if machine["Alive"])


def _fit(resources: dict[str, float], gpus: float) -> int:
    cpus, there = int(resources.get("CPU", 0)), resources.get("GPU", 0.0)
    if not gpus:
        return cpus
    # a share of a GPU is never made of parts of two
    return min(cpus, int(there) * int(1 / gpus + 1e-6) if gpus <= 1 else int(there / gpus))


def _cores() -> int:
    """Processor cores that this process may use: Ray would count the whole machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end(future: "Future[Progress | Failed]", result: Progress | Failed | Exception) -> None:
    with suppress(InvalidStateError):  # of a Ray that was given up for lost, and answers after all
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def _outcome(done: "Future[bytes]", trial: int) -> Progress | Failed | Exception:
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
