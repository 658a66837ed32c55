"""What searches under faults stand on, of their own: PostgreSQL, MLflow's server, Ray's machines, a small disk."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.common import say
from benchmarks.fault_kinds import Ground

DISK = "400m"


def made_ground(stack: ExitStack, folder: Path, engine: str, without: Sequence[str]) -> Ground:
    from tests.postgres import Postgres, _account, _programs

    folder.mkdir()
    ground = Ground(disk=stack.enter_context(_small_disk(folder / "disk")))
    if "postgresql" not in without and (programs := _programs()) is not None:
        server = Postgres(programs, _account())
        stack.callback(server.remove)
        ground.postgres = server
    if engine == "local":
        ground.tracking = Tracking(folder)
        stack.callback(ground.tracking.stop)
    if engine == "ray":
        from tests.clusters import Machines

        ground.machines = Machines()
        stack.callback(ground.machines.cluster.shutdown)
        for _ in range(2):
            ground.machines.add(cpus=1)
    return ground


@contextmanager
def _small_disk(place: Path) -> Iterator[Path | None]:
    """A file system of its own that can be filled; None where none can be mounted, which is said."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        say(f"no disk is filled: none can be mounted here ({mounted.stderr.strip()})")
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=False)


class Tracking:
    """MLflow's server, which keeps its address when it comes back."""

    def __init__(self, folder: Path) -> None:
        from tests.servers import free_port

        self._folder = folder / "mlflow"
        self._folder.mkdir()
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self._stack = ExitStack()
        self.start()

    def start(self) -> None:
        from tests.servers import mlflow_server

        database = f"sqlite:///{self._folder / 'mlflow.db'}"
        self._stack.enter_context(mlflow_server(database, self._folder, self._port))

    def stop(self) -> None:
        self._stack.close()
