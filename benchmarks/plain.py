"""What a user writes without kdsearch: Optuna's TPE over the same space, a DataLoader, the teacher run on every batch.

One process, torch's default threads, every trial trained in full, nothing shared. Prints one JSON line per finished
trial: seconds since the loop began, accuracy on all validation examples, parameters. The data and the space are
kdsearch's, so that both sides do the same work; the networks are of the same shapes, of torch's own layers.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import mnist_space
from kdsearch import ConvNet, Hints, Recipe


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every trial is trained and measured on."""

    shape: tuple[int, ...]
    classes: int
    loader: DataLoader[Any]
    teacher: nn.Module
    held_inputs: Tensor
    held_labels: Tensor


def bench(weights: str) -> Bench:
    data = mnist_space.data()
    scaled = data.train.inputs.float()
    mean, std = scaled.mean(), scaled.std()
    train = TensorDataset((scaled - mean) / std, data.train.labels)
    teacher = convnet(mnist_space.teacher_width(), 6, data.shape[0], data.classes)
    teacher.load_state_dict(load_file(weights))
    return Bench(
        shape=data.shape,
        classes=data.classes,
        loader=DataLoader(train, batch_size=mnist_space.BATCH_SIZE, shuffle=True),
        teacher=teacher.eval(),
        held_inputs=(data.validation.inputs.float() - mean) / std,
        held_labels=data.validation.labels,
    )


def convnet(width: int, depth: int, channels: int, classes: int) -> nn.Sequential:
    """kdsearch's ConvNet by the names of its weights."""
    network = nn.Sequential()
    for block in range(depth):
        out = width * (2 if block >= depth // 2 else 1)
        layers: list[nn.Module] = [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        if block in (depth // 3, 2 * depth // 3):
            layers.append(nn.MaxPool2d(2))
        network.add_module(f"block{block + 1}", nn.Sequential(*layers))
        channels = out
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    network.add_module("classifier", head)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", required=True, help="its weights, safetensors")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    prepared = bench(arguments.teacher)
    began = time.time()

    def objective(trial: optuna.Trial) -> tuple[float, int]:
        student = train(mnist_space.space(trial), prepared)
        accuracy = right_share(student, prepared.held_inputs, prepared.held_labels)
        size = sum(parameter.numel() for parameter in student.parameters())
        line = {"seconds": time.time() - began, "accuracy": accuracy, "parameters": size, **trial.params}
        with arguments.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return accuracy, size

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=arguments.seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.optimize(objective, timeout=arguments.seconds)


def train(recipe: Recipe, prepared: Bench, after_epoch: Callable[[nn.Module], None] = lambda _: None) -> nn.Module:
    """A trained student; `after_epoch` gets it as it stands, in training mode, after each epoch of either stage."""
    assert isinstance(recipe.student, ConvNet)
    student = convnet(recipe.student.width, recipe.student.depth, prepared.shape[0], prepared.classes)
    student.train()
    start(recipe, student, prepared.teacher, prepared.loader, lambda: after_epoch(student))
    distil(recipe, student, prepared.teacher, prepared.loader, lambda: after_epoch(student))
    return student


def start(
    recipe: Recipe, student: nn.Module, teacher: nn.Module, loader: DataLoader[Any], after_epoch: Callable[[], None]
) -> None:
    if recipe.start is None:
        return
    if not isinstance(recipe.start, Hints):

        def labels_alone(x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(student(x), y)

        fit(recipe, recipe.start.epochs, loader, student.parameters(), labels_alone, after_epoch)
        return
    upto, guided = _part(teacher, recipe.start.teacher_layer), _part(student, recipe.start.student_layer)
    with torch.no_grad():
        example = next(iter(loader))[0][:2]
        wanted, given = upto(example).shape, guided(example).shape
    regressor = nn.Conv2d(given[1], wanted[1], 1)
    size = min(wanted[-1], given[-1])

    def loss(x: Tensor, _labels: Tensor) -> Tensor:
        with torch.no_grad():
            target = F.adaptive_avg_pool2d(upto(x), size)
        return F.mse_loss(regressor(F.adaptive_avg_pool2d(guided(x), size)), target)

    parameters = [*student.parameters(), *regressor.parameters()]
    fit(recipe, recipe.start.epochs, loader, parameters, loss, after_epoch)


def distil(
    recipe: Recipe, student: nn.Module, teacher: nn.Module, loader: DataLoader[Any], after_epoch: Callable[[], None]
) -> None:
    temperature, alpha = recipe.distil.temperature, recipe.distil.alpha

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            soft = F.log_softmax(teacher(x) / temperature, dim=1)
        logits = student(x)
        given = F.log_softmax(logits / temperature, dim=1)
        kl = F.kl_div(given, soft, reduction="batchmean", log_target=True)
        return (1 - alpha) * F.cross_entropy(logits, y) + alpha * temperature**2 * kl

    fit(recipe, recipe.epochs - recipe.start_epochs, loader, student.parameters(), loss, after_epoch)


def fit(
    recipe: Recipe,
    epochs: int,
    loader: DataLoader[Any],
    parameters: Iterable[nn.Parameter],
    loss: Callable[[Tensor, Tensor], Tensor],
    after_epoch: Callable[[], None],
) -> None:
    optimizer = torch.optim.Adam(parameters, lr=recipe.optim.lr)
    for _ in range(epochs):
        for inputs, labels in loader:
            value = loss(inputs, labels)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        after_epoch()


@torch.no_grad()
def right_share(module: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    module.eval()
    parts = zip(inputs.split(500), labels.split(500), strict=True)
    return sum(int((module(x).argmax(1) == y).sum()) for x, y in parts) / len(labels)


def _part(module: nn.Module, position: str | float) -> nn.Sequential:
    """The network up to a relative position among its blocks, the classifier left out; halves go up."""
    blocks = list(module.children())[:-1]
    return nn.Sequential(*blocks[: max(1, int(float(position) * len(blocks) + 0.5))])


if __name__ == "__main__":
    main()
