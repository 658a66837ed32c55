"""What every file format is: written from a parcel by its own library."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import nn
from torch.export import ExportedProgram

from kdsearch.data.base import Data
from kdsearch.export.formats.graph import Surrounded, traced, translated

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True, eq=False)
class Parcel:
    """What a format is written from.

    `module` is the student in evaluation mode, from normalized inputs (B, *shape) (float32; tokens int64) to logits
    (B, classes). `softmax` asks for probabilities in place of logits, `normalize` for inputs as the data are stored, of
    the data's own dtype; formats that hold weights alone take no notice of either. Tokens are int64 and as they are
    either way. `notes` are texts for a format's metadata. Calibration may read `data.train`, nothing else.
    """

    study: str
    trial: int
    module: nn.Module
    data: Data
    softmax: bool = False
    normalize: bool = False
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def output(self) -> Literal["logits", "probabilities"]:
        return "probabilities" if self.softmax else "logits"

    def inputs(self, stored_B: torch.Tensor) -> torch.Tensor:
        """Inputs as a file that holds the network takes them, from inputs as the data are stored."""
        return stored_B if self._normalizes else self.data.normalize(stored_B)

    @property
    def prefix(self) -> str:
        """What stands before the name of each trained parameter in formats that hold the network."""
        return "network." if self.softmax or self._normalizes else ""

    @property
    def _normalizes(self) -> bool:
        return self.normalize and self.data.vocabulary is None

    @cached_property
    def program(self) -> ExportedProgram:
        """The network, with what is asked for around it; traced once for all formats. Raises `Mistake`."""
        network = self.module
        if self.prefix:
            statistics = self.data.statistics if self._normalizes else None
            network = Surrounded(network, statistics, softmax=self.softmax).eval()
        # a program carries its example along, so that it is none of the data
        return traced(network, self.inputs(torch.zeros_like(self.data.train.inputs[:2])))

    @cached_property
    def model(self) -> "onnx.ModelProto":
        """`program` as ONNX, without metadata; not to be altered. Raises `Mistake`."""
        return translated(self.program, self.output)


class Format(Protocol):
    """One kind of file, by the `name` of its flag. `usual` ones are written unless they are left out. `exact` ones must
    give the student's own logits within 1e-4, of others the difference in accuracy is stated. `graph` ones hold the
    network itself, and so softmax and normalization too where asked for.
    """

    @property
    def name(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def usual(self) -> bool: ...
    @property
    def exact(self) -> bool: ...
    @property
    def graph(self) -> bool: ...

    def write(self, parcel: Parcel, path: Path) -> None:
        """Raises `Mistake`, with the operator's name, for a network that the format cannot hold."""
        ...
