"""Student architectures: one family per file, each a frozen dataclass with `build(in_shape, classes)`."""

from kdsearch.students.base import Student, count_parameters, on_meta
from kdsearch.students.convnet import ConvNet
from kdsearch.students.maxout import MaxoutNet
from kdsearch.students.mlp import MLP
from kdsearch.students.resnet import ResNet

# what a saved student may name: `load` looks a family up here and never imports one
FAMILIES: dict[str, type] = {family.__name__: family for family in (ConvNet, MaxoutNet, MLP, ResNet)}

__all__ = ["FAMILIES", "MLP", "ConvNet", "MaxoutNet", "ResNet", "Student", "count_parameters", "on_meta"]
