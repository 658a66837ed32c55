"""Which layers attention transfer joins, located and checked before training like hints' layers.

Shape letters: C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from kdsearch.layers import layer_shapes
from kdsearch.mistakes import user_code
from kdsearch.stages.base import ImpossibleError, Layer, are_named, locate


@dataclass(frozen=True, kw_only=True)
class Attention:
    """The layer of the teacher (an ensemble's first member) and that of the student whose maps are compared."""

    teacher_layer: Layer
    student_layer: Layer
    member: ClassVar[int] = 0

    def located(self, student: nn.Module, teacher: nn.Module) -> "Attention":
        """The same with both layers named. Raises `Mistake` for a name that does not exist, with those that do."""
        return Attention(
            teacher_layer=locate(self.teacher_layer, teacher, "teacher"),
            student_layer=locate(self.student_layer, student, "student"),
        )

    def check(self, student: nn.Module, teacher: nn.Module, in_shape: tuple[int, ...], limit_macs: int) -> None:
        """Raise `ImpossibleError` where one of the (named) layers gives no map (C, H, W); nothing here costs macs."""
        del limit_macs
        teacher_layer, student_layer = self.paths()
        for owner, module, layer in (("teacher", teacher, teacher_layer), ("student", student, student_layer)):
            with user_code(f"the {owner}'s forward pass"):
                shape = layer_shapes(module, [layer], in_shape)[layer]
            if len(shape) != 3:
                raise ImpossibleError(
                    f"attention transfer compares maps (C, H, W); the {owner}'s layer {layer!r} gives {shape}"
                )

    def paths(self) -> tuple[str, str]:
        """The teacher's and the student's layer by dotted path."""
        layers = (self.teacher_layer, self.student_layer)
        if not are_named(layers):
            raise TypeError("attention between relative layers must be located first")
        return layers[0], layers[1]
