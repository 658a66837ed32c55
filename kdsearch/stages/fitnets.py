"""FitNets' own second stage."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from kdsearch.data.views import Views
from kdsearch.losses import hard_labels, soft_cross_entropy
from kdsearch.signals import Signals
from kdsearch.stages.base import Work, check_temperature, check_weight


@dataclass(frozen=True, kw_only=True)
class FitNetsDistil:
    """FitNets' second stage (arXiv:1412.6550, Eq. 2): cross-entropy + lambda * H(teacher_T, student_T), without T^2.

    Lambda falls linearly from `first_weight` in the stage's first epoch to `last_weight` in its last (a stage of one
    epoch has their mean), so that labels count for more and more: there is no alpha. The defaults are the paper's.
    """

    temperature: float = 3.0
    first_weight: float = 4.0
    last_weight: float = 1.0
    name: ClassVar[str] = "distil"

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weight("first_weight", self.first_weight)
        check_weight("last_weight", self.last_weight)

    def weight_at(self, epoch: int, epochs: int) -> float:
        """Lambda in `epoch`, from 0, of a stage of `epochs`."""
        share = epoch / (epochs - 1) if epochs > 1 else 0.5
        return self.first_weight + (self.last_weight - self.first_weight) * share

    def begin(
        self, student: nn.Module, views: Views, signals: Signals, seed: int, *, epochs: int, live: bool = False
    ) -> Work:
        del seed
        teacher_MBK = signals.logits(views, live=live)
        votes_M = signals.votes

        def loss(index_B: Tensor, epoch: int) -> dict[str, Tensor]:
            batch = views.batch(index_B, views.at(epoch))
            student_BK = student(batch.inputs_B)
            hard = hard_labels(student_BK, *batch.targets)
            soft = soft_cross_entropy(student_BK, teacher_MBK(batch), self.temperature, votes_M)
            weight = self.weight_at(epoch, epochs)
            return {"loss": hard + weight * soft, "hard": hard, "soft": soft, "soft_weight": soft.new_tensor(weight)}

        return Work(module=student, loss=loss, scores_classes=True)

    def described(self) -> dict[str, str | int | float | bool]:
        """For tables: `soft_weight` is lambda's mean over the stage; no alpha, as the weights do not sum to 1."""
        return {
            "loss": "fitnets",
            "temperature": self.temperature,
            "first_weight": self.first_weight,
            "last_weight": self.last_weight,
            "soft_weight": (self.first_weight + self.last_weight) / 2,
            "hard_weight": 1.0,
        }
