"""Every family of students as tests make it: from a width and a depth, with the inputs that it takes."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from kdsearch.students import MLP, ConvNet, MaxoutNet, MobileNet, ResNet, Student, TextConvNet, TextTransformer, ViT

VOCABULARY = 11
IMAGE, CLASSES = (3, 12, 10), 7
EVERY_FAMILY: dict[str, Callable[..., Student]] = {
    "ConvNet": ConvNet,
    "MaxoutNet": MaxoutNet.thin,
    "MLP": MLP,
    "MobileNet": MobileNet,
    "ResNet": ResNet,
    "TextConvNet": partial(TextConvNet, vocabulary=VOCABULARY),
    "TextTransformer": partial(TextTransformer, vocabulary=VOCABULARY, heads=1),
    "ViT": partial(ViT, heads=1, patch=1),
}


def shape_for(family: str, image: tuple[int, int, int] = IMAGE) -> tuple[int, ...]:
    """An input's shape: the image's, or for text as many tokens as it is high."""
    return image[1:2] if family.startswith("Text") else image


def examples(family: str, shape: tuple[int, ...], count: int) -> Tensor:
    if family.startswith("Text"):
        return torch.randint(0, VOCABULARY, (count, *shape))
    return torch.randn(count, *shape)
