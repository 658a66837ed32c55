"""One trial as the peers' tuners run it: the plain loop's training with its live teacher, or kdsearch's `advance`.

Every epoch is reported with its accuracy on the first 2,000 validation examples. At the rungs of successive halving
and at the end the student is measured on all of them, and a line goes to the race's trace: both what a tuner stopped
there and what it trained in full then counts as a student that it found.
As a script this is the entry point of Syne Tune's local backend.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Syne Tune starts this file as a script

import torch
from optuna.trial import FixedTrial
from torch import nn

from benchmarks import mnist_space, plain
from kdsearch import metrics
from kdsearch.data.base import Data
from kdsearch.executors.base import load_job
from kdsearch.prepare import draft
from kdsearch.recipe import Recipe
from kdsearch.source import Source
from kdsearch.training import Epoch
from kdsearch.trial import Seeds, Segment, TrialState, advance
from kdsearch.workspace import Workspace

RUNGS = (1, 3, mnist_space.EPOCHS)
WATCHED = 2_000

Kind = Literal["plain", "advance"]
Report = Callable[[int, float, int], None]  # epoch (from 1), accuracy, parameters


def run(params: Mapping[str, Any], kind: Kind, report: Report) -> None:
    """Train the recipe of `params`; what conditions leave out of it may be among them."""
    torch.set_num_threads(1)
    recipe = mnist_space.space(FixedTrial(dict(params)))
    if kind == "plain":
        _plain(recipe, report)
    else:
        _advance(recipe, report)


def _plain(recipe: Recipe, report: Report) -> None:
    prepared = plain.bench(os.environ["KDSEARCH_BENCHMARK_TEACHER"])
    epoch = 0

    def after_epoch(student: nn.Module) -> None:
        nonlocal epoch
        epoch += 1
        inputs, labels = prepared.held_inputs, prepared.held_labels
        if epoch not in RUNGS:
            inputs, labels = inputs[:WATCHED], labels[:WATCHED]
        accuracy = plain.right_share(student, inputs, labels)
        student.train()
        _tell(recipe, epoch, accuracy, sum(parameter.numel() for parameter in student.parameters()), report)

    plain.train(recipe, prepared, after_epoch)


def _advance(recipe: Recipe, report: Report) -> None:
    """Sets itself up as kdsearch's workers do; the race's trials share the teacher's signals in KDSEARCH_WORKSPACE."""
    workspace, source = Workspace.chosen(None), Source(path=Path(mnist_space.__file__))
    planned = draft(source, workspace)
    planned.keep_data()
    study, data, signals = load_job(planned.job)
    candidate = planned.screen(recipe)
    recipe = candidate.recipe  # hint layers by their names
    seeds = Seeds.of(study.seed, recipe, trial=os.getpid())
    state: TrialState | None = None
    for end in sorted({*RUNGS, recipe.start_epochs} - {0}):  # no segment crosses from the start into the distil stage
        before = recipe.start_epochs if state is not None and state.epoch >= recipe.start_epochs else 0

        def on_epoch(line: Epoch, before: int = before, end: int = end) -> bool:
            epoch = before + line["epoch"]
            if epoch < end:
                _tell(recipe, epoch, line.get("validation_accuracy", 0.0), candidate.parameters, report)
            return False

        segment = Segment(trial=0, recipe=recipe, seeds=seeds, state=state, upto=end, objectives=("accuracy",))
        state = advance(segment, data, signals, on_epoch).state
        _tell(recipe, end, _whole_accuracy(data, recipe, state), candidate.parameters, report)


def _whole_accuracy(data: Data, recipe: Recipe, state: TrialState) -> float:
    if state.epoch < recipe.start_epochs:
        return 0.0  # within a start: the student's output means nothing yet
    student = recipe.student.build(data.shape, data.classes)
    student.load_state_dict(state.train.module)
    held = data.validation
    return metrics.accuracy(metrics.logits(student, data, held).argmax(1), held.labels)


def _tell(recipe: Recipe, epoch: int, accuracy: float, parameters: int, report: Report) -> None:
    if epoch in RUNGS:
        line = {
            "seconds": time.time() - float(os.environ["KDSEARCH_BENCHMARK_BEGAN"]),
            "accuracy": accuracy,
            "parameters": parameters,
            "full": epoch == recipe.epochs,
        }
        with Path(os.environ["KDSEARCH_BENCHMARK_TRACE"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")  # short lines appended by several processes stay whole
    report(epoch, accuracy, parameters)


def main() -> None:
    from syne_tune import Reporter

    parser = argparse.ArgumentParser()
    for name, kind in (
        ("width", int), ("depth", int), ("start", str), ("temperature", float), ("alpha", float),
        ("teacher_layer", float), ("student_layer", float),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind)
    parameters = vars(parser.parse_known_args()[0])  # Syne Tune adds arguments of its own
    tell = Reporter()
    run(
        parameters,
        os.environ["KDSEARCH_BENCHMARK_KIND"],  # type: ignore[arg-type]
        lambda epoch, accuracy, size: tell(epoch=epoch, error=1 - accuracy, parameters=size),
    )


if __name__ == "__main__":
    main()
