"""An exported student tried on files: `predict`.

Shape letters: B examples, C channels, H height, W width, K classes.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdsearch.mistakes import Mistake
from kdsearch.reading import Taken, read
from kdsearch.saved import CARD, WEIGHTS, check_file, files_by_format, load, read_card
from kdsearch.students import FAMILIES

_AT_ONCE = 256
_ONNX = ("onnx", "int8")

Network = Callable[[Tensor], Tensor]
"""From inputs (B, ...) as the training data are stored to probabilities (B, K)."""


@dataclass(frozen=True, kw_only=True)
class Likely:
    """A class by name, and its probability."""

    name: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a student says of one example: the most probable classes, best first. `index` is the example's place in a
    file of several, None where the file is one; `note` what was done to it, empty where nothing was.
    """

    file: str
    index: int | None
    classes: tuple[Likely, ...]
    note: str = ""

    def __str__(self) -> str:
        place = "" if self.index is None else f"[{self.index}]"
        first, *others = (f"{one.name} {one.probability:.1%}" for one in self.classes)
        return (
            f"{self.file}{place}: {first}"
            + (f" ({', '.join(others)})" if others else "")
            + (f"; {self.note}" if self.note else "")
        )


def predict(
    folder: str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    *,
    top: int = 3,
    family: type | None = None,
) -> list[Prediction]:
    """What the student in `folder` says of every example in `files`, with its `top` classes.

    A file is a picture (JPEG or PNG), made to fit the student's channels and size, its black and white the least and
    the greatest value of the training data; or an array (.npy; .npz with one array, or one called x) of one example or
    of several, as the training data are stored. Nothing is unpickled. The weights are loaded by `kdsearch.load` where
    the family is kdsearch's own or given as `family`, else `student.onnx` is run. Raises `Mistake` for a folder without
    a student that can be run, and for a file that cannot be read or does not fit.
    """
    if top < 1:
        raise Mistake(f"top must be at least 1, got {top}")
    if not files:
        raise Mistake("there is nothing to predict; name one or more files")
    card = read_card(folder)
    try:
        kind, names = card["student"]["kind"], [str(name) for name in card["class_names"]]
        wanted = Taken.of(card["input"])
    except (KeyError, TypeError, ValueError) as error:
        raise Mistake(f"{Path(folder) / CARD} lacks what describes the input ({error!r}); export it again") from None
    network = _network(folder, card, kind, wanted, family)
    return [one for file in files for one in _predicted(network, os.fspath(file), wanted, names, top)]


def _predicted(network: Network, file: str, wanted: Taken, names: Sequence[str], top: int) -> Iterator[Prediction]:
    examples = read(Path(file), wanted)
    index = 0
    for inputs_B in examples.inputs.split(_AT_ONCE):
        found = network(inputs_B).topk(min(top, len(names)), dim=1)
        for values, classes in zip(found.values.tolist(), found.indices.tolist(), strict=True):
            yield Prediction(
                file=file,
                index=index if examples.several else None,
                classes=tuple(
                    Likely(name=names[k], probability=value) for k, value in zip(classes, values, strict=True)
                ),
                note=examples.note,
            )
            index += 1


def _network(
    folder: str | os.PathLike[str], card: Mapping[str, Any], kind: str, wanted: Taken, family: type | None
) -> Network:
    held = files_by_format(card)
    if (family is not None or kind in FAMILIES) and WEIGHTS in held.values():
        module = load(folder, family=family, raw_inputs=True)

        def run(inputs_B: Tensor) -> Tensor:
            with torch.inference_mode():
                probabilities_BK: Tensor = module(inputs_B).softmax(1)
            return probabilities_BK

        return run
    for name in _ONNX:
        if name in held:
            return _onnx(folder, card, held[name], wanted)
    way = "export it again with --onnx" + ("" if kind in FAMILIES else f", or in Python pass family={kind}")
    own = "" if kind in FAMILIES else f", a family of its study's own ({kind}), which kdsearch cannot build,"
    raise Mistake(f"the student in {folder}{own} was exported without ONNX, so there is nothing to run; {way}")


def _onnx(folder: str | os.PathLike[str], card: Mapping[str, Any], file: str, wanted: Taken) -> Network:
    """The network of an ONNX file, with what it lacks of normalization and softmax."""
    import onnxruntime

    path = check_file(folder, card, file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is worse than an error: those are raised
    refusals = onnxruntime.capi.onnxruntime_pybind11_state
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (refusals.Fail, refusals.InvalidGraph, refusals.InvalidProtobuf, refusals.NotImplemented) as error:
        reason = str(error).strip()
        raise Mistake(
            f"{path} cannot be run by ONNX Runtime {onnxruntime.__version__} ({reason}); update it, or export again"
        ) from None
    given, (taken,) = card["files"][file], session.get_inputs()

    def run(inputs_B: Tensor) -> Tensor:
        inputs_B = wanted.stored(inputs_B) if given["input"] == "raw" else wanted.normalized(inputs_B)
        (outputs,) = session.run(None, {taken.name: inputs_B.numpy()})
        outputs_BK = torch.from_numpy(outputs)
        return outputs_BK if given["output"] == "probabilities" else outputs_BK.softmax(1)

    return run
