"""Confirmation: front members and their controls, or the arms of a comparison, trained again on fresh seeds.

Here, and in export's proof, the test split is read: once for every run, to report. Nothing is chosen by it.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kdsearch.events import Listener, Note, RepeatsEnded
from kdsearch.executors import Executor
from kdsearch.ledger import Arm, Confirmed, Question
from kdsearch.mistakes import Mistake
from kdsearch.prepare import Prepared
from kdsearch.recipe import Recipe
from kdsearch.records import TrialRecord
from kdsearch.repeats import Repeat, Repeats, arm_key
from kdsearch.space import replay
from kdsearch.stages import Distil, Hints, Start
from kdsearch.store import Store
from kdsearch.study import CONFIRM, VARIED, Study

SEEDS = 5
DISTILLED, ALONE, PERMUTED = "distilled", "alone", "permuted teacher"
CONTROLS = ("permuted", "starts")
"""What can be asked for beside the student alone."""

_TEMPERATURES = (1.0, 2.0, 4.0, 8.0, 16.0)
_ALPHAS = (0.1, 0.5, 0.9, 1.0)
_POSITIONS = (0.25, 0.5, 0.75)
_Asked = tuple[str, int | None, list[tuple[str, Recipe, bool]]]
"""A question's name, the trial that it is about, and for each arm its label, its recipe, and whether the teacher is
permuted.
"""

Control = Literal["permuted", "starts"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Questions, for each of their arms what is to be trained, and what the user should know of it."""

    questions: list[Question]
    repeats: list[Repeat]
    notes: tuple[str, ...] = ()


def confirm(
    prepared: Prepared,
    store: Store,
    executor: Executor,
    plan: Plan,
    *,
    tell: Listener,
    stopping: Callable[[], bool] = lambda: False,
) -> Confirmed:
    """Train what the plan wants and is not there yet; gives all that the ledger then holds."""
    for note in plan.notes:
        tell(Note(note))
    ledger = store.ledger
    ledger.ask(plan.questions)
    if ledger.read().teacher_test_accuracy is None:
        ledger.note_teacher(prepared.teacher_test_accuracy())
    whole = Repeats(prepared, ledger, executor, tell=tell, stopping=stopping).run(plan.repeats)
    confirmed = ledger.read()
    tell(RepeatsEnded(store.facts, store.records(), confirmed, interrupted=not whole))
    return confirmed


def alone(recipe: Recipe) -> Recipe:
    """The same student without a teacher on an equal budget: no start, the labels alone, for as many epochs.

    A recipe that is such a training already is its own control.
    """
    own = recipe.distil
    if recipe.start is None and isinstance(own, Distil) and not own.alpha and not own.attention:
        return recipe
    return dataclasses.replace(recipe, start=None, distil=Distil(temperature=1.0, alpha=0.0), live_teacher=False)


def front_plan(
    prepared: Prepared, members: Sequence[TrialRecord], *, seeds: int = SEEDS, controls: Sequence[Control] = ()
) -> Plan:
    """Each of `members` and its controls: the student alone always, those in `controls` on request.

    "permuted" is the same recipe with a teacher that speaks of other examples; "starts" the same recipe with each of
    the study's other starts. Raises `Mistake` where there are no members or the study file gives another recipe now.
    """
    if not members:
        raise Mistake("there is no front to confirm: no trial is complete yet; run the study first")
    if unknown := set(controls) - set(CONTROLS):
        raise Mistake(f"controls must be of {', '.join(CONTROLS)}, got {', '.join(sorted(unknown))}")
    asked: list[_Asked] = []
    notes: list[str] = []
    for record in members:
        recipe = recipe_of(prepared, record)
        arms = [(DISTILLED, recipe, False), (ALONE, alone(recipe), False)]
        if "permuted" in controls:
            arms.append((PERMUTED, recipe, True))
        if "starts" in controls:
            others, left_out = _possible(prepared, _starts(prepared.study, recipe))
            arms += [(label, other, False) for label, other in others.items() if other != recipe]
            notes += left_out
        asked.append((CONFIRM, record.number, arms))
    return _plan(prepared, asked, seeds, notes)


def comparison_plan(prepared: Prepared, what: str, members: Sequence[TrialRecord], *, seeds: int = SEEDS) -> Plan:
    """Matched recipes that differ in one choice alone: `what` is one of `VARIED`, varied in each of `members`, or the
    name of one of the study's own comparisons, which needs no trials.

    Arms that cannot work (a hint layer of the wrong shape) are left out with a note, and so are those that are the same
    recipe as one before them. Raises `Mistake` for an unknown name, and where fewer than two arms are left.
    """
    own = prepared.study.comparisons
    if what in own:
        groups: list[tuple[int | None, Mapping[str, Recipe | str]]] = [(None, own[what])]
    elif what in VARIED:
        if not members:
            raise Mistake(f"there is no front to compare {what} on: no trial is complete yet; run the study first")
        groups = [(record.number, _varied(prepared.study, what, recipe_of(prepared, record))) for record in members]
    else:
        raise Mistake(f"--compare must be one of {', '.join((*VARIED, *own))}, got {what!r}")
    asked: list[_Asked] = []
    notes: list[str] = []
    for trial, recipes in groups:
        possible, left_out = _possible(prepared, recipes)
        notes += left_out
        if len(possible) < 2:
            why = "".join(f"\n  - {note}" for note in left_out)
            raise Mistake(
                f"a comparison needs at least two different recipes that can work, {what!r} has {len(possible)}{why}"
            )
        asked.append((what, trial, [(label, recipe, False) for label, recipe in possible.items()]))
    return _plan(prepared, asked, seeds, list(dict.fromkeys(notes)))


def recipe_of(prepared: Prepared, record: TrialRecord) -> Recipe:
    """The recipe of a stored trial, its hint layers named. Raises `Mistake` where the study file gives another now."""
    recipe = prepared.screen(replay(prepared.study.space, record.params)[0]).recipe
    if recipe.fingerprint() != record.fingerprint:
        raise Mistake(
            f"the study file no longer gives trial {record.number}'s recipe for its parameters; undo the change"
        )
    return recipe


def _possible(prepared: Prepared, recipes: Mapping[str, Recipe | str]) -> tuple[dict[str, Recipe], list[str]]:
    """Those that can work, their hint layers named, each once; and why the others are left out, a line each. A text in
    place of a recipe is the reason why there is none.
    """
    found: dict[str, Recipe] = {}
    notes = []
    for label, recipe in recipes.items():
        if isinstance(recipe, str):
            notes.append(f"{label} is left out: {recipe}")
            continue
        candidate = prepared.screen(recipe)
        twin = next((other for other, known in found.items() if known == candidate.recipe), None)
        if candidate.reason is not None:
            notes.append(f"{label} is left out: {candidate.reason}")
        elif twin is not None:
            notes.append(f"{label} is left out: it is the same recipe as {twin}")
        else:
            found[label] = candidate.recipe
    return found, notes


def _plan(prepared: Prepared, asked: Sequence[_Asked], seeds: int, notes: Sequence[str]) -> Plan:
    if seeds < 1:
        raise Mistake(f"seeds must be at least 1, got {seeds}")
    questions = []
    repeats: dict[tuple[str, int], Repeat] = {}
    # all arms of a seed before the next seed: what an interruption leaves can be compared
    for seed in range(seeds):
        for _, trial, arms in asked:
            for label, recipe, permuted in arms:
                told = f"trial {trial} {label}" if trial is not None else label
                key = arm_key(prepared, recipe, permuted=permuted)
                repeats.setdefault((key, seed), Repeat(label=told, recipe=recipe, seed=seed, permuted=permuted))
    for name, trial, arms in asked:
        noted = tuple(
            Arm(label=label, key=arm_key(prepared, recipe, permuted=permuted), fingerprint=recipe.fingerprint())
            for label, recipe, permuted in arms
        )
        questions.append(Question(name=name, trial=trial, arms=noted, seeds=tuple(range(seeds))))
    return Plan(questions=questions, repeats=list(repeats.values()), notes=tuple(notes))


def _varied(study: Study, what: str, recipe: Recipe) -> Mapping[str, Recipe | str]:
    """Recipes by label that differ from `recipe` in `what` alone; the first is what the others are compared to."""
    match what:
        case "start":
            return _starts(study, recipe)
        case "layers":
            hints = _hints(study, recipe)
            return {
                f"teacher {theirs:g}, student {own:g}": dataclasses.replace(
                    recipe, start=dataclasses.replace(hints, teacher_layer=theirs, student_layer=own)
                )
                for theirs in _POSITIONS
                for own in _POSITIONS
            }
        case "temperature":
            return {f"T = {value:g}": _with_distil(recipe, temperature=value) for value in _TEMPERATURES}
        case _:
            return {f"alpha = {value:g}": _with_distil(recipe, alpha=value) for value in _ALPHAS}


def _with_distil(recipe: Recipe, **changed: Any) -> Recipe:
    if missing := [name for name in changed if not hasattr(recipe.distil, name)]:
        raise Mistake(
            f"{type(recipe.distil).__name__} has no {' or '.join(missing)} to vary; "
            "name recipes of your own in Study(comparisons=...)"
        )
    return dataclasses.replace(recipe, distil=dataclasses.replace(recipe.distil, **changed))


def _starts(study: Study, recipe: Recipe) -> Mapping[str, Recipe | str]:
    """The recipe with each of the study's starts, by label; without a start first. A start that is as long as the whole
    budget has its reason in the recipe's place.
    """
    if not study.starts:
        raise Mistake(
            "the study names no starts to compare; give it some: Study(starts=[None, Hints(...), Pretrain(...)])"
        )
    found: dict[str, Recipe | str] = {}
    for start in sorted(study.starts, key=lambda start: start is not None):
        try:
            found[f"start {_said(start)}"] = dataclasses.replace(recipe, start=start)
        except Mistake as mistake:
            found[f"start {_said(start)}"] = str(mistake)
    return found


def _said(start: Start | None) -> str:
    """Every value of a start that is not its default: starts that differ are told apart."""
    if start is None:
        return "none"
    given = {spec.name: getattr(start, spec.name) for spec in dataclasses.fields(start)}
    plain = {spec.name: spec.default for spec in dataclasses.fields(start)}
    return f"{start.name} ({', '.join(f'{name} {value}' for name, value in given.items() if value != plain[name])})"


def _hints(study: Study, recipe: Recipe) -> Hints:
    """The hints whose layers are varied: the recipe's own, else the first of the study's starts that are hints."""
    for start in (recipe.start, *(study.starts or ())):
        if isinstance(start, Hints):
            return start
    raise Mistake(
        "neither the recipe nor Study(starts=...) has hints whose layers could be compared; "
        "name some: Study(starts=[None, Hints(...)])"
    )
