"""What `student.json` says: the student, its teacher, its recipe, what was measured, what it was made with.

Keys, beside those that `saved` adds (`format`, `sha256`):

- `study`, `trial`, `trained_on` ("train" or "train and validation"), `student` (kind and fields), `recipe`, `described`
  (the recipe flat), `params`, `seeds`, `data` (name, fingerprint, examples a split), `confirmed` (what fresh seeds
  gave; empty where none did), `command` (which makes the same export), `versions`, `machine`;
- `input`: shape, dtype as stored, mean and std of the training data, their low and high, vocabulary of tokens or null;
  `classes`, `class_names`;
- `files`: sha256 and bytes of each; a format's also its `format`, and for one that holds the network `input`
  ("normalized" or "raw") and `output` ("logits" or "probabilities");
- `metrics`: validation_accuracy (null after training on that split), test_accuracy, parameters, share_of_teacher, macs,
  size_kb; `teacher`: key, members, parameters, macs, size_kb, validation_accuracy, test_accuracy, latency_ms;
- `proof`: for each format what the fresh process found (`export.proof.Proof`).
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdsearch import metrics
from kdsearch.export.formats import FORMATS, Parcel
from kdsearch.export.proof import Proven, latencies
from kdsearch.export.subject import Subject
from kdsearch.files import file_sha256
from kdsearch.prepare import Prepared
from kdsearch.surroundings import processor, versions


def described(subject: Subject, parcel: Parcel, formats: Sequence[str]) -> dict[str, Any]:
    """All that is known before the proof."""
    data, facts = subject.prepared.data, subject.prepared.facts
    mean, std = data.statistics
    parameters = metrics.parameters(parcel.module)
    return {
        "study": facts.name,
        "trial": subject.trial,
        "trained_on": subject.trained_on,
        "student": subject.recipe.to_json()["student"],
        "input": {
            "shape": list(data.shape),
            "dtype": str(data.train.inputs.dtype).removeprefix("torch."),
            "mean": mean.squeeze(0).tolist(),
            "std": std.squeeze(0).tolist(),
            "low": data.train.inputs.min().item(),
            "high": data.train.inputs.max().item(),
            "vocabulary": data.vocabulary,
        },
        "classes": data.classes,
        "class_names": list(data.class_names),
        "metrics": {
            "validation_accuracy": subject.searched,
            "parameters": parameters,
            "share_of_teacher": parameters / facts.teacher["parameters"],
            "macs": metrics.macs(parcel.module, data.shape),
            "size_kb": metrics.size_kb(parcel.module),
        },
        "recipe": subject.recipe.to_json(),
        "described": subject.recipe.describe(),
        "params": dict(subject.params),
        "seeds": {"study": facts.seed, "start": subject.seeds.start, "distil": subject.seeds.distil},
        "confirmed": dict(subject.confirmed),
        "data": {
            "name": data.name,
            "fingerprint": facts.data["fingerprint"],
            **{name: len(split) for name, split in data.splits().items()},
        },
        "command": command(subject, parcel, formats),
        "versions": {name: version for name, version in versions().items() if name not in ("machine", "system")},
        "machine": {"processor": processor(), "system": platform.system()},
    }


def of_teacher(prepared: Prepared) -> dict[str, Any]:
    """The teacher's figures, measured beside the student's: latency with one thread, of all members of an ensemble."""
    data, members = prepared.data, prepared.teacher.members
    return {
        "key": prepared.teacher.key,
        "members": len(members),
        "parameters": prepared.teacher.parameters,
        "macs": sum(metrics.macs(member, data.shape) for member in members),
        "size_kb": sum(metrics.size_kb(member) for member in members),
        "validation_accuracy": prepared.facts.teacher["accuracy"],
        "test_accuracy": prepared.teacher_test_accuracy(),
        "latency_ms": latencies(
            lambda inputs: [member(inputs) for member in members], data.normalize(data.validation.inputs[:64])
        ),
    }


def files(folder: Path, parcel: Parcel, formats: Sequence[str]) -> dict[str, Any]:
    """Each file of the folder but the card itself."""
    found: dict[str, Any] = {path.name: of_file(path) for path in sorted(folder.iterdir())}
    for name in formats:
        file = found[FORMATS[name].file]
        file["format"] = name
        if FORMATS[name].graph:
            file["input"] = "raw" if parcel.normalize else "normalized"
            file["output"] = "probabilities" if parcel.softmax else "logits"
    return found


def of_file(path: Path) -> dict[str, Any]:
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def command(subject: Subject, parcel: Parcel, formats: Sequence[str]) -> str:
    """The command that makes this export again, without the paths of this machine."""
    flags = [
        f"--{name}" if name in formats else f"--no-{name}"
        for name, known in FORMATS.items()
        if known.usual != (name in formats)
    ]
    flags += [f"--{name}" for name in ("softmax", "normalize") if getattr(parcel, name)]
    if subject.command is None:
        flags += ["--retrain"] if subject.trained_on != "train" else []
        made = f"kdsearch export {subject.prepared.facts.name} --trial {subject.trial}"
    else:
        made = subject.command
    return " ".join([made, *flags, "--to DIR"])


def with_proof(card: Mapping[str, Any], proven: Proven) -> dict[str, Any]:
    """The card with the student's own accuracy on test, and what the fresh processes found in its files."""
    proofs = {name: asdict(found) for name, found in proven.files.items()}
    return {**card, "metrics": {**card["metrics"], "test_accuracy": proven.test_accuracy}, "proof": proofs}
