"""Plain convolutional net: 3x3 convolutions with batch norm and ReLU, global average pooling, one linear layer."""

from dataclasses import dataclass

from torch import nn

from kdsearch.students.base import at_least_one, needs_image
from kdsearch.students.narrow import BatchNorm, Convolution


@dataclass(frozen=True, kw_only=True)
class ConvNet:
    """`depth` >= 1 blocks of 3x3 convolution, batch norm and ReLU; layers `block1` ... `blockD`.

    The first half of the blocks has `width` >= 1 channels, the second twice as many. The map is halved (max pooling)
    in blocks depth // 3 + 1 and 2 * depth // 3 + 1, as long as it has at least two rows and columns, so that depth and
    width can be chosen independently for any image size.
    """

    width: int
    depth: int

    def __post_init__(self) -> None:
        at_least_one("ConvNet", width=self.width, depth=self.depth)

    def build(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, height, width = needs_image("ConvNet", in_shape)
        network = nn.Sequential()
        for block in range(self.depth):
            out = self.width * (2 if block >= self.depth // 2 and self.depth > 1 else 1)
            layers: list[nn.Module] = [
                Convolution(channels, out, 3, padding=1, bias=False),
                BatchNorm(out),
                nn.ReLU(),
            ]
            if block in (self.depth // 3, 2 * self.depth // 3) and min(height, width) >= 2:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            network.add_module(f"block{block + 1}", nn.Sequential(*layers))
            channels = out
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
        network.add_module("classifier", head)
        return network
