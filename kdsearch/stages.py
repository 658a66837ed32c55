"""The stages of a distillation: `Hints` and `Pretrain` initialize the student, `Distil` teaches it.

Shape letters: B batch, K classes, C channels, H height, W width, F features.
A stage is a value; `begin` binds it to a student, the views it sees and the teacher's signals of these (run live in
every step with `live`, else looked up), and gives what `fit` trains and the loss of a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdsearch.data.views import Views
from kdsearch.layers import find_layer, forward_to, layer_names, layer_shapes, nearest_layer
from kdsearch.losses import hard_labels, hint, soft_targets
from kdsearch.mistakes import Mistake, user_code
from kdsearch.seeds import derive
from kdsearch.signals import Signals
from kdsearch.training import BatchLoss

_REGRESSORS = ("conv", "pooled")


class ImpossibleError(Exception):
    """A recipe that cannot work; the driver screens it, with this reason, before any training."""


@dataclass(frozen=True)
class Work:
    """What `fit` needs of a stage: the module to train (the student itself or with a helper) and the batch's loss."""

    module: nn.Module
    loss: BatchLoss
    scores_classes: bool
    """Whether the student's outputs are trained in this stage, so that its accuracy means something."""


@dataclass(frozen=True, kw_only=True)
class Hints:
    """FitNets' first stage (arXiv:1412.6550, section 2.2): the student up to `student_layer` and a regressor learn the
    teacher's features at `teacher_layer` (of ensemble member `member`) for `epochs`; nothing above that layer changes,
    and the regressor is thrown away.

    A layer is a dotted path, or a relative position in (0, 1] (0.5: the middle, as in the paper) that stands for the
    nearest of the network's named layers: Optuna's choices must not change between trials, names would.

    `regressor="conv"` is the paper's: a convolution without padding whose kernel is N_guided - N_hint + 1 in each
    direction, a linear layer for flat features, nothing where the shapes are already equal; impossible where the
    teacher's map is larger. `"pooled"` averages the larger map to the smaller one's size and joins the channels by a
    1x1 convolution: much cheaper where the gap is big, and possible in both directions.
    """

    epochs: int
    teacher_layer: str | float = 0.5
    student_layer: str | float = 0.5
    regressor: Literal["conv", "pooled"] = "conv"
    member: int = 0
    name: ClassVar[str] = "hints"

    def __post_init__(self) -> None:
        _whole_epochs("Hints", self.epochs)
        if self.regressor not in _REGRESSORS:
            raise Mistake(f"regressor must be one of {', '.join(_REGRESSORS)}, got {self.regressor!r}")
        for name in ("teacher_layer", "student_layer"):
            layer = getattr(self, name)
            if not isinstance(layer, str) and not (isinstance(layer, (int, float)) and 0 < layer <= 1):
                raise Mistake(f"{name} must be a layer's dotted path or a relative position in (0, 1], got {layer!r}")

    def located(self, student: nn.Module, teacher: nn.Module) -> "Hints":
        """The same with both layers named. Raises `Mistake` for a name that does not exist, with those that do."""
        named = {}
        for owner, module, layer in (
            ("teacher", teacher, self.teacher_layer),
            ("student", student, self.student_layer),
        ):
            path = layer if isinstance(layer, str) else nearest_layer(layer, layer_names(module))
            find_layer(module, path, owner)
            named[f"{owner}_layer"] = path
        return replace(self, teacher_layer=named["teacher_layer"], student_layer=named["student_layer"])

    def begin(self, student: nn.Module, views: Views, signals: Signals, seed: int, *, live: bool = False) -> Work:
        hinting, guided_path = self._paths()
        features = signals.features(views, hinting, self.member, epochs=self.epochs, live=live)
        guided = layer_shapes(student, [guided_path], views.data.shape)[guided_path]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "regressor"))
            regressor = self.regressor_between(guided, features.shape)

        def loss(index_B: Tensor, epoch: int) -> dict[str, Tensor]:
            batch = views.batch(index_B, views.at(epoch))
            guided_B = forward_to(student, guided_path, batch.inputs_B)
            term = hint(*_meet(regressor, guided_B, features(batch).float(), pooled=self.regressor == "pooled"))
            return {"loss": term, "hint": term}

        trained = nn.ModuleDict({"student": student, "regressor": regressor})
        return Work(module=trained, loss=loss, scores_classes=False)

    def _paths(self) -> tuple[str, str]:
        if not isinstance(self.teacher_layer, str) or not isinstance(self.student_layer, str):
            raise TypeError("hints with relative layers must be located first")
        return self.teacher_layer, self.student_layer

    def regressor_between(self, guided: tuple[int, ...], wanted: tuple[int, ...]) -> nn.Module:
        """A regressor from the student's feature shape to the teacher's, both without batch: (C, H, W) or (F,).

        Raises `ImpossibleError` with the shapes where there is none.
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
        if self.regressor == "pooled":
            return nn.Conv2d(guided[0], wanted[0], 1)
        if wanted[1] > guided[1] or wanted[2] > guided[2]:
            raise ImpossibleError(
                f"FitNets' regressor cannot enlarge a map: teacher {self.teacher_layer!r} is {wanted[1]}x{wanted[2]}, "
                f"student {self.student_layer!r} {guided[1]}x{guided[2]}; regressor='pooled' can"
            )
        return nn.Conv2d(guided[0], wanted[0], (guided[1] - wanted[1] + 1, guided[2] - wanted[2] + 1))

    def regressor_macs(self, guided: tuple[int, ...], wanted: tuple[int, ...]) -> int:
        """Multiply-accumulates of the regressor for one example."""
        with torch.device("meta"):
            regressor = self.regressor_between(guided, wanted)
        weights = sum(parameter.numel() for parameter in regressor.parameters() if parameter.ndim > 1)
        if len(guided) == 1:
            return weights
        smaller = (min(guided[1], wanted[1]), min(guided[2], wanted[2]))
        return weights * smaller[0] * smaller[1]

    def check(self, student: nn.Module, teacher: nn.Module, in_shape: tuple[int, ...], limit_macs: int) -> None:
        """Raise `ImpossibleError` where no regressor within `limit_macs` joins the two (named) layers."""
        hinting, guided_path = self._paths()
        with user_code("the teacher's forward pass"):
            wanted = layer_shapes(teacher, [hinting], in_shape)[hinting]
        with user_code("the student's forward pass"):
            guided = layer_shapes(student, [guided_path], in_shape)[guided_path]
        macs = self.regressor_macs(guided, wanted)
        if macs > limit_macs:
            raise ImpossibleError(
                f"the hint regressor from {guided} to {wanted} costs {macs:,} macs an example, above the study's limit "
                f"of {limit_macs:,} (max_regressor_macs); regressor='pooled' is cheaper"
            )


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Wang, Lan, Zhang 2017 (arXiv:1709.02929): the whole student learns the labels by cross-entropy for `epochs`."""

    epochs: int
    name: ClassVar[str] = "pretrain"

    def __post_init__(self) -> None:
        _whole_epochs("Pretrain", self.epochs)

    def begin(self, student: nn.Module, views: Views, signals: Signals, seed: int, *, live: bool = False) -> Work:
        del signals, seed, live

        def loss(index_B: Tensor, epoch: int) -> dict[str, Tensor]:
            batch = views.batch(index_B, views.at(epoch))
            term = hard_labels(student(batch.inputs_B), *batch.targets)
            return {"loss": term, "hard": term}

        return Work(module=student, loss=loss, scores_classes=True)


@dataclass(frozen=True, kw_only=True)
class Distil:
    """Hinton, Vinyals, Dean 2015 (arXiv:1503.02531): (1 - alpha) * cross-entropy + alpha * T^2 * KL(teacher||student).

    `temperature` > 0; `alpha` in [0, 1] is the weight of the soft term.
    """

    temperature: float = 4.0
    alpha: float = 0.9
    name: ClassVar[str] = "distil"

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise Mistake(f"temperature must be above 0, got {self.temperature}; 1 leaves the distribution as it is")
        if not 0 <= self.alpha <= 1:
            raise Mistake(
                f"alpha must be in [0, 1], got {self.alpha}; it weighs the soft (teacher) term, 1 - alpha the labels"
            )

    def begin(self, student: nn.Module, views: Views, signals: Signals, seed: int, *, live: bool = False) -> Work:
        del seed
        teacher_MBK = signals.logits(views, live=live)

        def loss(index_B: Tensor, epoch: int) -> dict[str, Tensor]:
            batch = views.batch(index_B, views.at(epoch))
            student_BK = student(batch.inputs_B)
            hard = hard_labels(student_BK, *batch.targets)
            soft = soft_targets(student_BK, teacher_MBK(batch), self.temperature)
            return {"loss": (1 - self.alpha) * hard + self.alpha * soft, "hard": hard, "soft": soft}

        return Work(module=student, loss=loss, scores_classes=True)


Start = Hints | Pretrain
"""How a student's weights are initialized; None leaves them random."""


def _meet(
    regressor: Callable[[Tensor], Tensor], guided_B: Tensor, wanted_B: Tensor, *, pooled: bool
) -> tuple[Tensor, Tensor]:
    """Both features in one shape: the regressor applied, for the pooled one after averaging the larger map."""
    if not pooled or guided_B.ndim != 4:
        return regressor(guided_B), wanted_B
    size = (min(guided_B.shape[2], wanted_B.shape[2]), min(guided_B.shape[3], wanted_B.shape[3]))
    regressed_B = regressor(functional.adaptive_avg_pool2d(guided_B, size))
    return regressed_B, functional.adaptive_avg_pool2d(wanted_B, size)


def _whole_epochs(owner: str, epochs: int) -> None:
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise Mistake(f"{owner}: epochs must be a whole number of at least 1, got {epochs!r}; start=None for no start")
