"""Worker processes, each with a pipe and a thread of its own: one that dies, hangs or grows takes nothing from another.

Why no pool of a library: in those at hand all workers share a pipe and its lock, and whoever is killed with the lock in
its hands or with half of a result written leaves the others waiting for ever; Pebble's pool also breaks whole where a
worker is killed that has nothing to do. Here what a dying worker leaves behind is its own pipe, which ends with it.
"""

import atexit
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from queue import SimpleQueue

import psutil

from kdsearch.allowances import Memory, Shortage
from kdsearch.mistakes import Mistake
from kdsearch.spawning import ANSWER, READY, WORD, Flag, Started, started

_LOOK_SECONDS = 0.5
"""Between two looks at a worker's memory."""
_GRACE_SECONDS = 1.0
"""A process that ends by itself closes its pipe that much before at most, and has an exit code of its own."""
_END_SECONDS = 10.0
"""A process that is not gone so long after it was killed waits for a device, and is left to the kernel."""


class LostError(Exception):
    """A worker ended with this task in its hands; it can be run again."""


class BlamelessError(LostError):
    """The task could not be run, or was lost, by no fault of its own: how often that happens does not count."""


class TooLargeError(Exception):
    """The task alone took more memory than a worker may have: so it would each time."""


@dataclass(eq=False)
class _Task:
    """`why` it was ended from here, once it is."""

    payload: bytes
    future: "Future[bytes]" = field(default_factory=Future)
    why: str | None = None


@dataclass(frozen=True, kw_only=True)
class Orders:
    """`main(desk, *arguments)` is what a worker runs: it takes bytes from its desk, one task at a time, and answers
    each with bytes. `hear` gets what it tells in between, `warn` lines for the user; both from threads.

    A worker that takes more than `limit_bytes` of memory for a task (what it shares with others, as mapped files are,
    not counted) is ended, and replaced between two tasks before it comes to that. Where no process can be started for
    `patience_seconds`, and none lives, the next task raises `Mistake`.
    """

    main: Callable[..., None]
    arguments: tuple[bytes, ...] = ()
    hear: Callable[[bytes], None] = lambda _: None
    warn: Callable[[str], None] = lambda _: None
    limit_bytes: float | None = None
    patience_seconds: float = 120.0


class Workers:
    """`capacity` processes. What is replaced is started when the next task comes."""

    def __init__(self, orders: Orders, capacity: int) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._shortage = Shortage(lambda: any(slot.occupied for slot in self._slots), orders.patience_seconds)
        memory = Memory(orders.limit_bytes, orders.warn) if orders.limit_bytes is not None else None
        self._flag = Flag()
        self._slots = [_Slot(orders, memory, self._shortage, self._flag) for _ in range(capacity)]
        self._under_way: dict[Future[bytes], _Task] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Have all processes started, which tasks need not wait for."""
        if self._threads:
            return
        atexit.register(self.close)
        for slot in self._slots:
            thread = threading.Thread(target=slot.serve, args=(self._tasks,), name="worker", daemon=True)
            thread.start()
            self._threads.append(thread)

    def submit(self, payload: bytes) -> "Future[bytes]":
        """Run a task. The future is `running()` once a worker has it. It raises `LostError` where that ends,
        `TooLargeError` where it alone took too much memory, `Mistake` where no worker can be had.
        """
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

    def flag(self, raised: bool) -> None:
        """Have the workers see a flag, or see none."""
        self._flag.set(raised)

    def close(self) -> None:
        """End all workers, at once. Nothing can be asked for from then on."""
        atexit.unregister(self.close)
        self._shortage.close()
        for future in list(self._under_way):
            self.end(future, "its worker was ended")
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        for task in list(self._under_way.values()):  # put back by who could start no process for it
            task.future.set_exception(LostError(task.why))
        self._flag.close()


class _Slot:
    """One place for a process. All but `end` and `occupied` runs in the thread that serves it."""

    def __init__(self, orders: Orders, memory: Memory | None, shortage: Shortage, flag: Flag) -> None:
        self._orders = orders
        self._memory = memory
        self._shortage = shortage
        self._flag = flag
        self._worker: Started | None = None
        self._ready = False
        self._done = 0
        """Tasks, by this process."""
        self._tries = 0
        self._task: _Task | None = None
        self._held = threading.Lock()
        """While a task changes hands: `end` must not meet the next one."""

    @property
    def occupied(self) -> bool:
        return self._worker is not None

    def serve(self, tasks: "SimpleQueue[_Task | None]") -> None:
        with contextlib.suppress(OSError):  # no process to be had: the next task tries again, and can tell
            self._start()
        while (task := tasks.get()) is not None:
            if task.why is not None:
                task.future.set_exception(LostError(task.why))  # ended before it had begun
            elif self._manned(task, tasks) and task.future.set_running_or_notify_cancel():
                self._run(task)
        self._stop()

    def end(self, task: _Task) -> None:
        with self._held:
            if self._task is task and self._worker is not None:
                self._worker.process.kill()  # whatever it is at: in C code, or deaf to SIGTERM

    def _manned(self, task: _Task, tasks: "SimpleQueue[_Task | None]") -> bool:
        """Whether a process lives here; where none can be had the task is put back, for others, or for later."""
        if self._worker is not None and self._worker.alive():
            return True
        self._stop()
        try:
            self._start()
        except OSError as error:
            self._tries += 1
            try:
                self._shortage.met(error)
            except Mistake as lasting:
                task.future.set_exception(lasting)
            else:
                tasks.put(task)
                self._shortage.wait(self._tries)
            return False
        return True

    def _run(self, task: _Task) -> None:
        with self._held:
            self._task = task
        try:
            answer = self._answer(task)
        except (OSError, EOFError):
            outcome: Exception = LostError(f"its worker {self._stop(_GRACE_SECONDS)}")
            task.future.set_exception(LostError(task.why) if task.why is not None else outcome)
        except (LostError, TooLargeError, Mistake) as error:
            self._stop()
            task.future.set_exception(error)
        else:
            self._done += 1
            if self._memory is not None and self._memory.outgrown(self._taken(), tasks=self._done):
                self._stop()
            task.future.set_result(answer)
        finally:
            with self._held:
                self._task = None

    def _answer(self, task: _Task) -> bytes:
        assert self._worker is not None
        if task.why is not None:
            raise EOFError
        if not self._ready:
            self._next(READY)
            self._ready = True
            if self._memory is not None:
                self._memory.check_fresh(self._taken())
        self._worker.pipe.send_bytes(task.payload)
        return self._next(ANSWER)

    def _next(self, kind: bytes) -> bytes:
        """The next message of that kind; words are passed on. Raises `EOFError` where the worker ends before."""
        assert self._worker is not None
        pipe = self._worker.pipe
        looked = time.monotonic()
        while True:
            if wait([pipe], None if self._memory is None else _LOOK_SECONDS):
                message = pipe.recv_bytes()
                if message[:1] == kind:
                    return message[1:]
                if message[:1] == WORD:
                    self._orders.hear(message[1:])
            if self._memory is not None and self._ready and time.monotonic() - looked >= _LOOK_SECONDS:
                self._check_memory(self._memory)
                looked = time.monotonic()

    def _check_memory(self, memory: Memory) -> None:
        if (said := memory.exceeded(self._taken())) is None:
            return
        if self._done:
            raise LostError(f"{said}, with what was left of others")
        raise TooLargeError(f"{said}: lower the student's batch_size or size, or raise --worker-memory")

    def _taken(self) -> float:
        """Bytes that the process has for itself."""
        assert self._worker is not None
        try:
            info = psutil.Process(self._worker.process.pid).memory_info()
        except psutil.Error:
            return 0.0  # it has just ended, which its pipe tells
        return float(info.rss - getattr(info, "shared", 0))

    def _start(self) -> None:
        self._worker = started(self._orders.main, self._orders.arguments, self._flag)
        self._ready, self._done, self._tries = False, 0, 0
        self._shortage.past()

    def _stop(self, grace_seconds: float = 0.0) -> str:
        """End the process, which may come to an end of its own; gives how it ended, "" where there is none."""
        if self._worker is None:
            return ""
        worker, self._worker = self._worker, None
        return worker.end(grace_seconds, _END_SECONDS)
