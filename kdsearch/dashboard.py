"""optuna-dashboard on the studies' database, on 127.0.0.1 only. It needs the extra `dashboard`."""

from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import RDBStorage
from optuna.study._frozen import FrozenStudy

from kdsearch.mistakes import Mistake
from kdsearch.opening import open_storage
from kdsearch.serving import HOST, chosen_port, say_address, until_stopped
from kdsearch.workspace import Workspace

_PORT = 8080
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def serve(workspace: str | None, storage: str | None, port: int | None) -> int:
    """Run the dashboard until Ctrl-C; gives the exit status. Without `port` the first free one from 8080 on is taken.

    Raises `Mistake` without optuna-dashboard, where `port` is taken, and where there is no database of Optuna's.
    """
    try:
        from optuna_dashboard import wsgi
    except ModuleNotFoundError:
        raise Mistake("the dashboard is not installed; it comes with: pip install 'kdsearch[dashboard]'") from None
    place = Workspace.chosen(workspace)
    url = storage or place.storage_url
    open_storage(url, create=False)  # for what it has to say of a database that will not do
    chosen = chosen_port(port, _PORT)
    with until_stopped(), make_server(HOST, chosen, _at_home(wsgi(_Searches(url))), _Server, _Quiet) as server:
        say_address(f"Optuna's dashboard on {place.root if storage is None else 'the database'}", chosen)
        server.serve_forever()
    return 0


class _Searches(RDBStorage):
    """The database without what was trained on fresh seeds, which stands in studies of its own (kdsearch/ledger.py)."""

    def get_all_studies(self) -> list[FrozenStudy]:
        return [study for study in super().get_all_studies() if "/" not in study.study_name]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # an open connection keeps nobody waiting


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """A line for every picture and script helps nobody; what fails is said."""


def _at_home(app: App) -> App:
    """`app` for browsers that name this machine alone: a page from elsewhere, or one whose name was pointed here, is
    refused, for the dashboard can delete studies.
    """

    def guarded(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        host, origin = environment.get("HTTP_HOST", ""), environment.get("HTTP_ORIGIN")
        if host.rsplit(":", 1)[0] in (HOST, "localhost") and origin in (None, f"http://{host}"):
            return app(environment, start)
        start("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"only for browsers on this machine"]

    return guarded
