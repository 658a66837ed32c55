"""Worker processes, each with a pipe and a thread of its own: one that dies, hangs or grows takes nothing from another.

Why no pool of a library: in those at hand all workers share a pipe and its lock, and whoever is killed with the lock in
its hands or with half of a result written leaves the others waiting for ever; Pebble's pool also breaks whole where a
worker is killed that has nothing to do. Here what a dying worker leaves behind is its own pipe, which ends with it.
"""

import atexit
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any

import psutil

from kdsearch.spawning import in_words, started

_LOOK_SECONDS = 0.5
"""Between two looks at a worker's memory."""
_GRACE_SECONDS = 1.0
"""A process that ends by itself closes its pipe that much before at most, and has an exit code of its own."""
_END_SECONDS = 10.0
"""A process that is not gone so long after it was killed waits for a device, and is left to the kernel."""
_GROWN = 0.75
"""A worker above this share of its limit is replaced between two segments, when that costs nothing but its start."""


class LostError(Exception):
    """A worker ended with this task in its hands; it can be run again."""


class NotBegunError(LostError):
    """No worker could take this task up, which is no fault of its own: how often that happens does not count."""


@dataclass(eq=False)
class _Task:
    """`why` it was ended from here, once it is."""

    payload: bytes
    future: "Future[bytes]" = field(default_factory=Future)
    why: str | None = None


class Workers:
    """`capacity` processes that run `main(connection, *arguments)`: it takes bytes from the connection, one task at a
    time, and answers each with bytes. What is replaced is started when the next task comes.

    A worker that takes more than `limit_bytes` of memory for itself (what it shares with others, as mapped files are,
    not counted) is ended, and replaced between two tasks before it comes to that.
    """

    def __init__(
        self, main: Callable[..., None], arguments: tuple[Any, ...], capacity: int, limit_bytes: float | None = None
    ) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._slots = [_Slot(main, arguments, limit_bytes) for _ in range(capacity)]
        self._under_way: dict[Future[bytes], _Task] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Have all processes started, which tasks need not wait for."""
        if self._threads:
            return
        atexit.register(self.close)  # before multiprocessing would wait for processes that wait for tasks
        for slot in self._slots:
            thread = threading.Thread(target=slot.serve, args=(self._tasks,), name="worker", daemon=True)
            thread.start()
            self._threads.append(thread)

    def submit(self, payload: bytes) -> "Future[bytes]":
        """Run a task. The future is `running()` once a worker has it; it raises `LostError` where that ends."""
        self.start()
        task = _Task(payload)
        self._under_way[task.future] = task
        task.future.add_done_callback(lambda over: self._under_way.pop(over, None))
        self._tasks.put(task)
        return task.future

    def end(self, future: "Future[bytes]", why: str) -> None:
        """End the worker that has this task, whatever it is at; no other. Nothing where the task is over."""
        if (task := self._under_way.get(future)) is not None:
            task.why = why
            for slot in self._slots:
                slot.end(task)

    def close(self) -> None:
        """End all workers, at once."""
        atexit.unregister(self.close)
        for future in list(self._under_way):
            self.end(future, "its worker was ended")
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()


class _Slot:
    """One place for a process. All but `end` runs in the thread that serves it."""

    def __init__(self, main: Callable[..., None], arguments: tuple[Any, ...], limit_bytes: float | None) -> None:
        self._main = main
        self._arguments = arguments
        self._limit = limit_bytes
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._task: _Task | None = None
        self._held = threading.Lock()
        """While a task changes hands: `end` must not meet the next one."""

    def serve(self, tasks: "SimpleQueue[_Task | None]") -> None:
        with contextlib.suppress(OSError):  # no process to be had: the next task tries again, and can tell
            self._start()
        while (task := tasks.get()) is not None:
            if task.future.set_running_or_notify_cancel():
                self._run(task)
        self._stop()

    def end(self, task: _Task) -> None:
        with self._held:
            if self._task is task and self._process is not None:
                self._process.kill()  # whatever it is at: in C code, or deaf to SIGTERM

    def _run(self, task: _Task) -> None:
        try:
            with self._in_hand(task):
                answer = self._answer(task)
        except (OSError, EOFError) as error:
            how = self._stop(_GRACE_SECONDS) or f"could not be started ({error})"
            task.future.set_exception(LostError(task.why or f"its worker {how}"))
        else:
            if self._limit is not None and self._memory() > _GROWN * self._limit:
                self._stop()
            task.future.set_result(answer)

    @contextlib.contextmanager
    def _in_hand(self, task: _Task) -> Iterator[None]:
        """A process lives, and `end` finds this task with it."""
        # by its sentinel: others in the driver might have waited for the process, which then had no exit code
        if task.why is None and (self._process is None or wait([self._process.sentinel], 0)):
            self._stop()
            self._start()
        with self._held:
            self._task = task
        try:
            if task.why is not None:  # ended before it had begun
                raise EOFError
            yield
        finally:
            with self._held:
                self._task = None

    def _answer(self, task: _Task) -> bytes:
        assert self._pipe is not None and self._process is not None
        self._pipe.send_bytes(task.payload)
        while True:
            ready = wait([self._pipe, self._process.sentinel], None if self._limit is None else _LOOK_SECONDS)
            if self._pipe in ready:
                return self._pipe.recv_bytes()
            if ready:
                raise EOFError
            if self._limit is not None and (taken := self._memory()) > self._limit:
                task.why = (
                    f"its worker took {taken / 1e9:.2f} GB of memory, more than the {self._limit / 1e9:.3g} GB that a "
                    "worker may have: lower the student's batch_size or size, or raise --worker-memory"
                )
                self.end(task)

    def _memory(self) -> float:
        """Bytes that the process has for itself."""
        assert self._process is not None
        try:
            info = psutil.Process(self._process.pid).memory_info()
        except psutil.Error:
            return 0.0  # it has just ended, which its sentinel tells
        return float(info.rss - getattr(info, "shared", 0))

    def _start(self) -> None:
        ours, theirs = Pipe()
        self._pipe = ours
        self._process = started(self._main, theirs, self._arguments)
        theirs.close()  # or a worker's death would not end the pipe

    def _stop(self, grace_seconds: float = 0.0) -> str:
        """End the process, which may come to an end of its own; gives how it ended in words, "" where there is none."""
        if self._process is None or self._pipe is None:
            return ""
        self._process.join(grace_seconds)
        self._process.kill()
        self._process.join(_END_SECONDS)
        self._pipe.close()
        code = self._process.exitcode
        self._process = self._pipe = None
        return in_words(code)
