"""One contract for all executors, and what only processes can suffer."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from kdsearch import api
from kdsearch.attempts import Attempts, Lost
from kdsearch.data.kept import keep_data
from kdsearch.executors import Inline, Local, LostError
from kdsearch.executors.base import Job
from kdsearch.mistakes import Mistake
from kdsearch.prepare import prepare
from kdsearch.source import Source
from kdsearch.space import replay
from kdsearch.trial import Failed, Progress, Seeds, Segment, advance
from kdsearch.workspace import Workspace
from tests.clusters import on_ray
from tests.studies_for_tests import with_moods, write_study

PARAMS = {"width": 6, "start": "pretrain", "temperature": 4.0, "alpha": 0.9}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("executors")
    path = write_study(
        folder, with_moods("good", "slow", "fails", "dies", "hangs"), ("study for tests", "study of moods")
    )
    return prepare(Source(path=path), Workspace.chosen(folder / "runs"))


@pytest.fixture
def long_temporary(tmp_path_factory, monkeypatch):
    """As batch systems have it: too long for the address of a socket."""
    folder = tmp_path_factory.mktemp("long") / ("a" * 120)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def job_of(prepared):
    """What the driver gives its workers, with the data where they look for them."""
    folder = prepared.workspace.study(prepared.study.name)
    keep_data(prepared.data, folder / "data")
    return Job(
        source=prepared.source,
        folder=folder,
        data_fingerprint=prepared.data.fingerprint,
        teacher_key=prepared.teacher.key,
    )


@pytest.fixture(scope="module")
def engines(prepared):
    """One executor of each kind for all tests of the contract, made when first asked for: workers cost seconds."""
    with ExitStack() as stack:
        yield {"stack": stack}


@pytest.fixture(
    params=["inline", "local", pytest.param("ray", marks=pytest.mark.xdist_group("ray"))],
)
def executor(request, prepared, engines, long_temporary):
    kind = request.param
    if kind not in engines:
        made = {
            "inline": lambda: Inline(prepared.data, prepared.signals),
            "local": lambda: Local(job_of(prepared), 2),
            "ray": lambda: on_ray(request.getfixturevalue("machines"), job_of(prepared), workers=2),
        }[kind]()
        engines["stack"].callback(made.shutdown)
        engines[kind] = made
    yield engines[kind]
    engines[kind].go_on()
    engines[kind].events()


def segment(prepared, mood="good", upto=3, state=None, trial=7):
    moody = {"mood": mood} if "moods" in prepared.study.card else {}
    recipe, _ = replay(prepared.study.space, {**PARAMS, **moody})
    return Segment(
        trial=trial,
        recipe=recipe,
        seeds=Seeds.of(0, recipe, trial),
        state=state,
        upto=upto,
        objectives=("accuracy", "parameters"),
    )


def bits(progress):
    return {name: tensor.numpy().tobytes() for name, tensor in progress.state.train.module.items()}


def test_a_segment_gives_the_bits_that_advance_gives(executor, prepared):
    expected = advance(segment(prepared), prepared.data, prepared.signals)
    result = executor.submit(segment(prepared)).result(timeout=180)
    assert isinstance(result, Progress)
    assert result.trial == 7
    assert bits(result) == bits(expected)
    assert result.measured == expected.measured


def test_a_segment_goes_on_from_the_state_of_another(executor, prepared):
    whole = advance(segment(prepared), prepared.data, prepared.signals)
    first = executor.submit(segment(prepared, upto=1)).result(timeout=180)
    assert first.measured is None
    second = executor.submit(segment(prepared, state=first.state)).result(timeout=180)
    assert bits(second) == bits(whole)


def test_epochs_are_reported_as_they_happen(executor, prepared):
    executor.submit(segment(prepared)).result(timeout=180)
    events = executor.events()
    assert [(event.trial, event.line["stage"], event.line["epoch"]) for event in events] == [
        (7, "pretrain", 1),
        (7, "distil", 1),
        (7, "distil", 2),
    ]
    assert executor.events() == []


def test_what_a_student_raises_comes_back_as_a_failure_and_the_executor_lives(executor, prepared):
    failed = executor.submit(segment(prepared, "fails")).result(timeout=180)
    assert isinstance(failed, Failed)
    assert failed.reason == "RuntimeError: no more patience"
    assert "in forward" in failed.trace
    assert isinstance(executor.submit(segment(prepared)).result(timeout=180), Progress)


def test_a_stop_ends_a_segment_after_the_epoch_it_is_in(executor, prepared):
    executor.stop()
    stopped = executor.submit(segment(prepared)).result(timeout=180)
    assert stopped.state.epoch == 1
    whole = advance(segment(prepared), prepared.data, prepared.signals)
    assert bits(advance(segment(prepared, state=stopped.state), prepared.data, prepared.signals)) == bits(whole)


def test_a_worker_that_dies_costs_its_segment_and_not_the_pool(executor, prepared):
    if isinstance(executor, Inline):
        pytest.skip("inline has no workers that could die alone")
    dying, living = executor.submit(segment(prepared, "dies")), executor.submit(segment(prepared, "slow"))
    with pytest.raises(LostError, match=r"exit code 3|WorkerCrashedError"):
        dying.result(timeout=180)
    assert isinstance(living.result(timeout=180), Progress)
    assert isinstance(executor.submit(segment(prepared)).result(timeout=180), Progress)


def test_a_segment_that_hangs_is_taken_from_its_worker_and_no_other_is(executor, prepared):
    if isinstance(executor, Inline):
        pytest.skip("inline has no workers that could be ended alone")
    moved = [0.0]
    attempts = Attempts(executor, clock=lambda: moved[0], stall_minutes=30)
    attempts.submit(segment(prepared, "hangs", trial=1))
    attempts.submit(segment(prepared, "slow", trial=2))
    found = {}

    def look():
        found.update(attempts.outcomes(lambda event: None))

    assert wait_until(lambda: look() or 2 in found, 180)
    assert isinstance(found.pop(2), Progress)
    look()
    assert found == {}

    def half_an_hour_later():
        moved[0] += 31 * 60
        look()
        return 1 in found

    assert wait_until(half_an_hour_later, 180)
    assert found[1] == Lost(reason="made no progress in 30 minutes (--stall-minutes)")
    assert isinstance(executor.submit(segment(prepared)).result(timeout=180), Progress)


def test_a_stop_is_taken_back(executor, prepared):
    executor.stop()
    executor.go_on()
    assert executor.submit(segment(prepared)).result(timeout=180).state.epoch == 3
    assert executor.capacity >= 1


def test_a_worker_leaves_nothing_on_the_disk_and_needs_more_memory_than_nothing(prepared, long_temporary):
    with pytest.raises(
        Mistake, match=r"--worker-memory of 0.05 GB is less than .*, which is 0\.[1-9]\d* GB: allow more"
    ):
        api.run(
            prepared.source.path,
            workspace=prepared.workspace.root,
            workers=1,
            worker_memory_gb=0.05,
            track=False,
            confirm=False,
            trials=1,
        )
    assert list(long_temporary.iterdir()) == []


def test_a_trial_whose_worker_always_dies_is_failed_after_three_tries(tmp_path):
    path = write_study(tmp_path, with_moods("good", "dies"), ("trials=4", 'trials=1, first=[{"mood": "dies"}]'))
    results = api.run(path, workspace=tmp_path / "runs", workers=1, track=False, confirm=False)
    (record,) = results.records
    assert record.state == "failed"
    assert "exit code 3" in record.reason
    assert "3 times" in record.reason


RUN = """
import sys
from kdsearch import api
# no guard: a script's workers do not run the script again
results = api.run(sys.argv[1], workspace=sys.argv[2], workers=1, track=False, confirm=False, listeners=[
    lambda happening: print(type(happening).__name__, flush=True)])
print("ended", results.ended.interrupted, flush=True)
"""


def started(path, workspace):
    """A driver in a process group of its own."""
    script = path.with_name("drive.py")
    script.write_text(RUN)
    return subprocess.Popen(
        [sys.executable, str(script), str(path), str(workspace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def group_members(group):
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                members.append(int(entry.name))
    return members


def heard_until(process, word):
    """What a process says up to a line that begins so."""
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith(word):
            return said
    raise AssertionError(said)


def wait_until(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)
    return condition()


def test_ctrl_c_keeps_everything_and_the_next_run_takes_it_up(tmp_path):
    path = write_study(
        tmp_path, with_moods("slow"), ("epochs=3", "epochs=60"), ("segment_epochs=2", "segment_epochs=5")
    )
    workspace = tmp_path / "runs"
    driver = started(path, workspace)
    heard_until(driver, "TrialEpoch")
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the workers too
    said = driver.stdout.read()
    assert driver.wait(timeout=180) == 0, said
    assert "ended True" in said
    assert "Traceback" not in said
    assert group_members(driver.pid) == []
    left = api.open_study("small", workspace=workspace)
    assert {record.state for record in left.records} == {"running"}
    assert api.status("small", workspace=workspace)["trials"]["paused"] == len(left.records)
    kept = list((workspace / "small" / "checkpoints").glob("*.safetensors"))
    assert 1 <= len(kept) <= len(left.records), "a trial that had trained an epoch is kept at its last"
    adopted = []
    api.run(
        path,
        workspace=workspace,
        track=False,
        confirm=False,
        engine="inline",
        minutes=0.01,
        listeners=[lambda h: adopted.append(h.record.number) if getattr(h, "adopted", False) else None],
    )
    assert adopted == [record.number for record in left.records]


def test_workers_have_the_drivers_data_and_code_whatever_the_study_file_would_give_them(tmp_path):
    draw = "whole = digits()\n    whole.train.inputs[0] = torch.randint(0, 16, (1, 8, 8))\n"
    path = write_study(tmp_path, ("whole = digits()\n", draw))
    ready = prepare(Source(path=path), Workspace.chosen(tmp_path / "runs"))
    expected = advance(segment(ready), ready.data, ready.signals)
    path.write_text(path.read_text().replace("nn.Linear(64, width), nn.ReLU()", "nn.Linear(64, width), nn.Tanh()"))
    local = Local(job_of(ready), 1)
    try:
        assert bits(local.submit(segment(ready)).result(timeout=180)) == bits(expected)
    finally:
        local.shutdown()
    changed = prepare(Source(path=path), Workspace.chosen(tmp_path / "runs"))
    assert changed.data.fingerprint != ready.data.fingerprint, "each reading gives other data"
    assert bits(advance(segment(changed), ready.data, ready.signals)) != bits(expected), "a new run sees the edit"


def test_ctrl_c_while_workers_are_starting_leaves_no_traceback(tmp_path):
    driver = started(write_study(tmp_path), tmp_path / "runs")
    said = heard_until(driver, "TrialBegan")
    time.sleep(0.5)
    os.killpg(driver.pid, signal.SIGINT)
    said += driver.stdout.read()
    assert driver.wait(timeout=120) == 0, said
    assert "ended True" in said
    assert "Traceback" not in said
