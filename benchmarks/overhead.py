"""What does kdsearch itself cost beside the training of students?

Question   Of a segment's seconds, how many more than a bare loop's? Of the workers' time, how much goes into students?
Data       scikit-learn's digits; MNIST from --data or KDSEARCH_DATA, else random images of its size (the table says so)
Command    python -m benchmarks.overhead --data DIR

Segment against bare loop: `kdsearch.trial.advance` with stored signals, and a loop that does nothing but the student's
forward pass, loss, backward pass and Adam's step on batches gathered before the clock starts. Both in this process with
one thread, in turns; CPU seconds, so that what else the machine does counts for neither; the median of the repeats'
ratios. Evaluation is apart: it is measured on its own, beside an epoch of training.

Busy share: `kdsearch.run` with two local workers. A worker is busy while it trains a student or evaluates it, by the
trials' own records; the steady part begins when both workers train and ends when the last trial begins. What the
workers need to start stands apart.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

import kdsearch
from benchmarks import digits_space, mnist_space
from benchmarks.common import Figure, at_least, at_most, finish, options, say
from kdsearch import ConvNet, Data, Optim, Recipe, Study, Teacher, Trial, digits, mnist
from kdsearch.data.base import Split
from kdsearch.data.views import Views
from kdsearch.events import Happening, Note, SearchBegan, TrialEnded
from kdsearch.losses import hard_labels, soft_targets
from kdsearch.metrics import watched_accuracy
from kdsearch.records import TrialRecord
from kdsearch.signals import Signals, Stored
from kdsearch.teacher import freeze
from kdsearch.trial import Seeds, Segment, advance

WORKERS = 2
RATIO, BUSY = 1.05, 0.95


@dataclass(frozen=True, kw_only=True)
class Size:
    """A data set, the student that is timed on it, and how long."""

    name: str
    data: Callable[[], Data]
    student: ConvNet
    batch_size: int
    epochs: int


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--data", help="the folder with MNIST")
    arguments = parser.parse_args()
    if arguments.data:
        os.environ["KDSEARCH_DATA"] = arguments.data
    images = mnist_data if os.environ.get("KDSEARCH_DATA") else random_data
    mnist_name = "MNIST" if images is mnist_data else "random images of MNIST's size"
    sizes = [
        Size(name="digits", data=digits, student=ConvNet(width=4, depth=4), batch_size=64, epochs=6),
        Size(name=mnist_name, data=images, student=ConvNet(width=3, depth=4), batch_size=128, epochs=1),
        Size(name=mnist_name, data=images, student=ConvNet(width=8, depth=4), batch_size=128, epochs=1),
    ]
    torch.set_num_threads(1)
    repeats = 3 if arguments.quick else 7
    figures = [figure for size in sizes for figure in segment_against_loop(size, repeats)]
    small = replace(digits_space.study(), teacher=small_teacher, trials=12 if arguments.quick else 40, sampler="random")
    large = replace(
        mnist_space.study(),
        data=images,
        teacher=small_teacher,
        space=short_space,
        trials=6 if arguments.quick else 16,
        sampler="random",
    )
    figures += busy_share("digits", small, target=None)
    figures += busy_share(mnist_name, large, target=BUSY)
    return finish(figures, as_json=arguments.json)


def short_space(trial: Trial) -> Recipe:
    return replace(mnist_space.space(trial), epochs=mnist_space.START_EPOCHS + 1)


def mnist_data() -> Data:
    return mnist(train=10_000)


def random_data() -> Data:
    """As many images as `mnist_data` gives, of as many pixels, with labels that say nothing of them."""

    def split(examples: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randint(0, 256, (examples, 1, 28, 28), generator=generator, dtype=torch.uint8)
        return Split(inputs=inputs, labels=torch.arange(examples) % 10)

    return Data(name="random", train=split(10_000, 1), validation=split(10_000, 2), test=split(10_000, 3))


def small_teacher(data: Data) -> Teacher:
    """The teacher's size does not matter here: it is not run while students train."""
    return Teacher(build=lambda: ConvNet(width=2, depth=1).build(data.shape, data.classes), epochs=1)


def segment_against_loop(size: Size, repeats: int) -> list[Figure]:
    """The median ratio of CPU seconds, and what an epoch's evaluation adds to it."""
    data = size.data()
    # evaluation of one example a class takes no time; its real cost is measured below
    held = [int((data.validation.labels == label).nonzero()[0]) for label in range(data.classes)]
    few = Split(inputs=data.validation.inputs[held], labels=data.validation.labels[held])
    bare_data = replace(data, validation=few)
    recipe = Recipe(
        student=size.student,
        optim=Optim(schedule="constant", batch_size=size.batch_size),
        epochs=size.epochs + 1,  # one more than is trained: no measuring at the end
    )
    with tempfile.TemporaryDirectory() as folder:
        teacher = freeze(small_teacher(data), bare_data, Path(folder))
        signals = Signals(lambda: teacher, teacher.key, bare_data, Path(folder))
        seeds = Seeds.of(0, recipe, 0)
        segment = Segment(trial=0, recipe=recipe, seeds=seeds, state=None, upto=size.epochs, objectives=("accuracy",))
        stored = signals.logits(Views(bare_data))
        assert isinstance(stored, Stored)
        loop = bare_loop(recipe, bare_data, stored.view(0), size.epochs)
        advance(replace(segment, upto=1), bare_data, signals)
        pairs = [(cpu_seconds(lambda: advance(segment, bare_data, signals)), cpu_seconds(loop)) for _ in range(repeats)]
        student = recipe.student.build(data.shape, data.classes).eval()
        evaluation = statistics.median(cpu_seconds(lambda: watched_accuracy(student, data)) for _ in range(repeats))
    ours, bare = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    steps = size.epochs * -(-len(data.train) // size.batch_size)
    what = f"{size.name}, width {size.student.width}, depth {size.student.depth}"
    say(f"{what}: segment {1000 * ours / steps:.2f} ms a step, bare loop {1000 * bare / steps:.2f} ms")
    return [
        at_most(f"{what}: segment / bare loop", statistics.median(a / b for a, b in pairs), RATIO),
        Figure(name=f"{what}: ms a step, bare loop", value=1000 * bare / steps),
        Figure(name=f"{what}: evaluation / training, an epoch", value=evaluation * size.epochs / ours),
    ]


def bare_loop(recipe: Recipe, data: Data, teacher_MNK: Tensor, epochs: int) -> Callable[[], None]:
    """The student's steps on batches that are gathered beforehand, and nothing else."""
    student = recipe.student.build(data.shape, data.classes)
    optimizer = torch.optim.Adam(student.parameters(), lr=recipe.optim.lr, fused=True)
    temperature, alpha = recipe.distil.temperature, recipe.distil.alpha
    batches = [
        (data.batch(index), data.train.labels[index], teacher_MNK[:, index])
        for _ in range(epochs)
        for index in torch.randperm(len(data.train)).split(recipe.optim.batch_size)
    ]

    def run() -> None:
        student.train()
        for inputs, labels, teacher in batches:
            given = student(inputs)
            loss = (1 - alpha) * hard_labels(given, labels) + alpha * soft_targets(given, teacher, temperature)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def cpu_seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def busy_share(name: str, study: Study, target: float | None) -> list[Figure]:
    """How much of the steady part of a run two local workers train and evaluate, and what they need to start."""
    began_at: list[float] = []

    def listen(event: Happening) -> None:
        if isinstance(event, SearchBegan):
            began_at.append(time.time())
        elif isinstance(event, Note):
            say(event.text)
        elif isinstance(event, TrialEnded) and event.record.state == "failed":
            say(f"trial {event.record.number} failed: {event.record.reason}")

    say(f"{name}: {study.trials} trials with {WORKERS} local workers")
    with tempfile.TemporaryDirectory() as folder:
        results = kdsearch.run(
            study, workspace=folder, workers=WORKERS, track=False, confirm=False, listeners=[listen], complain=say
        )
    complete = [record for record in results.records if record.state == "complete"]
    if len(complete) <= WORKERS:
        raise SystemExit(f"{name}: only {len(complete)} of {study.trials} trials came to their end; nothing to measure")
    steps, evaluation = shares(complete, WORKERS)
    first = min(begin for record in complete for begin, _, _ in spans(record))
    what = f"{name}: workers' share"
    busy = steps + evaluation
    return [
        at_least(f"{what} in students", busy, target) if target else Figure(name=f"{what} in students", value=busy),
        Figure(name=f"{what} in steps alone", value=steps),
        Figure(name=f"{name}: seconds to the first step", value=first - began_at[0]),
    ]


def spans(record: TrialRecord) -> list[tuple[float, float, float]]:
    """(begin, end of the steps, end) of each epoch, in seconds since 1970; the last has the final evaluation too."""
    ends = [(line["at_ms"] / 1000, line["seconds"], line["evaluation_seconds"]) for line in record.curve]
    epochs = [(end - steps - evaluation, end - evaluation, end) for end, steps, evaluation in ends]
    between = sum(evaluation for _, _, evaluation in ends)
    final = record.spent.get("evaluation", between) - between
    begin, trained, end = epochs[-1]
    return [*epochs[:-1], (begin, trained, end + final)]


def shares(records: list[TrialRecord], workers: int) -> tuple[float, float]:
    """Shares of the workers' steady time in steps and in evaluation.

    The steady part is from when the first `workers` trials all train to when the last trial begins: before, workers
    start; after, there is nothing left for those that are done.
    """
    by_begin = sorted((spans(record) for record in records), key=lambda epochs: epochs[0][0])
    low, high = by_begin[workers - 1][0][0], by_begin[-1][0][0]

    def within(begin: float, end: float) -> float:
        return max(0.0, min(end, high) - max(begin, low))

    epochs = [epoch for trial in by_begin for epoch in trial]
    whole = workers * (high - low)
    steps = sum(within(begin, trained) for begin, trained, _ in epochs)
    evaluation = sum(within(trained, end) for _, trained, end in epochs)
    return steps / whole, evaluation / whole


if __name__ == "__main__":
    raise SystemExit(main())
