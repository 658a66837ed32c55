"""What stands before a search: data, teacher, signals and the facts of the study."""

import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from kdsearch import metrics
from kdsearch.data.augment import Augmentation
from kdsearch.data.base import Data, Split
from kdsearch.data.kept import keep_data
from kdsearch.data.views import Views, check_fits, check_replayable
from kdsearch.events import Listener, Note, TeacherEpoch
from kdsearch.executors.base import Job
from kdsearch.files import DamagedError, read_note, writable, write_note
from kdsearch.mistakes import Mistake, user_code
from kdsearch.plain import is_number
from kdsearch.recipe import Recipe
from kdsearch.records import StudyFacts
from kdsearch.screening import Screen
from kdsearch.signals import Signals, check_room
from kdsearch.source import Source
from kdsearch.study import Study
from kdsearch.teacher import Frozen, Untrained
from kdsearch.threads import torch_threads
from kdsearch.training import Epoch
from kdsearch.workspace import Workspace

_VALIDATION, _TEST = "validation_accuracy", "test_accuracy"
_AT_ONCE = 256
"""Examples between two looks at whether the measuring of a teacher is to stop."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A study with everything that its trials are made from."""

    study: Study
    source: Source
    workspace: Workspace
    data: Data
    teacher: Frozen
    signals: Signals
    screen: Screen
    facts: StudyFacts

    @property
    def measurement(self) -> Path:
        """Where the teacher's accuracy is kept, once measured."""
        return self.workspace.study(self.study.name) / "teacher" / f"{self.teacher.key}.accuracy.json"

    @property
    def _test_measurement(self) -> Path:
        return self.measurement.with_name(f"{self.teacher.key}.test.json")

    def teacher_accuracy(self, stopping: Callable[[], bool] = lambda: False) -> float:
        """The teacher's accuracy on the validation split, measured once and kept; NaN where `stopping` said True."""
        return self._measured(self.measurement, _VALIDATION, self.data.validation, stopping)

    def teacher_test_accuracy(self) -> float:
        """The teacher's accuracy on the test split, measured once and kept: to be reported, not to choose by."""
        return self._measured(self._test_measurement, _TEST, self.data.test, lambda: False)

    def _measured(self, path: Path, name: str, held: Split, stopping: Callable[[], bool]) -> float:
        try:
            return _kept_accuracy(path, name)
        except FileNotFoundError:
            right = 0
            for inputs, labels in zip(held.inputs.split(_AT_ONCE), held.labels.split(_AT_ONCE), strict=True):
                if stopping():
                    return math.nan
                right += int((self.teacher.predictions(self.data, inputs, labels) == labels).sum())
            accuracy = right / len(held)
            with writable(path):
                write_note(path, {name: accuracy})
            return accuracy

    def forget_damaged(self) -> list[str]:
        """Remove measurements that are torn or altered, which are then made again; gives what was wrong with them."""
        found = []
        names = {self.measurement: _VALIDATION, self._test_measurement: _TEST}
        for path, name in names.items():
            try:
                _kept_accuracy(path, name)
            except FileNotFoundError:
                continue
            except DamagedError as error:
                path.unlink()
                found.append(f"the teacher is measured again: {error}")
        return found


def _kept_accuracy(path: Path, name: str) -> float:
    """A measurement that was kept. Raises `FileNotFoundError`, and `DamagedError` where it is none."""
    accuracy = read_note(path).get(name)
    if not is_number(accuracy) or not 0 <= accuracy <= 1:
        raise DamagedError(f"{path} holds no accuracy")
    return float(accuracy)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A study before its teacher is trained: enough to find what is wrong with it at no cost.

    `facts` lack the teacher's accuracy (NaN).
    """

    study: Study
    source: Source
    workspace: Workspace
    data: Data
    teacher: Untrained
    screen: Screen
    facts: StudyFacts

    @property
    def job(self) -> Job:
        """What workers need to come to the same."""
        return Job(
            source=self.source,
            folder=self.workspace.study(self.study.name),
            data_fingerprint=self.data.fingerprint,
            teacher_key=self.teacher.key,
        )

    def keep_data(self, tell: Listener) -> None:
        """Write the data where workers read it from."""
        folder = self.workspace.study(self.study.name) / "data"
        with writable(folder):
            if (damage := keep_data(self.data, folder)) is not None:
                tell(Note(f"the data for the workers are written again: {damage}"))

    def ready(
        self,
        *,
        listener: Listener | None = None,
        stopping: Callable[[], bool] = lambda: False,
        measure: bool = True,
    ) -> Prepared:
        """Train or load the teacher and what it says of the training examples.

        Unless `measure`, the teacher's accuracy stays NaN where it has not been measured before: for a large teacher
        that takes as long as its signals do.

        Raises `StopRequestedError` where `stopping` said so in the middle of training, which is kept up to there.
        """

        def on_epoch(member: int, line: Epoch) -> bool:
            if listener is not None:
                listener(TeacherEpoch(member, self.teacher.teachers[member].epochs, line))
            return stopping()

        folder = self.workspace.study(self.study.name)
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)

        def say(text: str) -> None:
            if listener is not None:
                listener(Note(text))

        with writable(folder / "teacher"):
            teacher = self.teacher.freeze(self.data, folder / "teacher", on_epoch, say)
        signals = Signals(lambda: teacher, teacher.key, self.data, folder / "signals", self.study.signals_gb)
        with torch_threads(teacher.threads):  # that one machine says the same whenever they are computed
            signals.compute(Views(self.data))  # here all cores are free, and all workers would wait for them
        for note in signals.take_notes():
            say(note)
        prepared = Prepared(
            study=self.study,
            source=self.source,
            workspace=self.workspace,
            data=self.data,
            teacher=teacher,
            signals=signals,
            screen=self.screen,
            facts=self.facts,
        )
        for damage in prepared.forget_damaged():
            say(damage)
        if not measure and not prepared.measurement.exists():
            return prepared
        accuracy = prepared.teacher_accuracy()
        return replace(prepared, facts=replace(self.facts, teacher={**self.facts.teacher, "accuracy": accuracy}))


def draft(source: Source, workspace: Workspace, study: Study | None = None) -> Draft:
    """Load the study and its data and build its teacher. `study` is `source`'s, loaded already.

    Raises `Mistake` for what is wrong in the study file.
    """
    study = study if study is not None else source.load()
    workspace.make()
    with user_code("data()"):
        data = study.data()
    if not isinstance(data, Data):
        raise Mistake(f"data() must return a kdsearch.Data, got {type(data).__name__}")
    with user_code("teacher(data)"):
        given = study.teacher(data)
    teacher = Untrained.of(given, data)
    parameters = sum(metrics.parameters(member) for member in teacher.members)
    facts = StudyFacts(
        id=uuid.uuid4().hex,
        name=study.name,
        card=study.card,
        file=str(source.path) if source.path is not None else None,
        smoke=source.smoke,
        objectives=list(study.objectives),
        seed=study.seed,
        data={
            "name": data.name,
            "fingerprint": data.fingerprint,
            "classes": data.classes,
            "shape": list(data.shape),
            **{name: len(split) for name, split in data.splits().items()},
        },
        teacher={
            "key": teacher.key,
            "parameters": parameters,
            "members": len(teacher.members),
            "accuracy": math.nan,
            **({"votes": list(teacher.votes)} if teacher.votes is not None else {}),
        },
        # chance level, and the teacher's own size: only a student that is smaller and better than guessing counts
        reference={"accuracy": 1 / data.classes, "parameters": parameters},
    )
    return Draft(
        study=study,
        source=source,
        workspace=workspace,
        data=data,
        teacher=teacher,
        screen=Screen(study, data.shape, data.classes, teacher.members, check=_showable(study, data, teacher)),
        facts=facts,
    )


def _showable(study: Study, data: Data, teacher: Untrained) -> Callable[[Recipe], None]:
    """A check that raises `Mistake` for a recipe whose views cannot be replayed, whose logits do not fit, or that
    omits classes which are not there, or all that are.
    """
    check_room(1, len(teacher.members), data, study.signals_gb)  # the data as they are, which `ready` looks at

    @cache  # a sampler weighs thousands of recipes
    def check(augment: Augmentation) -> None:
        check_replayable(augment, data, "; or have the teacher run in every step: Recipe(live_teacher=True)")
        check_room(augment.views, len(teacher.members), data, study.signals_gb)

    def check_recipe(recipe: Recipe) -> None:
        if recipe.omit and (recipe.omit[-1] >= data.classes or len(recipe.omit) == data.classes):
            raise Mistake(
                f"omit must be some of the classes 0 to {data.classes - 1} of {data.name}, and not all of them, "
                f"got {recipe.omit}"
            )
        if recipe.augment is not None and recipe.live_teacher:
            check_fits(recipe.augment, data)
        elif recipe.augment is not None:
            check(recipe.augment)

    return check_recipe


def prepare(source: Source, workspace: Workspace) -> Prepared:
    """A study made ready from its source alone."""
    return draft(source, workspace).ready()
