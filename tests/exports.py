"""Exported students as tests make them: a folder with a card that fits its files, without a search."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from kdsearch.files import file_sha256
from kdsearch.saved import WEIGHTS, save_weights, write_card

ONNX = "student.onnx"


def write_export(
    folder: Path,
    *,
    student: Mapping[str, Any],
    shape: Sequence[int],
    names: Sequence[str] = ("no", "yes"),
    module: nn.Module | None = None,
    onnx_model: onnx.ModelProto | None = None,
    input: Mapping[str, Any] | None = None,
    graph: Mapping[str, str] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """An export of a `student` (its kind and fields) with the files that are given; gives the card. `input` and
    `graph` (of the ONNX file) change what is said of inputs and outputs, `changes` the card's other parts.
    """
    folder.mkdir(parents=True)
    files: dict[str, Any] = {}
    if module is not None:
        save_weights(folder / WEIGHTS, module.state_dict(), study="made", trial=3)
        files[WEIGHTS] = {"format": "safetensors"}
    if onnx_model is not None:
        onnx.save(onnx_model, folder / ONNX)
        files[ONNX] = {"format": "onnx", "input": "normalized", "output": "logits", **(graph or {})}
    for name, noted in files.items():
        noted |= {"sha256": file_sha256(folder / name), "bytes": (folder / name).stat().st_size}
    described = {"shape": list(shape), "dtype": "uint8", "mean": [0.0], "std": [1.0], "low": 0, "high": 255}
    latency = {"1": {"median": 0.25, "low": 0.2, "high": 0.3}, "64": {"median": 2.5, "low": 2.0, "high": 3.0}}
    proof = {"parameters": 10, "validation_accuracy": 0.875, "test_accuracy": 0.85, "largest_difference": 1e-6}
    proof |= {"ties": 0, "agreement": 1.0, "latency_ms": latency}
    card = {
        "study": "made",
        "trial": 3,
        "student": dict(student),
        "input": {**described, "vocabulary": None, **(input or {})},
        "classes": len(names),
        "class_names": list(names),
        "files": files,
        "metrics": {"validation_accuracy": 0.875, "parameters": 10, "share_of_teacher": 0.01, "macs": 20},
        "teacher": {
            **{"key": "k", "members": 1, "parameters": 1000, "macs": 2000, "size_kb": 4.0, "validation_accuracy": 0.9},
            **{"test_accuracy": 0.89, "latency_ms": latency},
        },
        "confirmed": {},
        "data": {"name": "toy", "fingerprint": "0123456789abcdef"},
        "machine": {"processor": "x86_64", "system": "Linux"},
        "proof": {noted["format"]: dict(proof) for noted in files.values()},
        **changes,
    }
    return write_card(folder, card)


def linear_onnx(
    weight_KF: np.ndarray, shape: Sequence[int], *, raw: tuple[float, float] | None = None, softmax: bool = False
) -> onnx.ModelProto:
    """The logits (or probabilities) `weight_KF` @ the flat input as ONNX. With `raw` (mean, std) its inputs are uint8,
    normalized inside.
    """
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("Gemm", ["flat", "w"], ["y"], transB=1)]
    constants = [numpy_helper.from_array(weight_KF.astype(np.float32), "w")]
    if raw is not None:
        constants += [numpy_helper.from_array(np.float32(value), name) for name, value in zip("ms", raw, strict=True)]
        nodes = [
            helper.make_node("Cast", ["bytes"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["floats", "m"], ["centred"]),
            helper.make_node("Div", ["centred", "s"], ["x"]),
            *nodes,
        ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["y"], ["p"], axis=1))
    kind, name = (TensorProto.UINT8, "bytes") if raw is not None else (TensorProto.FLOAT, "x")
    taken = helper.make_tensor_value_info(name, kind, ["batch", *shape])
    given = helper.make_tensor_value_info("p" if softmax else "y", TensorProto.FLOAT, ["batch", len(weight_KF)])
    graph = helper.make_graph(nodes, "linear", [taken], [given], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
