"""MLflow's own UI on this workspace, on 127.0.0.1 only."""

import os
import sys

import sqlalchemy

from kdsearch.mistakes import Mistake
from kdsearch.serving import HOST, address, chosen_port, serve_program
from kdsearch.tracking import study_pages
from kdsearch.workspace import Workspace

_PORT = 5000
_SHOWN = 9


def serve(workspace: str | None, port: int | None) -> int:
    """Run MLflow's server until Ctrl-C; gives the exit status. Without `port` the first free one from 5000 on is taken.

    Raises `Mistake` where `port` is taken, and where there is nothing that MLflow could show.
    """
    place = Workspace.chosen(workspace)
    away = os.environ.get("MLFLOW_TRACKING_URI", "")
    if away.startswith(("http://", "https://")):
        shown = sqlalchemy.make_url(away).render_as_string()  # without its password
        raise Mistake(f"MLFLOW_TRACKING_URI names a server that has its own UI: open {shown}")
    if not away and not (place.root / "mlflow.db").exists():
        raise Mistake(f"there is nothing to browse in {place.root} yet; run a study first, or name its --workspace")
    chosen = chosen_port(port, _PORT)
    pages = study_pages(away or place.tracking_uri, address(chosen))
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(chosen), "--workers", "1"]
    # a browser's open connections would otherwise keep it from ending
    command += ["--uvicorn-opts", "--timeout-graceful-shutdown=2"]
    return serve_program(
        command,
        name=f"MLflow on {place.root}",
        port=chosen,
        health="/health",
        pages=dict(list(pages.items())[:_SHOWN]),
        log=place.root / "logs" / f"ui-{chosen}.txt",
        environment={
            **os.environ,
            "MLFLOW_BACKEND_STORE_URI": away or place.tracking_uri,  # as an argument all users would see its password
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # evaluations of language models: four processes for nothing
        },
    )
