"""The proof of an export: each file is loaded as its user would, in a process of its own, and run over the validation
and test splits.

So nothing of the search can stand in for what the files lack. The processes run one after another, and with one thread
each, since they also measure time. What they read is on the disk beside the study, memory-mapped.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import kdsearch
from kdsearch import metrics
from kdsearch.data.base import Data
from kdsearch.export import runner
from kdsearch.export.formats import FORMATS, Parcel
from kdsearch.export.formats.graph import idle
from kdsearch.export.subject import Subject
from kdsearch.files import void
from kdsearch.mistakes import Mistake
from kdsearch.students import FAMILIES
from kdsearch.training import StopRequestedError

_PROVEN = ("validation", "test")
_LOOK_SECONDS = 0.3
"""Between two looks at whether a proof is to stop."""
_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a fresh process found in one file.

    `parameters` are the student's: an exact file holds all that its network uses; `largest_difference` of its
    outputs from the student's own over all examples; `ties` the examples of which an exact one names another class
    though its outputs are within the tolerance; `agreement` the share of examples, of both splits, with the student's
    own prediction; `latency_ms` of a batch of 1 and of 64 with one thread on this machine: "1" and "64" ->
    {"median", "low", "high"} (quartiles).
    """

    parameters: int
    validation_accuracy: float
    test_accuracy: float
    largest_difference: float
    ties: int
    agreement: float
    latency_ms: dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Proven:
    """The student's own accuracy on the test split, and the proof of each format."""

    test_accuracy: float
    files: dict[str, Proof]


def prove(
    folder: Path,
    formats: Sequence[str],
    subject: Subject,
    parcel: Parcel,
    say: Callable[[str], None] = void,
    stopping: Callable[[], bool] = lambda: False,
) -> Proven:
    """Load each format's file of `folder`, whose card is written, in a new interpreter with its own runtime, and
    compare it with the student itself.

    Raises `Mistake` where the student itself does not have the accuracy that was searched, where a file cannot be
    loaded (the process's last words), and where an exact format differs (the split, the example, both outputs);
    `StopRequestedError` once `stopping` says so.
    """
    beside = subject.prepared.workspace.study(subject.prepared.study.name)
    module = subject.module()
    with tempfile.TemporaryDirectory(prefix=".proof-", dir=beside) as scratch:
        material = Path(scratch)
        right = write_material(module, parcel.data, material)
        _check_searched(subject, right["validation"], len(parcel.data.validation))
        proofs = {}
        for name in formats:
            file = FORMATS[name].file
            say(f"proving {file} in a fresh process")
            family = _family(subject) if not FORMATS[name].graph else b""
            found = _in_fresh_process(folder, file, material, family, stopping)
            proofs[name] = judged(name, found, parcel)
    return Proven(test_accuracy=right["test"] / len(parcel.data.test), files=proofs)


def write_material(module: nn.Module, data: Data, folder: Path) -> dict[str, int]:
    """Write what `runner` reads: both splits and the logits that `module` has for them, measured as trials are.

    Gives the number of examples that it gets right, by split.
    """
    right = {}
    with _one_thread():
        for name in _PROVEN:
            split = data.splits()[name]
            np.save(folder / f"{name}-inputs.npy", split.inputs.numpy())
            np.save(folder / f"{name}-labels.npy", split.labels.numpy())
            logits_NK = metrics.logits(module, data, split)
            np.save(folder / f"{name}-logits.npy", logits_NK.numpy())
            right[name] = int((logits_NK.argmax(1) == split.labels).sum())
    return right


def judged(name: str, found: Mapping[str, Any], parcel: Parcel) -> Proof:
    """The proof of a format from what `runner` found in its file. Raises `Mistake` where an exact one differs."""
    splits = found["splits"]
    if FORMATS[name].exact:
        for split in _PROVEN:
            if "differs" in splits[split]:
                raise Mistake(_differs(FORMATS[name].file, split, splits[split]["differs"]))
        _check_parameters(name, found["tensors"], parcel)
    for split in _PROVEN:
        if (example := splits[split].get("not_finite")) is not None:
            raise Mistake(
                f"{FORMATS[name].file} has outputs that are no finite numbers, first for example {example} of the "
                f"{split} split; nothing was exported"
            )
    examples = sum(splits[split]["examples"] for split in _PROVEN)
    return Proof(
        parameters=metrics.parameters(parcel.module),
        validation_accuracy=splits["validation"]["correct"] / splits["validation"]["examples"],
        test_accuracy=splits["test"]["correct"] / splits["test"]["examples"],
        largest_difference=max(splits[split]["largest_difference"] for split in _PROVEN),
        ties=sum(splits[split]["ties"] for split in _PROVEN),
        agreement=sum(splits[split]["same"] for split in _PROVEN) / examples,
        latency_ms=found["latency_ms"],
    )


def latencies(run: Callable[[Tensor], object], inputs_B: Tensor) -> dict[str, dict[str, float]]:
    """Milliseconds of `run` on a batch of 1 and of 64 made of `inputs_B`, with one thread, as in `Proof`."""
    with _one_thread(), torch.inference_mode():
        return runner.latencies(run, inputs_B)


def _check_searched(subject: Subject, right: int, examples: int) -> None:
    if subject.searched is not None and right != round(subject.searched * examples):
        raise Mistake(
            f"the student of trial {subject.trial} is not what was searched: it gets {right} of {examples} validation "
            f"examples right here and got {subject.searched * examples:.0f} in the search; nothing was exported"
        )


def _check_parameters(name: str, tensors: Mapping[str, int], parcel: Parcel) -> None:
    """Raise `Mistake` unless a file of the format `name` holds every trained number. One that has several names needs
    one of them; a graph has no place for those that the network never uses.
    """
    graph, file = FORMATS[name].graph, FORMATS[name].file
    prefix, unused = (parcel.prefix, idle(parcel.program)) if graph else ("", set())
    names: dict[nn.Parameter, list[str]] = {}
    for own, parameter in parcel.module.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(prefix + own)
    for parameter, known in names.items():
        if all(tensors.get(one) != parameter.numel() for one in known) and unused.isdisjoint(known):
            own, held = known[0].removeprefix(prefix), tensors.get(known[0], "none")
            raise Mistake(
                f"{file} does not hold what was trained: {own} has {parameter.numel()} numbers in the student and "
                f"{held} in the file; nothing was exported (--no-{name} leaves that file out)"
            )


def _differs(file: str, split: str, found: Mapping[str, Any]) -> str:
    given, own = found["given"], found["own"]
    apart = [abs(one - other) for one, other in zip(given, own, strict=True)]
    worst = apart.index(max(apart))
    return (
        f"{file} is not the student: for example {found['example']} of the {split} split it gives {_listed(given)}, "
        f"the student itself {_listed(own)}, which differ by {apart[worst]:.2g} for class {worst}; nothing was exported"
    )


def _listed(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:.5g}" for value in values[:_SHOWN])
    return f"[{shown}{', ...' if len(values) > _SHOWN else ''}]"


def _family(subject: Subject) -> bytes:
    """What the fresh process needs to know a class of the user's own: the study, and the class, which is looked up
    after the study file is loaded and so pickled on its own.
    """
    import cloudpickle

    family = type(subject.recipe.student)
    if FAMILIES.get(family.__name__) is family:
        return b""
    return bytes(cloudpickle.dumps((subject.prepared.source, cloudpickle.dumps(family))))


def _in_fresh_process(
    folder: Path, file: str, material: Path, family: bytes, stopping: Callable[[], bool]
) -> dict[str, Any]:
    """What `runner` finds in a file. Raises `Mistake` with the process's last words where it fails."""
    ours = str(Path(kdsearch.__file__).parents[1])
    path = os.pathsep.join([ours, *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(  # noqa: S603 - our own program in our own interpreter
        [sys.executable, "-P", runner.__file__, str(folder), file, str(material)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # a terminal's Ctrl-C is for us
    ) as process:
        try:
            output, errors = _followed(process, family, stopping)
        finally:
            process.kill()
    if process.returncode != 0:
        said = errors.decode(errors="replace").strip().split("\n")[-1] or f"exit status {process.returncode}"
        if process.returncode < 0:
            said = f"it was ended by signal {-process.returncode}"
        raise Mistake(f"{file} could not be run in a fresh process: {said}; nothing was exported")
    found: dict[str, Any] = json.loads(output.decode().rpartition(runner.MARK)[2].split("\n")[0])
    return found


def _followed(process: "subprocess.Popen[bytes]", given: bytes, stopping: Callable[[], bool]) -> tuple[bytes, bytes]:
    """What the process says on its two outputs. Raises `StopRequestedError` once `stopping` says so."""
    first: bytes | None = given
    while True:
        try:
            return process.communicate(first, timeout=_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            first = None
        if stopping():
            raise StopRequestedError


@contextmanager
def _one_thread() -> Iterator[None]:
    """As trials are measured."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
