"""`recipe.json` and `study.py`: all that a student's training is repeated from, in every export.

With the same versions on the same kind of machine that gives the same weights to the bit, which their checksum tells.
`study.py` is the very text of the study file, and code: it is run only where its checksum is the recorded one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from kdsearch import __version__
from kdsearch.export.folder import RECIPE, STUDY
from kdsearch.export.subject import Subject, TrainedOn
from kdsearch.files import file_sha256, tensors_sha256, write_text
from kdsearch.mistakes import Mistake
from kdsearch.plain import digest
from kdsearch.prepare import Prepared
from kdsearch.source import Source
from kdsearch.surroundings import versions

FORMAT = 1
_MOST_THREADS = 1024


@dataclass(frozen=True, kw_only=True)
class Repeatable:
    """What `recipe.json` says, beside its `format` and its own checksum `sha256`.

    `fingerprint` is of `recipe`, which the study's space gives for `params`; `seeds` are `study`, `start`, `distil`;
    `data` has `name` and `fingerprint`, `teacher` its `key` and how many `threads` it had (null: not known),
    `study_file` `name` and `sha256` (null: the study was made in a notebook or a script). `accuracy` is on validation
    (null after training on that), `weights` the checksum of the trained ones (`files.tensors_sha256`).
    """

    kdsearch: str
    study: str
    smoke: bool
    trial: int
    params: dict[str, Any]
    recipe: dict[str, Any]
    fingerprint: str
    seeds: dict[str, int]
    trained_on: TrainedOn
    data: dict[str, str]
    teacher: dict[str, Any]
    study_file: dict[str, str] | None
    versions: dict[str, str]
    accuracy: float | None
    weights: str


_KINDS: dict[str, tuple[type, ...]] = {
    "smoke": (bool,),
    "trial": (int,),
    "study_file": (dict, type(None)),
    "accuracy": (float, int, type(None)),
    **dict.fromkeys(("params", "recipe", "seeds", "data", "teacher", "versions"), (dict,)),
}
_PARTS = {"seeds": ("start", "distil"), "data": ("name", "fingerprint"), "teacher": ("key", "threads")}


def write_recipe(folder: Path, subject: Subject) -> None:
    """Write both files of `subject` to `folder`; `recipe.json` alone where its study has no file."""
    prepared, recipe = subject.prepared, subject.recipe
    text = prepared.source.text
    if text is not None:
        write_text(folder / STUDY, text)
    written = Repeatable(
        kdsearch=__version__,
        study=prepared.study.name,
        smoke=prepared.source.smoke,
        trial=subject.trial,
        params=dict(subject.params),
        recipe=recipe.to_json(),
        fingerprint=recipe.fingerprint(),
        seeds={"study": prepared.study.seed, **asdict(subject.seeds)},
        trained_on=subject.trained_on,
        data={"name": prepared.data.name, "fingerprint": prepared.data.fingerprint},
        teacher={"key": prepared.teacher.key, "threads": threads_of(prepared)},
        study_file=None if text is None else {"name": STUDY, "sha256": file_sha256(folder / STUDY)},
        versions=versions(),
        accuracy=subject.searched,
        weights=tensors_sha256(subject.weights),
    )
    whole = {"format": FORMAT, **asdict(written)}
    write_text(folder / RECIPE, json.dumps({**whole, "sha256": _checksum(whole)}, indent=2) + "\n")


def read_recipe(path: Path) -> Repeatable:
    """What `recipe.json` says. Raises `Mistake` where there is none, it is torn, altered, not ours or of a newer
    kdsearch.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Mistake(f"there is no {path}; name the {RECIPE} of an export") from None
    except (ValueError, OSError, RecursionError) as error:
        raise Mistake(f"{path} cannot be read ({error}); export the student again") from None
    version = found.get("format") if isinstance(found, dict) and "trained_on" in found and "weights" in found else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise Mistake(f"{path} was not written by kdsearch; name the {RECIPE} of an export")
    if version != FORMAT:
        raise Mistake(
            f"{path} was written by another kdsearch ({found.get('kdsearch')}, format {version}; this one is "
            f"{__version__} and reads {FORMAT}); train it with that one, or export the student again"
        )
    if found.get("sha256") != _checksum(found):
        raise Mistake(f"{path} was altered: its checksum does not fit its content; export the student again")
    if wrong := [spec.name for spec in fields(Repeatable) if not _fits(spec.name, found)]:
        raise Mistake(f"{path} lacks what a training is repeated from ({', '.join(wrong)}); export the student again")
    return Repeatable(**{spec.name: found[spec.name] for spec in fields(Repeatable)})


def _fits(name: str, found: Mapping[str, Any]) -> bool:
    if name not in found or not isinstance(found[name], _KINDS.get(name, (str,))):
        return False
    if name == "trained_on":
        return found[name] in get_args(TrainedOn)
    if any(part not in found[name] for part in _PARTS.get(name, ())):
        return False
    threads = found[name]["threads"] if name == "teacher" else None
    return threads is None or (isinstance(threads, int) and 1 <= threads <= _MOST_THREADS)


def study_beside(path: Path, written: Repeatable) -> Source:
    """The `study.py` beside the `recipe.json` at `path`, not run yet. Raises `Mistake` where there is none, or another
    than was written.
    """
    if written.study_file is None:
        raise Mistake(
            f"the study {written.study!r} was made in a notebook or a script, so that {path} has no {STUDY} beside it; "
            "name a study file with --study FILE, or give the Study to kdsearch.train_recipe(..., study=...)"
        )
    file = path.with_name(STUDY)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Mistake(f"{file} cannot be read ({error.strerror}); name the study file with --study FILE") from None
    if hashlib.sha256(content).hexdigest() != written.study_file.get("sha256"):
        raise Mistake(
            f"{file} was altered: its checksum is not the one in {path.name}, and it is not run; export the student "
            "again, or name a study file that you trust with --study FILE"
        )
    return Source(path=file, text=content.decode("utf-8"), smoke=written.smoke)  # what was checked is what runs


def _checksum(content: Mapping[str, Any]) -> str:
    return digest({name: part for name, part in content.items() if name != "sha256"})


def threads_of(prepared: Prepared) -> int | None:
    """With how many threads the teacher was trained, or where that was not done here, asked; None: not known."""
    return prepared.teacher.threads or prepared.signals.threads
