"""Runs segments as Ray tasks, on one machine or on all of a cluster.

Workers read data, teacher and signals from the study's folder where they see it (a shared file system), else from a
copy of it that Ray's object store brings to each machine once. Segments, and with them students' states, travel by
value. Ray retries nothing: the driver counts. Authentication is Ray's own and stays as it is set: a cluster of this
engine's making has a token, as Ray's default is, and one that is there is asked with the user's.
"""

import os
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
from ray.exceptions import RayError

from kdsearch.events import Note, TrialEpoch
from kdsearch.executors.base import BlamelessError, Job
from kdsearch.executors.ray_board import exchanged, started_board
from kdsearch.executors.ray_files import OutOfSightError, StoredFiles, UnfitError
from kdsearch.executors.ray_joining import await_room, connected, needs, room
from kdsearch.executors.ray_outcome import outcome_of
from kdsearch.executors.ray_waiting import Waiting
from kdsearch.executors.ray_worker import work
from kdsearch.mistakes import DiskError, Mistake
from kdsearch.trial import Failed, Progress, Segment

_LOOK_SECONDS = 2.0
"""Between two looks at how large the cluster is."""


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
        self._events: list[TrialEpoch | Note] = []
        self._taken_up: set[int] = set()
        self._stopping = False
        self._job = ray.put(cloudpickle.dumps(job))
        self._files = StoredFiles(job.folder)
        self._task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(work)
        self._refs: dict[Future[Progress | Failed], Any] = {}
        self._trials: dict[Future[Progress | Failed], int] = {}
        self._returned: deque[tuple[Segment, Future[Progress | Failed], OutOfSightError | UnfitError]] = deque()
        self._unfit: set[str] = set()
        """Nodes that cannot hold or read the study's files."""
        self._waiting = Waiting(needs(gpus), lambda: room(gpus), time.monotonic)
        self._lost: deque[Exception] = deque()
        """What futures say of a Ray that is lost: the first that it is, all others no more than a `BlamelessError`."""

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
        task = self._task
        if self._unfit and room(self._gpus, self._unfit):
            task = task.options(label_selector={"ray.io/node-id": f"!in({','.join(sorted(self._unfit))})"})
        ref = task.remote(self._job, files, self._board, segment.trial, cloudpickle.dumps(segment))
        self._refs[future] = ref

        def ended(done: "Future[bytes]") -> None:
            result = outcome_of(done, segment.trial)
            if isinstance(result, OutOfSightError | UnfitError):
                self._returned.append((segment, future, result))  # this is Ray's own thread, which must not wait for it
            else:
                _end(future, result)

        ref.future().add_done_callback(ended)

    def wait(
        self, under_way: "Collection[Future[Progress | Failed]]", timeout: float
    ) -> "set[Future[Progress | Failed]]":
        with self._noticing_loss():
            while self._returned:
                self._take_back(*self._returned.popleft())
        if self._lost:
            self._give_up(under_way)
        return wait(under_way, timeout=timeout, return_when=FIRST_COMPLETED).done

    def _take_back(
        self, segment: Segment, future: "Future[Progress | Failed]", why: OutOfSightError | UnfitError
    ) -> None:
        if isinstance(why, OutOfSightError):
            self._begin(segment, future, self._files.refs())  # once more, with the files in its hands
            return
        self._unfit.add(why.node)
        if room(self._gpus, self._unfit):
            _end(future, BlamelessError(f"{why.reason}, and is left out from now on"))
        else:
            _end(future, DiskError(f"{why.reason}, and the cluster has no other; mend that, and run again"))

    def events(self) -> list[TrialEpoch | Note]:
        self._exchange()
        running = sum(map(self.running, self._trials))
        with self._noticing_loss():
            self._events += self._waiting.notes(waiting=len(self._trials) - running, running=running)
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
                self._lost.append(BlamelessError(said))

    def _give_up(self, under_way: "Collection[Future[Progress | Failed]]") -> None:
        for future in under_way:
            if not future.done():
                ref = self._refs.get(future)
                _end(future, self._lost.popleft() if len(self._lost) > 1 else self._lost[0])
                self._cancel(ref)  # after that, or it would be told as an end of its own

    def abandon(self, future: "Future[Progress | Failed]") -> None:
        self._cancel(self._refs.get(future))

    def _cancel(self, ref: Any) -> None:
        if ref is not None:
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
    with connected(address, workers):
        await_room(workers, gpus, own=address is None)
        made = Cluster(job, workers, gpus=gpus)
        try:
            yield made
        finally:
            made.shutdown()


def _end(future: "Future[Progress | Failed]", result: Progress | Failed | Exception) -> None:
    with suppress(InvalidStateError):  # of a Ray that was given up for lost, and answers after all
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
