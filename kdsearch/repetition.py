"""A training repeated from the `recipe.json` of an export: `train_recipe`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdsearch.events import Listener, Note, to_all
from kdsearch.export import DEFAULT_FORMATS, Exported, Subject, check_formats, check_target, export
from kdsearch.export.anew import train_anew
from kdsearch.export.folder import RECIPE
from kdsearch.export.repeatable import Repeatable, read_recipe, study_beside, threads_of
from kdsearch.files import DamagedError, load_tensors, tensors_sha256
from kdsearch.interrupts import interrupts
from kdsearch.mistakes import Mistake, UserCodeError
from kdsearch.prepare import Draft, draft
from kdsearch.recipe import Recipe
from kdsearch.saved import WEIGHTS
from kdsearch.space import replay
from kdsearch.stored import Where, given
from kdsearch.study import Study
from kdsearch.surroundings import versions
from kdsearch.threads import torch_threads
from kdsearch.trial import Seeds
from kdsearch.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """How a repeated training ended. `same`: the weights are those of the export, to the bit; else `apart` is the
    largest difference of a weight, None where those of the export are not at hand. `accuracy` on validation, now and as
    it was `recorded`, is None after training on that split. `changed` are versions, and the like, that are not those of
    the export, as (what, then, now).
    """

    study: str
    trial: int
    same: bool
    apart: float | None
    accuracy: float | None
    recorded: float | None
    changed: tuple[tuple[str, str, str], ...]
    exported: Exported | None


def train_recipe(
    path: Where,
    *,
    to: Where | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    softmax: bool = False,
    normalize: bool = False,
    study: Study | Where | None = None,
    workspace: Where | None = None,
    listeners: Sequence[Listener] = (),
) -> Repetition:
    """Repeat the training that the `recipe.json` at `path` (or in the folder `path`) describes, from nothing: its
    teacher too, where the workspace has not got it. With `to` the student is exported there, as by `export_student`.

    The `study.py` beside it is run, as code, after a look at its checksum; `study` is taken in its place. Ctrl-C ends
    it with `StopRequestedError` and all kept, and the same call goes on from there. Raises `Mistake` where the file is
    torn, altered or of another version, or data, teacher or recipe are not those of the export.
    """
    file = Path(path) / RECIPE if Path(path).is_dir() else Path(path)
    written = read_recipe(file)
    if to is not None:
        check_formats(formats)  # before the work is done
        check_target(Path(to))
    tell = to_all(listeners)
    with interrupts() as interrupted:
        planned = _planned(file, written, study, Workspace.chosen(workspace))
        recipe = _recipe(planned, written)
        with torch_threads(written.teacher["threads"]):
            prepared = planned.ready(listener=tell, stopping=interrupted)
        seeds = Seeds(start=written.seeds["start"], distil=written.seeds["distil"])
        trained = train_anew(
            prepared,
            recipe,
            seeds,
            trial=written.trial,
            trained_on=written.trained_on,
            tell=tell,
            stopping=interrupted,
        )
        subject = Subject(
            prepared=prepared,
            trial=written.trial,
            params=written.params,
            recipe=recipe,
            seeds=seeds,
            weights=trained.weights,
            searched=trained.accuracy,
            trained_on=written.trained_on,
            command=f"kdsearch train {RECIPE}",
        )
        same = tensors_sha256(trained.weights) == written.weights
        apart = None if same else _apart(file.with_name(WEIGHTS), written, subject)
        exported = None
        if to is not None:
            exported = export(
                subject,
                Path(to),
                formats=formats,
                softmax=softmax,
                normalize=normalize,
                say=lambda text: tell(Note(text, warning=False)),
                stopping=interrupted,
            )
    return Repetition(
        study=written.study,
        trial=written.trial,
        same=same,
        apart=apart,
        accuracy=trained.accuracy,
        recorded=written.accuracy,
        changed=_changed(written, threads_of(prepared)),
        exported=exported,
    )


def _planned(file: Path, written: Repeatable, study: Study | Where | None, place: Workspace) -> Draft:
    if study is not None:
        return draft(dataclasses.replace(given(study), smoke=written.smoke), place)
    source = study_beside(file, written)
    try:
        return draft(source, place)
    except UserCodeError as error:
        raise UserCodeError(
            f"{error}; where it needs what lay beside it, name it there with --study FILE", error.trace
        ) from error


def _recipe(planned: Draft, written: Repeatable) -> Recipe:
    """The recipe, from the study's space. Raises `Mistake` that names all that is not as it was in the export."""
    facts, other = planned.facts, []
    if facts.data["fingerprint"] != written.data["fingerprint"]:
        other.append(f"the data ({facts.data['name']}, whose examples are others; --data says where they lie)")
    elif planned.teacher.key != written.teacher["key"]:  # which follows from the data too
        other.append("the teacher (its architecture, its training or the file of its weights)")
    recipe = planned.screen(replay(planned.study.space, written.params)[0]).recipe
    if recipe.fingerprint() != written.fingerprint:
        other.append(f"the recipe that the space gives for {written.params}")
    if other:
        raise Mistake(
            f"trial {written.trial} of {written.study!r} cannot be repeated here, as these are not what they were: "
            f"{'; '.join(other)}; undo the change, or name the study file as it was with --study FILE"
        )
    return recipe


def _apart(exported: Path, written: Repeatable, subject: Subject) -> float | None:
    """The largest difference of a weight from those that were exported; None where these are gone or others."""
    try:
        before, _ = load_tensors(exported)
    except (FileNotFoundError, DamagedError):
        return None
    if tensors_sha256(before) != written.weights:
        return None
    return max(float((subject.weights[name].double() - before[name].double()).abs().max()) for name in before)


def _changed(written: Repeatable, threads: int | None) -> tuple[tuple[str, str, str], ...]:
    here = versions()
    found = [(what, then, here.get(what, "none")) for what, then in written.versions.items() if here.get(what) != then]
    then = written.teacher["threads"]
    if then is not None and threads is not None and then != threads:
        found.append(("threads for the teacher in this workspace", str(then), str(threads)))
    return tuple(found)
