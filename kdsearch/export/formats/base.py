"""What every file format is: written from a parcel by its own library."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import nn

from kdsearch.data.base import Data


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """What a format is written from.

    `module` is the student in evaluation mode, from normalized inputs (B, *shape) (float32; tokens int64) to logits
    (B, classes). `softmax` asks for probabilities in place of logits, `normalize` for inputs as the data are stored, of
    the data's own dtype; formats that hold weights alone take no notice of either. `notes` are texts for a format's
    metadata. Calibration may read `data.train`, nothing else.
    """

    study: str
    trial: int
    module: nn.Module
    data: Data
    softmax: bool = False
    normalize: bool = False
    notes: dict[str, str] = field(default_factory=dict)


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
