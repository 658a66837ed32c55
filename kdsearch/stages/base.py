"""What all stages share: what `fit` needs of one, and what its fields must be."""

import math
from dataclasses import dataclass
from typing import TypeGuard

from torch import nn

from kdsearch.layers import find_layer, layer_names, nearest_layer
from kdsearch.mistakes import Mistake
from kdsearch.plain import is_number
from kdsearch.training import BatchLoss

Layer = str | float
"""A dotted path, or a relative position in (0, 1] that stands for the nearest of a network's named layers: Optuna's
choices must not change between trials, names would.
"""


class ImpossibleError(Exception):
    """A recipe that cannot work; the driver screens it, with this reason, before any training."""


@dataclass(frozen=True)
class Work:
    """What `fit` needs of a stage: the module to train (the student itself or with a helper) and the batch's loss."""

    module: nn.Module
    loss: BatchLoss
    scores_classes: bool
    """Whether the student's outputs are trained in this stage, so that its accuracy means something."""


def check_epochs(owner: str, epochs: object) -> None:
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise Mistake(f"{owner}: epochs must be a whole number of at least 1, got {epochs!r}; start=None for no start")


def check_lr_factor(factor: object) -> None:
    if not is_number(factor) or not 0 < factor < math.inf:
        raise Mistake(
            f"distil_lr_factor must be above 0 and finite, got {factor!r}; the distil stage learns at optim.lr times it"
        )


def check_temperature(temperature: object) -> None:
    if not is_number(temperature) or not 0 < temperature < math.inf:
        raise Mistake(f"temperature must be above 0, got {temperature!r}; 1 leaves the distribution as it is")


def check_weight(name: str, weight: object) -> None:
    if not is_number(weight) or not 0 <= weight < math.inf:
        raise Mistake(f"{name} must be at least 0 and finite, got {weight!r}; it weighs a term of the loss")


def check_layer(name: str, layer: object) -> None:
    if not isinstance(layer, str) and not (is_number(layer) and 0 < layer <= 1):
        raise Mistake(f"{name} must be a layer's dotted path or a relative position in (0, 1], got {layer!r}")


def locate(layer: Layer, module: nn.Module, owner: str) -> str:
    """The dotted path of `layer` in `module`. Raises `Mistake` for one that does not exist, with those that do."""
    path = layer if isinstance(layer, str) else nearest_layer(layer, layer_names(module))
    find_layer(module, path, owner)
    return path


def are_named(layers: tuple[Layer, ...]) -> TypeGuard[tuple[str, ...]]:
    """Whether all layers are paths, as they are once a recipe has been screened."""
    return all(isinstance(layer, str) for layer in layers)
