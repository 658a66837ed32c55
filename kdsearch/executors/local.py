"""Runs segments in processes on this machine, one torch thread each.

A worker that dies costs its one segment and is replaced. Each tells of its epochs through a pipe of its own, and hears
of a stop through a flag: neither has a lock that a dying worker could keep, nor a name on the disk. Workers never see
Ctrl-C, which a terminal sends to all processes of a group, and end when the driver is gone. What they need of the
driver's main module travels with each segment.
"""

import json
from collections import deque
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait

from kdsearch.events import Note, TrialEpoch
from kdsearch.executors import worker
from kdsearch.executors.base import Job
from kdsearch.processes import Orders, TooLargeError, Workers
from kdsearch.trial import Failed, Progress, Segment


class Local:
    """An executor of `capacity` processes, each with at most `memory_gb` gigabytes of its own; None: no limit."""

    def __init__(self, job: Job, capacity: int, memory_gb: float | None = None) -> None:
        import cloudpickle

        self.capacity = capacity
        self._heard: deque[TrialEpoch | Note] = deque()
        """What workers' threads bring, until it is asked for."""
        self._answers: dict[Future[Progress | Failed], Future[bytes]] = {}
        orders = Orders(
            main=worker.main,
            arguments=(cloudpickle.dumps(job),),
            hear=self._hear,
            warn=lambda text: self._heard.append(Note(text)),
            limit_bytes=memory_gb * 1e9 if memory_gb is not None else None,
        )
        self._workers = Workers(orders, capacity)

    def _hear(self, word: bytes) -> None:
        message = json.loads(word)
        self._heard.append(TrialEpoch(message["trial"], message["line"]))

    def submit(self, segment: Segment) -> "Future[Progress | Failed]":
        import cloudpickle

        future: Future[Progress | Failed] = Future()
        # by value where the student's class is a notebook's own, by name where its module is a study file
        answer = self._workers.submit(cloudpickle.dumps(segment))
        self._answers[future] = answer
        future.add_done_callback(lambda over: self._answers.pop(over, None))
        answer.add_done_callback(lambda done: _pass_on(done, future, segment.trial))
        return future

    def running(self, future: "Future[Progress | Failed]") -> bool:
        answer = self._answers.get(future)
        return answer is None or answer.running() or answer.done()

    def abandon(self, future: "Future[Progress | Failed]") -> None:
        if (answer := self._answers.get(future)) is not None:
            self._workers.end(answer, "its worker was ended")

    def wait(
        self, under_way: "Collection[Future[Progress | Failed]]", timeout: float
    ) -> "set[Future[Progress | Failed]]":
        return wait(under_way, timeout=timeout, return_when=FIRST_COMPLETED).done

    def events(self) -> list[TrialEpoch | Note]:
        return [self._heard.popleft() for _ in range(len(self._heard))]

    def stop(self) -> None:
        self._workers.flag(True)

    def go_on(self) -> None:
        self._workers.flag(False)

    def __enter__(self) -> "Local":
        """Start the workers: they load the study and its data before the first segment comes."""
        self._workers.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def shutdown(self) -> None:
        self._workers.close()


def _pass_on(done: "Future[bytes]", future: "Future[Progress | Failed]", trial: int) -> None:
    import cloudpickle

    error = done.exception()
    if isinstance(error, TooLargeError):
        future.set_result(Failed(trial=trial, reason=str(error), trace=""))
        return
    if error is not None:
        future.set_exception(error)
        return
    try:
        result = cloudpickle.loads(done.result())
    except Exception as unreadable:  # else the driver would wait for this future for ever
        result = unreadable
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
