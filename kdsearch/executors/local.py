"""Runs segments in processes on this machine, one torch thread each.

The pool is Pebble's: a worker that dies costs its one segment and is replaced. Workers hear of a stop through a file
and report epochs through a datagram socket in the same private folder: neither has a lock that a dying worker could
keep. Workers never see Ctrl-C, which a terminal sends to all processes of a group, and end when the driver is gone.
They do not run the driver's main module again, as `spawn` would: what they need of it travels with each segment.
"""

import json
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait
from multiprocessing import popen_spawn_posix, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from kdsearch.events import TrialEpoch
from kdsearch.executors import worker
from kdsearch.executors.base import Job, LostError
from kdsearch.trial import Failed, Progress, Segment

_launching = threading.Lock()


class _Popen(popen_spawn_posix.Popen):
    """Starts a process with Ctrl-C blocked from its first instruction on, and without the driver's main module."""

    def _launch(self, process_obj: BaseProcess) -> None:
        whole = spawn.get_preparation_data
        with _launching:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            spawn.get_preparation_data = lambda name: {
                key: value for key, value in whole(name).items() if not key.startswith("init_main")
            }
            try:
                super()._launch(process_obj)  # type: ignore[misc]
            finally:
                spawn.get_preparation_data = whole
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: BaseProcess) -> _Popen:
        return _Popen(process_obj)


class _Context(SpawnContext):
    Process = _Process


class Local:
    """An executor of `capacity` processes, started as segments come."""

    def __init__(self, job: Job, capacity: int) -> None:
        import cloudpickle

        self.capacity = capacity
        self._private = Path(tempfile.mkdtemp(prefix="kdsearch-"))  # readable by this user alone
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._private / worker.EVENTS))
        self._socket.setblocking(False)
        self._running: dict[Future[Progress | Failed], Future[bytes]] = {}
        self._pool = ProcessPool(
            max_workers=capacity,
            initializer=worker.enter,
            initargs=(cloudpickle.dumps(job), str(self._private)),
            context=_Context(),
        )

    def submit(self, segment: Segment) -> "Future[Progress | Failed]":
        import cloudpickle

        future: Future[Progress | Failed] = Future()
        # by value where the student's class is a notebook's own, by name where its module is a study file
        running = self._pool.schedule(worker.work, args=(cloudpickle.dumps(segment),))
        self._running[future] = running
        future.add_done_callback(lambda over: self._running.pop(over, None))
        running.add_done_callback(lambda done: _pass_on(done, future))
        return future

    def abandon(self, future: "Future[Progress | Failed]") -> None:
        if (running := self._running.get(future)) is not None:
            running.cancel()  # Pebble ends the process and starts another

    def wait(
        self, under_way: "Collection[Future[Progress | Failed]]", timeout: float
    ) -> "set[Future[Progress | Failed]]":
        return wait(under_way, timeout=timeout, return_when=FIRST_COMPLETED).done

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

    def go_on(self) -> None:
        (self._private / worker.STOP).unlink(missing_ok=True)

    def __enter__(self) -> "Local":
        """Start the workers: they load the study and its data before the first segment comes."""
        for _ in range(self.capacity):
            self._pool.schedule(worker.warm_up)
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def shutdown(self) -> None:
        self._pool.stop()
        self._pool.join()
        self._socket.close()
        shutil.rmtree(self._private, ignore_errors=True)


def _pass_on(done: "Future[bytes]", future: "Future[Progress | Failed]") -> None:
    import cloudpickle

    if done.cancelled():
        future.set_exception(LostError("its worker was ended"))
        return
    error = done.exception()
    if isinstance(error, ProcessExpired):
        future.set_exception(LostError(f"its worker process ended unexpectedly (exit code {error.exitcode})"))
    elif error is not None:
        future.set_exception(error)
    else:
        try:
            result = cloudpickle.loads(done.result())
        except Exception as unreadable:  # else the driver would wait for this future for ever
            result = unreadable
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
