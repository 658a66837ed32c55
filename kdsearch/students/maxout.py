"""Maxout nets (Goodfellow et al. 2013, arXiv:1302.4389), and those of FitNets (Romero et al. 2015, arXiv:1412.6550).

Shape letters: B batch, C channels, P pieces, H height, W width.
Left out: the papers' bounds on the norm of each kernel, and their uniform start of +-0.005, which needs them. Weights
start so that the second moment of the activations is kept from layer to layer, which is what lets nets of seventeen
layers without batch norm learn by `Optim` at all.
"""

from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from itertools import pairwise
from statistics import NormalDist

from torch import Tensor, nn
from torch.nn import functional

from kdsearch.mistakes import Mistake
from kdsearch.plain import is_number
from kdsearch.students.base import at_least_one, needs_image, whole
from kdsearch.students.narrow import BatchNorm, Convolution


class MaxoutConvolution(nn.Module):
    """The maximum over P convolutions, each with a bias: (B, C, H, W) to (B, channels, ...).

    With `batch_norm` each piece is normalized before the maximum (Chang, Chen 2015, arXiv:1511.02583), so that no
    piece of a unit is left unused; the convolutions then have no bias of their own.
    """

    def __init__(
        self, in_channels: int, channels: int, *, kernel: int, padding: int, pieces: int, batch_norm: bool
    ) -> None:
        super().__init__()
        self.pieces = pieces
        self.conv = Convolution(in_channels, channels * pieces, kernel, padding=padding, bias=not batch_norm)
        self.norm = BatchNorm(channels * pieces) if batch_norm else nn.Identity()
        _keep_moment(self.conv, pieces)

    def forward(self, inputs: Tensor) -> Tensor:
        return largest(self.norm(self.conv(inputs)), self.pieces)


class MaxoutLinear(nn.Module):
    """The maximum over P linear maps, each with a bias: (B, F) to (B, units)."""

    def __init__(self, features: int, units: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(features, units * pieces)
        _keep_moment(self.linear, pieces)

    def forward(self, inputs: Tensor) -> Tensor:
        return largest(self.linear(inputs), self.pieces)


@dataclass(frozen=True, kw_only=True)
class MaxoutNet:
    """Maxout convolutions of `channels`, one block each (layers `block1` ... `blockD`), and a linear classifier on all
    of the last map, after a maxout layer of `units` where these are not 0.

    `kernels`, `paddings` (None: kernel // 2), `pools` (windows of max pooling after the block; 1: none, 0: the whole
    map) and `strides` (None: the window) are one number for all blocks or a tuple with one for each. Pooling keeps
    partial windows at the border, and a window larger than the map is the whole map. Every unit is the maximum of
    `pieces`. `dropout` is the share of each block's inputs, the image excepted, that is left out in training.

    The papers' nets have no batch norm; `replace(FITNET_1, batch_norm=True)` does, for two weights a piece. A space
    samples `MaxoutNet.thin(width=..., depth=...)`.
    """

    channels: tuple[int, ...]
    kernels: int | tuple[int, ...] = 3
    paddings: int | tuple[int, ...] | None = None
    pools: int | tuple[int, ...] = 1
    strides: int | tuple[int, ...] | None = None
    pieces: int = 2
    units: int = 0
    batch_norm: bool = False
    dropout: float = 0.0

    @classmethod
    def thin(
        cls,
        *,
        width: int,
        depth: int,
        pieces: int = 2,
        units: int = 0,
        batch_norm: bool = True,
        dropout: float = 0.0,
    ) -> "MaxoutNet":
        """`depth` >= 1 blocks of 3x3 kernels in three stages of `width`, 2 `width` and 4 `width` channels, as in the
        nets of FitNets' Table 5; the map is halved after each of the first two and pooled whole after the last.
        """
        at_least_one("MaxoutNet", width=width, depth=depth)
        stages = [stage for stage in range(3) for _ in range((depth + 2 - stage) // 3)]
        pools = (*(1 if stage == following else 2 for stage, following in pairwise(stages)), 0)
        return cls(
            channels=tuple(width * 2**stage for stage in stages),
            pools=pools,
            pieces=pieces,
            units=units,
            batch_norm=batch_norm,
            dropout=dropout,
        )

    def __post_init__(self) -> None:
        if not isinstance(self.channels, tuple) or not self.channels:
            raise Mistake(f"MaxoutNet: channels must be a tuple of one number a block, got {self.channels!r}")
        for name, least in (("channels", 1), ("kernels", 1), ("strides", 1), ("paddings", 0), ("pools", 0)):
            for value in self._each(name) if getattr(self, name) is not None else ():
                whole("MaxoutNet", least, **{name: value})
        whole("MaxoutNet", 1, pieces=self.pieces)
        whole("MaxoutNet", 0, units=self.units)
        if not is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise Mistake(f"MaxoutNet: dropout must be in [0, 1), got {self.dropout!r}")

    def build(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, height, width = needs_image("MaxoutNet", in_shape)
        kernels, pools = self._each("kernels"), self._each("pools")
        paddings = [kernel // 2 for kernel in kernels] if self.paddings is None else self._each("paddings")
        strides = [max(1, pool) for pool in pools] if self.strides is None else self._each("strides")
        network = nn.Sequential()
        for block, out in enumerate(self.channels):
            kernel, padding, pool = kernels[block], paddings[block], _Pool(pools[block], strides[block])
            size = [side + 2 * padding - kernel + 1 for side in (height, width)]
            if min(size) < 1:
                raise Mistake(
                    f"MaxoutNet: block {block + 1} has a kernel of {kernel} on a map of {height}x{width} with a "
                    f"padding of {padding}; take images larger than {in_shape[1]}x{in_shape[2]}, smaller kernels or "
                    "less pooling"
                )
            maxout = MaxoutConvolution(
                channels, out, kernel=kernel, padding=padding, pieces=self.pieces, batch_norm=self.batch_norm
            )
            network.add_module(f"block{block + 1}", nn.Sequential(*self._dropped(block > 0), maxout, pool))
            channels, height, width = out, pool.after(size[0]), pool.after(size[1])
        network.add_module("classifier", self._classifier(channels * height * width, classes))
        return network

    def _classifier(self, features: int, classes: int) -> nn.Module:
        layers: list[nn.Module] = [*self._dropped(True), nn.Flatten()]
        if self.units:
            layers += [MaxoutLinear(features, self.units, self.pieces), *self._dropped(True)]
        return nn.Sequential(*layers, nn.Linear(self.units or features, classes))

    def _dropped(self, wanted: bool) -> list[nn.Module]:
        return [nn.Dropout(self.dropout)] if wanted and self.dropout else []

    def _each(self, name: str) -> tuple[int, ...]:
        """A field's values, one a block."""
        given = getattr(self, name)
        values = given if isinstance(given, tuple) else (given,) * len(self.channels)
        if len(values) != len(self.channels):
            raise Mistake(
                f"MaxoutNet: {name} must be one number or one for each of the {len(self.channels)} channels, "
                f"got {len(values)}: {values}"
            )
        return values


class _Pool(nn.Module):
    """Max pooling that keeps partial windows at the border; a window of 0 or larger than the map is the whole map."""

    def __init__(self, window: int, stride: int) -> None:
        super().__init__()
        self.window, self.stride = window, stride

    def forward(self, inputs: Tensor) -> Tensor:
        if self.window == self.stride == 1:
            return inputs
        window = (self._of(inputs.shape[2]), self._of(inputs.shape[3]))
        return functional.max_pool2d(inputs, window, self.stride, ceil_mode=True)

    def after(self, side: int) -> int:
        """The side of what a map of this side becomes."""
        return -(-(side - self._of(side)) // self.stride) + 1

    def _of(self, side: int) -> int:
        return min(self.window or side, side)

    def extra_repr(self) -> str:
        return f"window={self.window}, stride={self.stride}"


def largest(inputs: Tensor, pieces: int) -> Tensor:
    """The maximum over P pieces: (B, P * C, ...) to (B, C, ...), channel c of piece p at p * C + c.

    As sums of rectified differences, up to rounding the same: on a CPU in two thirds of `torch.maximum`'s time. Where
    pieces are equal the gradient goes to the later one.
    """
    return reduce(lambda one, other: other + functional.relu(one - other), inputs.chunk(pieces, 1))


def _keep_moment(layer: nn.Conv2d | nn.Linear, pieces: int) -> None:
    """Weights that give outputs, after the maximum, the inputs' second moment; biases of 0."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=(fan_in * _moment(pieces)) ** -0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


@lru_cache
def _moment(pieces: int) -> float:
    """E[max^2] of so many independent standard normal numbers: 1, 1, 1.2757, 1.5513, 1.8000, ..."""
    normal, step = NormalDist(), 0.01
    places = (step * k for k in range(-800, 801))
    return sum(x * x * pieces * normal.pdf(x) * normal.cdf(x) ** (pieces - 1) for x in places) * step


MNIST_TEACHER = MaxoutNet(channels=(48, 48, 24), kernels=(8, 8, 5), paddings=(0, 3, 3), pools=(4, 4, 2), strides=2)
"""Goodfellow et al. 2013, section 5.1.2, FitNets' teacher: 360,816 weights without biases."""

MNIST_STUDENT = MaxoutNet(
    channels=(16, 16, 16, 16, 12, 12),
    kernels=(5, 3, 5, 3, 3, 3),
    paddings=(0, 0, 3, 0, 3, 0),
    pools=(1, 4, 1, 4, 1, 2),
    strides=(1, 2, 1, 2, 1, 2),
)
"""FitNets, section 3.3 and the authors' published settings: 29,944 weights without biases."""

FITNET_1 = MaxoutNet(channels=(16,) * 3 + (32,) * 3 + (48, 48, 64), pools=(1, 1, 2) * 2 + (1, 1, 8), units=500)
"""FitNets, Table 5, for CIFAR-10: 249,576 weights without biases."""

FITNET_2 = replace(FITNET_1, channels=(16, 32, 32, 48, 64, 80, 96, 96, 128))
"""FitNets, Table 5: 861,928 weights without biases."""

FITNET_4 = MaxoutNet(
    channels=(32,) * 3 + (48,) * 2 + (80,) * 6 + (128,) * 6,
    pools=(1, 1, 1, 1, 2) + (1,) * 5 + (2,) + (1,) * 5 + (8,),
    units=500,
)
"""FitNets, Table 5: 2,544,712 weights without biases."""
