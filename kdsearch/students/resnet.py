"""CIFAR-style residual net (He, Zhang, Ren, Sun 2016, arXiv:1512.03385, section 4.2, shortcuts of option A)."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from kdsearch.students.base import at_least_one, needs_image
from kdsearch.students.narrow import BatchNorm, Convolution
from kdsearch.students.staged import staged


class _Residual(nn.Module):
    """Two 3x3 convolutions and a parameter-free shortcut: every second pixel, missing channels filled with zeros."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.missing = out - channels
        self.conv1 = Convolution(channels, out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = BatchNorm(out)
        self.conv2 = Convolution(out, out, 3, padding=1, bias=False)
        self.norm2 = BatchNorm(out)

    def forward(self, inputs: Tensor) -> Tensor:
        shortcut = inputs[:, :, :: self.stride, :: self.stride]
        shortcut = functional.pad(shortcut, (0, 0, 0, 0, 0, self.missing))
        residual = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(inputs)))))
        return functional.relu(residual + shortcut)


@dataclass(frozen=True, kw_only=True)
class ResNet:
    """`depth` >= 1 residual blocks over three stages of `width`, 2 `width` and 4 `width` channels; layers `stem`,
    `block1` ... `blockD`.

    Blocks are spread evenly, earlier stages first. `ResNet(width=16, depth=9)` is the paper's ResNet-20; in general
    `depth=3n` is its (6n+2)-layer net. With fewer than three blocks the later stages are left out.
    """

    width: int
    depth: int

    def __post_init__(self) -> None:
        at_least_one("ResNet", width=self.width, depth=self.depth)

    def build(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, _, _ = needs_image("ResNet", in_shape)
        return staged(channels, self.width, self.depth, classes, _Residual)
