"""An exported ONNX network as MLflow keeps models: its folder, with signature and example, and no pickle or code."""

import hashlib
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsearch.data.base import Data

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from onnx import ModelProto

_EXAMPLES = 3
_FACTS = ("study", "trial", "trained_on", "classes", "class_names", "input", "metrics", "data")
"""Parts of the card that become the model's metadata."""


def onnx_file(card: Mapping[str, Any]) -> str | None:
    """The name of the export's ONNX file, None where it has none."""
    return next((name for name, file in card["files"].items() if file.get("format") == "onnx"), None)


def read(file: Path) -> "ModelProto":
    import onnx

    return onnx.load(file)


def save(folder: Path, network: "ModelProto", card: Mapping[str, Any], data: Data, logged: "LoggedModel") -> None:
    """Write the model's folder. Its requirements are given: MLflow would find them out by running it. Examples of its
    inputs are of the validation split.
    """
    import numpy as np
    import onnx
    from mlflow.models import Model, ModelSignature
    from mlflow.onnx import save_model
    from mlflow.types import Schema, TensorSpec

    given, gives = network.graph.input[0], network.graph.output[0]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)
    raw = card["files"][onnx_file(card)]["input"] == "raw"
    stored = data.validation.inputs[:_EXAMPLES]
    # the input without a name: MLflow then takes plain arrays
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(dtype), (-1, *card["input"]["shape"]))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, card["classes"]), gives.name)]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what MLflow thinks of its own ways
        save_model(
            network,
            str(folder),
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                run_id=logged.source_run_id,
                model_id=logged.model_id,
            ),
            signature=signature,
            input_example=(stored if raw else data.normalize(stored)).numpy().astype(dtype),
            pip_requirements=[f"{name}=={version(name)}" for name in ("onnxruntime", "numpy")],
            onnx_execution_providers=["CPUExecutionProvider"],
            metadata={name: card[name] for name in _FACTS},
            save_as_external_data=False,
        )


def digest(network: "ModelProto") -> str:
    """SHA-256 of what the network computes and with which weights, not of who wrote it from which lines of code."""
    import onnx

    bare = onnx.GraphProto()
    bare.CopyFrom(network.graph)
    for node in (bare, *bare.node):
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()
