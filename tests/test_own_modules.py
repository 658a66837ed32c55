"""A user's own networks, end to end: any nn.Module as the teacher, a family in five lines, hints by dotted path."""

import importlib.util

import pytest
import torch

import kdsearch
from kdsearch import api
from kdsearch.files import load_tensors
from kdsearch.mistakes import Mistake

STUDY = '''"""A study with networks that know nothing of kdsearch."""
from dataclasses import dataclass

import torch
from torch import nn

from kdsearch import Data, Hints, Recipe, Study, Teacher, digits

class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))

class BigNet(nn.Module):
    """Trained elsewhere, say: layers within layers, none of them named for hints."""
    def __init__(self, classes):
        super().__init__()
        self.entry = nn.Conv2d(1, 12, 3, padding=1)
        self.trunk = nn.ModuleList([Residual(12), Residual(12)])
        self.exit = nn.Linear(12, classes)

    def forward(self, x):
        x = torch.relu(self.entry(x))
        for layer in self.trunk:
            x = layer(x)
        return self.exit(x.mean((2, 3)))

class SmallNet(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2))
        self.head = nn.Linear(width * 16, classes)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))

@dataclass(frozen=True, kw_only=True)
class Mine:
    width: int

    def build(self, in_shape, classes):
        return SmallNet(self.width, classes)

def data():
    whole = digits()
    return Data(name="few", train=whole.train.head(300), validation=whole.validation.head(150),
                test=whole.test.head(150))

def teacher(data):
    return Teacher(build=lambda: BigNet(data.classes), epochs=2)

def space(trial):
    layer = trial.suggest_categorical("teacher_layer", ["trunk.0.conv1", "trunk.1"])
    return Recipe(student=Mine(width=trial.suggest_int("width", 3, 8)), epochs=3,
                  start=Hints(epochs=1, teacher_layer=layer, student_layer="body.1"))

def study():
    return Study(name="own", data=data, teacher=teacher, space=space, trials=2,
                 first=[{"teacher_layer": "trunk.0.conv1", "width": 4}, {"teacher_layer": "trunk.1", "width": 6}])
'''


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """The study file, as its user would import it to get at the class."""
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(STUDY, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("own_study", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_own_networks_are_searched_exported_and_loaded(module, tmp_path):
    workspace = tmp_path / "runs"
    results = api.run(module.__file__, workspace=workspace, engine="inline", track=False)
    records = {record.number: record for record in results.records}
    assert [records[number].state for number in (0, 1)] == ["complete", "complete"]
    assert records[0].recipe["start"] == {
        **{"kind": "Hints", "epochs": 1, "regressor": "conv", "member": 0},
        **{"teacher_layer": "trunk.0.conv1", "student_layer": "body.1"},
    }
    # 1x3x3 kernels and biases; 4x4 pixels of each channel to ten classes
    assert records[0].known["parameters"] == (4 * 9 + 4) + (4 * 16 * 10 + 10)

    exported = kdsearch.export_student("own", tmp_path / "out", trial=0, formats=["safetensors"], workspace=workspace)
    with pytest.raises(Mistake, match=r"is a Mine, kdsearch has none of that name; pass the class"):
        kdsearch.load(exported.folder)
    student = kdsearch.load(exported.folder, family=module.Mine, raw_inputs=True)
    test = module.data().test
    right = int((student(test.inputs).argmax(1) == test.labels).sum())
    assert right / len(test) == exported.card["metrics"]["test_accuracy"]

    weights, _ = load_tensors(exported.folder / "student.safetensors")  # these need nothing of kdsearch's
    bare = module.SmallNet(4, 10).eval()
    bare.load_state_dict(weights)
    torch.testing.assert_close(bare(torch.ones(2, 1, 8, 8)), student.network(torch.ones(2, 1, 8, 8)))


def test_relative_layers_of_a_module_that_names_none_are_its_children(module):
    def located(position):
        hints = kdsearch.Hints(epochs=1, teacher_layer=position, student_layer=1.0)
        return hints.located(module.SmallNet(4, 10), module.BigNet(10))

    # entry, trunk.0, trunk.1: a list of layers is never run itself, its members are
    assert [located(position).teacher_layer for position in (0.25, 0.5, 0.75)] == ["entry", "trunk.0", "trunk.0"]
    assert located(1.0).teacher_layer == "trunk.1"
    assert located(1.0).student_layer == "body"


def test_a_dotted_path_that_is_not_there_names_those_that_are(module):
    with pytest.raises(Mistake, match=r"the teacher has no layer 'trunk.7'; its hint layers are: entry, trunk.0, trun"):
        kdsearch.Hints(epochs=1, teacher_layer="trunk.7").located(module.SmallNet(4, 10), module.BigNet(10))
