"""FitNets' first stage: part of the student learns features of the teacher."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from kdsearch.data.views import Views
from kdsearch.layers import forward_to_last, layer_shapes
from kdsearch.losses import hint
from kdsearch.mistakes import Mistake, user_code
from kdsearch.plain import LATER
from kdsearch.seeds import derive
from kdsearch.signals import Signals
from kdsearch.stages.base import (
    ImpossibleError,
    Layer,
    Work,
    are_named,
    check_epochs,
    check_layer,
    check_lr_factor,
    locate,
)
from kdsearch.stages.regressors import KINDS, Joint, Kind


@dataclass(frozen=True, kw_only=True)
class Hints:
    """FitNets' first stage (arXiv:1412.6550, section 2.2): the student up to `student_layer` and a regressor learn the
    teacher's features at `teacher_layer` (of ensemble member `member`) for `epochs`; nothing above that layer changes,
    and the regressor is thrown away.

    A layer is a dotted path, or a relative position in (0, 1] (0.5: the middle, as in the paper). A second pair,
    `teacher_layer_2` with `student_layer_2`, adds its hint loss, through a regressor of its own; the student is then
    trained up to the higher of the two guided layers.

    `regressor="conv"` is the paper's: a convolution without padding whose kernel is N_guided - N_hint + 1 in each
    direction, a linear layer for flat features, nothing where the shapes are already equal; impossible where the
    teacher's map is larger. `"pooled"` averages the larger map to the smaller one's size and joins the channels by a
    1x1 convolution: much cheaper where the gap is big, and possible in both directions.

    The distil stage after it learns at `distil_lr_factor` times the recipe's learning rate.
    """

    epochs: int
    teacher_layer: Layer = 0.5
    student_layer: Layer = 0.5
    regressor: Kind = "conv"
    member: int = 0
    teacher_layer_2: Layer | None = field(default=None, metadata=LATER)
    student_layer_2: Layer | None = field(default=None, metadata=LATER)
    distil_lr_factor: float = field(default=1.0, metadata=LATER)
    name: ClassVar[str] = "hints"

    def __post_init__(self) -> None:
        check_epochs("Hints", self.epochs)
        check_lr_factor(self.distil_lr_factor)
        if self.regressor not in KINDS:
            raise Mistake(f"regressor must be one of {', '.join(KINDS)}, got {self.regressor!r}")
        for name in ("teacher_layer", "student_layer"):
            check_layer(name, getattr(self, name))
        if (self.teacher_layer_2 is None) != (self.student_layer_2 is None):
            raise Mistake(
                "a second pair of hints needs both teacher_layer_2 and student_layer_2, "
                f"got {self.teacher_layer_2!r} and {self.student_layer_2!r}"
            )
        if self.teacher_layer_2 is not None:
            for name in ("teacher_layer_2", "student_layer_2"):
                check_layer(name, getattr(self, name))

    def located(self, student: nn.Module, teacher: nn.Module) -> "Hints":
        """The same with all layers named. Raises `Mistake` for a name that does not exist, with those that do."""
        return replace(
            self,
            teacher_layer=locate(self.teacher_layer, teacher, "teacher"),
            student_layer=locate(self.student_layer, student, "student"),
            teacher_layer_2=_located(self.teacher_layer_2, teacher, "teacher"),
            student_layer_2=_located(self.student_layer_2, student, "student"),
        )

    def check(self, student: nn.Module, teacher: nn.Module, in_shape: tuple[int, ...], limit_macs: int) -> None:
        """Raise `ImpossibleError` where no regressors within `limit_macs` together join the (named) layers."""
        joints = self._joints()
        if len(set(joints)) < len(joints):
            raise ImpossibleError(
                f"both pairs of hints are teacher {joints[0].teacher_layer!r} and student {joints[0].student_layer!r}"
            )
        with user_code("the teacher's forward pass"):
            wanted = layer_shapes(teacher, [joint.teacher_layer for joint in joints], in_shape)
        with user_code("the student's forward pass"):
            guided = layer_shapes(student, [joint.student_layer for joint in joints], in_shape)
        shapes = [(guided[joint.student_layer], wanted[joint.teacher_layer]) for joint in joints]
        macs = sum(joint.macs(*ends) for joint, ends in zip(joints, shapes, strict=True))
        if macs > limit_macs:
            ends = " and ".join(f"from {ours} to {theirs}" for ours, theirs in shapes)
            raise ImpossibleError(
                f"the hint regressor {ends} costs {macs:,} macs an example, above the study's limit "
                f"of {limit_macs:,} (max_regressor_macs); regressor='pooled' is cheaper"
            )

    def begin(
        self, student: nn.Module, views: Views, signals: Signals, seed: int, *, epochs: int, live: bool = False
    ) -> Work:
        joints = self._joints()
        features = [
            signals.features(views, joint.teacher_layer, self.member, epochs=epochs, live=live) for joint in joints
        ]
        paths = [joint.student_layer for joint in joints]
        guided = layer_shapes(student, paths, views.data.shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "regressor"))
            regressors = [
                joint.regressor(guided[joint.student_layer], lookup.shape)
                for joint, lookup in zip(joints, features, strict=True)
            ]

        def loss(index_B: Tensor, epoch: int) -> dict[str, Tensor]:
            batch = views.batch(index_B, views.at(epoch))
            guided_B = forward_to_last(student, paths, batch.inputs_B)
            terms = [
                hint(*joint.meet(regressor, guided_B[joint.student_layer], lookup(batch).float()))
                for joint, regressor, lookup in zip(joints, regressors, features, strict=True)
            ]
            if len(terms) == 1:
                return {"loss": terms[0], "hint": terms[0]}
            return {"loss": terms[0] + terms[1], "hint": terms[0], "hint_2": terms[1]}

        names = ("regressor", "regressor_2")
        trained = nn.ModuleDict({"student": student, **dict(zip(names, regressors, strict=False))})
        return Work(module=trained, loss=loss, scores_classes=False)

    def _joints(self) -> list[Joint]:
        pairs = [(self.teacher_layer, self.student_layer)]
        if self.teacher_layer_2 is not None and self.student_layer_2 is not None:
            pairs.append((self.teacher_layer_2, self.student_layer_2))
        joints = []
        for pair in pairs:
            if not are_named(pair):
                raise TypeError("hints with relative layers must be located first")
            joints.append(Joint(teacher_layer=pair[0], student_layer=pair[1], kind=self.regressor))
        return joints

    def described(self) -> dict[str, str | int | float | bool]:
        """For tables; of what is off by default, only what is on."""
        flat = {name: getattr(self, name) for name in ("teacher_layer", "student_layer", "regressor")}
        if self.teacher_layer_2 is not None:
            flat |= {name: getattr(self, name) for name in ("teacher_layer_2", "student_layer_2")}
        return flat


def _located(layer: Layer | None, module: nn.Module, owner: str) -> str | None:
    return None if layer is None else locate(layer, module, owner)
