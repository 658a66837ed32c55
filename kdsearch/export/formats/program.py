"""`student.pt2`: a torch.export program, for torch alone. Loading one can run code: only load what you trust."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch

from kdsearch.export.formats.base import Parcel


@dataclass(frozen=True)
class Program:
    name: str = "pt2"
    file: str = "student.pt2"
    usual: bool = False
    exact: bool = True
    graph: bool = True

    def write(self, parcel: Parcel, path: Path) -> None:
        content = BytesIO()
        torch.export.save(parcel.program, content)
        path.write_bytes(content.getvalue())  # torch's own writer ends the whole process where the disk is full
