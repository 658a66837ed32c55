"""Layers for maps of few channels on a CPU: torch's own by name, parameters and result, in less time.

Shape letters: B batch, C channels, H height, W width.
Activations are channels_last: with a handful of channels oneDNN's convolutions take up to five times as long on
contiguous ones, most of it in the backward pass. torch's batch norm in turn goes pixel by pixel in channels_last, which
is slow where a pixel is a few numbers; here each step of it is one vector operation over many pixels. Weights stay
contiguous, so that files, optimizers and states need not know of any of this.

Left out: max pooling in the same manner, which was no faster than torch's.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_LANES = 64
"""Numbers side by side in a vector operation, at least, where the map's size allows it."""
_NARROW = 8
"""Below so many channels torch's own batch norm is the slower one."""


class Convolution(nn.Conv2d):
    """`nn.Conv2d` that takes (B, C, H, W) in any layout and gives channels_last."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(_channels_last(inputs))

    def _get_name(self) -> str:
        return "Conv2d"  # a network's description is part of a teacher's key


class BatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d(channels)`; in training on a CPU and for few channels by vector operations."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, inputs: Tensor) -> Tensor:
        if not self._vectorized(inputs):
            return super().forward(inputs)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        count = inputs.numel() // self.num_features
        found = _Normalization.apply(_channels_last(inputs), self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        output, mean, variance = found
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        normalized: Tensor = output
        return normalized

    def _get_name(self) -> str:
        return "BatchNorm2d"

    def _vectorized(self, inputs: Tensor) -> bool:
        return (
            self.training
            and self.num_features < _NARROW
            and inputs.device.type == "cpu"
            and inputs.dtype == self.weight.dtype
            and inputs.numel() > self.num_features  # torch's refuses a single value per channel
        )


class _Normalization(torch.autograd.Function):
    """Batch normalization (Ioffe, Szegedy 2015, arXiv:1502.03167, algorithm 1) of channels_last (B, C, H, W).

    Gives the output and the batch's mean and biased variance, (C,), which get no gradient.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        rows, output = _rows(inputs), torch.empty_like(inputs)
        work = _rows(output)  # one buffer for all that follows: what it touches stays in the processor's cache
        count = inputs.numel() // len(weight)
        mean = _summed(rows, len(weight)) / count
        torch.sub(rows, _spread(mean, rows), out=work)
        variance = _summed(work.mul_(work), len(weight)) / count
        inverse = (variance + eps).rsqrt()
        scale = weight * inverse
        torch.addcmul(_spread(bias - mean * scale, rows), rows, _spread(scale, rows), out=work)
        ctx.save_for_backward(inputs, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return output, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_statistics: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """The paper's section 3, gathered into input_grad = scale * grad + slope * input + level."""
        inputs, weight, mean, inverse = ctx.saved_tensors
        rows, grads, input_grad = _rows(inputs), _rows(_channels_last(grad)), torch.empty_like(inputs)
        work = _rows(input_grad)
        count = inputs.numel() // len(weight)
        torch.sub(rows, _spread(mean, rows), out=work)
        weight_grad = inverse * _summed(work.mul_(grads), len(weight))
        bias_grad = _summed(grads, len(weight))
        scale = weight * inverse
        slope = -scale * inverse * weight_grad / count
        level = -scale * bias_grad / count - slope * mean
        torch.addcmul(_spread(level, rows), rows, _spread(slope, rows), out=work)
        work.addcmul_(grads, _spread(scale, rows))
        return input_grad, weight_grad, bias_grad, None


def _channels_last(image: Tensor) -> Tensor:
    """(B, C, H, W) with the strides of channels_last, also for one channel, where torch sees no difference.

    An exported program has the plain network: its runtime chooses its own layout.
    """
    if torch.compiler.is_exporting():
        return image
    batch, channels, height, width = image.shape
    if channels == 1:
        return image.reshape(batch, height, width, 1).permute(0, 3, 1, 2)
    return image.contiguous(memory_format=torch.channels_last)


def _rows(image: Tensor) -> Tensor:
    """Channels_last (B, C, H, W) as a matrix whose rows hold whole pixels, `_LANES` numbers or more where that fits."""
    lanes = image.shape[1]
    while lanes < _LANES and image.numel() % (2 * lanes) == 0:
        lanes *= 2
    return image.permute(0, 2, 3, 1).view(-1, lanes)


def _spread(values_C: Tensor, rows: Tensor) -> Tensor:
    """One value a channel, repeated along the lanes of `rows`."""
    return values_C.repeat(rows.shape[1] // len(values_C))


def _summed(rows: Tensor, channels: int) -> Tensor:
    """Sum per channel, (C,)."""
    return rows.sum(0).view(-1, channels).sum(0)
