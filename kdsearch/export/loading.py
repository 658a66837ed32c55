"""How an exported student is loaded, as code that runs in its folder: the part of its README for programmers.

Nothing of the data's or the user's own words goes into the code: class names are read from `student.json`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdsearch.export.folder import STUDY
from kdsearch.saved import CARD
from kdsearch.students import FAMILIES

_TYPED_ARRAYS = {
    "uint8": "Uint8Array",
    "int16": "Int16Array",
    "int32": "Int32Array",
    "int64": "BigInt64Array",
    "float32": "Float32Array",
    "float64": "Float64Array",
}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the student takes, of the card's `input`: `shape` of one example, `dtype` that it is stored as (tokens:
    int64), one `mean` and `std` for all of it or one for each channel, `values` in words.
    """

    noun: str
    shape: tuple[int, ...]
    dtype: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    values: str

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> "Inputs":
        given = card["input"]
        shape, tokens = tuple(given["shape"]), given["vocabulary"] is not None
        return cls(
            noun="tokens" if tokens else "images" if len(shape) == 3 else "features",
            shape=shape,
            dtype="int64" if tokens else given["dtype"],
            mean=tuple(_flat(given["mean"])),
            std=tuple(_flat(given["std"])),
            values=f"0 to {given['vocabulary'] - 1}" if tokens else f"{given['low']:.5g} to {given['high']:.5g}",
        )

    @property
    def tokens(self) -> bool:
        return self.noun == "tokens"

    @property
    def batch(self) -> str:
        """The shape of a batch of one, as Python and JavaScript write it, without brackets."""
        return ", ".join(map(str, (1, *self.shape)))

    @property
    def batch_shape(self) -> str:
        return f"(N, {', '.join(map(str, self.shape))})"

    def statistics(self, library: str) -> str:
        """The line of Python that names `mean` and `std`."""
        if len(self.mean) == 1:
            return f"mean, std = {_number(self.mean[0])}, {_number(self.std[0])}"
        make = {"numpy": "np.array({}, dtype=np.float32)", "torch": "torch.tensor({})"}[library]
        broadcast = f".reshape({', '.join(map(str, (-1, *[1] * (len(self.shape) - 1))))})"
        return "\n".join(f"{name} = {make.format(_listed(getattr(self, name)))}{broadcast}" for name in ("mean", "std"))


def how_to_load(card: Mapping[str, Any]) -> str:
    """The section's content: a snippet for each of the files that are there."""
    by_format = {file["format"]: name for name, file in card["files"].items() if "format" in file}
    parts = [_preprocessing(card), "The code below runs in this folder."]
    if "safetensors" in by_format:
        parts += ["**PyTorch**, with kdsearch (which imports torch and safetensors alone for this):"]
        parts += [_fenced("python", in_torch(card))]
    if (file := by_format.get("onnx", by_format.get("int8"))) is not None:
        parts += ["**ONNX Runtime** in Python, without kdsearch:", _fenced("python", in_onnxruntime(card, file))]
        parts += ["**onnxruntime-web**, in a browser:", _fenced("js", in_browser(card, file))]
    if "onnx" in by_format and "int8" in by_format:
        parts += [f"`{by_format['int8']}`, with 8-bit weights and activations, is used as `{by_format['onnx']}` is."]
    if "pt2" in by_format:
        parts += ["**torch.export**. Loading can run code: only load one that you made or trust."]
        parts += [_fenced("python", in_export(card, by_format["pt2"]))]
    return "\n\n".join(parts)


def _preprocessing(card: Mapping[str, Any]) -> str:
    inputs = Inputs.of(card)
    if inputs.tokens:
        return (
            f"It takes token ids {inputs.batch_shape}, int64, {inputs.values}, as the data's own tokenizer makes them, "
            "cut and padded to that length."
        )
    taken = {file["input"] for file in card["files"].values() if "input" in file}
    order = ", in the order channel, row, column" if inputs.noun == "images" else ""
    text = (
        f"Data are {inputs.noun} {inputs.batch_shape}{order}, stored as {inputs.dtype}, {inputs.values}. The network "
        f"learned from (x - mean) / std with mean {_listed(inputs.mean)} and std {_listed(inputs.std)}"
        f"{', one for each channel' if len(inputs.mean) > 1 else ''}."
    )
    if "raw" in taken:
        text += " The files that hold the network do that themselves: they take the data as they are stored."
    return text


def in_torch(card: Mapping[str, Any]) -> str:
    inputs, kind = Inputs.of(card), card["student"]["kind"]
    lines, family = ["import kdsearch", "import torch", ""], ""
    if kind not in FAMILIES:
        module = STUDY.removesuffix(".py") if STUDY in card["files"] else "your_study"
        lines[2:] = [f"from {module} import {kind}  # the student's class is of the study's own file", ""]
        family = f", family={kind}"
    lines += [f'student = kdsearch.load("."{family})', _zeros(inputs, "torch", inputs.dtype)]
    taken = inputs.noun
    if not inputs.tokens:
        lines += [inputs.statistics("torch")]
        taken = f"({inputs.noun}.float() - mean) / std"
    lines += ["with torch.inference_mode():", f"    logits = student({taken})  # (N, {card['classes']})"]
    if not inputs.tokens:
        lines += [
            "",
            f'student = kdsearch.load("."{family}, raw_inputs=True)  # which does that itself',
            "with torch.inference_mode():",
            f"    logits = student({inputs.noun})",
        ]
    return "\n".join(lines)


def in_onnxruntime(card: Mapping[str, Any], file: str) -> str:
    inputs, gives, raw = Inputs.of(card), card["files"][file]["output"], card["files"][file]["input"] == "raw"
    lines = ["import json", "", "import numpy as np", "import onnxruntime", ""]
    lines += [f'session = onnxruntime.InferenceSession("{file}")', _zeros(inputs, "np", inputs.dtype)]
    taken = inputs.noun
    if not raw and not inputs.tokens:
        lines += [inputs.statistics("numpy")]
        taken = f"(({inputs.noun}.astype(np.float32) - mean) / std).astype(np.float32)"
    lines += [
        f"({gives},) = session.run(None, {{session.get_inputs()[0].name: {taken}}})  # (N, {card['classes']})",
        f'names = json.load(open("{CARD}", encoding="utf-8"))["class_names"]',
        f"print([names[best] for best in {gives}.argmax(axis=1)])",
    ]
    return "\n".join(lines)


def in_export(card: Mapping[str, Any], file: str) -> str:
    inputs, gives, raw = Inputs.of(card), card["files"][file]["output"], card["files"][file]["input"] == "raw"
    lines = [
        "import torch",
        "",
        f'student = torch.export.load("{file}").module()',
        _zeros(inputs, "torch", inputs.dtype),
    ]
    taken = inputs.noun
    if not raw and not inputs.tokens:
        lines += [inputs.statistics("torch")]
        taken = f"({inputs.noun}.float() - mean) / std"
    return "\n".join(
        [*lines, "with torch.inference_mode():", f"    {gives} = student({taken})  # (N, {card['classes']})"]
    )


def in_browser(card: Mapping[str, Any], file: str) -> str:
    """An ECMAScript module."""
    inputs, gives, raw = Inputs.of(card), card["files"][file]["output"], card["files"][file]["input"] == "raw"
    dtype = inputs.dtype if raw or inputs.tokens else "float32"
    size = math.prod(inputs.shape)
    lines = [
        'import * as ort from "onnxruntime-web";',
        "",
        f'const session = await ort.InferenceSession.create("{file}");',
        f"const {inputs.noun} = new Array({size}).fill(0); // yours: one example, {inputs.values}",
    ]
    match inputs.mean:
        case _ if inputs.tokens or dtype == "int64":
            step = ", BigInt"
        case _ if raw:
            step = ""
        case (_,):
            step = f", (x) => (x - {_number(inputs.mean[0])}) / {_number(inputs.std[0])}"
        case _:
            each = size // len(inputs.mean)
            lines += [f"const mean = {_listed(inputs.mean)}, std = {_listed(inputs.std)};"]
            lines += [f"const channel = (i) => Math.floor(i / {each});"]
            step = ", (x, i) => (x - mean[channel(i)]) / std[channel(i)]"
    return "\n".join(
        [
            *lines,
            f"const data = {_TYPED_ARRAYS[dtype]}.from({inputs.noun}{step});",
            f'const input = new ort.Tensor("{dtype}", data, [{inputs.batch}]);',
            "const output = await session.run({ [session.inputNames[0]]: input });",
            f"const {gives} = output[session.outputNames[0]].data; // {card['classes']} numbers",
            f'const names = (await (await fetch("{CARD}")).json()).class_names;',
            f"console.log(names[{gives}.indexOf(Math.max(...{gives}))]);",
        ]
    )


def _zeros(inputs: Inputs, library: str, dtype: str) -> str:
    made = f"{library}.zeros(({inputs.batch}), dtype={library}.{dtype})"
    return f"{inputs.noun} = {made}  # yours: {inputs.batch_shape}, {inputs.values}"


def _fenced(language: str, code: str) -> str:
    return f"```{language}\n{code}\n```"


def _flat(nested: Any) -> list[float]:
    return [number for part in nested for number in _flat(part)] if isinstance(nested, list) else [float(nested)]


def _number(value: float) -> str:
    """Exact for single precision."""
    return f"{value:.9g}"


def _listed(values: tuple[float, ...]) -> str:
    return f"[{', '.join(map(_number, values))}]" if len(values) > 1 else _number(values[0])
