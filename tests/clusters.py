"""A Ray cluster for tests: several machines' worth of processes on this one. They cost seconds, so all tests share it.

Tests that ask for it belong to the xdist group "ray".
"""

import ctypes
import os
import subprocess
import threading
from pathlib import Path
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parents[1]
_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS


class Machines:
    """A head without processors, and `worker` machines, each a raylet of its own with what it starts: with a GPU that
    is there for Ray only, not for torch.
    """

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.address = self.cluster.address
        self.workers = []

    def add(self, cpus: int = 2, **resources):
        machine = self.cluster.add_node(num_cpus=cpus, **{"num_gpus": 1, **resources})
        self.workers.append(machine)
        return machine

    def add_without(self, folder: Path, temporary: Path, size_kb: int, **resources):
        """A machine on which `folder` is empty, and `temporary` has so much space: these are file systems of its own.
        Gives a function that runs a command on it.
        """
        failed, started, mounted = [], threading.Event(), []

        def start() -> None:
            try:
                mount_and_add()
            finally:
                started.set()
            threading.Event().wait()  # for ever: processes are told to end with the thread that started them

        def mount_and_add() -> None:
            # of this thread alone, and of the processes that it starts
            if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS):
                failed.append(os.strerror(ctypes.get_errno()))
                return
            mounted.append(threading.get_native_id())
            for command in (
                ["mount", "--make-rprivate", "/"],
                ["mount", "-t", "tmpfs", "none", str(folder)],
                ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "none", str(temporary)],
            ):
                ran = subprocess.run(command, capture_output=True, text=True)
                if ran.returncode:
                    failed.append(ran.stderr.strip())
                    return
            with patch("ray._private.utils.set_sigterm_handler"):  # which is for main threads only
                self.add(**resources)

        threading.Thread(target=start, daemon=True).start()
        started.wait()
        if failed:
            pytest.skip(f"no file system of its own can be mounted for a process here: {failed[0]}")

        def there(*command: str) -> str:
            within = ["nsenter", f"--mount=/proc/{os.getpid()}/task/{mounted[0]}/ns/mnt", *command]
            return subprocess.run(within, capture_output=True, text=True, check=True).stdout

        return there

    def kill(self, machine) -> None:
        """As a power cut does."""
        self.workers.remove(machine)
        self.cluster.remove_node(machine, allow_graceful=False)

    def one(self):
        """A machine with two processors, whatever an earlier test left."""
        return self.workers[0] if self.workers else self.add()


@pytest.fixture(scope="session")
def machines():
    pytest.importorskip("ray", reason="the engine ray needs the extra ray")
    from kdsearch.executors.ray import connected

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    made = Machines()
    with connected(made.address, None):
        yield made
    made.cluster.shutdown()
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


def on_ray(machines, job, workers=None, **options):
    """The engine on a cluster that has at least one machine."""
    from kdsearch.executors.ray import Cluster

    machines.one()
    return Cluster(job, workers, **options)
