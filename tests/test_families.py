"""Every family of students through a trial: hints joined, segments to the bit, learning, and files that load."""

import dataclasses

import pytest
import torch

from kdsearch import metrics
from kdsearch.data.base import Data, Split
from kdsearch.export.card import of_file
from kdsearch.layers import layer_names, nearest_layer
from kdsearch.plain import as_json
from kdsearch.recipe import Recipe
from kdsearch.saved import WEIGHTS, load, save_weights, write_card
from kdsearch.signals import Signals
from kdsearch.stages import Distil, Hints
from kdsearch.students import count_parameters, on_meta
from kdsearch.teacher import Frozen
from kdsearch.training import Optim
from kdsearch.trial import Seeds, Segment, advance
from tests.families import EVERY_FAMILY, VOCABULARY

every_family = pytest.mark.parametrize("family", EVERY_FAMILY)
OPTIM = Optim(lr=1e-2, batch_size=20)


class Texts(Data):
    """Data whose inputs are token numbers, which networks get as they are."""

    def normalize(self, inputs_B):
        return inputs_B


def texts(count: int, seed: int) -> Split:
    """Texts of 3 to 8 tokens out of 1 to 10 in which the class, of three, decides every other token."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    tokens = torch.randint(4, VOCABULARY, (count, 8), generator=generator)
    tokens[:, ::2] = labels[:, None] + 1
    lengths = torch.randint(3, 9, (count, 1), generator=generator)
    return Split(inputs=tokens * (torch.arange(8) < lengths), labels=labels)


@pytest.fixture(scope="module")
def data_for(tiny_data):
    text = Texts(name="texts", train=texts(60, 1), validation=texts(30, 2), test=texts(30, 3))
    return lambda family: text if family.startswith("Text") else tiny_data


@pytest.fixture
def signals_for(data_for, tmp_path):
    """The signals of a teacher of the same family, wider and deeper, as it begins."""

    def make(family: str) -> Signals:
        data = data_for(family)
        teacher = EVERY_FAMILY[family](width=8, depth=4).build(data.shape, data.classes).eval().requires_grad_(False)
        return Signals(lambda: Frozen(members=(teacher,), key=family), family, data, tmp_path / "signals")

    return make


def recipe_of(family: str, **changes) -> Recipe:
    return Recipe(student=EVERY_FAMILY[family](width=4, depth=3), optim=OPTIM, **changes)


def segment(recipe: Recipe, upto: int, state=None) -> Segment:
    seeds = Seeds.of(0, recipe, 1)
    return Segment(trial=1, recipe=recipe, seeds=seeds, state=state, upto=upto, objectives=("accuracy", "parameters"))


@every_family
@pytest.mark.parametrize("regressor", ["conv", "pooled"])
@pytest.mark.parametrize("position", [0.25, 0.5, 0.75])
def test_hints_join_a_student_and_a_larger_teacher_of_its_family(family, regressor, position, data_for):
    data = data_for(family)
    student, teacher = (
        on_meta(EVERY_FAMILY[family](width=width, depth=4), data.shape, data.classes) for width in (4, 8)
    )
    hints = Hints(epochs=1, teacher_layer=position, student_layer=position, regressor=regressor)
    located = hints.located(student, teacher)
    assert located.student_layer == located.teacher_layer == nearest_layer(position, layer_names(student))
    located.check(student, teacher, data.shape, 10**9)


@every_family
def test_any_division_into_segments_gives_the_same_bits(family, data_for, signals_for):
    data, signals = data_for(family), signals_for(family)
    start = Hints(epochs=2, teacher_layer="block2", student_layer="block2", regressor="pooled")
    if family == "MLP":
        start = dataclasses.replace(start, teacher_layer="hidden2", student_layer="hidden2")
    recipe = recipe_of(family, start=start, epochs=4)
    whole = advance(segment(recipe, 4), data, signals)
    again = advance(segment(recipe, 4), data, signals)
    state, curve = None, []
    for upto in (1, 2, 3, 4):
        part = advance(segment(recipe, upto, state), data, signals)
        state = part.state
        curve += part.curve
    for other in (again, part):
        assert other.measured == whole.measured
        torch.testing.assert_close(other.state.train.module, whole.state.train.module, rtol=0, atol=0)
    assert [line["loss"] for line in curve] == [line["loss"] for line in whole.curve]
    assert curve[1]["hint"] < curve[0]["hint"]


@every_family
def test_a_student_learns_and_its_files_give_its_logits(family, data_for, signals_for, tmp_path):
    data = data_for(family)
    recipe = recipe_of(family, distil=Distil(alpha=0.0), epochs=30)
    progress = advance(segment(recipe, 30), data, signals_for(family))
    assert progress.curve[-1]["hard"] < 0.7 * progress.curve[0]["hard"]
    assert progress.measured["accuracy"] > 0.6
    trained = recipe.student.build(data.shape, data.classes)
    trained.load_state_dict(progress.state.train.module)
    save_weights(tmp_path / WEIGHTS, trained.state_dict(), study="families", trial=1)
    card = {
        "student": as_json(recipe.student),
        "input": {"shape": list(data.shape), "mean": 0.0, "std": 1.0},
        "classes": data.classes,
        "class_names": list(data.class_names),
        "files": {WEIGHTS: of_file(tmp_path / WEIGHTS)},
    }
    write_card(tmp_path, card)
    loaded = load(tmp_path)
    assert count_parameters(loaded) == count_parameters(trained)
    logits = metrics.logits(trained, data, data.test)
    assert torch.equal(metrics.logits(loaded, data, data.test), logits)
    if family.startswith("Text"):  # mean 0 and deviation 1: tokens pass as they are
        assert torch.equal(load(tmp_path, raw_inputs=True)(data.test.inputs), logits)
