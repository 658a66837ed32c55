"""`student.pt2`: a torch.export program, for torch alone. Loading one can run code: only load what you trust."""

from dataclasses import dataclass
from pathlib import Path

import torch

from kdsearch.export.formats.base import Parcel
from kdsearch.mistakes import Mistake


@dataclass(frozen=True)
class Program:
    name: str = "pt2"
    file: str = "student.pt2"
    usual: bool = False
    exact: bool = True
    graph: bool = True

    def write(self, parcel: Parcel, path: Path) -> None:
        try:
            torch.export.save(parcel.program, path)
        except RuntimeError as error:
            if "PytorchStreamWriter" not in str(error):
                raise
            raise Mistake(f"cannot write {path.name} ({error}); is the disk full?") from None
