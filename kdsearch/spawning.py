"""How a worker process begins and ends, and what it and its driver say to each other.

It ends when its driver does, however that ends; it begins with Ctrl-C blocked, imports nothing but what it is to do,
and does not run the driver's main module again. Why not `spawn` of multiprocessing: that runs the main module again,
and has a further process, its resource tracker, which nothing ends where it is stopped as the driver is killed.
"""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import Pipe, spawn
from multiprocessing.connection import Connection
from pathlib import Path

READY, WORD, ANSWER = b"r", b"w", b"a"
"""How a worker's messages begin: all is set up; something to pass on, of the task that it is at; what that gave."""

# The first thing is to be ended by the kernel as the thread of the driver that began this ends, which also ends who is
# stopped, or hangs in native code that lets no thread run; PR_SET_PDEATHSIG is 1.
_CODE = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, {kill})
if os.getppid() != {driver}:
    os._exit(1)
sys.argv[:], sys.path[:] = {argv!r}, {path!r}
from kdsearch.spawning import begin
begin({module!r}, {function!r}, {pipe}, {life}, {flag}, {count})
"""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A worker process, the driver's end of its pipe, and what tells it as long as it is open that the driver lives."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    life: Connection

    def alive(self) -> bool:
        return self.process.poll() is None

    def end(self, grace_seconds: float, patience_seconds: float) -> str:
        """End it, which may come to an end of its own in the grace; gives how it ended, in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_seconds)
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for a device: left to the kernel
            self.process.wait(patience_seconds)
        self.pipe.close()
        self.life.close()
        return in_words(self.process.returncode)


class Flag:
    """A wish of the driver that its workers see: a byte in a file without a name, which ends with the last of them."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open for as long as there are workers
        self.set(False)  # it has its place on the disk from now on, full as that may become

    def set(self, raised: bool) -> None:
        os.pwrite(self._file.fileno(), b"1" if raised else b"0", 0)

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


class Desk:
    """What a worker's `main` has of its driver."""

    def __init__(self, connection: Connection, flag: int) -> None:
        self._connection = connection
        self._flag = flag

    def flagged(self) -> bool:
        """Whether the driver has its flag raised."""
        return os.pread(self._flag, 1, 0) == b"1"

    def tasks(self) -> Iterator[bytes]:
        """To be asked once all is set up; gives tasks as they come, each of which is to be answered."""
        self._send(READY)
        while True:
            try:
                yield self._connection.recv_bytes()
            except (EOFError, ConnectionResetError):
                return

    def tell(self, word: bytes) -> None:
        """Pass something on while a task is at hand."""
        self._send(WORD + word)

    def answer(self, answer: bytes) -> None:
        self._send(ANSWER + answer)

    def _send(self, message: bytes) -> None:
        try:
            self._connection.send_bytes(message)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(1)  # the driver is gone, and nobody is left to be told


def started(main: Callable[..., None], arguments: tuple[bytes, ...], flag: Flag) -> Started:
    """A process that runs `main(desk, *arguments)`, a function of a module. Raises `OSError` where there is none."""
    with contextlib.ExitStack() as on_failure:
        pipe, theirs = (on_failure.enter_context(end) for end in Pipe())
        watched, life = (on_failure.enter_context(end) for end in Pipe(duplex=False))
        code = _CODE.format(
            kill=int(signal.SIGKILL),
            driver=os.getpid(),
            argv=sys.argv,
            path=sys.path,
            module=main.__module__,
            function=main.__qualname__,
            pipe=theirs.fileno(),
            life=watched.fileno(),
            flag=flag.fileno(),
            count=len(arguments),
        )
        process = _launched(code, theirs.fileno(), watched.fileno(), flag.fileno())
        on_failure.pop_all()
    theirs.close()  # or a worker's death would not end the pipe
    watched.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # dead already: found when it is to do something
        for argument in arguments:
            pipe.send_bytes(argument)
    return Started(process=process, pipe=pipe, life=life)


def _launched(code: str, *descriptors: int) -> subprocess.Popen[bytes]:
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(  # noqa: S603 - our own code, in this very Python
            [spawn.get_executable(), *flags, "-c", code], pass_fds=descriptors, stdin=subprocess.DEVNULL
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def in_words(code: int | None) -> str:
    """What became of a process with that exit code."""
    if code is None:
        return "ended, or does not end (its exit code is not known)"
    if code >= 0:
        return f"ended unexpectedly (exit code {code})"
    name = f"signal {-code}"
    with contextlib.suppress(ValueError):
        name = f"signal {-code}, {signal.Signals(-code).name}"
    guess = {9: " (out of memory?)", 11: " (a fault in native code)"}.get(-code, "")
    return f"was killed by {name}{guess}"


def begin(module: str, function: str, pipe: int, life: int, flag: int, count: int) -> None:
    """In the worker: what it runs first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, args=(Connection(life),), daemon=True).start()
    with contextlib.suppress(OSError):  # Linux: where memory runs out it takes a worker, which can be replaced
        Path("/proc/self/oom_score_adj").write_text("1000")
    connection = Connection(pipe)
    arguments = [connection.recv_bytes() for _ in range(count)]
    getattr(importlib.import_module(module), function)(Desk(connection, flag), *arguments)


def _end_with_driver(life: Connection) -> None:
    """Also where the kernel does not do it."""
    with contextlib.suppress(EOFError, OSError):
        life.recv_bytes()
    os._exit(1)
