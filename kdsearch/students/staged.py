"""What the nets of three stages have in common: a stem, blocks that halve the map between stages, one linear layer."""

from collections.abc import Callable

from torch import nn

from kdsearch.students.narrow import BatchNorm, Convolution

Block = Callable[[int, int, int], nn.Module]
"""From channels in, channels out and stride to a block."""


def staged(channels: int, width: int, depth: int, classes: int, block: Block) -> nn.Module:
    """`stem`, `block1` ... `blockD` over stages of `width`, 2 `width` and 4 `width` channels, spread evenly, earlier
    stages first; the first block of the second and the third has stride 2. Then global average pooling and
    `classifier`.
    """
    network = nn.Sequential()
    network.add_module("stem", nn.Sequential(*normed(Convolution(channels, width, 3, padding=1, bias=False))))
    channels, number = width, 0
    for stage in range(3):
        out = width * 2**stage
        for position in range((depth + 2 - stage) // 3):
            number += 1
            network.add_module(f"block{number}", block(channels, out, 2 if stage > 0 and position == 0 else 1))
            channels = out
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    network.add_module("classifier", head)
    return network


def normed(convolution: Convolution) -> list[nn.Module]:
    """A convolution with batch norm and ReLU behind it."""
    return [convolution, BatchNorm(convolution.out_channels), nn.ReLU()]
