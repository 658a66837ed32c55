"""How a worker process begins and ends.

It ends when its driver does, however that ends; it begins with Ctrl-C blocked, imports nothing but what it is to do,
and does not run the driver's main module again, as `spawn` would have it.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import parent_process, popen_spawn_posix, resource_tracker, spawn
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1

_launching = threading.Lock()


def started(main: Callable[..., None], connection: Connection, arguments: tuple[Any, ...]) -> BaseProcess:
    """A process that runs `main(connection, *arguments)`. Raises `OSError` where there is none to be had."""
    process = _Context().Process(target=_begin, args=(main, connection, *arguments), name="worker", daemon=False)
    process.start()
    return process


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


class _Popen(popen_spawn_posix.Popen):
    def _launch(self, process_obj: BaseProcess) -> None:
        whole = spawn.get_preparation_data
        with _launching:
            resource_tracker.ensure_running()  # whose start would let Ctrl-C through again
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


# in the worker


def _begin(main: Callable[..., None], connection: Connection, *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, daemon=True).start()
    if sys.platform == "linux":
        # also where native code hangs and lets no thread run
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):  # Linux: where memory runs out it takes a worker, which can be replaced
        Path("/proc/self/oom_score_adj").write_text("1000")
    main(connection, *arguments)


def _end_with_driver() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
