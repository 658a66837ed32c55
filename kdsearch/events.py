"""What happens in a search, as values: the driver tells, the terminal and the tracker listen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kdsearch.ledger import Confirmed, RepeatRecord
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.training import Epoch


@dataclass(frozen=True)
class TeacherEpoch:
    """One epoch of training the teacher's `member`, of `epochs`."""

    member: int
    epochs: int
    line: Epoch


@dataclass(frozen=True)
class TeacherMeasured:
    """The teacher's accuracy on the validation split, where it was not known when the search began."""

    accuracy: float


@dataclass(frozen=True)
class SearchBegan:
    """The study is open; `records` are its trials so far, `target` the number of trials it shall have."""

    facts: StudyFacts
    records: list[TrialRecord]
    target: int
    workers: int
    minutes: float | None = None


@dataclass(frozen=True)
class TrialBegan:
    record: TrialRecord
    adopted: bool = False
    """Whether an earlier run had begun it."""


@dataclass(frozen=True)
class TrialEpoch:
    """One line of a trial's curve, as it happens. These may get lost: the trial's record has them all."""

    trial: int
    line: Epoch


@dataclass(frozen=True)
class SegmentBegan:
    """A worker is given the trial, `epoch` of whose `epochs` are trained, and has it until `SegmentEnded`."""

    trial: int
    epoch: int
    epochs: int


@dataclass(frozen=True)
class SegmentEnded:
    """The worker has no more of the trial: what it trained is taken in, or lost."""

    trial: int


@dataclass(frozen=True)
class TrialWaits:
    """A trial stands at a rung after `epoch` of its `epochs`, until the stopping rule lets it go on."""

    trial: int
    epoch: int
    epochs: int


@dataclass(frozen=True)
class TrialEnded:
    """A trial is complete, failed, pruned at the budget's end, or was screened before it began."""

    record: TrialRecord


@dataclass(frozen=True)
class RepeatsBegan:
    """Runs on fresh seeds begin: `wanted` of them, `done` of which an earlier call has made."""

    facts: StudyFacts
    wanted: int
    done: int
    workers: int


@dataclass(frozen=True)
class RepeatBegan:
    """A worker is given a run on a fresh seed of a student of `family` and `parameters`, `epoch` of whose `epochs` are
    trained; the start's `start_epochs` are part of them.
    """

    label: str
    seed: int
    epoch: int
    epochs: int
    start_epochs: int
    family: str
    parameters: float


@dataclass(frozen=True)
class RepeatEpoch:
    """One line of the curve of a run on a fresh seed, as it happens."""

    label: str
    seed: int
    line: Epoch


@dataclass(frozen=True)
class RepeatEnded:
    """A run on a fresh seed is complete or has failed."""

    record: RepeatRecord


@dataclass(frozen=True)
class RepeatsEnded:
    """No more runs on fresh seeds are made; `interrupted`: although some are wanted."""

    facts: StudyFacts
    trials: list[TrialRecord] = field(repr=False)
    confirmed: Confirmed = field(repr=False)
    interrupted: bool = False


@dataclass(frozen=True)
class AnewBegan:
    """The recipe of the study's `trial` is trained again, `epoch` of whose `epochs` are trained."""

    study: str
    trial: int
    epoch: int
    epochs: int


@dataclass(frozen=True)
class AnewEpoch:
    """One line of the curve of a recipe that is trained again; without an accuracy where there is none to be had."""

    trial: int
    line: Epoch


@dataclass(frozen=True)
class Note:
    """Something to tell the user in one line; a `warning` where something is not as it should be."""

    text: str
    warning: bool = True


@dataclass(frozen=True)
class SearchEnded:
    """`stopped` is why it ended before its budget did, if so; `interrupted` that the user asked for it."""

    facts: StudyFacts
    records: list[TrialRecord] = field(repr=False)
    confirmed: Confirmed = field(default_factory=Confirmed, repr=False)
    stopped: str | None = None
    interrupted: bool = False
    failed: bool = False
    """Whether it ended because nothing worked."""


Happening = (
    TeacherEpoch
    | TeacherMeasured
    | SearchBegan
    | TrialBegan
    | SegmentBegan
    | TrialEpoch
    | SegmentEnded
    | TrialWaits
    | TrialEnded
    | RepeatsBegan
    | RepeatBegan
    | RepeatEpoch
    | RepeatEnded
    | RepeatsEnded
    | AnewBegan
    | AnewEpoch
    | Note
    | SearchEnded
)
Listener = Callable[[Happening], None]


def to_all(listeners: Sequence[Listener]) -> Listener:
    """One listener that tells every one of these, in order."""

    def tell(happening: Happening) -> None:
        for listener in listeners:
            listener(happening)

    return tell
