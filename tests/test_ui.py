"""`kdsearch ui` and `kdsearch dashboard`: real servers, and what is said where there is nothing to serve."""

import json
import signal
import sqlite3
import sys
import urllib.error
import urllib.request
from contextlib import closing

import pytest

from kdsearch import api, cli, serving
from kdsearch.mistakes import Mistake
from tests.servers import processes_of, taken_port
from tests.servers import serving as served_by
from tests.studies_for_tests import write_study


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A workspace with a confirmed study."""
    folder = tmp_path_factory.mktemp("ui")
    api.run(write_study(folder), workspace=folder / "runs", engine="inline", trials=2, smoke=True, complain=pytest.fail)
    return folder / "runs"


@pytest.fixture
def wrong(capsys):
    def run(*arguments):
        assert cli.main([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert "http" not in out, "nothing was started"
        return err

    return run


def answer(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as response:
        return response.read().decode()


def test_the_ui_says_where_it_is_once_it_answers_and_ends_with_all_its_processes(studied):
    with served_by("ui", "--workspace", studied) as server:
        assert answer(f"{server.address}/health") == "OK"
        assert server.said.startswith("starting MLflow on")
        port = f"--port {server.address.rsplit(':', 1)[1]} "
        assert len(processes_of(port)) == 2, "MLflow's and that of the server which it starts"
        status, said = server.end(signal.SIGTERM)
    assert status == 0, said
    assert "Traceback" not in said
    assert f"small-smoke: {server.address}/#/experiments/" in said
    assert "INFO" not in said and "Uvicorn" not in said, "the server's own words are in its log"
    assert not processes_of(port)


def test_a_server_that_ends_by_itself_is_told_with_its_log(tmp_path, capsys):
    program = [sys.executable, "-c", "print('no room'); raise SystemExit(3)"]
    options = {"port": 1, "health": "/health", "environment": {}, "pages": {}}
    assert serving.serve_program(program, name="it", log=tmp_path / "logs" / "it.txt", **options) == 1
    out, err = capsys.readouterr()
    assert "http" not in out
    assert str(tmp_path / "logs" / "it.txt") in err
    assert (tmp_path / "logs" / "it.txt").read_text() == "no room\n"


def test_the_next_port_is_taken_and_named_where_none_was_asked_for(capsys):
    with taken_port() as port:
        chosen = serving.chosen_port(None, port)
        assert chosen > port
        assert capsys.readouterr().out == f"port {port} is taken, using {chosen}\n"
        with pytest.raises(Mistake, match=rf"port {port} on 127.0.0.1 is taken; try --port \d+"):
            serving.chosen_port(port, 5000)
    assert serving.chosen_port(chosen, 5000) == chosen


def broken(folder, kind):
    """A workspace whose mlflow.db is none that this MLflow can use."""
    folder.mkdir()
    path = folder / "mlflow.db"
    if kind == "garbage":
        path.write_text("this is no database, but it is long enough to be taken for one by its size alone " * 30)
        return path
    with closing(sqlite3.connect(path)) as database:
        if kind == "foreign":
            database.execute("create table recipes (name text)")
        else:
            for table in ("experiments", "runs", "metrics"):
                database.execute(f"create table {table} (name text)")
            database.execute("create table alembic_version (version_num text)")
            version = {"newer": "fedcba987654", "older": "451aebb31d03"}[kind]
            database.execute("insert into alembic_version values (?)", (version,))
        database.commit()
    return path


BROKEN = {
    "garbage": "is no MLflow database (file is not a database); move it away",
    "foreign": "is another program's database (its tables: recipes); move it away",
    "newer": "was written by a newer MLflow than",
    "older": "was written by an older MLflow (its version is 451aebb31d03); back it up and run: mlflow db",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_store_that_mlflow_cannot_use_is_one_clear_mistake(tmp_path, wrong, kind):
    path = broken(tmp_path / "runs", kind)
    before = path.read_bytes()
    assert BROKEN[kind] in wrong("ui", "--workspace", tmp_path / "runs")
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["foreign", "newer"])
def test_a_search_beside_such_a_store_goes_on_and_is_told_once(tmp_path, kind):
    path = broken(tmp_path / "runs", kind)
    before, said = path.read_bytes(), []
    options = {"workspace": tmp_path / "runs", "engine": "inline", "confirm": False, "complain": said.append}
    results = api.run(write_study(tmp_path), trials=2, **options)
    assert [record.state for record in results.records] == ["complete"] * 2
    assert len(said) == 1
    assert BROKEN[kind] in said[0]
    assert path.read_bytes() == before, "nothing is written into another's database"


def test_the_dashboard_shows_searches_to_browsers_of_this_machine_alone(studied):
    pytest.importorskip("optuna_dashboard")
    with served_by("dashboard", "--workspace", studied) as server:
        (shown,) = json.loads(answer(f"{server.address}/api/studies"))["study_summaries"]
        assert (shown["study_name"], shown["directions"]) == ("small-smoke", ["maximize", "minimize"])
        trials = json.loads(answer(f"{server.address}/api/studies/{shown['study_id']}?after=0"))["trials"]
        assert len(trials) == 2
        assert "<html" in answer(f"{server.address}/dashboard/").lower()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            answer(f"{server.address}/api/studies", Host="elsewhere.example")
        with pytest.raises(urllib.error.HTTPError, match="403"):  # a form of a foreign page
            answer(f"{server.address}/api/studies", Origin="http://elsewhere.example")
        status, said = server.end()
    assert (status, "Traceback" in said, "GET" in said) == (0, False, False), said


def test_the_dashboard_without_a_database_says_so(tmp_path, wrong):
    pytest.importorskip("optuna_dashboard")
    assert "there is no database" in wrong("dashboard", "--workspace", tmp_path)


def test_the_dashboard_without_its_package_says_how_to_get_it(tmp_path, wrong, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    assert "pip install 'kdsearch[dashboard]'" in wrong("dashboard", "--workspace", tmp_path)


def test_a_half_made_store_is_one_clear_mistake(tmp_path, wrong):
    (tmp_path / "mlflow.db").write_bytes(b"")
    assert "cannot be read as MLflow's database (no such table" in wrong("ui", "--workspace", tmp_path)


def test_a_server_of_its_own_is_named_without_its_password(tmp_path, wrong, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:secret@mlflow.example:5000")
    said = wrong("ui", "--workspace", tmp_path)
    assert "http://bob:***@mlflow.example:5000" in said
    assert "secret" not in said
