"""Small studies that tests write to files: seconds of work, every start, and what goes wrong on purpose."""

from pathlib import Path

SMALL = '''"""A small study for tests."""
import dataclasses
import os
import signal
import time

import torch
from torch import nn

from kdsearch import MLP, ConvNet, Data, Distil, Hints, Optim, Pretrain, Recipe, Split, Study, Teacher, digits

def data():
    whole = digits()
    return Data(name="few", train=whole.train.head(200), validation=whole.validation.head(150),
                test=whole.test.head(150))

def teacher(data):
    return Teacher(build=lambda: ConvNet(width=6, depth=3).build(data.shape, data.classes), epochs=2)

@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine:
    """A family of the study file's own."""
    width: int
    mood: str = "good"

    def build(self, in_shape, classes):
        if self.mood == "raises":
            raise RuntimeError("the weather is bad")
        return _Net(self.width, self.mood, classes)

class _Net(nn.Module):
    def __init__(self, width, mood, classes):
        super().__init__()
        self.mood = mood
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU())
        self.classifier = nn.Linear(width, classes)

    def forward(self, inputs):
        # what misbehaves does so in training only: sizes are counted, in evaluation mode, before
        if self.training and self.mood == "dies":
            os._exit(3)
        if self.training and self.mood == "hangs":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(1000)
        if self.training and self.mood == "memory":
            torch.empty(2**50)
        if self.training and self.mood == "exits":
            raise SystemExit(3)
        if self.training and self.mood == "fails":
            raise RuntimeError("no more patience")
        if self.training and self.mood == "nan":
            return self.classifier(self.body(inputs)) * float("nan")
        if self.training and self.mood == "slow":
            time.sleep(0.2)
        return self.classifier(self.body(inputs))

def space(trial):
    student = Mine(width=trial.suggest_int("width", 2, 40))
    start = {"none": None, "hints": Hints(epochs=1, teacher_layer="block2", student_layer=0.5, regressor="pooled"),
             "pretrain": Pretrain(epochs=1)}[trial.suggest_categorical("start", ["none", "pretrain"])]
    return Recipe(student=student, start=start, epochs=3,
                  distil=Distil(temperature=trial.suggest_float("temperature", 1, 10, log=True),
                                alpha=trial.suggest_float("alpha", 0, 1)))

def study():
    return Study(name="small", data=data, teacher=teacher, space=space, trials=4, segment_epochs=2)
'''


def write_study(folder: Path, *replacements: tuple[str, str], append: str = "", name: str = "small.py") -> Path:
    """Write the small study with parts of its text replaced; a part that is not there is an error in the test."""
    text = SMALL
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text + append, encoding="utf-8")
    return path


def with_moods(*moods: str) -> tuple[str, str]:
    """A space that also samples how the student behaves."""
    listed = ", ".join(repr(mood) for mood in moods)
    old = 'Mine(width=trial.suggest_int("width", 2, 40))'
    return old, f'Mine(width=trial.suggest_int("width", 2, 40), mood=trial.suggest_categorical("mood", [{listed}]))'
