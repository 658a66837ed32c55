"""What stands before a search: data, teacher, signals and the facts of the study."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from kdsearch import metrics
from kdsearch.data.base import Data
from kdsearch.events import Listener, TeacherEpoch
from kdsearch.executors.base import Job
from kdsearch.files import writable
from kdsearch.mistakes import Mistake, user_code
from kdsearch.screening import Screen
from kdsearch.signals import Signals
from kdsearch.store import StudyFacts
from kdsearch.study import Source, Study
from kdsearch.teacher import Frozen, as_teachers, freeze
from kdsearch.training import Epoch
from kdsearch.workspace import Workspace


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
    def job(self) -> Job:
        """What workers need to come to the same."""
        return Job(
            source=self.source,
            folder=self.workspace.study(self.study.name),
            data_fingerprint=self.data.fingerprint,
            teacher_key=self.teacher.key,
        )


def prepare(
    source: Source,
    workspace: Workspace,
    *,
    study: Study | None = None,
    listener: Listener | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Prepared:
    """Load the study and its data, and train or load its teacher. `study` is `source`'s, loaded already.

    Raises `Mistake` for what is wrong in the study file, and `StopRequestedError` where `stopping` said so in the
    middle of training the teacher, which is kept up to there.
    """
    study = study if study is not None else source.load()
    workspace.make()
    with user_code("data()"):
        data = study.data()
    if not isinstance(data, Data):
        raise Mistake(f"data() must return a kdsearch.Data, got {type(data).__name__}")
    with user_code("teacher(data)"):
        given = as_teachers(study.teacher(data))

    def on_epoch(member: int, line: Epoch) -> bool:
        if listener is not None:
            listener(TeacherEpoch(member, given[member].epochs, line))
        return stopping()

    folder = workspace.study(study.name)
    with writable(folder):
        teacher = freeze(given, data, folder / "teacher", on_epoch=on_epoch)
        signals = Signals(lambda: teacher, teacher.key, data, folder / "signals")
        signals.logits()
    predictions = teacher.predictions(data, data.validation.inputs, data.validation.labels)
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
            "parameters": teacher.parameters,
            "members": len(teacher.members),
            "accuracy": metrics.accuracy(predictions, data.validation.labels),
        },
        # chance level, and the teacher's own size: only a student that is smaller and better than guessing counts
        reference={"accuracy": 1 / data.classes, "parameters": teacher.parameters},
    )
    return Prepared(
        study=study,
        source=source,
        workspace=workspace,
        data=data,
        teacher=teacher,
        signals=signals,
        screen=Screen(study, data.shape, data.classes, teacher.members),
        facts=facts,
    )
