"""What every student family is: a frozen dataclass of plain values that builds a network."""

from typing import Protocol, runtime_checkable

import torch
from torch import nn

from kdsearch.mistakes import Mistake


@runtime_checkable
class Student(Protocol):
    """A student architecture. Implementations are frozen dataclasses whose fields are plain values (numbers, strings,
    booleans, None, tuples of these), so that a recipe can be written down, compared and built again.
    """

    def build(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        """A new network from inputs (B, *in_shape) to logits (B, classes), its layers named in forward order.

        `in_shape` is (C, H, W) or (F,). Raises `Mistake` for a shape that the family does not take.
        """
        ...


_DEEPEST = 10_000
_LARGEST = 2**31


def on_meta(student: Student, in_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The student's network on the meta device: shapes are known, no memory is allocated."""
    with torch.device("meta"):
        return student.build(in_shape, classes)


def count_parameters(module: nn.Module) -> int:
    """Number of weights (buffers such as batch-norm statistics are none); works on the meta device."""
    return sum(parameter.numel() for parameter in module.parameters())


def at_least_one(family: str, **fields: int) -> None:
    whole(family, 1, **fields)


def whole(family: str, least: int, **fields: int) -> None:
    """Raise `Mistake` for what is no whole number from `least` on, or so large that building would never end."""
    for name, value in fields.items():
        most = _DEEPEST if name == "depth" else _LARGEST
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise Mistake(f"{family}: {name} must be a whole number of at least {least}, got {value!r}")
        if value > most:
            raise Mistake(f"{family}: {name} must be at most {most:,}, got {value!r:.60}")


def needs_image(family: str, in_shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(in_shape) != 3:
        raise Mistake(
            f"{family} needs images (C, H, W), the data's inputs have shape {in_shape}; use MLP for flat inputs"
        )
    return in_shape[0], in_shape[1], in_shape[2]


def needs_tokens(family: str, in_shape: tuple[int, ...]) -> int:
    """The length of the token sequences."""
    if len(in_shape) != 1:
        raise Mistake(
            f"{family} needs sequences of token numbers (L,), the data's inputs have shape {in_shape}; "
            "use ConvNet for images"
        )
    return in_shape[0]
