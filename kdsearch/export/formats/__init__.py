"""File formats of an exported student, one per module."""

from kdsearch.export.formats.base import Format, Parcel
from kdsearch.export.formats.onnx_graph import Onnx
from kdsearch.export.formats.program import Program
from kdsearch.export.formats.quantized import Quantized
from kdsearch.export.formats.weights import Weights

_KNOWN: tuple[Format, ...] = (Weights(), Onnx(), Program(), Quantized())
FORMATS: dict[str, Format] = {known.name: known for known in _KNOWN}
DEFAULT_FORMATS = tuple(known.name for known in FORMATS.values() if known.usual)

__all__ = ["DEFAULT_FORMATS", "FORMATS", "Format", "Parcel"]
