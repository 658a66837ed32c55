"""Runs segments in processes on this machine, one torch thread each.

The pool is Pebble's: a worker that dies costs its one segment and is replaced. Workers hear of a stop through a file
and report epochs through a datagram socket in the same private folder: neither has a lock that a dying worker could
keep. Workers ignore Ctrl-C, which a terminal sends to all processes of a group, and end when the driver is gone.
"""

import json
import shutil
import socket
import tempfile
from concurrent.futures import Future
from multiprocessing import get_context
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from kdsearch.events import TrialEpoch
from kdsearch.executors import worker
from kdsearch.executors.base import Job, LostError
from kdsearch.mistakes import Mistake
from kdsearch.trial import Failed, Progress, Segment


class Local:
    """An executor of `capacity` processes, started as segments come."""

    def __init__(self, job: Job, capacity: int) -> None:
        import cloudpickle

        self.capacity = capacity
        self._private = Path(tempfile.mkdtemp(prefix="kdsearch-"))  # readable by this user alone
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._private / worker.EVENTS))
        self._socket.setblocking(False)
        self._pool = ProcessPool(
            max_workers=capacity,
            initializer=worker.enter,
            initargs=(cloudpickle.dumps(job), str(self._private)),
            context=get_context("spawn"),
        )

    def submit(self, segment: Segment) -> "Future[Progress | Failed]":
        import cloudpickle

        future: Future[Progress | Failed] = Future()
        # by value where the student's class is a notebook's own, by name where its module is a study file
        running = self._pool.schedule(worker.work, args=(cloudpickle.dumps(segment),))
        running.add_done_callback(lambda done: _pass_on(done, future))
        return future

    def events(self) -> list[TrialEpoch]:
        received: list[TrialEpoch] = []
        while True:
            try:
                message = json.loads(self._socket.recv(65536))
            except BlockingIOError:
                return received
            received.append(TrialEpoch(message["trial"], message["line"]))

    def stop(self) -> None:
        (self._private / worker.STOP).touch()

    def shutdown(self) -> None:
        self._pool.stop()
        self._pool.join()
        self._socket.close()
        shutil.rmtree(self._private, ignore_errors=True)


def _pass_on(done: "Future[bytes]", future: "Future[Progress | Failed]") -> None:
    import cloudpickle

    if done.cancelled():
        future.set_exception(LostError("the pool was shut down"))
        return
    error = done.exception()
    if isinstance(error, ProcessExpired):
        future.set_exception(LostError(f"its worker process ended unexpectedly (exit code {error.exitcode})"))
    elif error is not None:
        future.set_exception(error)
    else:
        result = cloudpickle.loads(done.result())
        if isinstance(result, Mistake):
            future.set_exception(result)
        else:
            future.set_result(result)
