"""Export: the picked student's files, proven in a fresh process to be what was searched.

Here the test split is read, once for the student and once for the teacher, to be written down.
"""

import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kdsearch import __version__, proof
from kdsearch.confirm import recipe_of
from kdsearch.data.base import Data
from kdsearch.files import DamagedError, load_tensors, writable
from kdsearch.mistakes import Mistake
from kdsearch.prepare import Prepared
from kdsearch.saved import CARD, WEIGHTS, save_student
from kdsearch.store import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Where the files are, and what their card says of the student and the teacher; accuracies are fractions."""

    folder: Path
    card: dict[str, Any]


def export(prepared: Prepared, record: TrialRecord, to: Path, confirmed: Mapping[str, Any] | None = None) -> Exported:
    """Write trial `record`'s student into the folder `to` and prove it: the same parameter count and, in a fresh
    process, the same validation accuracy to the last example. `confirmed` is what fresh seeds gave for its recipe, for
    the card.

    An earlier export in `to` is replaced; any other folder that is not empty is refused. Nothing is left behind where
    the proof fails. Raises `Mistake`.
    """
    if record.state != "complete":
        raise Mistake(f"trial {record.number} is {record.state}; only a complete trial has a student to export")
    to = to.resolve()
    if to.exists() and not to.is_dir():
        raise Mistake(f"--to {to} is a file; name a folder")
    if others := [path.name for path in (to.iterdir() if to.is_dir() else ()) if path.name not in (CARD, WEIGHTS)]:
        raise Mistake(f"the folder {to} is not empty: it holds {', '.join(sorted(others)[:5])}; name another")
    recipe = recipe_of(prepared, record)
    path = prepared.workspace.student(prepared.study.name, record.number)
    try:
        weights, _ = load_tensors(path)
    except FileNotFoundError:
        raise Mistake(f"the weights of trial {record.number} are gone ({path}); run the study anew") from None
    except DamagedError as error:
        raise Mistake(f"the weights of trial {record.number} are damaged ({error}); run the study anew") from None

    with writable(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    try:
        card = _card(prepared, record) | ({"confirmed": dict(confirmed)} if confirmed else {})
        save_student(work, weights, card)
        found = proof.in_fresh_process(work, prepared.source, recipe.student, prepared.data)
        _compare(record, found, prepared.data)
        card["metrics"]["test_accuracy"] = found["test_correct"] / len(prepared.data.test)
        save_student(work, weights, card)
        with writable(to):
            to.mkdir(exist_ok=True)
            for name in (WEIGHTS, CARD):
                (work / name).replace(to / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Exported(folder=to, card=card)


def _compare(record: TrialRecord, found: Mapping[str, int], data: Data) -> None:
    searched = round(record.measured["accuracy"] * len(data.validation))
    if found["parameters"] != record.known["parameters"] or found["validation_correct"] != searched:
        raise Mistake(
            f"the exported student of trial {record.number} is not what was searched: "
            f"{found['parameters']:,} parameters (searched {record.known['parameters']:,.0f}), "
            f"{found['validation_correct']} of {len(data.validation)} validation examples right "
            f"(searched {searched}); nothing was exported"
        )


def _card(prepared: Prepared, record: TrialRecord) -> dict[str, Any]:
    data, facts = prepared.data, prepared.facts
    mean, std = data.statistics
    return {
        "study": facts.name,
        "trial": record.number,
        "student": record.recipe["student"],
        "input": {
            "shape": list(data.shape),
            "mean": mean.squeeze(0).tolist(),
            "std": std.squeeze(0).tolist(),
        },
        "classes": data.classes,
        "class_names": list(data.class_names),
        "metrics": {
            "validation_accuracy": record.measured["accuracy"],
            "parameters": record.known["parameters"],
            "share_of_teacher": record.known["parameters"] / facts.teacher["parameters"],
            "macs": record.known["macs"],
            "size_kb": record.known["size_kb"],
        },
        "teacher": {
            "parameters": facts.teacher["parameters"],
            "validation_accuracy": facts.teacher["accuracy"],
            "test_accuracy": prepared.teacher_test_accuracy(),
        },
        "recipe": record.recipe,
        "seeds": {"study": facts.seed, **record.seeds},
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "versions": {"kdsearch": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
