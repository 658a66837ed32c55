"""`student.int8.onnx`: ONNX whose convolutions and matrices have 8-bit weights and activations.

ONNX Runtime's static quantization in QDQ form, weights by output channel. Measured on nine convolutional students of a
digits study and one each of five other families, 720 examples: calibration by the smallest and largest activations,
by percentile and by entropy differ by 0.03 points of accuracy on average (all within 0.1 of float), so the simplest is
taken; signed activations, ONNX Runtime's advice, are as accurate as unsigned ones and quicker in batches; only what
holds weights is quantized, since with all operators a transformer's file grows by a half and is no better. Students so
small run no faster for it on a processor that is good at floats: time and accuracy stand in the proof.

Left out: training with quantization in mind, and attention's products of activations.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdsearch.export.formats.base import Parcel
from kdsearch.export.formats.graph import INPUT, quiet
from kdsearch.export.formats.onnx_graph import write_model

_CALIBRATION = 512
"""Training examples, the first ones: splits are shuffled, and the same export gives the same file."""
_BATCH = 64
_QUANTIZED = ["Conv", "MatMul", "Gemm"]


@dataclass(frozen=True)
class Quantized:
    name: str = "int8"
    file: str = "student.int8.onnx"
    usual: bool = False
    exact: bool = False
    graph: bool = True

    def write(self, parcel: Parcel, path: Path) -> None:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process

        with tempfile.TemporaryDirectory(prefix="kdsearch-int8-") as scratch, quiet():
            plain, folded, made = (Path(scratch) / f"{name}.onnx" for name in ("plain", "folded", "made"))
            write_model(parcel.model, parcel, plain)
            # the symbolic inference of shapes fails on a text's mask; ONNX's own finds all but the batch's
            quant_pre_process(plain, folded, skip_symbolic_shape=True)
            quantization.quantize_static(
                folded,
                made,
                _reader(parcel),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=_QUANTIZED,
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax,
                extra_options={"MatMulConstBOnly": True},
            )
            write_model(onnx.load(made), parcel, path)


def calibration(parcel: Parcel) -> Iterator[dict[str, np.ndarray]]:
    """Batches of training examples as the file takes them."""
    for stored in parcel.data.train.head(_CALIBRATION).inputs.split(_BATCH):
        yield {INPUT: parcel.inputs(stored).numpy()}


def _reader(parcel: Parcel) -> object:
    """`calibration` as ONNX Runtime reads it; its class is made here, where its base is imported."""
    from onnxruntime.quantization import CalibrationDataReader

    batches = calibration(parcel)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(batches, None)

    return Reader()
