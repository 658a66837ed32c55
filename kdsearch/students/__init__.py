"""Student architectures: one family per file, each a frozen dataclass with `build(in_shape, classes)`."""

from kdsearch.students.base import Student, count_parameters, on_meta
from kdsearch.students.convnet import ConvNet
from kdsearch.students.maxout import MaxoutNet
from kdsearch.students.mlp import MLP
from kdsearch.students.mobilenet import MobileNet
from kdsearch.students.resnet import ResNet
from kdsearch.students.text import TextConvNet, TextTransformer
from kdsearch.students.vit import ViT

# what a saved student may name: `load` looks a family up here and never imports one
FAMILIES: dict[str, type] = {
    family.__name__: family
    for family in (ConvNet, MaxoutNet, MLP, MobileNet, ResNet, TextConvNet, TextTransformer, ViT)
}

__all__ = [
    "FAMILIES",
    "MLP",
    "ConvNet",
    "MaxoutNet",
    "MobileNet",
    "ResNet",
    "Student",
    "TextConvNet",
    "TextTransformer",
    "ViT",
    "count_parameters",
    "on_meta",
]
