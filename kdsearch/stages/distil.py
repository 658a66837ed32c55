"""The second stage: hard labels and what the softened teacher says, by the loss of one paper or another.

Shape letters: B batch, K classes, M teachers of an ensemble.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor, nn

from kdsearch.data.views import Batch, Views
from kdsearch.further_losses import attention, decoupled, relations, standardized
from kdsearch.layers import forward_with
from kdsearch.losses import exact, hard_labels, pooled_logits, soft_targets
from kdsearch.mistakes import Mistake
from kdsearch.plain import LATER, is_number
from kdsearch.signals import Signals
from kdsearch.stages.attention import Attention
from kdsearch.stages.base import Layer, Work, check_layer, check_temperature, check_weight
from kdsearch.training import BatchLoss

_Run = Callable[[Batch], tuple[Tensor, Tensor | None]]
_LOSSES = ("kd", "dkd", "dist")
_WEIGHTS = {"beta": ("dkd", 8.0), "inter_class": ("dist", 2.0), "intra_class": ("dist", 2.0)}
"""The weights of a loss's terms: whose they are, and the paper's value."""


@dataclass(frozen=True, kw_only=True)
class Distil:
    """(1 - alpha) * cross-entropy + alpha * soft term, at `temperature` > 0; `alpha` in [0, 1] weighs the soft term.

    The soft term by `loss`:
    `"kd"`: T^2 * KL(teacher||student) (Hinton, Vinyals, Dean 2015, arXiv:1503.02531).
    `"dkd"`: T^2 * (TCKD + `beta` * NCKD), Decoupled KD (arXiv:2203.08679).
    `"dist"`: T^2 * (`inter_class` * (1 - correlation between classes) + `intra_class` * (1 - that within classes)),
    DIST (arXiv:2205.10536).

    `standardize` z-scores both networks' logits first (arXiv:2403.01427). `attention` > 0 adds that weight times the
    distance of the attention maps at `teacher_layer` and `student_layer` (arXiv:1612.03928), dotted paths or relative
    positions, which mean nothing while it is 0. An ensemble stands for one teacher that softens to the mean of its
    members' probabilities; its attention is its first member's.
    """

    temperature: float = 4.0
    alpha: float = 0.9
    loss: Literal["kd", "dkd", "dist"] = field(default="kd", metadata=LATER)
    standardize: bool = field(default=False, metadata=LATER)
    beta: float = field(default=_WEIGHTS["beta"][1], metadata=LATER)
    inter_class: float = field(default=_WEIGHTS["inter_class"][1], metadata=LATER)
    intra_class: float = field(default=_WEIGHTS["intra_class"][1], metadata=LATER)
    attention: float = field(default=0.0, metadata=LATER)
    teacher_layer: Layer = field(default=0.5, metadata=LATER)
    student_layer: Layer = field(default=0.5, metadata=LATER)
    name: ClassVar[str] = "distil"

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not is_number(self.alpha) or not 0 <= self.alpha <= 1:
            raise Mistake(
                f"alpha must be in [0, 1], got {self.alpha!r}; it weighs the soft (teacher) term, 1 - alpha the labels"
            )
        if self.loss not in _LOSSES:
            raise Mistake(f"loss must be one of {', '.join(_LOSSES)}, got {self.loss!r}")
        if not isinstance(self.standardize, bool):
            raise Mistake(f"standardize must be True or False, got {self.standardize!r}")
        for name, (owner, default) in _WEIGHTS.items():
            weight = getattr(self, name)
            check_weight(name, weight)
            if self.loss != owner and weight != default:
                raise Mistake(
                    f"{name} weighs a term of loss={owner!r}, got {name}={weight} with loss={self.loss!r}; "
                    f"sample it only where loss is {owner!r}"
                )
        check_weight("attention", self.attention)
        for name in ("teacher_layer", "student_layer"):
            check_layer(name, getattr(self, name))
            if not self.attention:  # recipes that train alike are one recipe
                object.__setattr__(self, name, 0.5)

    @property
    def joined(self) -> Attention | None:
        """The layers that attention joins, None where it is off."""
        if not self.attention:
            return None
        return Attention(teacher_layer=self.teacher_layer, student_layer=self.student_layer)

    def begin(
        self, student: nn.Module, views: Views, signals: Signals, seed: int, *, epochs: int, live: bool = False
    ) -> Work:
        del seed
        run = self._run(student, views, signals, epochs, live)
        if not self.alpha:
            return Work(module=student, loss=self._without_teacher(run, views), scores_classes=True)
        teacher_MBK = signals.logits(views, live=live)
        votes_M = signals.votes

        def loss(index_B: Tensor, epoch: int) -> dict[str, Tensor]:
            batch = views.batch(index_B, views.at(epoch))
            student_BK, distance = run(batch)
            student_BK = exact(student_BK)
            hard = hard_labels(student_BK, *batch.targets)
            soft, parts = self._soft(student_BK, teacher_MBK(batch), votes_M, batch.targets)
            terms = {"loss": (1 - self.alpha) * hard + self.alpha * soft, "hard": hard, "soft": soft, **parts}
            if distance is not None:
                terms |= {"loss": terms["loss"] + self.attention * distance, "attention": distance}
            return terms

        return Work(module=student, loss=loss, scores_classes=True)

    def _without_teacher(self, run: _Run, views: Views) -> BatchLoss:
        """With alpha = 0 the teacher is not asked at all, or for its attention alone."""

        def loss(index_B: Tensor, epoch: int) -> dict[str, Tensor]:
            batch = views.batch(index_B, views.at(epoch))
            student_BK, distance = run(batch)
            hard = hard_labels(student_BK, *batch.targets)
            if distance is None:
                return {"loss": hard, "hard": hard}
            return {"loss": hard + self.attention * distance, "hard": hard, "attention": distance}

        return loss

    def _soft(
        self, student_BK: Tensor, teacher_MBK: Tensor, votes_M: Tensor | None, targets: tuple[Tensor, ...]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The soft term, and the parts that it is made of where it has some, unweighted."""
        if self.loss == "kd" and not self.standardize:
            return soft_targets(student_BK, teacher_MBK, self.temperature, votes_M), {}
        teacher_BK = pooled_logits(teacher_MBK, self.temperature, votes_M)
        if self.standardize:
            student_BK, teacher_BK = standardized(student_BK), standardized(teacher_BK)
        match self.loss:
            case "kd":
                return soft_targets(student_BK, teacher_BK, self.temperature), {}
            case "dkd":
                target, rest = decoupled(student_BK, teacher_BK, self.temperature, *targets)
                return target + self.beta * rest, {"tckd": target, "nckd": rest}
            case "dist":
                inter, intra = relations(student_BK, teacher_BK, self.temperature)
                parts = {"inter_class": inter, "intra_class": intra}
                return self.inter_class * inter + self.intra_class * intra, parts

    def _run(self, student: nn.Module, views: Views, signals: Signals, epochs: int, live: bool) -> _Run:
        """Gives the student's logits (B, K) and, where attention is on, how far its maps are from the teacher's."""
        if self.joined is None:
            return lambda batch: (student(batch.inputs_B), None)
        hinting, guided = self.joined.paths()
        features = signals.features(views, hinting, self.joined.member, epochs=epochs, live=live)

        def run(batch: Batch) -> tuple[Tensor, Tensor]:
            student_BK, feature_BCHW = forward_with(student, guided, batch.inputs_B)
            return student_BK, attention(feature_BCHW, features(batch).float())

        return run

    def described(self) -> dict[str, str | int | float | bool]:
        """For tables, with both readings of alpha; of what is off by default, only what is on."""
        flat: dict[str, str | int | float | bool] = {
            "loss": self.loss,
            "temperature": self.temperature,
            "alpha": self.alpha,
            "soft_weight": self.alpha,
            "hard_weight": 1 - self.alpha,
        }
        flat |= {name: getattr(self, name) for name, (owner, _) in _WEIGHTS.items() if owner == self.loss}
        if self.standardize:
            flat["standardize"] = True
        if self.attention:
            flat |= {
                "attention": self.attention,
                "attention_teacher_layer": self.teacher_layer,
                "attention_student_layer": self.student_layer,
            }
        return flat
