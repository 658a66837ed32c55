"""Nothing that is read runs code: a walk over the source, malicious files really tried, names that are no paths.

What is code and said to be: study files, also the `study.py` of an export, which runs only where its checksum fits
(tests/test_repeatable.py). Servers on 127.0.0.1 alone are in tests/test_ui.py.
"""

import dataclasses
import json
import os
import pickle
import re
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from kdsearch import cli
from kdsearch.data import arrays
from kdsearch.data.kept import keep_data, load_data
from kdsearch.export.repeatable import read_recipe
from kdsearch.files import DamagedError, load_tensors
from kdsearch.mistakes import Mistake
from kdsearch.predicting import predict
from kdsearch.saved import load, write_card
from kdsearch.signal_files import SignalFiles
from kdsearch.students import MLP
from kdsearch.study import check_name
from kdsearch.teacher import freeze
from kdsearch.workspace import Workspace
from tests.exports import ONNX, linear_onnx, write_export
from tests.test_signal_files import Maker
from tests.walk import calls, imported_modules, sources

ROOT = Path(__file__).resolve().parents[1] / "kdsearch"

RUNS_CODE = re.compile(
    r"(c?[pP]ickle|cloudpickle|dill|marshal|shelve|joblib)\.(loads?|Unpickler|open)"
    r"|pandas\.read_pickle|numpy\.core.*|torch\.(jit|export|package|hub)\.(load|PackageImporter).*"
    r"|yaml\.(load|load_all|unsafe_load|full_load).*|mlflow\..*load_model|optuna\.artifacts.*"
    r"|exec|eval|compile|__import__|importlib\.import_module|runpy\..*|code\.interact"
    r"|os\.(system|popen|exec[lv].*|spawn.*)|subprocess\.(getoutput|getstatusoutput)"
    r"|tempfile\.mktemp|shutil\.unpack_archive|.*\.extractall"
)
"""Calls that run what a file says, or follow where it points."""

BANNED_MODULES = {"dill", "marshal", "shelve", "joblib", "runpy", "yaml", "telnetlib", "xmlrpc"}

ALLOWED = {
    ("source.py", "exec"): "study files are code, and are said to be",
    ("source.py", "compile"): "study files are code, and are said to be",
    ("source.py", "cloudpickle.loads"): "a study made in a notebook, from the driver to its own workers, in memory",
    ("executors/worker.py", "cloudpickle.loads"): "the driver's job and segments, over the pool's own pipe",
    ("executors/local.py", "cloudpickle.loads"): "what our own workers give back, over the pool's own pipe",
    ("executors/ray_outcome.py", "cloudpickle.loads"): "what workers give back, over Ray, whose members run code",
    ("executors/ray_worker.py", "cloudpickle.loads"): "the driver's job and segments, over a Ray cluster",
    ("export/runner.py", "pickle.loads"): "the class of a user's own family, from the process that started this one",
    ("export/runner.py", "torch.export.load"): "the proof of a .pt2 that this very export has just written",
    ("spawning.py", "importlib.import_module"): "what a worker is to do: a module's function, named by the driver",
    ("__init__.py", "importlib.import_module"): "the lazy table of our own modules",
}
"""The places where something is unpickled or run, each with its reason: none is a file that was not given as code."""


def test_no_code_that_is_not_listed_runs_what_a_file_says():
    found = {
        (name, call.callee)
        for name, source in sources(ROOT).items()
        for call in calls(source)
        if RUNS_CODE.fullmatch(call.callee)
    }
    assert found - set(ALLOWED) == set(), "nothing read is unpickled or run; if it is our own, say so in ALLOWED"
    assert set(ALLOWED) - found == set(), "these places are gone: take them out of ALLOWED"


def test_modules_that_only_serve_to_unpickle_are_not_imported():
    for name, source in sources(ROOT).items():
        assert not imported_modules(source) & BANNED_MODULES, name


def test_loaders_are_told_not_to_unpickle():
    for name, source in sources(ROOT).items():
        for call in calls(source):
            place = f"kdsearch/{name}, line {call.line}"
            assert call.keywords.get("allow_pickle", "False") == "False", place
            assert call.keywords.get("shell", "False") == "False", place
            if call.callee == "torch.load":
                assert call.keywords.get("weights_only") == "True", place
            if call.callee == "numpy.load" and "mmap_mode" not in call.keywords:
                assert call.keywords.get("allow_pickle") == "False", place


def test_the_walk_sees_what_it_should():
    source = """
import numpy as np, pickle as p
from torch import load
from cloudpickle import loads as thaw
def f(path):
    import subprocess
    np.load(path, allow_pickle=True); load(path); thaw(path)
    list(map(p.loads, path))
    subprocess.run("x", shell=True)
"""
    found = {call.callee: call.keywords for call in calls(source)}
    assert found["numpy.load"] == {"allow_pickle": "True"}
    assert "torch.load" in found and "cloudpickle.loads" in found and "pickle.loads" in found
    assert found["subprocess.run"] == {"shell": "True"}
    assert imported_modules(source) == {"numpy", "pickle", "torch", "cloudpickle", "subprocess"}


class Trap:
    """Unpickling it makes the folder `sprung`: what a malicious file would do instead is up to its author."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self):
        return os.mkdir, (str(self.sprung),)


@pytest.fixture
def trap(tmp_path):
    """A trap, which must not have been sprung when the test is over. That it works is tried first."""
    pickle.loads(pickle.dumps(Trap(tmp_path / "tried")))
    assert (tmp_path / "tried").exists()
    yield Trap(tmp_path / "sprung")
    assert not (tmp_path / "sprung").exists()


def as_pickle(trap: Trap, path: Path) -> None:
    path.write_bytes(pickle.dumps({"module.body.weight": trap}, protocol=2))


def as_torch(trap: Trap, path: Path) -> None:
    torch.save({"module.body.weight": trap}, path)


def as_zip(trap: Trap, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(trap))
        archive.writestr("../../escaped", "out of the folder")


def as_array(trap: Trap, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([trap], dtype=object), allow_pickle=True)


FORMS = [as_pickle, as_torch, as_zip, as_array]


@pytest.mark.parametrize("form", FORMS)
def test_states_starts_and_students_that_hold_a_pickle_are_damaged_and_not_run(trap, tmp_path, form):
    form(trap, tmp_path / "state.safetensors")
    with pytest.raises(DamagedError, match=r"state\.safetensors"):
        load_tensors(tmp_path / "state.safetensors")


def test_pickles_within_a_safetensors_file_stay_bytes(trap, tmp_path):
    body = np.frombuffer(pickle.dumps(trap), dtype=np.uint8).copy()
    save_file({"data.pkl": torch.from_numpy(body)}, tmp_path / "s.safetensors", {"notes": repr(pickle.dumps(trap))})
    with pytest.raises(DamagedError, match="checksum does not fit"):
        load_tensors(tmp_path / "s.safetensors")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npy"])
def test_teachers_weights_that_hold_a_pickle_are_refused(trap, tmp_path, tiny_data, tiny_teacher, form, suffix):
    path = tmp_path / f"given{suffix}"
    form(trap, path)
    with pytest.raises(Mistake, match="the teacher's weights"):
        freeze(dataclasses.replace(tiny_teacher, weights=path), tiny_data, tmp_path)


@pytest.mark.parametrize("forged", [False, True])
def test_signals_that_hold_a_pickle_are_computed_again(trap, tmp_path, forged):
    files = SignalFiles(tmp_path / "signals", 1e9)
    made = Maker()
    files.array("logits-1", made)
    path = tmp_path / "signals" / "logits-1.npy"
    as_array(trap, path)
    if forged:  # with the checksum that fits, as somebody would who may write here
        from kdsearch.files import file_sha256

        path.with_suffix(".json").write_text(json.dumps({"sha256": file_sha256(path)}))
    fresh = SignalFiles(tmp_path / "signals", 1e9)
    assert torch.equal(fresh.array("logits-1", made), made.expected)
    assert len(fresh.notes) == 1 and "computed again" in fresh.notes[0]


def test_kept_data_that_hold_a_pickle_are_damaged(trap, tmp_path, tiny_data):
    keep_data(tiny_data, tmp_path / "data")
    as_array(trap, tmp_path / "data" / "train-labels.npy")
    with pytest.raises(DamagedError):
        load_data(tmp_path / "data", tiny_data.fingerprint)


@pytest.mark.parametrize("form", [*FORMS, None])
def test_a_users_arrays_that_hold_a_pickle_are_refused(trap, tmp_path, form):
    path = tmp_path / "mine.npz"
    if form is None:
        np.savez(path, x=np.array([trap] * 9, dtype=object), y=np.arange(9) % 3)
    else:
        form(trap, path)
    with pytest.raises(Mistake, match=r"mine\.npz"):
        arrays(path)


def exported(folder: Path) -> Path:
    student = {"kind": "MLP", "width": 4, "depth": 1}
    module = MLP(width=4, depth=1).build((1, 2, 2), 2)
    write_export(
        folder, student=student, shape=(1, 2, 2), module=module, onnx_model=linear_onnx(np.zeros((2, 4)), (1, 2, 2))
    )
    return folder


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["student.safetensors", ONNX, "student.json"])
@pytest.mark.parametrize("forged", [False, True])
def test_an_export_that_holds_a_pickle_is_refused(trap, tmp_path, form, name, forged):
    folder = exported(tmp_path / "export")
    form(trap, folder / name)
    if forged and name != "student.json":
        card = json.loads((folder / "student.json").read_text())
        card["files"] = {name: {**card["files"][name], "sha256": _sha256(folder / name)}}
        write_card(folder, {key: part for key, part in card.items() if key not in ("format", "sha256")})
    np.save(tmp_path / "x.npy", np.zeros((1, 2, 2), dtype=np.uint8))
    if name != ONNX:
        with pytest.raises(Mistake):
            load(folder)
    if name != "student.safetensors":
        (folder / "student.safetensors").unlink(missing_ok=True)
    if name != ONNX or forged:
        with pytest.raises(Mistake):
            predict(folder, [tmp_path / "x.npy"])


def _sha256(path: Path) -> str:
    from kdsearch.files import file_sha256

    return file_sha256(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png"])
@pytest.mark.parametrize("form", FORMS)
def test_files_to_predict_that_hold_a_pickle_are_refused(trap, tmp_path, form, suffix):
    folder = exported(tmp_path / "export")
    form(trap, tmp_path / f"given{suffix}")
    with pytest.raises(Mistake, match="given"):
        predict(folder, [tmp_path / f"given{suffix}"])


@pytest.mark.parametrize("form", FORMS)
def test_a_recipe_that_holds_a_pickle_is_refused(trap, tmp_path, form):
    form(trap, tmp_path / "recipe.json")
    with pytest.raises(Mistake, match=r"recipe\.json"):
        read_recipe(tmp_path / "recipe.json")


HOSTILE = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        ["..", ".", "../x", "a/../../x", "/etc/passwd", "a\0b", "x\n", "\u202egnp", "a" * 65, "CON", "~", "-x"]
    ),
    st.sampled_from(
        ["artifacts", "logs", "optuna.db", "mlflow.db", "Artifacts", "small", "a..b", "x.y-z_1", "ⅷ", "ｓ"]
    ),
    st.sampled_from(["optuna.db-journal", "MLflow.db-wal", "mlflow.db-shm"]),
    st.text(alphabet="./\\a-_~ \0", max_size=12),
)


@given(HOSTILE)
def test_a_name_that_is_accepted_is_a_folder_of_its_own_in_the_workspace(name):
    place = Workspace(Path("/work space"))
    try:
        check_name(name)
    except Mistake:
        return
    folder = Path(os.path.normpath(place.study(name)))
    assert folder.parent == place.root
    assert folder.name.casefold() not in {"artifacts", "logs"}
    assert folder.name.casefold() not in {
        base + end for base in ("optuna.db", "mlflow.db") for end in ("", "-journal", "-wal", "-shm")
    }
    for path in (place.checkpoint(name, 3), place.student(name, 3), place.starts(name), place.signals(name)):
        assert Path(os.path.normpath(path)).is_relative_to(folder)


@given(HOSTILE, HOSTILE)
def test_layers_and_families_never_become_paths(layer, family):
    from kdsearch.data.views import Views
    from kdsearch.signals import Signals

    made = object.__new__(Signals)
    made._key = family
    assert re.fullmatch(r"features-[0-9a-f]{32}", made._stem("features", Views.key.__name__, layer))


@pytest.mark.parametrize("name", ["..", "../other", "/tmp/other", "a\0b", "logs"])
def test_a_database_with_a_hostile_name_leads_nowhere(tmp_path, capsys, name):
    place = _finished(tmp_path)
    database = sqlite3.connect(place / "optuna.db")
    database.execute("update studies set study_name = ?", (name,))
    database.commit()
    database.close()
    for command in ("status", "report", "export", "confirm"):
        more = ["--to", str(tmp_path / "to")] if command == "export" else []
        assert cli.main([command, name, *more, "--workspace", str(place)]) == 2
        assert _one_message(capsys.readouterr().err)
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    assert cli.main(["list", "--workspace", str(place)]) == 0


@pytest.mark.parametrize("name", ["../../other", "small/../..", "another"])
def test_a_database_whose_facts_name_another_study_is_refused(tmp_path, capsys, name):
    place = _finished(tmp_path)
    database = sqlite3.connect(place / "optuna.db")
    (text,) = database.execute("select value_json from study_user_attributes where key = 'kdsearch'").fetchone()
    changed = json.dumps({**json.loads(text), "name": name})
    database.execute("update study_user_attributes set value_json = ? where key = 'kdsearch'", (changed,))
    database.commit()
    database.close()
    assert cli.main(["status", "small", "--workspace", str(place)]) == 2
    assert _one_message(capsys.readouterr().err)


def _finished(folder: Path) -> Path:
    """A workspace with the database of a study `small` without trials; nothing has to be trained for it."""
    from kdsearch.opening import open_storage
    from kdsearch.store import Store
    from tests.made import facts

    place = Workspace(folder / "runs")
    place.make()
    Store.create(open_storage(place.storage_url, create=True), facts())
    return place.root


def _one_message(errors: str) -> bool:
    return errors.count("kdsearch: ") == 1 and "Traceback" not in errors and "fault of kdsearch" not in errors


def test_the_log_of_a_fault_has_no_name_that_others_could_foresee(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "wrong.py").write_text("raise RuntimeError('mine')")
    workspace = ["--workspace", str(tmp_path / "file" / "runs")]  # where no log can be written
    logs = set()
    for _ in range(2):
        assert cli.main(["run", str(tmp_path / "wrong.py"), *workspace]) == 2
        logs.add(Path(capsys.readouterr().err.strip().rpartition("the traceback is in ")[2]))
    assert len(logs) == 2
    for log in logs:
        assert "RuntimeError: mine" in log.read_text()
        assert log.stat().st_mode & 0o077 == 0
