"""Students chosen and taken away, one or a whole front, from one small study."""

import re
import shutil
from pathlib import Path

import pytest

from kdsearch import api, cli
from kdsearch.choice import Limits
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_storage
from kdsearch.saved import read_card
from kdsearch.store import Store
from kdsearch.taking import export_front, export_student
from kdsearch.workspace import Workspace
from tests.studies_for_tests import write_study

OURS = ('Mine(width=trial.suggest_int("width", 2, 40))', 'MLP(width=trial.suggest_int("width", 2, 40), depth=1)')

QUICK = ("safetensors",)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The workspace of a finished study of kdsearch's own families."""
    folder = tmp_path_factory.mktemp("taking")
    api.run(write_study(folder, OURS), workspace=folder / "runs", engine="inline", track=False, confirm=False)
    return folder / "runs"


@pytest.fixture(scope="module")
def front(runs) -> list[int]:
    members = [int(number) for number in api.open_study("small", workspace=runs).front.index]
    assert len(members) > 1
    return members


def weights(runs: Path, trial: int) -> Path:
    return runs / "small" / "students" / f"trial-{trial:05d}.safetensors"


def test_what_is_chosen_and_why_and_the_runner_up_are_told(runs, front, tmp_path, capfd):
    told: list[str] = []
    limits = Limits(max_latency_ms=1e6)  # which the study did not measure
    exported = export_student(
        "small", tmp_path / "out", pick="smallest", limits=limits, formats=QUICK, workspace=runs, say=told.append
    )
    assert exported.card["trial"] == front[0]
    figures = r"\([\d,]+ parameters, validation [\d.]+%, [\d.e-]+ ms\)"
    assert re.match(rf"chosen: +trial {front[0]} {figures}: the smallest of \d students", told[0])
    assert told[0].endswith("on the front within the limits; latencies were measured now, on this machine")
    assert re.match(rf"runner-up: +trial {front[1]} {figures}: \d+ more parameters, [\d.]+ points more acc", told[2])
    assert told[1].strip() == told[3].strip() == "not confirmed on fresh seeds"
    assert re.search(r"measuring latency on this machine: [1-4] students", capfd.readouterr().err)
    with pytest.raises(Mistake, match=r"no trial keeps to at most 1e-09 ms; the nearest is trial \d .* ms \(.* over\)"):
        export_student("small", tmp_path / "none", limits=Limits(max_latency_ms=1e-9), workspace=runs)
    assert not (tmp_path / "none").exists()


def test_trials_without_a_student_are_refused_with_their_reason_and_before_any_work(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    store = Store(open_storage(Workspace(tmp_path / "runs").storage_url, create=False), "small")
    nothing = {"params": {}, "distributions": {}, "system_attrs": {}, "attrs": {}}
    failed = store.add(**nothing, failed="the loss is not finite")
    screened = store.add(**nothing, screened="600,000 parameters are above the limit")
    pruned, running = store.add(**nothing), store.add(**nothing)
    store.prune(pruned, "the budget ended", [], {}, None)
    for trial, said in {
        failed: r"is failed \(the loss is not finite\); only a complete trial has a student to export$",
        screened: r"is screened \(600,000 parameters are above the limit\); only",
        pruned: r"is pruned \(the budget ended\); only",
        running: "is running; only a complete .* it may still become one: look again later",
    }.items():
        with pytest.raises(Mistake, match=f"trial {trial} {said}"):  # the study file is not even looked for
            export_student("small", tmp_path / "out", trial=trial, workspace=tmp_path / "runs", study="gone.py")


def test_the_whole_front_goes_into_folders_of_its_own_and_again(runs, front, tmp_path, capsys):
    to = tmp_path / "front"
    command = ["export", "small", "--workspace", str(runs), "--to", str(to), "--all-front", "--no-onnx"]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert sorted(path.name for path in to.iterdir()) == sorted(f"trial-{number:05d}" for number in front)
    assert [read_card(to / f"trial-{number:05d}")["trial"] for number in front] == front
    assert all(f"trial {number}: {to / f'trial-{number:05d}'}" in said for number in front)
    assert said.count("  safetensors  ") == len(front)
    sizes = [read_card(to / f"trial-{number:05d}")["metrics"]["parameters"] for number in front]
    told: list[str] = []
    again = export_front(
        "small", to, limits=Limits(max_parameters=sizes[0]), formats=QUICK, workspace=runs, say=told.append
    )
    assert [one.card["trial"] for one in again.exported] == front[:1]
    assert f"{to / f'trial-{front[1]:05d}'} is from before: it is not on the front within the limits now" in told


def test_a_member_that_fails_keeps_no_other_from_being_written(runs, front, tmp_path, capsys):
    shutil.copytree(runs, tmp_path / "runs")
    weights(tmp_path / "runs", front[0]).unlink()
    command = [
        "export",
        "small",
        "--workspace",
        str(tmp_path / "runs"),
        "--to",
        str(tmp_path / "out"),
        "--all-front",
        "--no-onnx",
    ]
    assert cli.main(command) == 1
    assert f"trial {front[0]} was not exported: the weights of trial {front[0]} are gone" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(f"trial-{n:05d}" for n in front[1:])


def test_a_folder_that_holds_other_things_takes_no_front(runs, front, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "trial-00001").write_text("a file")
    with pytest.raises(Mistake, match="is not empty: it holds trial-00001; name another"):
        export_front("small", tmp_path / "mine", workspace=runs)
    inside = tmp_path / "out" / f"trial-{front[-1]:05d}"
    inside.mkdir(parents=True)
    (inside / "thesis.txt").write_text("years of work")
    with pytest.raises(Mistake, match=r"it holds thesis\.txt; name another"):
        export_front("small", tmp_path / "out", workspace=runs)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [inside.name]
    with pytest.raises(Mistake, match="is a file; name a folder"):
        export_front("small", inside / "thesis.txt", workspace=runs)


def test_wrong_limits_are_refused_on_the_command_line(runs, tmp_path, capsys):
    for flags, rule in {
        ("--max-drop", "inf"): "max_drop must be a finite number of points, got inf",
        ("--max-parameters", "10", "--max-macs", "9"): "no trial keeps to at most 10 parameters and at most 9 macs",
    }.items():
        assert cli.main(["export", "small", "--workspace", str(runs), "--to", str(tmp_path / "out"), *flags]) == 2
        assert rule in capsys.readouterr().err
