"""One trial's training in segments: `advance` is a pure function, the same segment gives the same bits anywhere."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch import metrics
from kdsearch.data.base import Data
from kdsearch.data.views import Views
from kdsearch.recipe import Recipe
from kdsearch.seeds import derive
from kdsearch.signals import Signals
from kdsearch.stages import Start, Teaching
from kdsearch.training import Epoch, TrainState, fit, pack_state, unpack_state


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """`start` seeds the weights and the start's training, alike for equal starts; `distil` the second stage."""

    start: int
    distil: int

    @classmethod
    def of(cls, study_seed: int, recipe: Recipe, trial: int) -> "Seeds":
        return cls(
            start=derive(study_seed, "start", recipe.start_fingerprint()), distil=derive(study_seed, "trial", trial)
        )


@dataclass(frozen=True, kw_only=True)
class TrialState:
    """Where a trial stands: `epoch` of its whole budget, and the training state within the stage it is in.

    At the start's end `train` holds the student's weights alone: neither regressor nor optimizer pass on.
    """

    epoch: int
    train: TrainState

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, notes = pack_state(self.train)
        return tensors, {"stage_epoch": notes["epoch"], "epoch": self.epoch}

    @classmethod
    def unpack(cls, tensors: dict[str, Tensor], notes: dict[str, Any]) -> "TrialState":
        return cls(epoch=notes["epoch"], train=unpack_state(tensors, {"epoch": notes["stage_epoch"]}))


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The unit of work: train `recipe` from `state` to epoch `upto` of its budget, then measure if that is its end.

    `confirming` has the test split measured too, which only a confirmation may; `permuted` seeds the permutation of a
    teacher that speaks of other examples, None for the teacher as it is.
    """

    trial: int
    recipe: Recipe
    seeds: Seeds
    state: TrialState | None
    upto: int
    objectives: tuple[str, ...]
    confirming: bool = False
    permuted: int | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a segment gave: the state it reached, its lines of the curve, and `measured` at the trial's end.

    `worked_seconds` is all that the worker spent on it, of them `measuring_seconds` on the final figures and
    `signals_seconds` on waiting for, computing or loading the teacher's signals, or running it live; the latter are no
    part of the lines' `seconds`. `notes` are for the user, a line each.
    """

    trial: int
    state: TrialState
    curve: list[Epoch] = field(default_factory=list)
    measured: dict[str, float] | None = None
    worked_seconds: float = 0.0
    measuring_seconds: float = 0.0
    signals_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A trial that raised: the reason in one line, and the traceback."""

    trial: int
    reason: str
    trace: str


def advance(
    segment: Segment,
    data: Data,
    signals: Signals,
    on_epoch: Callable[[Epoch], bool] | None = None,
    device: str = "cpu",
) -> Progress:
    """Train one segment. Depends on its arguments alone; the caller's thread count and random generators are put back.

    `on_epoch` gets each line of the curve; where it returns True the segment ends after that epoch, and going on from
    the state it gives leads to the same bits. On another `device` than the CPU the student trains to other bits; the
    teacher's signals are computed, and its final figures measured, on the CPU all the same. Raises `DivergedError` and
    whatever the student's own code raises.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums are ordered alike wherever the segment runs
    try:
        return _advance(segment, data, signals, on_epoch, device)
    finally:
        torch.set_num_threads(threads)


def _advance(
    segment: Segment, data: Data, signals: Signals, on_epoch: Callable[[Epoch], bool] | None, device: str
) -> Progress:
    began = time.perf_counter()
    recipe, state = segment.recipe, segment.state
    if segment.permuted is not None:
        signals = signals.permuted(segment.permuted)
    waited = signals.seconds
    student = _initial(recipe, data, segment.seeds)
    curve: list[Epoch] = []
    stopped = False

    def watch(line: Epoch) -> bool:
        nonlocal stopped
        line = {name: _rounded(value) for name, value in line.items()}
        curve.append(line)
        stopped = on_epoch is not None and on_epoch(line)
        return stopped

    done = state.epoch if state is not None else 0
    if done == recipe.start_epochs and state is not None:
        student.load_state_dict(state.train.module)
    while done < segment.upto and not stopped:
        starting = done < recipe.start_epochs
        stage: Start | Teaching = recipe.start if starting and recipe.start is not None else recipe.distil
        before = 0 if starting else recipe.start_epochs
        whole = recipe.start_epochs if starting else recipe.epochs - recipe.start_epochs
        resumed = state.train if state is not None and done not in (0, recipe.start_epochs) else None
        views = Views(data, recipe.augment, first_epoch=before, device=device)
        upto = min(segment.upto - before, whole)
        train = _stage(segment, stage, student, views, signals, resumed, whole, upto, watch)
        done = before + train.epoch
        if done == recipe.start_epochs and starting:
            train = TrainState(epoch=0, module={k: v.clone() for k, v in student.state_dict().items()}, optimizer={})
        state = TrialState(epoch=done, train=train)
    assert state is not None
    measured = None
    trained = time.perf_counter()
    if done == recipe.epochs:
        student.load_state_dict(state.train.module)
        measured = measure(student, data, segment.objectives)
        if segment.confirming:
            predictions = metrics.logits(student, data, data.test).argmax(1)
            measured["test_accuracy"] = metrics.accuracy(predictions, data.test.labels)
    now = time.perf_counter()
    return Progress(
        trial=segment.trial,
        state=state,
        curve=curve,
        measured=measured,
        worked_seconds=now - began,
        measuring_seconds=now - trained,
        signals_seconds=round(signals.seconds - waited, 4),
        notes=signals.take_notes(),
    )


def _initial(recipe: Recipe, data: Data, seeds: Seeds) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seeds.start, "weights"))
        return recipe.student.build(data.shape, data.classes)


def _stage(
    segment: Segment,
    stage: Start | Teaching,
    student: nn.Module,
    views: Views,
    signals: Signals,
    state: TrainState | None,
    epochs: int,
    upto: int,
    watch: Callable[[Epoch], bool],
) -> TrainState:
    recipe, distilling = segment.recipe, stage is segment.recipe.distil
    seed = segment.seeds.distil if distilling else segment.seeds.start
    work = stage.begin(student, views, signals, seed, epochs=epochs, live=recipe.live_teacher)
    shown_N = _shown(views.data, recipe.omit)
    waited = signals.seconds

    def loss(index_B: Tensor, epoch: int) -> dict[str, Tensor]:
        return work.loss(shown_N[index_B], epoch)

    def on_epoch(line: Epoch) -> bool:
        nonlocal waited
        line["seconds"] = max(0.0, round(line["seconds"] - (signals.seconds - waited), 4))
        waited = signals.seconds
        return watch(line)

    return fit(
        work.module,
        loss,
        optim=recipe.distil_optim if distilling else recipe.optim,
        examples=len(shown_N),
        epochs=epochs,
        upto=upto,
        seed=seed,
        stage=stage.name,
        state=state,
        evaluate=partial(metrics.watched_accuracy, student, views.data) if work.scores_classes else None,
        on_epoch=on_epoch,
        device=views.device,
    )


def _shown(data: Data, omit: tuple[int, ...]) -> Tensor:
    """Indices of the training examples (N,) that are not of the classes `omit`."""
    return (~torch.isin(data.train.labels, torch.tensor(omit, dtype=torch.int64))).nonzero().flatten()


def measure(student: nn.Module, data: Data, objectives: tuple[str, ...]) -> dict[str, float]:
    """Final figures of a trained student on the whole validation split: those that only training could tell."""
    predictions = metrics.logits(student, data, data.validation).argmax(1)
    found = {"accuracy": metrics.accuracy(predictions, data.validation.labels)}
    if "macro_f1" in objectives:
        found["macro_f1"] = metrics.macro_f1(predictions, data.validation.labels)
    if "latency_ms" in objectives:
        found["latency_ms"] = metrics.latency_ms(student, data.shape)
    return found


def _rounded(value: Any) -> Any:
    """Seven digits, so that a line is the same in the database, in MLflow and in a file."""
    return float(f"{value:.7g}") if isinstance(value, float) else value
