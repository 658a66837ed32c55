"""`student.onnx`: for ONNX Runtime on servers, phones and in browsers; its metadata say how to use it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kdsearch import __version__
from kdsearch.export.formats.base import Parcel

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Onnx:
    name: str = "onnx"
    file: str = "student.onnx"
    usual: bool = True
    exact: bool = True
    graph: bool = True

    def write(self, parcel: Parcel, path: Path) -> None:
        write_model(parcel.model, parcel, path)


def write_model(model: "onnx.ModelProto", parcel: Parcel, path: Path) -> None:
    """A copy of `model` with the parcel's metadata, as one file."""
    import onnx

    noted = onnx.ModelProto()
    noted.CopyFrom(model)
    noted.producer_name, noted.producer_version = "kdsearch", __version__
    onnx.helper.set_model_props(noted, metadata(parcel))
    onnx.checker.check_model(noted)
    onnx.save_model(noted, path)


def metadata(parcel: Parcel) -> dict[str, str]:
    """What the file says of itself: `class_names` and `preprocessing` are JSON.

    `preprocessing` has the shape and dtype of one example as stored; `mean` and `std` as nested lists, to be applied as
    (x - mean) / std, and `inside`: whether the file itself does that.
    """
    data = parcel.data
    mean, std = data.statistics
    preprocessing = {
        "shape": list(data.shape),
        "dtype": str(data.train.inputs.dtype).removeprefix("torch."),
        "mean": mean.squeeze(0).tolist(),
        "std": std.squeeze(0).tolist(),
        "inside": parcel.normalize or data.vocabulary is not None,
    }
    return {
        "study": parcel.study,
        "trial": str(parcel.trial),
        "class_names": json.dumps(data.class_names),
        "preprocessing": json.dumps(preprocessing),
        "output": parcel.output,
        "kdsearch": __version__,
        "torch": torch.__version__,
        **parcel.notes,
    }
