"""The recipe: one frozen value that says everything one trial needs, the seeds excepted."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from kdsearch.data.augment import Augment, Augmentation, check_views, described
from kdsearch.mistakes import Mistake
from kdsearch.plain import LATER, as_json, digest, is_frozen
from kdsearch.stages import Distil, FitNetsDistil, Hints, Pretrain, Start, Teaching
from kdsearch.students import FAMILIES, Student
from kdsearch.training import Optim

HOW = frozenset(
    (
        *("start", "start_epochs", "teacher_layer", "student_layer", "teacher_layer_2", "student_layer_2"),
        *("regressor", "distil_lr_factor", "loss", "temperature", "alpha", "soft_weight", "hard_weight"),
        *("standardize", "beta", "inter_class", "intra_class", "first_weight", "last_weight"),
        *("attention", "attention_teacher_layer", "attention_student_layer"),
        *("epochs", "optim", "augment", "live_teacher", "omit"),
        *(spec.name for spec in dataclasses.fields(Optim)),
    )
)
"""What `Recipe.describe` calls the parts of a recipe besides the student's own."""

_FIGURES = frozenset(
    (
        *("trial", "state", "family", "accuracy", "macro_f1", "parameters", "macs", "size_kb", "latency_ms"),
        *("share", "on_front", "hypervolume", "seconds", "reason", "began_ms", "ended_ms"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A student, how it starts, how it is distilled, and for how long.

    `epochs` is the whole budget: the start's epochs are part of it, so that no start wins by training longer. Epoch e
    of it, from 0, trains on view e mod V of `augment`'s V views. `live_teacher` has the teacher run in every step
    instead of being looked up: slower, full precision, and the only way for an augmentation that cannot be replayed.
    `omit` are numbers of classes of which the student is shown no example in either stage (Hinton et al. 2015,
    arXiv:1503.02531, section 3, leave a digit out); the teacher has seen them, and they are measured like the others.
    """

    student: Student
    distil: Teaching = field(default_factory=Distil)
    start: Start | None = None
    optim: Optim = field(default_factory=Optim)
    epochs: int = 30
    augment: Augmentation | None = None
    live_teacher: bool = False
    omit: tuple[int, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        if not is_frozen(self.student) or not callable(getattr(self.student, "build", None)):
            raise Mistake(
                f"student must be a frozen dataclass with build(in_shape, classes), got {type(self.student).__name__}"
            )
        family = type(self.student).__name__
        if FAMILIES.get(family, type(self.student)) is not type(self.student):
            raise Mistake(f"kdsearch has a family {family} of its own; give yours another name")
        if not isinstance(self.distil, (Distil, FitNetsDistil)):
            raise Mistake(f"distil must be of Distil or FitNetsDistil, got {type(self.distil).__name__}")
        if not isinstance(self.optim, Optim):
            raise Mistake(f"optim must be of Optim, got {type(self.optim).__name__}")
        if not isinstance(self.start, (Hints, Pretrain, type(None))):
            raise Mistake(f"start must be None, Hints or Pretrain, got {type(self.start).__name__}")
        if isinstance(self.epochs, bool) or not isinstance(self.epochs, int) or self.epochs <= self.start_epochs:
            raise Mistake(
                f"epochs must be a whole number above the start's {self.start_epochs}, which are part of it, "
                f"got {self.epochs!r}"
            )
        if self.augment is not None:
            check_views(self.augment)
        self._check_omitted()

    def _check_omitted(self) -> None:
        numbers = self.omit if isinstance(self.omit, tuple) else (None,)
        if any(isinstance(number, bool) or not isinstance(number, int) or number < 0 for number in numbers):
            raise Mistake(f"omit must be a tuple of class numbers, from 0, such as (3,), got {self.omit!r}")
        if self.omit and isinstance(self.augment, Augment) and self.augment.mixup:
            raise Mistake(
                f"mixup would mix examples of the omitted classes {self.omit} into the others; leave out one of the two"
            )
        # recipes that train alike are one recipe
        object.__setattr__(self, "omit", tuple(sorted(set(self.omit))))

    @property
    def start_epochs(self) -> int:
        return self.start.epochs if self.start is not None else 0

    @property
    def distil_optim(self) -> Optim:
        """How the distil stage optimizes: at the start's `distil_lr_factor` times the learning rate."""
        factor = self.start.distil_lr_factor if self.start is not None else 1.0
        return self.optim if factor == 1 else dataclasses.replace(self.optim, lr=self.optim.lr * factor)

    def to_json(self) -> dict[str, Any]:
        """The whole recipe as JSON-able values; each part carries its class's name under `kind`.

        `augment`, `live_teacher` and `omit` are there only where they are set.
        """
        parts: dict[str, Any] = {
            "student": as_json(self.student),
            "start": None if self.start is None else as_json(self.start),
            "distil": as_json(self.distil),
            "optim": as_json(self.optim),
            "epochs": self.epochs,
        }
        if self.augment is not None:
            parts["augment"] = as_json(self.augment)
        if self.live_teacher:
            parts["live_teacher"] = True
        if self.omit:
            parts["omit"] = list(self.omit)
        return parts

    def fingerprint(self) -> str:
        """The same for recipes that train alike: 16 hexadecimal digits of SHA-256 over `to_json`."""
        return digest(self.to_json())[:16]

    def start_fingerprint(self) -> str:
        """What the result of the start depends on, all but `distil`, its learning rate's factor and `epochs`: equal
        starts are seeded alike.
        """
        parts = {name: part for name, part in self.to_json().items() if name not in ("distil", "epochs")}
        if parts["start"] is not None:
            parts["start"].pop("distil_lr_factor", None)
        return digest(parts)[:16]

    def describe(self) -> dict[str, str | int | float | bool]:
        """The recipe flat, for tables, hover texts and MLflow: both readings of alpha stand beside it.

        A student's field whose name means something else in those tables is called student_NAME.
        """
        parts = self.to_json()
        flat: dict[str, str | int | float | bool] = {"family": parts["student"]["kind"]}
        flat |= {
            f"student_{name}" if name in HOW | _FIGURES else name: _flat(value)
            for name, value in parts["student"].items()
            if name != "kind"
        }
        flat |= {"start": self.start.name if self.start is not None else "none", "start_epochs": self.start_epochs}
        if self.start is not None:
            flat |= self.start.described()
            if self.start.distil_lr_factor != 1:
                flat["distil_lr_factor"] = self.start.distil_lr_factor
        flat |= {**self.distil.described(), "epochs": self.epochs, "optim": self.optim.name}
        if self.augment is not None:
            flat["augment"] = described(self.augment)
        if self.live_teacher:
            flat["live_teacher"] = True
        if self.omit:
            flat["omit"] = _flat(list(self.omit))
        return flat | {name: _flat(value) for name, value in parts["optim"].items() if name not in ("kind", "name")}


def _flat(value: Any) -> str | int | float | bool:
    return value if isinstance(value, (str, int, float, bool)) else json.dumps(value)
