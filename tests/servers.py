"""`kdsearch ui` and `kdsearch dashboard` as real processes, for the tests of both."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]


class Served:
    """A running command that serves: what it has said so far, and the address that it named."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        # a group of its own, as a shell gives it one
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kdsearch", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            start_new_session=True,
        )
        self.said = ""
        while not self.said.endswith("Ctrl-C ends it\n"):
            line = self.process.stdout.readline()
            assert line, f"ended without an address: {self.said}{self.process.stderr.read()}"
            self.said += line
        self.address = re.search(r"http://127\.0\.0\.1:\d+", self.said)[0]

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; gives the exit status and all that was said."""
        self.process.send_signal(number)
        killer = threading.Timer(30, self.process.kill)
        killer.start()
        out, err = self.process.communicate()
        killer.cancel()
        self.said += out + err
        return self.process.returncode, self.said


@contextmanager
def serving(*arguments: object, **environment: str) -> Iterator[Served]:
    port = () if "--port" in arguments else ("--port", free_port())  # tests run side by side
    served = Served(*arguments, *port, **environment)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.end()


@contextmanager
def mlflow_server(database: str, folder: Path, port: int | None = None) -> Iterator[str]:
    """MLflow's server with its tables in the database of that URL and its artifacts in `folder`; gives its address."""
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "mlflow.txt").open("w") as said:
        server = subprocess.Popen(
            [*command, "--artifacts-destination", str(folder / "artifacts")],
            stdout=said,
            stderr=said,
            env={
                **os.environ,
                "MLFLOW_BACKEND_STORE_URI": database,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 120
            while not _healthy(port):
                assert server.poll() is None and time.monotonic() < deadline, (folder / "mlflow.txt").read_text()
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def free_port() -> int:
    """A port of its own, for the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def taken_port(port: int = 0) -> Iterator[int]:
    """A port that someone else listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield taken.getsockname()[1]


def processes_of(text: str) -> list[str]:
    """Command lines of running processes that have `text` in them."""
    listed = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if text in line]
