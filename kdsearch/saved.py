"""A student on disk: its files, and `student.json` with everything about them and a checksum of each.

`load` gives the module back with torch and safetensors alone. The JSON only names a class of `kdsearch.students`;
nothing is imported or unpickled because a file says so. Checksums find what is torn or changed, not who changed it.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch.files import DamagedError, file_sha256, load_tensors, save_tensors, write_text
from kdsearch.mistakes import Mistake
from kdsearch.plain import digest
from kdsearch.students import FAMILIES, count_parameters, on_meta

WEIGHTS = "student.safetensors"
CARD = "student.json"
FORMAT = 2
_PARTS = {"student": dict, "input": dict, "files": dict, "classes": int, "class_names": list}


def save_weights(path: Path, weights: Mapping[str, Tensor], *, study: str, trial: int) -> None:
    save_tensors(path, weights, {"study": study, "trial": trial})


def write_card(folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Write `student.json` with its format and its own checksum; gives what it then holds."""
    whole = {"format": FORMAT, **card}
    whole["sha256"] = _checksum(whole)
    write_text(folder / CARD, json.dumps(whole, indent=2) + "\n")
    return whole


def read_card(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of `student.json`. Raises `Mistake` where there is none, it is not ours, of another version, or
    altered.
    """
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Mistake(
            f"{folder} holds no exported student (no {CARD}); kdsearch export NAME --to DIR makes one"
        ) from None
    except (ValueError, OSError, RecursionError) as error:
        raise Mistake(f"{path} cannot be read ({error}); export the student again") from None
    version = card.get("format") if isinstance(card, dict) else None
    if not isinstance(version, int):
        raise Mistake(f"{path} was not written by kdsearch; export the student again")
    if version > FORMAT:
        made_by = card.get("versions", {}).get("kdsearch", "unknown") if isinstance(card.get("versions"), dict) else "?"
        raise Mistake(
            f"{path} was written by a newer kdsearch (its version {made_by}, format {version}; this one reads up to "
            f"{FORMAT}); update kdsearch"
        )
    if version < FORMAT:
        raise Mistake(f"{path} was written by an older kdsearch (format {version}); export the student again")
    if card.get("sha256") != _checksum(card):
        raise Mistake(f"{path} was altered: its checksum does not fit its content; export the student again")
    if not _whole(card):
        raise Mistake(f"{path} lacks what describes a student, or has it in another form; export the student again")
    return dict(card)


def _whole(card: Mapping[str, Any]) -> bool:
    """Whether a card has what its readers rely on: one with a fitting checksum may still be anybody's."""
    try:
        json.dumps(card, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a character, which no table or terminal can show
        return False
    if any(not isinstance(card.get(name), kind) for name, kind in _PARTS.items()):
        return False
    files, names, given = card["files"], card["class_names"], card["input"]
    return (
        isinstance(card["student"].get("kind"), str)
        and all(Path(name).name == name and isinstance(file, dict) for name, file in files.items())
        and all(isinstance(file.get("sha256"), str) for file in files.values())
        and len(names) == card["classes"]
        and all(isinstance(name, str) for name in names)
        and isinstance(given.get("shape"), list)
        and all(isinstance(side, int) and side > 0 for side in given["shape"])
    )


def check_file(folder: str | os.PathLike[str], card: Mapping[str, Any], name: str) -> Path:
    """The path of one of the export's files. Raises `Mistake` where the card has none of that name, or it is gone or
    altered.
    """
    if name not in card["files"]:
        raise Mistake(f"{folder} has no {name}: the student was exported without it; export it again with it")
    path = Path(folder) / name
    try:
        found = file_sha256(path)
    except OSError as error:
        raise Mistake(f"{path} cannot be read ({error.strerror}); export the student again") from None
    if found != card["files"][name]["sha256"]:
        raise Mistake(f"{path} was altered: its checksum is not the one in {CARD}; export the student again")
    return path


def files_by_format(card: Mapping[str, Any]) -> dict[str, str]:
    """The names of the files that each hold the student, by their format."""
    return {file["format"]: name for name, file in card["files"].items() if "format" in file}


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
    student = chosen(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
    try:
        weights, _ = load_tensors(check_file(folder, card, WEIGHTS))
        if count_parameters(on_meta(student, shape, classes)) > sum(part.numel() for part in weights.values()):
            raise DamagedError(
                f"{kind} with these fields is larger than what the file holds"
            )  # before memory is asked for
        module = student.build(shape, classes)
        module.load_state_dict(weights)
    except (DamagedError, RuntimeError) as error:
        raise Mistake(
            f"the weights in {folder} cannot be used ({str(error)[:200]}); export the student again"
        ) from None
    network: nn.Module = Normalized(module, *statistics) if raw_inputs else module
    return network.eval()


def _checksum(card: Mapping[str, Any]) -> str:
    return digest({name: part for name, part in card.items() if name != "sha256"})


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
