"""FitNets' regressors: what brings a student's feature into the shape of the teacher's.

Shape letters: B batch, C channels, H height, W width, F features.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdsearch.stages.base import ImpossibleError

Kind = Literal["conv", "pooled"]
KINDS: tuple[Kind, ...] = ("conv", "pooled")


@dataclass(frozen=True, kw_only=True)
class Joint:
    """A hint layer of the teacher, the student's guided layer that learns it, and the kind of regressor in between."""

    teacher_layer: str
    student_layer: str
    kind: Kind = "conv"

    def regressor(self, guided: tuple[int, ...], wanted: tuple[int, ...]) -> nn.Module:
        """From the student's feature shape to the teacher's, both without batch: (C, H, W) or (F,).

        `"conv"` is the paper's (arXiv:1412.6550, section 2.2): unpadded, with a kernel of N_guided - N_hint + 1 in
        each direction, k1 * k2 * C_guided * C_hint weights, and a bias for each of the C_hint channels. Raises
        `ImpossibleError` with the shapes where there is none.
        """
        if len(guided) != len(wanted) or len(guided) not in (1, 3):
            raise ImpossibleError(
                f"hints cannot join features of shape {guided} (student {self.student_layer!r}) "
                f"and {wanted} (teacher {self.teacher_layer!r})"
            )
        if guided == wanted:
            return nn.Identity()
        if len(guided) == 1:
            return nn.Linear(guided[0], wanted[0])
        if self.kind == "pooled":
            return nn.Conv2d(guided[0], wanted[0], 1)
        if wanted[1] > guided[1] or wanted[2] > guided[2]:
            raise ImpossibleError(
                f"FitNets' regressor cannot enlarge a map: teacher {self.teacher_layer!r} is {wanted[1]}x{wanted[2]}, "
                f"student {self.student_layer!r} {guided[1]}x{guided[2]}; regressor='pooled' can"
            )
        return nn.Conv2d(guided[0], wanted[0], (guided[1] - wanted[1] + 1, guided[2] - wanted[2] + 1))

    def macs(self, guided: tuple[int, ...], wanted: tuple[int, ...]) -> int:
        """Multiply-accumulates of the regressor for one example."""
        with torch.device("meta"):
            regressor = self.regressor(guided, wanted)
        weights = sum(parameter.numel() for parameter in regressor.parameters() if parameter.ndim > 1)
        if len(guided) == 1:
            return weights
        return weights * min(guided[1], wanted[1]) * min(guided[2], wanted[2])

    def meet(self, regressor: nn.Module, guided_B: Tensor, wanted_B: Tensor) -> tuple[Tensor, Tensor]:
        """Both features in one shape: the regressor applied, for the pooled one after averaging the larger map."""
        if self.kind != "pooled" or guided_B.ndim != 4:
            return regressor(guided_B), wanted_B
        size = (min(guided_B.shape[2], wanted_B.shape[2]), min(guided_B.shape[3], wanted_B.shape[3]))
        regressed_B = regressor(functional.adaptive_avg_pool2d(guided_B, size))
        return regressed_B, functional.adaptive_avg_pool2d(wanted_B, size)
