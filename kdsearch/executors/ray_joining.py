"""Being connected to a Ray, of this machine's own or of a cluster, and how many segments it has room for."""

import os
import signal
import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import worker as ray_worker_module
from ray.exceptions import RayError

from kdsearch.mistakes import Mistake

_PATIENCE_SECONDS = 60.0
"""How long a cluster may take to show a machine that can take a segment, where nobody said how many are coming."""


@contextmanager
def connected(address: str | None, workers: int | None) -> Iterator[None]:
    """Be connected to Ray within. A connection that the caller's process has already is used, and left as it is."""
    if ray.is_initialized():
        here = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", here):
            raise Mistake(f"this process is connected to the Ray at {here}, not {address}; call ray.shutdown() before")
        yield
        return
    if address not in (None, "auto"):
        _check_reachable(address)
    with _silenced():
        _join(address, workers)
        try:
            yield
        finally:
            ray.shutdown()


def _join(address: str | None, workers: int | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    polite = signal.getsignal(signal.SIGTERM)
    try:
        if address is None:
            # "local": never a cluster that happens to be there, in RAY_ADDRESS or on this machine
            ray.init("local", num_cpus=workers or _cores(), include_dashboard=False, **quiet)
        else:
            ray.init(address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        where = "no Ray can be started here" if address is None else f"no Ray cluster can be used at {address!r}"
        look = "see that this user has its token (~/.ray/auth_token) and its version of Ray, or leave --address out"
        way_out = "use --engine local" if address is None else look
        raise Mistake(f"{where} ({said}); {way_out}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, polite)  # Ray's own would end the run without keeping what is under way


@contextmanager
def _silenced() -> Iterator[None]:
    """Of a machine that dies Ray prints pages, to standard output, which is for events; its log files have them."""
    ours = vars(ray_worker_module)
    loud = ours["print_to_stdstream"]
    ours["print_to_stdstream"] = lambda *_, **__: None
    try:
        yield
    finally:
        ours["print_to_stdstream"] = loud


def _check_reachable(address: str) -> None:
    """Raise `Mistake` where nobody listens: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "//" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Mistake(f"--address must be HOST:PORT of the cluster's head, or auto, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_SECONDS / 4).close()
    except OSError as error:
        raise Mistake(
            f"no Ray cluster answers at {address!r} ({error}); start one with ray start --head, or leave --address out"
        ) from None


def await_room(workers: int | None, gpus: float, *, own: bool) -> None:
    """Wait for a first machine that can take a segment, unless more `workers` are asked for than may be there yet."""
    until = time.monotonic() + (0.0 if own else _PATIENCE_SECONDS)
    while (workers is None or own) and not room(gpus):
        if time.monotonic() >= until:
            raise Mistake(
                f"no machine of the Ray cluster has {needs(gpus)} for a trial; lower --gpus-per-trial, add machines, "
                "or say with --workers how many an autoscaler is to bring"
            )
        time.sleep(0.5)


def needs(gpus: float) -> str:
    """What a machine must have for a segment, in words."""
    return f"a processor and {gpus:g} of a GPU" if gpus else "a processor"


def room(gpus: float, without: Collection[str] = ()) -> int:
    """How many segments the machines of the cluster, but for the nodes `without`, have room for at a time."""
    there = (machine for machine in ray.nodes() if machine["Alive"] and machine["NodeID"] not in without)
    return sum(_fit(machine["Resources"], gpus) for machine in there)


def _fit(resources: dict[str, float], gpus: float) -> int:
    cpus, there = int(resources.get("CPU", 0)), resources.get("GPU", 0.0)
    if not gpus:
        return cpus
    # a share of a GPU is never made of parts of two
    return min(cpus, int(there) * int(1 / gpus + 1e-6) if gpus <= 1 else int(there / gpus))


def _cores() -> int:
    """Processor cores that this process may use: Ray would count the whole machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
