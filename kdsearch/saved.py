"""A student on disk: `student.safetensors` with its weights alone, and `student.json` with everything about it.

`load` gives the module back with torch and safetensors alone. The JSON only names a class of `kdsearch.students`;
nothing is imported or unpickled because a file says so.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch.files import DamagedError, load_tensors, save_tensors, write_text
from kdsearch.mistakes import Mistake
from kdsearch.students import FAMILIES

WEIGHTS = "student.safetensors"
CARD = "student.json"
FORMAT = 1


def save_student(folder: Path, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write both files. `card` has at least `student` (its kind and fields), `input` and `classes`."""
    save_tensors(folder / WEIGHTS, weights, {"study": card.get("study"), "trial": card.get("trial")})
    write_text(folder / CARD, json.dumps({"format": FORMAT, **card}, indent=2) + "\n")


def read_card(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of `student.json`. Raises `Mistake` where there is none or it is not ours."""
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Mistake(
            f"{folder} holds no exported student (no {CARD}); kdsearch export NAME --to DIR makes one"
        ) from None
    except (ValueError, NotADirectoryError, IsADirectoryError) as error:
        raise Mistake(f"{path} cannot be read ({error}); export the student again") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise Mistake(f"{path} was not written by this version of kdsearch; export the student again")
    return card


def load(folder: str | os.PathLike[str], *, family: type | None = None, raw_inputs: bool = False) -> nn.Module:
    """The exported student as a module in evaluation mode, from inputs (B, ...) float32 to logits (B, classes).

    Inputs are normalized as in training: (x - mean) / std with the `input` figures of `student.json`; with
    `raw_inputs` the module does that itself and takes the data as it is stored. A student of the user's own family
    needs the class: `load(folder, family=MyNet)`. Raises `Mistake` where files are missing, altered or do not fit.
    """
    card = read_card(folder)
    try:
        kind, fields = card["student"]["kind"], {k: v for k, v in card["student"].items() if k != "kind"}
        shape, classes = tuple(card["input"]["shape"]), int(card["classes"])
        statistics = [torch.tensor(card["input"][name], dtype=torch.float32) for name in ("mean", "std")]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Mistake(f"{Path(folder) / CARD} lacks what describes the student ({error!r}); export it again") from None
    chosen = family if family is not None else FAMILIES.get(kind)
    if chosen is None or chosen.__name__ != kind:
        given = f"family={family.__name__} was given" if family is not None else "kdsearch has none of that name"
        raise Mistake(f"the student in {folder} is a {kind}, {given}; pass the class: load(DIR, family={kind})")
    expected = {spec.name for spec in dataclasses.fields(chosen)} if dataclasses.is_dataclass(chosen) else set()
    if set(fields) != expected:
        raise Mistake(f"the student in {folder} has the fields {sorted(fields)}, {kind} has {sorted(expected)}")
    module = chosen(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}).build(shape, classes)
    try:
        weights, _ = load_tensors(Path(folder) / WEIGHTS)
        module.load_state_dict(weights)
    except FileNotFoundError:
        raise Mistake(f"{folder} has no {WEIGHTS}; export the student again") from None
    except (DamagedError, RuntimeError) as error:
        raise Mistake(
            f"the weights in {folder} cannot be used ({str(error)[:200]}); export the student again"
        ) from None
    student: nn.Module = Normalized(module, *statistics) if raw_inputs else module
    return student.eval()


class Normalized(nn.Module):
    """A network behind the normalization of its training data. `mean` and `std` broadcast against inputs (B, ...)."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.network((inputs.float() - self.mean) / self.std)
        return output
