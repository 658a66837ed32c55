"""Students in files as tests need them: any network in any formats, with a card and what proves them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from kdsearch.data.base import Data, Split
from kdsearch.export import runner
from kdsearch.export.card import files
from kdsearch.export.formats import FORMATS, Parcel
from kdsearch.export.proof import Proof, judged, write_material
from kdsearch.plain import as_json
from kdsearch.saved import write_card
from tests.families import VOCABULARY


class OwnNet(nn.Module):
    """What a user may write: branches, indexing, a recurrent layer, a parameter of no layer."""

    def __init__(self, classes):
        super().__init__()
        self.rows = nn.GRU(8, 6, batch_first=True, bidirectional=True)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 12))
        self.head = nn.ModuleDict({"deep": nn.Linear(12, 12), "out": nn.Linear(12, classes)})

    def forward(self, inputs):
        rows, _ = self.rows(inputs.squeeze(1))
        last = torch.einsum("bf,f->bf", rows[:, -1], self.scale)
        if last.shape[1] == 12:
            last = torch.where(last > 0, last, 0.1 * self.head["deep"](last))
        return self.head["out"](nn.functional.silu(last))


@dataclass(frozen=True, kw_only=True)
class Own:
    def build(self, in_shape, classes):
        return OwnNet(classes)


class OddNet(nn.Module):
    """Names like those that are put around it, one matrix under two names, one that is never used."""

    def __init__(self, classes):
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
        self.there, self.back = nn.Linear(8, 8), nn.Linear(8, 8)
        self.back.weight = self.there.weight
        self.idle = nn.Linear(5, 5)
        self.mean = nn.Linear(8, classes)

    def forward(self, inputs):
        return self.mean(self.back(self.there(self.network(inputs)).relu()))


@dataclass(frozen=True, kw_only=True)
class Odd:
    def build(self, in_shape, classes):
        return OddNet(classes)


def texts(count: int) -> Split:
    """Token numbers of which some are padding, and one text nothing else."""
    tokens = torch.randint(1, VOCABULARY, (count, 8)) * (torch.arange(8) < torch.randint(2, 9, (count, 1)))
    tokens[0] = 0
    return Split(inputs=tokens.to(torch.int32), labels=torch.arange(count) % 3)


def data_for(family: str, images: Data) -> Data:
    if not family.startswith("Text"):
        return images
    parts = {name: texts(count) for name, count in (("train", 60), ("validation", 30), ("test", 33))}
    return Data(name="texts", vocabulary=VOCABULARY, **parts)


def network(student, data: Data) -> nn.Module:
    """A network in which every parameter and statistic matters."""
    module = student.build(data.shape, data.classes).eval()
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.1)
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(std=0.2)
            part.running_var.uniform_(0.5, 2)
    return module


class Written:
    """A parcel in all formats, in a folder with a card, and what proves them."""

    def __init__(self, place: Path, student, data: Data, formats=tuple(FORMATS), **asked) -> None:
        self.folder, self.material = place / "out", place / "material"
        self.formats = tuple(formats)
        self.folder.mkdir()
        self.material.mkdir()
        self.parcel = Parcel(study="s", trial=3, module=network(student, data), data=data, **asked)
        for name in formats:
            FORMATS[name].write(self.parcel, self.file(name))
        mean, std = data.statistics
        card = {
            "student": as_json(student),
            "classes": data.classes,
            "class_names": list(data.class_names),
            "input": {
                "shape": list(data.shape),
                "mean": mean.squeeze(0).tolist(),
                "std": std.squeeze(0).tolist(),
                "vocabulary": data.vocabulary,
            },
            "files": files(self.folder, self.parcel, formats),
        }
        write_card(self.folder, card)
        write_material(self.parcel.module, data, self.material)

    def file(self, name: str) -> Path:
        return self.folder / FORMATS[name].file

    def proof(self, name: str) -> Proof:
        return judged(name, runner.examined(self.folder, FORMATS[name].file, self.material), self.parcel)
