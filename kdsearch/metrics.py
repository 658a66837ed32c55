"""What is measured of a network: one function, one number.

Shape letters: N examples, K classes.
"""

import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kdsearch.data.base import Data, Split
from kdsearch.students.base import count_parameters

_WATCHED = 2000
"""Validation examples behind the curves' accuracy; a final accuracy is of the whole split."""


def logits(module: nn.Module, data: Data, split: Split, batch_size: int = 128) -> Tensor:
    """Logits (N, K) float32 on the CPU, of `module` in evaluation mode where it is; its mode is put back."""
    training = module.training
    device = next(module.parameters(), torch.empty(0)).device
    module.eval()
    try:
        with torch.inference_mode():
            parts = [module(data.normalize(inputs).to(device)).cpu() for inputs in split.inputs.split(batch_size)]
    finally:
        module.train(training)
    return torch.cat(parts).clone()


def watched_accuracy(module: nn.Module, data: Data) -> dict[str, float]:
    """What a curve shows after an epoch: the accuracy on at most `_WATCHED` validation examples."""
    watched = data.validation.head(_WATCHED)
    return {"validation_accuracy": accuracy(logits(module, data, watched).argmax(1), watched.labels)}


def accuracy(predictions_N: Tensor, labels_N: Tensor) -> float:
    """Share of predicted classes that are right, in [0, 1]."""
    return int((predictions_N == labels_N).sum()) / len(labels_N)


def macro_f1(predictions_N: Tensor, labels_N: Tensor) -> float:
    """Mean over classes of F1, in [0, 1]; a class that is never predicted counts as 0."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels_N.numpy(), predictions_N.numpy(), average="macro", zero_division=0.0))


def parameters(module: nn.Module) -> int:
    """Number of weights, the student's alone."""
    return count_parameters(module)


def macs(module: nn.Module, in_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one example's forward pass, counted by torch's own counter (2 flops each).

    Attention is run in its plain form for it: the counter does not know the CPU's own.
    """
    device = next(module.parameters()).device
    training = module.training
    module.eval()
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            module(torch.zeros(1, *in_shape, device=device))
    finally:
        module.train(training)
    return int(counter.get_total_flops()) // 2


def size_kb(module: nn.Module) -> float:
    """Kilobytes (1,000 bytes) of all weights and buffers as they are stored, without a file's header."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(module)) / 1000


def latency_ms(module: nn.Module, in_shape: tuple[int, ...], repeats: int = 50) -> float:
    """Median milliseconds of a forward pass of one example on this machine, with one thread.

    A measurement: it differs from run to run and rises when the other cores are busy.
    """
    threads = torch.get_num_threads()
    training = module.training
    torch.set_num_threads(1)
    module.eval()
    try:
        with torch.inference_mode():
            example = torch.zeros(1, *in_shape)
            for _ in range(5):
                module(example)
            times = []
            for _ in range(repeats):
                begun = time.perf_counter()
                module(example)
                times.append(1000 * (time.perf_counter() - begun))
    finally:
        module.train(training)
        torch.set_num_threads(threads)
    return statistics.median(times)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
