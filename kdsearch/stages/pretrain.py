"""Wang & Lan's first stage: the whole student learns the labels."""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from kdsearch.data.views import Views
from kdsearch.losses import hard_labels
from kdsearch.plain import LATER
from kdsearch.signals import Signals
from kdsearch.stages.base import Work, check_epochs, check_lr_factor


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Wang, Lan, Zhang 2017 (arXiv:1709.02929): the whole student learns the labels by cross-entropy for `epochs`.

    The distil stage after it learns at `distil_lr_factor` times the recipe's learning rate: the paper's is 0.1.
    """

    epochs: int
    distil_lr_factor: float = field(default=1.0, metadata=LATER)
    name: ClassVar[str] = "pretrain"

    def __post_init__(self) -> None:
        check_epochs("Pretrain", self.epochs)
        check_lr_factor(self.distil_lr_factor)

    def begin(
        self, student: nn.Module, views: Views, signals: Signals, seed: int, *, epochs: int, live: bool = False
    ) -> Work:
        del signals, seed, epochs, live

        def loss(index_B: Tensor, epoch: int) -> dict[str, Tensor]:
            batch = views.batch(index_B, views.at(epoch))
            term = hard_labels(student(batch.inputs_B), *batch.targets)
            return {"loss": term, "hard": term}

        return Work(module=student, loss=loss, scores_classes=True)

    def described(self) -> dict[str, str | int | float | bool]:
        """For tables: nothing beyond the start's name and epochs."""
        return {}
