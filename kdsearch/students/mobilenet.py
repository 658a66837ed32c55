"""Depthwise-separable net (Howard et al. 2017, MobileNets, arXiv:1704.04861, section 3.1) for small images.

Left out: the paper's first halving of the image, which small images do without, and its two multipliers (`width` is
one).
"""

from dataclasses import dataclass

from torch import nn

from kdsearch.students.base import at_least_one, needs_image
from kdsearch.students.narrow import BatchNorm, Convolution


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
        network = nn.Sequential()
        network.add_module("stem", nn.Sequential(*_normed(Convolution(channels, self.width, 3, padding=1, bias=False))))
        channels, block = self.width, 0
        for stage in range(3):
            out = self.width * 2**stage
            for position in range((self.depth + 2 - stage) // 3):
                block += 1
                stride = 2 if stage > 0 and position == 0 else 1
                network.add_module(f"block{block}", _separable(channels, out, stride))
                channels = out
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
        network.add_module("classifier", head)
        return network


def _separable(channels: int, out: int, stride: int) -> nn.Module:
    depthwise = Convolution(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
    return nn.Sequential(*_normed(depthwise), *_normed(Convolution(channels, out, 1, bias=False)))


def _normed(convolution: Convolution) -> list[nn.Module]:
    return [convolution, BatchNorm(convolution.out_channels), nn.ReLU()]
