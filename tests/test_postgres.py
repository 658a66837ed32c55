"""Studies in a real PostgreSQL database that goes away and comes back while they are searched."""

import io
import os
from contextlib import redirect_stderr, redirect_stdout

import pytest

from kdsearch import api, search
from kdsearch import database as databases
from kdsearch.cli import main
from kdsearch.database import Database
from kdsearch.events import Note, TrialBegan, TrialEnded
from kdsearch.mistakes import Mistake
from kdsearch.patience import Patience, UnansweredError
from kdsearch.progress import JsonLog
from tests.postgres import PASSWORD, postgres  # noqa: F401 - a fixture
from tests.servers import mlflow_server
from tests.studies_for_tests import write_study
from tests.test_search import essence

pytestmark = pytest.mark.xdist_group("postgres")  # one server for all


class Searched:
    """A study in PostgreSQL, all that was said of it, and what it is to be equal to."""

    def __init__(self, server, folder):
        self.server, self.folder, self.said = server, folder, io.StringIO()
        self.url = server.database("studies")
        self.path = write_study(folder, ("trials=4", "trials=5"))
        self.workspace = folder / "runs"
        self.notes = []

    def run(self, listener, path=None, **options):
        log = JsonLog(self.said)
        options = {"workspace": self.workspace, "storage": self.url, "complain": log.say, **options}
        listeners = [log, lambda h: self.notes.append(h.text) if isinstance(h, Note) else None, listener]
        return api.run(path or self.path, engine="inline", confirm=False, listeners=listeners, **options)

    def command(self, *arguments):
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            status = main([*map(str, arguments), "--workspace", str(self.workspace), "--storage", self.url])
        self.said.write(out.getvalue())
        return status, out.getvalue()


@pytest.fixture(scope="module")
def searched(postgres, tmp_path_factory):  # noqa: F811
    """Five trials: the server is away for longer than patience lasts after the first, is restarted after the second,
    away for a while after the third; another study is searched in the same database after the fourth.
    """
    made = Searched(postgres, tmp_path_factory.mktemp("postgres"))
    patch = pytest.MonkeyPatch()
    patch.chdir(made.folder)
    patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def give_up(happening):
        if isinstance(happening, TrialBegan) and happening.record.number == 1:
            postgres.stop()

    def trouble(happening):
        match happening:
            case TrialEnded(record=record) if record.number == 1:
                postgres.restart()
            case TrialBegan(record=record) if record.number == 2:
                postgres.stop()
            case Note(text=text) if "does not answer" in text:
                postgres.start()
            case TrialEnded(record=record) if record.number == 3:
                other = write_study(made.folder, ('name="small"', 'name="other"'), name="other.py")
                made.other = made.run(lambda happening: None, other, trials=1, track=False)

    with patch.context() as short:
        short.setattr(search, "PATIENCE_SECONDS", 0.0)
        with pytest.raises(UnansweredError) as given_up:
            made.run(give_up, track=False)
    made.given_up = str(given_up.value)
    postgres.start()
    made.after = api.open_study("small", workspace=made.workspace, storage=made.url)
    served = made.folder.parent / f"{made.folder.name}-mlflow"  # what it logs is its own affair
    served.mkdir()
    with mlflow_server(postgres.database("tracking"), served) as made.tracking:
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            patch.setenv(name, "")  # kdsearch sets them from the address
        patch.setenv("MLFLOW_TRACKING_URI", made.tracking.replace("://", f"://me:{PASSWORD}@"))
        made.results = made.run(trouble)
        yield made
    patch.undo()


def test_a_search_whose_database_goes_away_equals_an_undisturbed_one(searched):
    undisturbed = api.run(
        searched.path, engine="inline", confirm=False, track=False, workspace=searched.folder / "undisturbed"
    )
    assert essence(searched.results) == essence(undisturbed)
    assert [record.state for record in searched.other.records] == ["complete"]


def test_waiting_is_said_and_giving_up_keeps_what_is_finished(searched):
    assert "has not answered" in searched.given_up and "the same command goes on" in searched.given_up
    assert [record.state for record in searched.after.records] == ["complete", "running"]
    waited = [note for note in searched.notes if "does not answer" in note]
    assert any("trying again in 1 s" in note for note in waited)
    assert any("answers again" in note for note in searched.notes)
    assert not any(PASSWORD in note for note in searched.notes)


def test_a_tracking_server_whose_database_went_away_has_every_trial_in_the_end(searched):
    from mlflow import MlflowClient

    searched.run(lambda happening: None)  # which fills in what is missing
    client = MlflowClient(tracking_uri=searched.tracking)
    experiment = client.get_experiment_by_name("small")
    runs = client.search_runs([experiment.experiment_id], "tags.`kdsearch.role` = 'trial'")
    found = {int(run.data.tags["kdsearch.trial"]): run.data.metrics["accuracy"] for run in runs}
    assert found == {record.number: record.measured["accuracy"] for record in searched.results.records}
    assert len(runs) == 5


def test_every_command_works_on_it(searched):
    status, said = searched.command("status", "small")
    assert status == 0 and "5 complete" in said
    assert searched.command("list")[0] == 0
    assert searched.command("report", "small", "--to", searched.folder / "page")[0] == 0
    arguments = ("--seeds", 1, "--engine", "inline", "--trial", 0, "--quiet")
    assert searched.command("confirm", "small", *arguments)[0] == 0
    exported = ("--trial", 0, "--to", searched.folder / "exported", "--no-onnx")
    assert searched.command("export", "small", *exported)[0] == 0
    assert api.status("small", workspace=searched.workspace, storage=searched.url)["front"]


def test_the_password_is_nowhere(searched):
    wrong = searched.url.replace("/studies", "/nothing")
    for url in (wrong, f"{wrong}?password={PASSWORD}", wrong.replace("://", ":/"), wrong.replace("127.0.0.1:", "::")):
        with pytest.raises(Mistake) as refused:
            api.open_study("small", workspace=searched.workspace, storage=url)
        assert PASSWORD not in str(refused.value) and PASSWORD not in repr(refused.value)
    assert PASSWORD not in searched.said.getvalue()
    for name in ("studies", "tracking"):
        assert PASSWORD not in searched.server.dump(name)
    read = 0
    for folder, _, files in os.walk(searched.folder):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                assert PASSWORD.encode() not in file.read(), name
            read += 1
    assert read > 20


def test_a_table_that_somebody_locked_is_waited_for(searched, monkeypatch):
    import psycopg

    monkeypatch.setattr(databases, "_LOCK_SECONDS", 1)
    said = []
    with psycopg.connect(searched.server.url("studies", "postgresql")) as other:
        other.execute("lock table studies")

        def tell(text, _warning):
            said.append(text)
            other.rollback()

        database = Database(searched.url, Patience(seconds=60, tell=tell))
        other.execute("lock table studies")
        assert database.get_all_studies()
    assert "lock timeout" in said[0]
