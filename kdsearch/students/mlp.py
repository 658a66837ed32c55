"""Multi-layer perceptron: `depth` hidden layers of `width` ReLU units."""

from dataclasses import dataclass
from math import prod

from torch import nn

from kdsearch.students.base import at_least_one


@dataclass(frozen=True, kw_only=True)
class MLP:
    """`depth` >= 1 hidden layers of `width` >= 1 units; inputs are flattened. Layers: `hidden1` ... `hiddenD`."""

    width: int
    depth: int

    def __post_init__(self) -> None:
        at_least_one("MLP", width=self.width, depth=self.depth)

    def build(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        network = nn.Sequential()
        features = prod(in_shape)
        for layer in range(1, self.depth + 1):
            flatten = [nn.Flatten()] if layer == 1 else []
            network.add_module(f"hidden{layer}", nn.Sequential(*flatten, nn.Linear(features, self.width), nn.ReLU()))
            features = self.width
        network.add_module("classifier", nn.Linear(features, classes))
        return network
