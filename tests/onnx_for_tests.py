"""A student's ONNX file by hand, for tests that need one and not how it is written: an MLP of linear layers."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from kdsearch.data.base import Data


def write_onnx(path: Path, module: nn.Module, data: Data | None = None, *, softmax: bool = False) -> None:
    """From normalized inputs (B, ...), or with `data` from inputs as stored, to logits (B, K) or probabilities."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    nodes, constants, at = [], [], "input"
    kind = TensorProto.FLOAT

    def add(operator: str, *inputs: str, **attributes: object) -> None:
        nonlocal at
        nodes.append(helper.make_node(operator, [at, *inputs], [f"after_{len(nodes)}"], **attributes))
        at = f"after_{len(nodes) - 1}"

    def constant(name: str, array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(array, name))
        return name

    if data is not None:
        kind = helper.np_dtype_to_tensor_dtype(data.train.inputs.numpy().dtype)
        mean, std = (part.numpy() for part in data.statistics)
        add("Cast", to=TensorProto.FLOAT)
        add("Sub", constant("mean", mean))
        add("Div", constant("std", std))
    add("Flatten")
    for number, layer in enumerate(layers):
        weights = (layer.weight.detach().numpy(), layer.bias.detach().numpy())
        add("Gemm", *(constant(f"{name}_{number}", part) for name, part in zip("wb", weights, strict=True)), transB=1)
        if layer is not layers[-1]:
            add("Relu")
    if softmax:
        add("Softmax", axis=1)
    nodes.append(helper.make_node("Identity", [at], ["output"]))
    shape = [1, 8, 8] if data is None else list(data.shape)
    graph = helper.make_graph(
        nodes,
        "student",
        [helper.make_tensor_value_info("input", kind, ["batch", *shape])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", layers[-1].out_features])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save_model(model, path)
