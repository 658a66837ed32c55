"""The command line as a user meets it: real processes where the process matters, `main` where only words do."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from kdsearch import api, cli
from kdsearch.tables import show_front
from tests.commands import kdsearch
from tests.studies_for_tests import with_moods, write_study

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished small study in a workspace, run through the command line without a terminal."""
    folder = tmp_path_factory.mktemp("cli")
    path = write_study(folder)
    ran = kdsearch("run", path, "--workspace", folder / "runs", "--engine", "inline", "--no-confirm", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return folder, ran.stdout


@pytest.fixture
def wrong(capsys):
    """Run a command that must end with status 2 and one message; gives the message."""

    def run(*arguments):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as ended:  # how argparse refuses
            status = ended.code
        said = capsys.readouterr().err
        assert status == 2, said
        assert "Traceback" not in said
        return said

    return run


def test_run_prints_progress_front_report_and_what_to_do_next(done):
    folder, said = done
    lines = said.split("\n")
    assert sum(line.startswith(f"[{done}/4] trial") for done in range(1, 5) for line in lines) == 4
    front = next(line for line in lines if line.startswith("trial"))
    assert front.split() == [
        *("trial", "parameters", "validation", "of", "teacher", "start", "temperature", "alpha", "family"),
        *("mood", "width"),
    ]
    assert re.search(r"^teacher: [\d,]+ parameters, validation accuracy [\d.]+%$", said, re.MULTILINE)
    assert "ui --workspace" in said
    assert "export small --pick knee" in said
    page = folder / "reports" / "small" / "index.html"
    assert "small" in page.read_text(encoding="utf-8")


def test_a_study_of_fitnets_own_stage_under_an_ensemble_with_votes_is_shown_without_alphas(tmp_path):
    path = write_study(
        tmp_path,
        ("MLP, ConvNet, Data, Distil,", "MLP, ConvNet, Data, FitNetsDistil,"),
        (
            """Distil(temperature=trial.suggest_float("temperature", 1, 10, log=True),
                                alpha=trial.suggest_float("alpha", 0, 1))""",
            'FitNetsDistil(temperature=trial.suggest_float("temperature", 1, 10, log=True))',
        ),
        (
            "return Teacher(build=lambda: ConvNet(width=6, depth=3).build(data.shape, data.classes), epochs=2)",
            "return [Teacher(build=lambda: ConvNet(width=6, depth=3).build(data.shape, data.classes), epochs=2, vote=v)"
            " for v in (1.0, 3.0)]",
        ),
    )
    ran = kdsearch("run", path, "--workspace", tmp_path / "runs", "--engine", "inline", "--trials", 2, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "T 4, loss fitnets)" in ran.stdout  # the strong default's temperature comes first
    assert "temperature  alpha" in ran.stdout and "nan" not in ran.stdout.lower()
    path.write_text(path.read_text().replace("3.0)]", "2.0)]"))
    other = kdsearch("run", path, "--workspace", tmp_path / "runs", "--engine", "inline", cwd=tmp_path)
    assert other.returncode == 2
    assert "has changed in the teacher" in other.stderr


def test_running_again_continues_and_says_so(done):
    folder, _ = done
    options = ("--workspace", folder / "runs", "--engine", "inline")
    options = [*options, "--no-confirm"]
    again = kdsearch("run", folder / "small.py", *options, cwd=folder)
    assert again.returncode == 0
    assert "already has 4 of 4 trials" in again.stdout
    more = kdsearch("run", folder / "small.py", *options, "--trials", 5, cwd=folder)
    assert "continuing study small: 4 trials so far, 5 wanted" in more.stdout


def test_status_json_has_the_documented_shape(done, capsys):
    folder, _ = done
    assert cli.main(["status", "small", "--json", "--workspace", str(folder / "runs")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        *("study", "teacher", "trials", "account", "made_with", "signals_mb"),
        *("hypervolume", "reference", "front", "findings"),
    }
    assert 0 < found["signals_mb"] < 1
    assert set(found["account"]) == {
        *("seconds", "busy_share", "student_share", "epochs_trained", "epochs_saved", "teacher_passes_saved")
    }
    assert set(found["teacher"]) == {"accuracy", "parameters"}
    assert set(found["trials"]) == {"complete", "pruned", "screened", "failed", "running", "paused"}
    assert found["reference"] == {"accuracy": 0.1, "parameters": found["teacher"]["parameters"]}
    parameters = [member["parameters"] for member in found["front"]]
    accuracies = [member["accuracy"] for member in found["front"]]
    assert parameters == sorted(parameters)
    assert accuracies == sorted(accuracies)
    assert set(found["front"][0]) == {"trial", "parameters", "accuracy", "params"}
    assert set(found["front"][0]["params"]) == {"width", "start", "temperature", "alpha"}


def test_list_shows_the_studies_here(done, capsys, tmp_path):
    folder, _ = done
    assert cli.main(["list", "--workspace", str(folder / "runs")]) == 0
    assert "small" in capsys.readouterr().out
    assert cli.main(["list", "--workspace", str(tmp_path)]) == 0
    assert "no studies here yet" in capsys.readouterr().out


def test_a_new_study_file_runs_as_it_is(tmp_path):
    path = tmp_path / "my study.py"
    assert kdsearch("new", path).returncode == 0
    ran = kdsearch(
        "run", path, "--smoke", "--no-confirm", "--workers", 1, "--workspace", tmp_path / "runs", cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    assert "study my-study-smoke" in ran.stdout
    assert kdsearch("new", path).returncode == 2


HELP = """
import contextlib, io, sys
import kdsearch.cli
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    kdsearch.cli.main(["--help"])
heavy = {"torch", "optuna", "mlflow", "pandas", "plotly", "numpy", "rich"}
print(sorted(heavy & set(sys.modules)))
"""


def test_help_is_quick_because_nothing_heavy_is_imported():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, env=environment, check=True)
    assert ran.stdout.strip() == "[]"


def test_debug_shows_the_users_traceback_and_the_log_keeps_it(tmp_path, wrong):
    path = write_study(tmp_path, ("def space(trial):", "def space(trial):\n    {}['depth']"))
    said = wrong("run", path, "--workspace", tmp_path / "runs", "--engine", "inline")
    assert "space() raised KeyError: 'depth' (small.py, line" in said
    log = Path(said.strip().split("the traceback is in ")[1])
    assert "{}['depth']" in log.read_text()
    shown = kdsearch("run", path, "--workspace", tmp_path / "runs", "--engine", "inline", "--debug")
    assert "Traceback" in shown.stderr


FILES = {
    "there is no study file": None,
    "no function study()": "x = 1\n",
    "must return a kdsearch.Study, got dict": "def study():\n    return {}\n",
    r"raised SyntaxError": "def study(:\n",
    "raised ModuleNotFoundError: No module named 'no_such_module'": "import no_such_module\n",
    "study() in broken.py raised TypeError": "def study(name):\n    pass\n",
}


@pytest.mark.parametrize("rule", FILES)
def test_a_wrong_study_file_gets_one_message(tmp_path, wrong, rule):
    path = tmp_path / "broken.py"
    if FILES[rule] is not None:
        path.write_text(FILES[rule])
    assert rule in wrong("run", path, "--workspace", tmp_path / "runs")


def test_a_folder_is_no_study_file(tmp_path, wrong):
    assert "is a folder" in wrong("run", tmp_path, "--workspace", tmp_path / "runs")


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("run", "x.py", "--trials", "-3"), "--trials: must be a whole number of at least 1, got '-3'"),
        (("run", "x.py", "--workers", "0"), "--workers: must be a whole number of at least 1, got '0'"),
        (
            ("run", "x.py", "--stall-minutes", "-1"),
            "--stall-minutes: must be a number of minutes, or 0 for no limit, got '-1'",
        ),
        (("run", "x.py", "--worker-memory", "0"), "--worker-memory: must be a number above 0, got '0'"),
        (("run", "x.py", "--minutes", "nan"), "--minutes: must be a number above 0"),
        (("run", "x.py", "--engine", "slurm"), "invalid choice: 'slurm'"),
        (("export", "small"), "--to"),
        (("export", "small", "--to", "x", "--trial", "1", "--pick", "knee"), "not allowed with"),
        (("export", "small", "--to", "x", "--all-front", "--trial", "1"), "not allowed with"),
        (("export", "small", "--to", "x", "--all-front", "--pick", "knee"), "not allowed with"),
        (("export", "small", "--to", "x", "--max-macs", "0"), "--max-macs: must be a whole number of at least 1"),
        (("export", "small", "--to", "x", "--max-latency-ms", "nan"), "--max-latency-ms: must be a number above 0"),
        (("predict", "x", "y.png", "--top", "0"), "--top: must be a whole number of at least 1"),
        (("compare",), "DIR"),
        (("ui", "--port", "99999"), "must be a port"),
        (("fly",), "invalid choice: 'fly'"),
        ((), "required"),
    ],
)
def test_an_option_out_of_range_is_refused(wrong, arguments, rule):
    assert rule in wrong(*arguments)


@pytest.mark.parametrize(
    "command", [("status", "none"), ("report", "none"), ("export", "none", "--to", "x")], ids=lambda c: c[0]
)
def test_an_unknown_study_is_answered_with_the_known_ones(done, wrong, command):
    folder, _ = done
    assert "there is no study 'none' here; there are: small" in wrong(*command, "--workspace", folder / "runs")


def test_a_report_compares_different_studies_and_leaves_other_folders_alone(done, wrong, tmp_path):
    folder, _ = done
    place = ("--workspace", folder / "runs", "--to", tmp_path)
    assert "two or more different studies, got small, small" in wrong("report", "small", "small", *place)
    assert "there is no study 'none' here" in wrong("report", "small", "none", *place)
    assert "must begin with http:// or https://" in wrong("report", "small", "--ui", "javascript:1", *place)
    (tmp_path / "index.html").write_text("my own page")
    assert "not written by kdsearch; name another with --to DIR" in wrong("report", "small", *place)
    assert (tmp_path / "index.html").read_text() == "my own page"


def test_no_database_is_made_by_reading(tmp_path, wrong):
    assert "there is no database" in wrong("status", "small", "--workspace", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("nonsense", "must be a database URL"),
        ("oracle9://x/y", "driver that is not installed"),
        ("sqlite://", "gone when the program ends"),
        ("sqlite:////no/such/folder/x.db", "does not exist"),
    ],
)
def test_a_wrong_storage_is_refused_before_any_training(tmp_path, wrong, url, rule):
    said = wrong("run", write_study(tmp_path), "--storage", url, "--workspace", tmp_path / "runs")
    assert rule in said
    assert not (tmp_path / "runs" / "small" / "teacher").exists()


def test_a_workspace_that_cannot_be_written_is_refused(tmp_path, wrong):
    (tmp_path / "file").write_text("")
    said = wrong("run", write_study(tmp_path), "--workspace", tmp_path / "file" / "runs")
    assert "cannot write" in said


def test_data_that_are_not_there_are_named(tmp_path, wrong, monkeypatch):
    monkeypatch.setenv("KDSEARCH_DATA", "")
    path = write_study(tmp_path, ("    whole = digits()\n", "    import kdsearch\n    return kdsearch.mnist()\n"))
    (tmp_path / "empty").mkdir()
    said = wrong("run", path, "--workspace", tmp_path / "runs", "--data", tmp_path / "empty")
    assert "train-images-idx3-ubyte" in said
    assert "t10k-labels-idx1-ubyte" in said


def test_ctrl_c_while_the_teacher_trains_keeps_it(tmp_path):
    import signal

    path = write_study(tmp_path, ("classes), epochs=2)", "classes), epochs=400)"))
    command = [sys.executable, "-m", "kdsearch.cli", "run", str(path), "--workspace", str(tmp_path / "runs")]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "teacher: epoch" in running.stdout.readline()
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "goes on from there" in said
    assert list((tmp_path / "runs" / "small" / "teacher").glob("*.part.safetensors"))


def test_a_trial_that_fails_does_not_fail_the_run_but_nothing_working_does(tmp_path):
    some = write_study(tmp_path, with_moods("good", "fails"), ("trials=4", 'trials=3, first=[{"mood": "fails"}]'))
    options = ("--engine", "inline", "--no-confirm")
    assert kdsearch("run", some, *options, "--workspace", tmp_path / "a", cwd=tmp_path).returncode == 0
    none = write_study(tmp_path, with_moods("fails"), ("trials=4", "trials=9"), name="none.py")
    ran = kdsearch("run", none, *options, "--workspace", tmp_path / "b", cwd=tmp_path)
    assert ran.returncode == 1
    assert "no more patience" in ran.stdout


def test_the_ui_offers_a_free_port_when_one_is_taken(done, wrong):
    import socket

    folder, _ = done
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = wrong("ui", "--port", port, "--workspace", folder / "runs")
    assert f"port {port} on 127.0.0.1 is taken; try --port" in said


def test_the_ui_with_nothing_to_show_says_so(tmp_path, wrong):
    assert "nothing to browse" in wrong("ui", "--workspace", tmp_path)


def test_a_narrow_terminal_gets_whole_figures_of_fewer_columns(done):
    folder, _ = done
    results = api.open_study("small", workspace=folder / "runs")
    console = Console(width=34, record=True)
    show_front(console, results)
    lines = console.export_text().splitlines()
    headings = next(line for line in lines if line.startswith("trial")).split()
    assert headings[:3] == ["trial", "parameters", "validation"]
    assert "family" not in headings
    assert all(f"{count:,.0f}" in "".join(lines) for count in results.front["parameters"])


def test_a_reports_folder_that_is_not_ours_does_not_undo_a_run(done):
    folder, _ = done
    page = folder / "reports" / "small" / "index.html"
    before = page.read_text()
    page.write_text("mine")
    ran = kdsearch("run", folder / "small.py", "--workspace", folder / "runs", "--no-confirm", "--json-log", cwd=folder)
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    assert (ran.returncode, said[-1]["event"], said[-1]["report"]) == (0, "result", None)
    assert any("is not a report's folder" in one.get("text", "") for one in said)
    assert page.read_text() == "mine"
    page.write_text(before)
