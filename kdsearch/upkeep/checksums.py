"""Each file of a study against its checksum. What is damaged and can be computed again may be removed: the next run
does so. A student's weights may not: only the user can say whether to train them again.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from kdsearch.data.bar import bar
from kdsearch.data.kept import load_data
from kdsearch.files import DamagedError, file_sha256, load_tensors, read_note
from kdsearch.plain import is_number
from kdsearch.records import StudyFacts
from kdsearch.underway import saved
from kdsearch.upkeep.flaw import Flaw, removing
from kdsearch.upkeep.shelf import all_files, beside_signals, trial_of

_COSTS = {
    "data": "workers read them again from data()",
    "teacher": "the teacher is trained again; the same bits take the same versions and number of threads",
    "signals": "the teacher is asked again: the same signals",
    "starts": "a start is trained again: the same bits",
    "checkpoints": "its trial begins again: the same result, or with a pruned one cannot be taken up again",
    "confirm": "a run on a fresh seed begins again: the same result",
    "anew": "a training for an export begins again: the same result",
}
_COST_OF_A_MEASUREMENT = "the teacher is measured again: the same figure"
_CHECKSUMMED = (*_COSTS, "students")


def damaged(folder: Path, facts: StudyFacts) -> Iterator[Flaw]:
    """A flaw for each file of the study that is torn, altered, or not what its place is for."""
    files = [(kind, path) for kind, path in all_files(folder) if kind in _CHECKSUMMED and kind != "data"]
    with bar(f"checking the files of {facts.name}", len(files) + 1, "files") as advance:
        yield from _data(folder / "data", facts)
        advance(1)
        for kind, path in files:
            if (reason := _reason(kind, path)) is not None:
                yield _flaw(kind, path, reason, facts)
            advance(1)


def _data(folder: Path, facts: StudyFacts) -> Iterator[Flaw]:
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        load_data(folder, facts.data["fingerprint"])
    except (FileNotFoundError, DamagedError) as error:

        def remove() -> str:
            shutil.rmtree(folder)
            return f"removed {folder}: the next run writes the data again"

        yield Flaw(
            kind="data damaged",
            level="warning",
            what=f"the kept data are not the study's: {error}",
            where=str(folder),
            costs=_COSTS["data"],
            remedy="kdsearch doctor --repair removes them; the next run writes them again",
            mend=remove,
        )


def _reason(kind: str, path: Path) -> str | None:
    """What is wrong with a file; None where nothing is, or it is gone meanwhile."""
    try:
        if kind == "signals":
            return _signal(path)
        if path.suffix == ".json":
            return _measurement(path) if kind == "teacher" else None
        if path.suffix != ".safetensors":
            return None
        if kind in ("teacher", "students"):
            load_tensors(path)
        else:
            saved(path)  # the whole state, as the next run reads it
    except FileNotFoundError:
        return None
    except DamagedError as error:
        return str(error).removeprefix(f"{path}: ")
    except (KeyError, TypeError, ValueError, AttributeError):
        return "it holds no training state"
    return None


def _signal(path: Path) -> str | None:
    """As those who read signals see it: an array whose note has another checksum, or none, is damaged."""
    if path.suffix != ".npy":
        return None
    try:
        expected = read_note(path.with_suffix(".json")).get("sha256")
    except FileNotFoundError:
        return "it has no note with its checksum beside it" if path.exists() else None
    except DamagedError:
        return "the note with its checksum cannot be read"
    return None if file_sha256(path) == expected else "its checksum does not fit its content"


def _measurement(path: Path) -> str | None:
    """A teacher's accuracy."""
    figures = read_note(path).values()
    whole = len(figures) == 1 and all(is_number(figure) and 0 <= figure <= 1 for figure in figures)
    return None if whole else "it holds no accuracy"


def _flaw(kind: str, path: Path, reason: str, facts: StudyFacts) -> Flaw:
    if kind == "students":
        number = trial_of(path)
        named = f" --trial {number}" if number is not None else ""
        return Flaw(
            kind="students damaged",
            level="error",
            what=f"the weights of trial {number} are damaged: {reason}",
            where=str(path),
            costs="the student cannot be exported; trained again it has the same bits on the same kind of machine",
            remedy=f"kdsearch export {facts.name}{named} --recreate --to DIR trains them again and puts them back",
        )
    beside = beside_signals(path) if kind == "signals" else []
    return Flaw(
        kind=f"{kind} damaged",
        level="warning",
        what=f"{path.name} is damaged: {reason}",
        where=str(path),
        costs=_COST_OF_A_MEASUREMENT if kind == "teacher" and path.suffix == ".json" else _COSTS[kind],
        remedy="kdsearch doctor --repair removes it; the next run computes it again where it is needed",
        mend=removing(path, *beside),
    )
