"""The program of an export's proof: `python -P runner.py FOLDER FILE MATERIAL` runs one file as its user would.

It stands alone: NumPy and the file's own runtime, ONNX Runtime, torch, or kdsearch for bare weights. `student.json` in
FOLDER says how inputs are prepared. MATERIAL holds `validation` and `test`: inputs as the data are stored, labels, and
the student's own logits, as `.npy`, which are memory-mapped. What was found is one line of JSON on standard output.

Shape letters: N examples, B batch, K classes.
"""

import json
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MARK = "kdsearch found: "
"""What was found comes after it, whatever a study file that is loaded here prints before or at its end."""
TOLERANCE = 1e-4
"""How far an output may be from the student's own: absolute, or of the example's largest one where that is above 1."""
_BATCH = 128
_WARM_UP, _FEWEST, _ENOUGH = 5, 5, 30
_SECONDS, _MOST_SECONDS = 0.1, 2.0

Run = Callable[[Any], Any]
"""From prepared inputs (B, ...) to outputs (B, K)."""


def examined(folder: Path, file: str, material: Path, family: bytes = b"") -> dict[str, Any]:
    """What is found in one file: its `tensors` (names and sizes), how its outputs compare on each of the `splits`, and
    its `latency_ms`. `family` is the class of a student of the user's own, by cloudpickle, after its study's source.
    """
    card = json.loads((folder / "student.json").read_text(encoding="utf-8"))
    about = card["files"][file]
    run, tensors = LOADERS[about["format"]](folder / file, family)
    prepare = preparation(card["input"], about)
    found: dict[str, Any] = {"tensors": tensors, "splits": {}}
    for split in ("validation", "test"):
        inputs, labels, logits = (_mapped(material, split, part) for part in ("inputs", "labels", "logits"))
        reference = softmax if about.get("output") == "probabilities" else _as_they_are
        found["splits"][split] = compared(lambda part: run(prepare(part)), inputs, labels, logits, reference)
    found["latency_ms"] = latencies(run, prepare(np.array(_mapped(material, "validation", "inputs")[:64])))
    return found


def preparation(given: dict[str, Any], about: dict[str, Any]) -> Run:
    """What a user does to inputs as they are stored before this file takes them; see `input` in `student.json`."""
    if given["vocabulary"] is not None:
        return lambda inputs: inputs.astype(np.int64)
    if about.get("input") == "raw":
        return np.array  # a copy: what is mapped cannot be written to
    mean, std = (np.array(given[name], np.float32) for name in ("mean", "std"))
    return lambda inputs: (inputs.astype(np.float32) - mean) / std


def compared(run: Run, inputs_N: Any, labels_N: Any, logits_NK: Any, reference: Run) -> dict[str, Any]:
    """How the outputs for one split are beside the student's own, which `reference` makes from its logits.

    `correct` and `same` count examples; `ties` are those of another class though no output is off by more than the
    tolerance; `differs` is the first example with one that is, `not_finite` the first whose outputs are no numbers.
    """
    found: dict[str, Any] = {"examples": len(labels_N), "correct": 0, "same": 0, "ties": 0, "largest_difference": 0.0}
    for begin in range(0, len(labels_N), _BATCH):
        part = slice(begin, begin + _BATCH)
        given, own = run(inputs_N[part]), reference(logits_NK[part])
        if given.shape != own.shape:
            raise ValueError(f"it gives outputs of shape {given.shape}, the student {own.shape}")
        if not (finite := np.isfinite(given).all(1)).all():
            found.setdefault("not_finite", begin + int(np.argmin(finite)))
        apart = np.abs(given - own)
        within = (apart <= TOLERANCE * np.maximum(1, np.abs(own).max(1, keepdims=True))).all(1)  # not a number: False
        same = given.argmax(1) == own.argmax(1)
        found["correct"] += int((given.argmax(1) == labels_N[part]).sum())
        found["same"] += int(same.sum())
        found["ties"] += int((within & ~same).sum())
        found["largest_difference"] = max(found["largest_difference"], float(apart.max()))
        if not within.all() and "differs" not in found:
            first = int(np.argmin(within))
            found["differs"] = {"example": begin + first, "given": given[first].tolist(), "own": own[first].tolist()}
    return found


def latencies(run: Callable[[Any], object], inputs: Any) -> dict[str, dict[str, float]]:
    """Milliseconds of `run` on a batch of 1 and of 64, made of `inputs`: median and quartiles.

    After a warm-up at least 30 calls are timed, more until 0.1 seconds have passed, fewer where they would take over 2.
    """
    found = {}
    for batch in (1, 64):
        part = inputs[np.arange(batch) % len(inputs)]
        for _ in range(_WARM_UP):
            run(part)
        times: list[float] = []
        spent = 0.0
        while len(times) < _FEWEST or (spent < _MOST_SECONDS and (len(times) < _ENOUGH or spent < _SECONDS)):
            begun = time.perf_counter()
            run(part)
            times.append(time.perf_counter() - begun)
            spent += times[-1]
        low, median, high = (float(1000 * quartile) for quartile in np.quantile(times, (0.25, 0.5, 0.75)))
        found[str(batch)] = {"median": median, "low": low, "high": high}
    return found


def softmax(logits_BK: Any) -> Any:
    raised = np.exp(logits_BK.astype(np.float64) - logits_BK.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def of_onnx(path: Path, _family: bytes = b"") -> tuple[Run, dict[str, int]]:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    held = onnx.load(path).graph.initializer
    return lambda inputs: session.run(None, {"input": inputs})[0], {one.name: int(np.prod(one.dims)) for one in held}


def of_program(path: Path, _family: bytes = b"") -> tuple[Run, dict[str, int]]:
    import torch

    program = torch.export.load(path)
    return _of_torch(program.module()), {name: one.numel() for name, one in program.named_parameters()}


def of_weights(path: Path, family: bytes = b"") -> tuple[Run, dict[str, int]]:
    import kdsearch

    module = kdsearch.load(path.parent, family=_class(family))
    return _of_torch(module), {name: one.numel() for name, one in module.named_parameters()}


LOADERS = {"safetensors": of_weights, "onnx": of_onnx, "int8": of_onnx, "pt2": of_program}
"""From a file of each format to how it is run, and the names and sizes of the tensors in it."""


def _of_torch(module: Callable[[Any], Any]) -> Run:
    import torch

    torch.set_num_threads(1)

    def run(inputs: Any) -> Any:
        with torch.inference_mode():
            return module(torch.from_numpy(inputs)).numpy()

    return run


def _class(pickled: bytes) -> type | None:
    if not pickled:
        return None
    source, family = pickle.loads(pickled)  # noqa: S301 - from the process that started this one
    source.load()
    return pickle.loads(family)  # type: ignore[no-any-return]  # noqa: S301


def _as_they_are(logits_BK: Any) -> Any:
    return logits_BK


def _mapped(material: Path, split: str, part: str) -> Any:
    return np.load(material / f"{split}-{part}.npy", mmap_mode="r")


if __name__ == "__main__":
    found = examined(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.stdin.buffer.read())
    print(MARK + json.dumps(found), flush=True)
