"""`student.safetensors`: the weights alone, for `kdsearch.load`."""

from dataclasses import dataclass
from pathlib import Path

from kdsearch.export.formats.base import Parcel
from kdsearch.saved import WEIGHTS, save_weights


@dataclass(frozen=True)
class Weights:
    name: str = "safetensors"
    file: str = WEIGHTS
    usual: bool = True
    exact: bool = True
    graph: bool = False

    def write(self, parcel: Parcel, path: Path) -> None:
        save_weights(path, parcel.module.state_dict(), study=parcel.study, trial=parcel.trial)
