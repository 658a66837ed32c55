"""The only optimization loop: optimizer and schedule by name, state that resumes to the bit, divergence named.

Left out: gradient accumulation and "best epoch" selection (a trial's last weights are its weights).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdsearch.mistakes import Mistake
from kdsearch.plain import LATER, is_number
from kdsearch.seeds import derive

Epoch = dict[str, Any]
"""One line of a learning curve: stage, epoch (from 1, within the stage), loss and its terms, lr, seconds, ..."""

# takes the indices (B,) of a batch of training examples and the stage's epoch, from 0; gives the terms of the loss, of
# which "loss" is minimized
BatchLoss = Callable[[Tensor, int], dict[str, Tensor]]

_OPTIMIZERS = ("adam", "adamw", "sgd")
_SCHEDULES = ("constant", "cosine", "linear", "step")
_PRECISIONS = ("fp32", "bf16")


class DivergedError(Exception):
    """The loss became NaN or infinite."""

    def __init__(self, stage: str, epoch: int) -> None:
        super().__init__(f"diverged: the loss of stage {stage!r} was not finite in its epoch {epoch}; lower the lr")
        self.stage = stage
        self.epoch = epoch


class StopRequestedError(Exception):
    """The user asked to stop in the middle of a training, which is kept up to there."""


@dataclass(frozen=True, kw_only=True)
class Optim:
    """How to optimize: `name` adam, adamw or sgd; `lr` > 0 at its peak; `schedule` of the learning rate over the epochs
    of its stage (constant; cosine or linear to zero; step: a tenth after half and a hundredth after three quarters),
    after `warmup_epochs` of linear rise. `momentum` is sgd's alone.

    `precision` "bf16" runs convolutions and matrix products in bfloat16 (torch's autocast; weights, losses and all the
    rest stay in single precision): several times faster on processors with AMX, slower on those without bfloat16.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 2e-3
    schedule: Literal["constant", "cosine", "linear", "step"] = "cosine"
    batch_size: int = 128
    weight_decay: float = 0.0
    momentum: float = 0.9
    warmup_epochs: float = 0.0
    precision: Literal["fp32", "bf16"] = field(default="fp32", metadata=LATER)

    def __post_init__(self) -> None:
        if self.name not in _OPTIMIZERS:
            raise Mistake(f"optim must be one of {', '.join(_OPTIMIZERS)}, got {self.name!r}")
        if self.schedule not in _SCHEDULES:
            raise Mistake(f"schedule must be one of {', '.join(_SCHEDULES)}, got {self.schedule!r}")
        if self.precision not in _PRECISIONS:
            raise Mistake(f"precision must be one of {', '.join(_PRECISIONS)}, got {self.precision!r}")
        if not is_number(self.lr) or not 0 < self.lr < math.inf:
            raise Mistake(f"lr must be above 0 and finite, got {self.lr!r}")
        if not isinstance(self.batch_size, int) or self.batch_size < 2:
            raise Mistake(
                f"batch_size must be a whole number of at least 2 (batch norm needs two), got {self.batch_size!r}"
            )
        if not is_number(self.momentum) or not 0 <= self.momentum < 1:
            raise Mistake(f"momentum must be in [0, 1), got {self.momentum!r}")
        for rest in (self.weight_decay, self.warmup_epochs):
            if not is_number(rest) or not 0 <= rest < math.inf:
                raise Mistake(
                    "weight_decay and warmup_epochs must be finite numbers and must not be negative, got "
                    f"{self.weight_decay!r}, {self.warmup_epochs!r}"
                )

    def optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        parameters = list(module.parameters())
        match self.name:
            case "adam":
                return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True)
            case "adamw":
                return torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True)
            case "sgd":
                return torch.optim.SGD(
                    parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, fused=True
                )

    def lr_at(self, epoch: float, epochs: int) -> float:
        """Learning rate at `epoch`, maybe fractional, of a stage of `epochs`: a pure function, nothing to resume."""
        if epoch < self.warmup_epochs:
            return self.lr * epoch / self.warmup_epochs
        progress = min(1.0, (epoch - self.warmup_epochs) / max(epochs - self.warmup_epochs, 1e-9))
        match self.schedule:
            case "constant":
                return self.lr
            case "cosine":
                return self.lr * 0.5 * (1 + math.cos(math.pi * progress))
            case "linear":
                return self.lr * (1 - progress)
            case "step":
                return self.lr * (1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01)


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Everything that training needs to go on after `epoch` epochs of a stage.

    `module` is the trained module's state dict, `optimizer` the optimizer's per-parameter state. There is no random
    generator in it: the order of the examples and dropout are seeded afresh from (seed, epoch) at each epoch.
    """

    epoch: int
    module: dict[str, Tensor]
    optimizer: dict[int, dict[str, Tensor]]


def pack_state(state: TrainState) -> tuple[dict[str, Tensor], dict[str, int]]:
    """A training state as flat named tensors and notes, for `save_tensors`."""
    tensors = {f"module.{name}": tensor for name, tensor in state.module.items()}
    for index, entry in state.optimizer.items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in entry.items()}
    return tensors, {"epoch": state.epoch}


def unpack_state(tensors: dict[str, Tensor], notes: dict[str, int]) -> TrainState:
    """The inverse of `pack_state`."""
    module: dict[str, Tensor] = {}
    optimizer: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "module":
            module[rest] = tensor
        else:
            index, _, key = rest.partition(".")
            optimizer.setdefault(int(index), {})[key] = tensor
    return TrainState(epoch=notes["epoch"], module=module, optimizer=optimizer)


def fit(
    module: nn.Module,
    loss: BatchLoss,
    *,
    optim: Optim,
    examples: int,
    epochs: int,
    upto: int,
    seed: int,
    stage: str,
    state: TrainState | None = None,
    evaluate: Callable[[], dict[str, float]] | None = None,
    on_epoch: Callable[[Epoch], bool] | None = None,
    device: str = "cpu",
) -> TrainState:
    """Train `module` in place from `state` (None: from its present weights) to epoch `upto` of a stage of `epochs`.

    It is trained on `device`, to which `loss` moves what it computes with, and is on the CPU again afterwards, as is
    all of the state that is returned.

    `loss` gets the indices (B,) of each batch of the `examples`, every one of which occurs once an epoch, and the
    epoch. `evaluate` is called after each epoch, without gradients; `on_epoch` gets that epoch's line and ends the
    call early by returning True. Returns the state after the last epoch run; the same arguments give the same bits,
    and so does any division into several calls. Raises `DivergedError`.
    """
    module.to(device)
    optimizer = optim.optimizer(module)
    if state is not None:
        module.load_state_dict(state.module)
        _restore(optimizer, state.optimizer)
    done = state.epoch if state is not None else 0
    with torch.random.fork_rng(devices=[]):
        while done < upto:
            begun = time.perf_counter()
            module.train()
            line: Epoch = {"stage": stage, "epoch": done + 1}
            line |= _one_epoch(module, loss, optimizer, optim, examples, done, epochs, seed, device)
            if not math.isfinite(line["loss"]):
                raise DivergedError(stage, done + 1)
            done += 1
            trained = time.perf_counter()
            if evaluate is not None:
                module.eval()
                with torch.inference_mode():
                    line |= evaluate()
            line["seconds"] = round(trained - begun, 4)
            line["evaluation_seconds"] = round(time.perf_counter() - trained, 4)
            line["at_ms"] = time.time_ns() // 1_000_000
            if on_epoch is not None and on_epoch(line):
                break
    module.to("cpu")
    return TrainState(epoch=done, module=_copies(module.state_dict()), optimizer=_optimizer_state(optimizer))


def _one_epoch(
    module: nn.Module,
    loss: BatchLoss,
    optimizer: torch.optim.Optimizer,
    optim: Optim,
    examples: int,
    epoch: int,
    epochs: int,
    seed: int,
    device: str,
) -> dict[str, float]:
    torch.manual_seed(derive(seed, "epoch", epoch))
    batches = _batches(examples, optim.batch_size)
    sums: dict[str, Tensor] = {}
    for number, batch in enumerate(batches):
        rate = optim.lr_at(epoch + number / len(batches), epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device, torch.bfloat16, enabled=optim.precision == "bf16"):
            terms = loss(batch, epoch)
        optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        optimizer.step()
        # summed as tensors: reading a number at every step would wait for the device
        for name, value in terms.items():
            if name not in sums:
                sums[name] = torch.zeros_like(value, requires_grad=False)
            sums[name].add_(value.detach(), alpha=len(batch) / examples)
    return {name: float(value) for name, value in sums.items()} | {"lr": rate}


def _batches(examples: int, batch_size: int) -> list[Tensor]:
    """A random order of all examples in batches; a last batch of one joins its neighbour: batch norm needs two."""
    batches = list(torch.randperm(examples).split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _optimizer_state(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Tensor]]:
    stored = optimizer.state_dict()["state"]
    return {
        index: {name: value.detach().cpu().clone() for name, value in entry.items() if isinstance(value, Tensor)}
        for index, entry in stored.items()
    }


def _restore(optimizer: torch.optim.Optimizer, state: dict[int, dict[str, Tensor]]) -> None:
    """Load the per-parameter state, each tensor laid out in memory like its parameter.

    The fused optimizers read raw memory: a contiguous moment beside channels_last weights would be applied to the
    wrong weights.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    laid_out: dict[int, dict[str, Tensor]] = {}
    for index, entry in state.items():
        parameter = parameters[index]
        laid_out[index] = {
            name: torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value.clone()
            for name, value in entry.items()
        }
    optimizer.load_state_dict({"state": laid_out, "param_groups": optimizer.state_dict()["param_groups"]})
