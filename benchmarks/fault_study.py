"""Which tiny students of digits are left when everything breaks?

Question   None: it is the study that `python -m benchmarks.faults` searches, a trial of about a second of waiting.
Data       200 of scikit-learn's 8x8 digits
Command    python -m benchmarks.faults

A student that is trained looks into the folder `orders` beside this file, batch for batch: how long to wait, and
whether its worker is to die, hang or grow. Without the folder it is an ordinary study, of the same bits.
"""

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from kdsearch import ConvNet, Data, Distil, Pretrain, Recipe, Study, Teacher, Trial, digits

NAME = "faulty"
ORDERS = Path(__file__).with_name("orders")
TRIALS = 40


def data() -> Data:
    whole = digits()
    return Data(
        name="few", train=whole.train.head(200), validation=whole.validation.head(150), test=whole.test.head(150)
    )


def teacher(data: Data) -> Teacher:
    return Teacher(build=lambda: ConvNet(width=6, depth=3).build(data.shape, data.classes), epochs=2)


@dataclass(frozen=True, kw_only=True)
class Obedient:
    """A family of one hidden layer."""

    width: int

    def build(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        return _Net(self.width, classes)


class _Net(nn.Module):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU())
        self.classifier = nn.Linear(width, classes)
        self.trained = False

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            if not self.trained:
                self.trained = True
                _segments.append(1)
            obey()
        logits: Tensor = self.classifier(self.body(inputs))
        return logits


_segments: list[int] = []
"""One for each that this worker has had."""


def obey() -> None:
    """Wait as told, and do what an order says that no other worker has taken."""
    for order in ORDERS.glob("*.order"):
        if order.stem.endswith("-grow") and len(_segments) == 1:
            continue  # a worker's first segment would be taken for one that needs so much
        try:
            order.rename(order.with_suffix(".taken"))
        except FileNotFoundError:
            continue
        match order.stem.partition("-")[2]:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "fault":
                ctypes.string_at(0)
            case "hang":  # in native code that lets no thread of Python's run, and deaf
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                ctypes.PyDLL(None).sleep(1000)
            case "grow":
                _grow()
    seconds = ORDERS / "seconds"
    if seconds.exists():
        time.sleep(float(seconds.read_text()))


def _grow() -> None:
    hoard = []
    for _ in range(40):
        hoard.append(b"x" * 50_000_000)
        time.sleep(0.05)
    time.sleep(60)


def space(trial: Trial) -> Recipe:
    student = Obedient(width=trial.suggest_int("width", 2, 8))
    start = Pretrain(epochs=1) if trial.suggest_categorical("start", ["none", "pretrain"]) == "pretrain" else None
    distil = Distil(
        temperature=trial.suggest_float("temperature", 1, 10, log=True), alpha=trial.suggest_float("alpha", 0, 1)
    )
    return Recipe(student=student, start=start, distil=distil, epochs=4)


def study() -> Study:
    # random proposals do not depend on the order in which results come
    return Study(
        name=NAME,
        data=data,
        teacher=teacher,
        space=space,
        sampler="random",
        first=[],
        trials=TRIALS,
        segment_epochs=1,
    )
