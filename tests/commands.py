"""The command line in a process of its own for each command, without seconds of imports for each: the processes are
forked from one that has imported everything and done nothing.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_SECONDS = 300
_STATUS_UNKNOWN = -1

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [
        *("kdsearch.cli", "kdsearch.commands", "kdsearch.api", "kdsearch.search", "kdsearch.report"),
        *("kdsearch.tracking", "kdsearch.size_aware", "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store"),
        *("optuna.storages", "plotly.graph_objects", "scipy.stats", "sklearn.datasets", "sklearn.model_selection"),
        *("sklearn.ensemble", "sklearn.gaussian_process", "rich.live", "jinja2"),
    ]
)


def kdsearch(
    *arguments: object, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run `kdsearch ARGUMENTS` in `cwd`; `environment` is added to this process's own."""
    command = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        whole = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        process = _processes.Process(target=_run, args=(command, str(cwd or Path.cwd()), whole, str(out), str(err)))
        process.start()
        process.join(_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["kdsearch", *command], _SECONDS, out.read_text(), err.read_text())
        status = _STATUS_UNKNOWN if process.exitcode is None else process.exitcode
        return subprocess.CompletedProcess(["kdsearch", *command], status, out.read_text(), err.read_text())


def _run(command: list[str], folder: str, environment: dict[str, str], out: str, err: str) -> None:
    for stream, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, stream)
        os.close(file)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as a fresh interpreter has them
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["kdsearch", *command]
    from kdsearch.cli import main

    sys.exit(main())
