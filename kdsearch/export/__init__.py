"""Export: a student's files, each proven in a fresh process to be what was trained.

Here the test split is read, once for the student and once for the teacher, to be written down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdsearch.export.anew import taken
from kdsearch.export.card import described, files, of_file, of_teacher, with_proof
from kdsearch.export.folder import README, check_target, in_place_of
from kdsearch.export.formats import DEFAULT_FORMATS, FORMATS, Parcel
from kdsearch.export.proof import prove
from kdsearch.export.readme import text
from kdsearch.export.repeatable import write_recipe
from kdsearch.export.subject import Subject, check_complete
from kdsearch.files import void, writable, write_text
from kdsearch.mistakes import Mistake
from kdsearch.saved import write_card
from kdsearch.training import StopRequestedError


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Where the files are, and what `student.json` says of the student and the teacher; accuracies are fractions.
    `registered` is one line on what MLflow's model registry has of it; None where it was not to be registered.
    """

    folder: Path
    card: dict[str, Any]
    registered: str | None = None


def export(
    subject: Subject,
    to: Path,
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    softmax: bool = False,
    normalize: bool = False,
    say: Callable[[str], None] = void,
    stopping: Callable[[], bool] = lambda: False,
) -> Exported:
    """Write the student into the folder `to` and prove each file in a fresh process: the same parameter count, the same
    predictions on the validation and test splits.

    `softmax` and `normalize` put those into the formats that hold a network. An earlier export in `to` is replaced; any
    other folder that is not empty is refused. Nothing is left behind where the proof fails. `say` hears what is being
    done. Raises `Mistake`, and `StopRequestedError` once `stopping` says so, with nothing written.
    """
    check_formats(formats)
    to = to.resolve()
    prepared = subject.prepared
    parcel = Parcel(
        study=prepared.facts.name,
        trial=subject.trial,
        module=subject.module(),
        data=prepared.data,
        softmax=softmax,
        normalize=normalize,
    )

    def step(text: str) -> None:
        if stopping():
            raise StopRequestedError
        say(text)

    with in_place_of(to) as work, writable(to):
        for name in formats:
            step(f"writing {FORMATS[name].file}")
            FORMATS[name].write(parcel, work / FORMATS[name].file)
        write_recipe(work, subject)
        card = {**described(subject, parcel, formats), "files": files(work, parcel, formats)}
        write_card(work, card)  # the proof reads what the user will read
        proven = prove(work, formats, subject, parcel, step, stopping)
        step("measuring the teacher beside it")
        card = with_proof({**card, "teacher": of_teacher(prepared)}, proven)
        write_text(work / README, text(card))
        card = write_card(work, {**card, "files": {**card["files"], README: of_file(work / README)}})
    return Exported(folder=to, card=card)


def check_formats(formats: Sequence[str]) -> None:
    """Raise `Mistake` unless `formats` are some of the known ones, each once."""
    if not formats or len(set(formats)) != len(formats) or not set(formats) <= set(FORMATS):
        raise Mistake(f"formats must be different ones of {', '.join(FORMATS)}, got {', '.join(formats) or 'none'}")


__all__ = [
    "DEFAULT_FORMATS",
    "FORMATS",
    "Exported",
    "Subject",
    "check_complete",
    "check_formats",
    "check_target",
    "export",
    "taken",
]
