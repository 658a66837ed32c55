"""Ray with several machines: those that die, those that come, those that do not see the files; and drivers that end."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from kdsearch import api
from kdsearch.executors import BlamelessError, LostError
from kdsearch.executors.engine import Engine
from kdsearch.mistakes import Mistake
from kdsearch.trial import Failed, Progress, advance
from tests.clusters import on_ray
from tests.studies_for_tests import with_moods, write_study
from tests.test_executors import bits, group_members, heard_until, job_of, prepared, segment, wait_until  # noqa: F401 - a fixture

ray = pytest.importorskip("ray", reason="the engine ray needs the extra ray")
pytestmark = pytest.mark.xdist_group("ray")
ROOT = Path(__file__).resolve().parents[1]


def tidy(results):
    """What does not depend on who trained when."""
    return {
        record.number: (record.state, record.params, record.measured, [line["loss"] for line in record.curve])
        for record in results.records
    }


def test_a_machine_that_dies_costs_its_segments_and_one_that_comes_takes_them(machines, tmp_path, capfd):
    path = write_study(
        tmp_path, ("trials=4", 'trials=6, sampler="random", segment_epochs=1'), (", segment_epochs=2", "")
    )
    undisturbed = api.run(path, workspace=tmp_path / "a", engine="inline", track=False, confirm=False)
    doomed = machines.workers[0] if machines.workers else machines.add(cpus=1)
    killed = []

    def kill(event):
        if type(event).__name__ == "TrialEnded" and not killed:
            killed.append(event)
            machines.add()
            machines.kill(doomed)

    results = api.run(
        path,
        workspace=tmp_path / "b",
        engine="ray",
        address=machines.address,
        track=False,
        confirm=False,
        listeners=[kill],
    )
    assert killed
    assert tidy(results) == tidy(undisturbed)
    assert "raylet" not in capfd.readouterr().out, "standard output is for events"
    assert ray.is_initialized(), "a connection that was there before is left as it is"


@pytest.fixture
def busy(machines, prepared):  # noqa: F811
    """An engine with more segments than there are processors."""
    engine = on_ray(machines, job_of(prepared), workers=4)
    yield engine
    engine.shutdown()


def test_a_segment_is_taken_from_its_worker_and_what_waits_is_seen_by_an_autoscaler(busy, machines, prepared):  # noqa: F811
    stuck = [busy.submit(segment(prepared, "hangs", trial=number)) for number in range(2)]
    waiting, last = [busy.submit(segment(prepared, "slow", trial=number)) for number in (2, 3)]
    assert wait_until(lambda: [busy.events(), sum(map(busy.running, stuck))][1] == 2, 180)
    assert not any(map(busy.running, (waiting, last))), "they wait, also after they asked the board"
    assert wait_until(lambda: demanded(machines.address) >= 2, 60)
    for future in (*stuck, waiting):
        busy.abandon(future)
    for future in (*stuck, waiting):
        with pytest.raises(LostError):
            future.result(timeout=60)
    assert isinstance(last.result(timeout=120), Progress)


def demanded(address):
    """Tasks that an autoscaler is told wait for a machine."""
    from ray.autoscaler.v2.sdk import get_cluster_status

    demands = get_cluster_status(address).resource_demands.ray_task_actor_demand
    return sum(bundle.count for demand in demands for bundle in demand.bundles_by_count)


def test_a_board_that_is_lost_costs_nothing_and_segments_leave_nothing_in_the_store(busy, prepared):  # noqa: F811
    before = references()
    slow = busy.submit(segment(prepared, "slow"))
    assert wait_until(lambda: busy.events() or busy.running(slow), 60)
    ray.kill(busy._board, no_restart=False)
    assert slow.result(timeout=120).state.epoch == 3
    busy.stop()
    assert busy.submit(segment(prepared)).result(timeout=60).state.epoch == 1
    busy.go_on()
    assert wait_until(lambda: references() <= before, 20), (before, references())


def test_a_ray_that_is_lost_ends_all_segments_and_says_so_once(busy, prepared):  # noqa: F811
    slow = [busy.submit(segment(prepared, "slow", trial=number)) for number in range(2)]
    ray.kill(busy._board, no_restart=True)  # it is on the driver's own machine: only with that, or the head, it is gone
    busy.stop()
    busy.go_on()
    assert busy.events() == []
    assert busy.wait(slow, 0.2) == set(slow)
    said = sorted((future.exception() for future in slow), key=lambda error: isinstance(error, BlamelessError))
    assert [type(error) for error in said] == [Mistake, BlamelessError]
    assert "the connection to Ray is lost (ActorDiedError); every finished segment is kept" in str(said[0])
    later = busy.submit(segment(prepared))
    assert busy.wait([later], 0.2) == {later}
    assert isinstance(later.exception(), BlamelessError)


def references():
    return len(ray._private.worker.global_worker.core_worker.get_all_reference_counts())


def test_a_machine_without_the_files_gets_them_whole_and_one_without_space_is_left_out(
    machines,
    prepared,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    job = job_of(prepared)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # of the machine that is started now
    hidden = machines.add_without(job.folder, tmp_path, size_kb=64, cpus=1, num_gpus=0, resources={"hidden": 1})
    expected = bits(advance(segment(prepared), prepared.data, prepared.signals))
    engine = on_ray(machines, job)
    anywhere, there = engine._task, engine._task.options(resources={"hidden": 1})

    def ended(future):
        assert wait_until(lambda: engine.wait([future], 0.2), 90)
        return future

    try:
        engine._task = there
        full = ended(engine.submit(segment(prepared))).exception()
        assert isinstance(full, BlamelessError)
        assert "No space left on device" in str(full) and os.uname().nodename in str(full)
        engine._task = anywhere
        assert bits(ended(engine.submit(segment(prepared))).result()) == expected, "elsewhere"

        hidden("mount", "-o", "remount,size=50m", str(tmp_path))
        engine._unfit.clear()
        engine._task = there
        assert bits(ended(engine.submit(segment(prepared))).result()) == expected
        (copy,) = hidden("sh", "-c", f"ls -d {tmp_path}/kdsearch-*").split()
        data = f"{copy}/data/train-inputs.npy"
        assert hidden("stat", "-c", "%a", copy).strip() == "700"
        before = hidden("sha256sum", data)
        hidden("sh", "-c", f"printf flipped | dd of={data} bs=1 seek=500 conv=notrunc")
        assert hidden("sha256sum", data) != before
        assert isinstance(ended(engine.submit(segment(prepared, "dies"))).exception(), LostError)
        assert bits(ended(engine.submit(segment(prepared))).result()) == expected, "by a new process of that machine"
        assert hidden("sha256sum", data) == before
    finally:
        engine.shutdown()


def test_a_gpu_that_torch_cannot_use_is_told_with_its_machine_and_never_held_in_vain(machines, prepared):  # noqa: F811
    if torch.cuda.is_available():
        pytest.skip("torch can use the GPU of this machine")
    engine = on_ray(machines, job_of(prepared), gpus=0.5)
    try:
        beside = sum(min(int(node["Resources"].get("CPU", 0)), 2) for node in ray.nodes() if "GPU" in node["Resources"])
        assert 1 <= engine.capacity <= beside, "of all machines' processors, only those beside a GPU"
        refused = engine.submit(segment(prepared)).exception(timeout=90)
        assert type(refused) is Mistake
        assert f"a GPU of {os.uname().nodename} (--gpus-per-trial), which torch {torch.__version__} there" in str(
            refused
        )
    finally:
        engine.shutdown()


RUN = """
import signal, sys
from kdsearch import api
seen = lambda happening: print(type(happening).__name__, signal.getsignal(signal.SIGTERM).__module__, flush=True)
results = api.run(sys.argv[1], workspace=sys.argv[2], workers=1, engine="ray", track=False, confirm=False,
                  listeners=[seen])
print("ended", results.ended.interrupted, flush=True)
"""


def test_ctrl_c_keeps_what_is_under_way_and_leaves_no_process_of_a_ray_of_ones_own(tmp_path):
    path = write_study(
        tmp_path, with_moods("slow"), ("epochs=3", "epochs=60"), ("segment_epochs=2", "segment_epochs=5")
    )
    driver = started(RUN, str(path), str(tmp_path / "runs"))
    said = heard_until(driver, "TrialEpoch")
    assert "TrialEpoch kdsearch.interrupts" in said, "Ray's own SIGTERM would keep nothing"
    members = group_members(driver.pid)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to Ray's processes and the workers too
    said += driver.communicate(timeout=120)[0]
    assert driver.returncode == 0, said
    assert "ended True" in said
    assert "Traceback" not in said
    kept = list((tmp_path / "runs" / "small" / "checkpoints").glob("*.safetensors"))
    assert len(kept) == 1
    assert len(members) > 3
    assert wait_until(lambda: group_members(driver.pid) == [], 30), group_members(driver.pid)


HOLD = """
import runpy, sys, time
import ray
ours = runpy.run_path(sys.argv[2])  # without its package, which would import torch
ray.init(sys.argv[1], log_to_driver=False)
board = ours["started_board"]()
ours["exchanged"](board, stopping=False)
task = ray.remote(num_cpus=1, max_retries=0)(lambda board: time.sleep(600)).remote(board)
time.sleep(1)
print("holds", flush=True)
time.sleep(600)
"""


def test_a_killed_drivers_tasks_and_board_end(machines):
    machines.one()

    def held():
        return ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0)

    assert wait_until(lambda: held() == 0, 30)
    driver = started(HOLD, machines.address, str(ROOT / "kdsearch" / "executors" / "ray_board.py"))
    heard_until(driver, "holds")
    assert wait_until(lambda: held() == 1, 30)
    driver.kill()
    driver.communicate()
    assert wait_until(lambda: held() == 0, 30)
    alive = [actor for actor in ray._private.state.actors().values() if actor["State"] == "ALIVE"]
    assert not [actor for actor in alive if actor["JobID"] != ray.get_runtime_context().get_job_id()]


def started(code, *arguments):
    """A Python process in a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def test_what_ray_says_of_a_task_is_told_apart():
    from concurrent.futures import Future

    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, TaskCancelledError

    from kdsearch.executors.ray_outcome import outcome_of

    def outcome(error):
        future = Future()
        future.set_exception(error)
        return outcome_of(future, 7)

    def raised(cause):
        return RayTaskError("work", "traceback", cause)

    memory = outcome(OutOfMemoryError("killed by the memory monitor"))
    assert isinstance(memory, Failed)
    assert "fewer --workers" in memory.reason
    for lost in (NodeDiedError("gone"), TaskCancelledError(), raised(NodeDiedError("gone"))):
        assert isinstance(outcome(lost), LostError)
    absent = outcome(raised(ModuleNotFoundError("No module named 'kdsearch'")))
    assert isinstance(absent, Mistake)
    assert "install the same packages" in str(absent)
    unreadable = Future()
    unreadable.set_result(b"torn")
    assert isinstance(outcome_of(unreadable, 7), Exception)


@pytest.mark.parametrize(
    ("resources", "gpus", "segments"),
    [
        ({"CPU": 8.0}, 0.0, 8),
        ({"CPU": 8.0}, 0.5, 0),
        ({"CPU": 8.0, "GPU": 2.0}, 0.5, 4),
        ({"CPU": 8.0, "GPU": 2.0}, 0.4, 4),  # two on each, not five on both
        ({"CPU": 3.0, "GPU": 2.0}, 0.1, 3),
        ({"CPU": 8.0, "GPU": 5.0}, 2.0, 2),
        ({}, 0.0, 0),
    ],
)
def test_room_on_a_machine(resources, gpus, segments):
    from kdsearch.executors.ray_joining import _fit

    assert _fit(resources, gpus) == segments


@pytest.mark.parametrize("gpus", [-0.5, 1.5, 0.00001, float("nan"), float("inf")])
def test_gpus_that_ray_cannot_give_are_refused(gpus):
    with pytest.raises(Mistake, match="gpus_per_trial must be a share"):
        Engine(name="ray", gpus_per_trial=gpus)


def test_gpus_and_addresses_are_for_ray(machines, prepared):  # noqa: F811
    from kdsearch.executors.ray import cluster

    with pytest.raises(Mistake, match="for --engine ray; the engine is local"):
        Engine(gpus_per_trial=0.5)
    with pytest.raises(Mistake, match="is connected to the Ray at"), cluster(None, 1, "127.0.0.1:1"):
        pass


def test_what_ray_prints_is_silenced_only_where_it_was_not_the_callers_own():
    from ray._private import worker

    from kdsearch.executors.ray_joining import _silenced

    before = worker.print_to_stdstream
    with _silenced():
        assert worker.print_to_stdstream is not before
    assert worker.print_to_stdstream is before


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://127.0.0.1:10001", "must be HOST:PORT"),
        ("somewhere", "must be HOST:PORT"),
        ("127.0.0.1:1", "no Ray cluster answers"),
        ("127.0.0.1:99999", "must be HOST:PORT"),
    ],
)
def test_an_address_of_no_cluster_is_told_at_once(address, said):
    from kdsearch.executors.ray_joining import _check_reachable

    with pytest.raises(Mistake, match=said):
        _check_reachable(address)
