"""MLflow's own UI on this workspace, on 127.0.0.1 only."""

import os
import signal
import socket
import subprocess
import sys

from kdsearch.mistakes import Mistake
from kdsearch.workspace import Workspace

_HOST = "127.0.0.1"
_PORT = 5000


def serve(workspace: str | None, port: int | None) -> int:
    """Run the server until Ctrl-C. `port` must be free; without one the first free port from 5000 on is taken."""
    place = Workspace.chosen(workspace)
    away = os.environ.get("MLFLOW_TRACKING_URI", "")
    if away.startswith(("http://", "https://")):
        raise Mistake(f"MLFLOW_TRACKING_URI names a server that has its own UI: open {away}")
    if not away and not (place.root / "mlflow.db").exists():
        raise Mistake(f"there is nothing to browse in {place.root} yet; run a study first, or name its --workspace")
    if port is not None and not _free(port):
        raise Mistake(f"port {port} on {_HOST} is taken; try --port {_next_free(port + 1)}")
    chosen = port if port is not None else _next_free(_PORT)
    if port is None and chosen != _PORT:
        print(f"port {_PORT} is taken, using {chosen}")
    print(f"MLflow on {place.root}: http://{_HOST}:{chosen} (ready in a few seconds; Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(chosen), "--workers", "1"]
    command += ["--backend-store-uri", away or place.tracking_uri]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen(command, env=environment)  # noqa: S603 - our own interpreter and workspace
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started us with it ignored
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        status = server.wait()
    except KeyboardInterrupt:
        server.terminate()
        server.wait()
        return 0
    return 0 if status in (0, -signal.SIGTERM) else 1


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _next_free(port: int) -> int:
    for candidate in range(port, min(port + 100, 65536)):
        if _free(candidate):
            return candidate
    raise Mistake(f"no free port from {port} on; name one with --port")
