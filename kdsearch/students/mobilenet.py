"""Depthwise-separable net (Howard et al. 2017, MobileNets, arXiv:1704.04861, section 3.1) for small images.

Left out: the paper's first halving of the image, which small images do without, and its two multipliers (`width` is
one).
"""

from dataclasses import dataclass

from torch import nn

from kdsearch.students.base import at_least_one, needs_image
from kdsearch.students.narrow import Convolution
from kdsearch.students.staged import normed, staged


@dataclass(frozen=True, kw_only=True)
class MobileNet:
    """`depth` >= 1 depthwise-separable blocks over three stages of `width`, 2 `width` and 4 `width` channels; layers
    `stem`, `block1` ... `blockD`.

    A block filters each channel by its own 3x3 kernel, then joins the channels by a 1x1 convolution, each with batch
    norm and ReLU: 9 C + C C' weights where a full convolution has 9 C C'. The first block of the second and of the
    third stage halves the map. Blocks are spread evenly, earlier stages first, as in `ResNet`.
    """

    width: int
    depth: int

    def __post_init__(self) -> None:
        at_least_one("MobileNet", width=self.width, depth=self.depth)

    def build(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, _, _ = needs_image("MobileNet", in_shape)
        return staged(channels, self.width, self.depth, classes, _separable)


def _separable(channels: int, out: int, stride: int) -> nn.Module:
    depthwise = Convolution(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
    return nn.Sequential(*normed(depthwise), *normed(Convolution(channels, out, 1, bias=False)))
