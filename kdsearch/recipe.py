"""The recipe: one frozen value that says everything one trial needs, the seeds excepted."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from kdsearch.mistakes import Mistake
from kdsearch.stages import Distil, Hints, Pretrain, Start
from kdsearch.students import FAMILIES, Student
from kdsearch.training import Optim

_PLAIN = (str, int, float, bool, type(None))

HOW = frozenset(
    (
        *("start", "start_epochs", "teacher_layer", "student_layer", "regressor"),
        *("temperature", "alpha", "soft_weight", "hard_weight", "epochs", "optim"),
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

    `epochs` is the whole budget: the start's epochs are part of it, so that no start wins by training longer.
    """

    student: Student
    distil: Distil = field(default_factory=Distil)
    start: Start | None = None
    optim: Optim = field(default_factory=Optim)
    epochs: int = 30

    def __post_init__(self) -> None:
        made = getattr(type(self.student), "__dataclass_params__", None)
        if made is None or not made.frozen or not callable(getattr(self.student, "build", None)):
            raise Mistake(
                f"student must be a frozen dataclass with build(in_shape, classes), got {type(self.student).__name__}"
            )
        family = type(self.student).__name__
        if FAMILIES.get(family, type(self.student)) is not type(self.student):
            raise Mistake(f"kdsearch has a family {family} of its own; give yours another name")
        for name, kind in (("distil", Distil), ("optim", Optim)):
            if not isinstance(getattr(self, name), kind):
                raise Mistake(f"{name} must be of {kind.__name__}, got {type(getattr(self, name)).__name__}")
        if not isinstance(self.start, (Hints, Pretrain, type(None))):
            raise Mistake(f"start must be None, Hints or Pretrain, got {type(self.start).__name__}")
        if isinstance(self.epochs, bool) or not isinstance(self.epochs, int) or self.epochs <= self.start_epochs:
            raise Mistake(
                f"epochs must be a whole number above the start's {self.start_epochs}, which are part of it, "
                f"got {self.epochs!r}"
            )

    @property
    def start_epochs(self) -> int:
        return self.start.epochs if self.start is not None else 0

    def to_json(self) -> dict[str, Any]:
        """The whole recipe as JSON-able values; each part carries its class's name under `kind`."""
        return {
            "student": as_json(self.student),
            "start": None if self.start is None else as_json(self.start),
            "distil": as_json(self.distil),
            "optim": as_json(self.optim),
            "epochs": self.epochs,
        }

    def fingerprint(self) -> str:
        """The same for recipes that train alike: 16 hexadecimal digits of SHA-256 over `to_json`."""
        return _short_digest(self.to_json())

    def start_fingerprint(self) -> str:
        """What the result of the start depends on (student, start, optim): equal starts are seeded alike."""
        parts = self.to_json()
        return _short_digest({name: parts[name] for name in ("student", "start", "optim")})

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
        if isinstance(self.start, Hints):
            flat |= {f: getattr(self.start, f) for f in ("teacher_layer", "student_layer", "regressor")}
        flat |= {
            "temperature": self.distil.temperature,
            "alpha": self.distil.alpha,
            "soft_weight": self.distil.alpha,
            "hard_weight": 1 - self.distil.alpha,
            "epochs": self.epochs,
            "optim": self.optim.name,
        }
        return flat | {name: _flat(value) for name, value in parts["optim"].items() if name not in ("kind", "name")}


def as_json(value: object) -> dict[str, Any]:
    """A frozen dataclass of plain values as JSON-able values with its class's name; a `Mistake` for any other field."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise Mistake(f"{type(value).__name__} must be a frozen dataclass")
    result: dict[str, Any] = {"kind": type(value).__name__}
    for spec in dataclasses.fields(value):
        held = getattr(value, spec.name)
        parts = held if isinstance(held, tuple) else (held,)
        if not all(isinstance(part, _PLAIN) for part in parts):
            raise Mistake(
                f"{type(value).__name__}.{spec.name} must be a number, string, boolean, None or a tuple of these, "
                f"got {type(held).__name__}; a recipe has to be written down to be compared and repeated"
            )
        result[spec.name] = list(parts) if isinstance(held, tuple) else held
    return result


def _flat(value: Any) -> str | int | float | bool:
    return value if isinstance(value, (str, int, float, bool)) else json.dumps(value)


def _short_digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(_canonical(content), sort_keys=True).encode()).hexdigest()[:16]


def _canonical(value: Any) -> Any:
    """4.0 as 4: recipes that are equal must not differ by how a number was written."""
    if isinstance(value, dict):
        return {name: _canonical(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_canonical(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
