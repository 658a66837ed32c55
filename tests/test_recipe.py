"""The recipe: everything one trial needs, comparable and written down."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from kdsearch.data.augment import Augment
from kdsearch.mistakes import Mistake
from kdsearch.recipe import Recipe
from kdsearch.stages import Distil, Hints, Pretrain
from kdsearch.students import MLP, ConvNet, ResNet
from kdsearch.training import Optim

BASE = Recipe(
    student=ConvNet(width=4, depth=3),
    start=Hints(epochs=3, teacher_layer="block2", student_layer="block1"),
    distil=Distil(temperature=4.0, alpha=0.9),
    optim=Optim(lr=1e-2),
    epochs=10,
)
CHANGES = {
    "student": {"width": 5, "depth": 4},
    "start": {
        "epochs": 2, "teacher_layer": "block3", "student_layer": 0.5, "regressor": "pooled", "member": 1,
    },
    "distil": {"temperature": 4.5, "alpha": 0.8},
    "optim": {
        "name": "adamw", "lr": 2e-2, "schedule": "step", "batch_size": 64, "weight_decay": 0.1, "momentum": 0.8,
        "warmup_epochs": 1.0, "precision": "bf16",
    },
}  # fmt: skip


def changed(part: str, name: str) -> Recipe:
    value = CHANGES[part][name]
    return dataclasses.replace(BASE, **{part: dataclasses.replace(getattr(BASE, part), **{name: value})})


def test_every_field_of_every_part_is_tried_below():
    for part, changes in CHANGES.items():
        assert set(changes) == {spec.name for spec in dataclasses.fields(getattr(BASE, part))}


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, changes in CHANGES.items() for name in changes])
def test_the_fingerprint_differs_for_each_field(part, name):
    assert changed(part, name).fingerprint() != BASE.fingerprint()
    # the start's depends on student, start and optim alone
    assert (changed(part, name).start_fingerprint() == BASE.start_fingerprint()) == (part == "distil")


def test_the_fingerprint_differs_for_the_budget_the_family_and_the_start():
    others = [
        dataclasses.replace(BASE, epochs=11),
        dataclasses.replace(BASE, student=ResNet(width=4, depth=3)),
        dataclasses.replace(BASE, student=MLP(width=4, depth=3)),
        dataclasses.replace(BASE, start=Pretrain(epochs=3)),
        dataclasses.replace(BASE, start=None),
    ]
    assert len({recipe.fingerprint() for recipe in [BASE, *others]}) == 6


def test_fingerprints_of_stored_studies_stay_what_they_are():
    # a change here makes every stored study a stranger to its own file
    recipe = Recipe(student=ConvNet(width=4, depth=3))
    assert (recipe.fingerprint(), recipe.start_fingerprint()) == ("793a490b20015c1c", "d3a1e557e63545d2")
    hints = Hints(epochs=3, teacher_layer="block2", student_layer=0.5)
    recipe = dataclasses.replace(recipe, start=hints, epochs=10)
    assert (recipe.fingerprint(), recipe.start_fingerprint()) == ("ad6bc53d7f6379d9", "534b4e1a33006c53")
    assert set(recipe.to_json()) == {"student", "start", "distil", "optim", "epochs"}
    assert not {"augment", "live_teacher"} & set(recipe.describe())


@pytest.mark.parametrize(
    "change", [{"augment": Augment(shift=1)}, {"augment": Augment(shift=1, views=4)}, {"live_teacher": True}], ids=str
)
def test_augmentation_and_a_live_teacher_are_part_of_the_recipe_and_of_its_start(change):
    other = dataclasses.replace(BASE, **change)
    assert other.fingerprint() != BASE.fingerprint()
    assert other.start_fingerprint() != BASE.start_fingerprint()
    assert json.loads(json.dumps(other.to_json())) == other.to_json()
    (name,) = change
    assert other.to_json()[name] is True or other.to_json()[name]["kind"] == "Augment"
    assert other.describe()[name] in (True, "Augment(shift=1)", "Augment(shift=1, views=4)")


def test_equal_recipes_have_equal_fingerprints():
    again = dataclasses.replace(BASE, distil=Distil(temperature=4.0, alpha=0.9), student=ConvNet(depth=3, width=4))
    assert again == BASE
    assert again.fingerprint() == BASE.fingerprint()


def test_a_number_is_the_same_however_it_is_written():
    whole, point = (dataclasses.replace(BASE, distil=Distil(temperature=t, alpha=a)) for t, a in ((4, 1), (4.0, 1.0)))
    assert whole == point
    assert whole.fingerprint() == point.fingerprint()


def test_a_recipe_can_be_written_down():
    text = json.dumps(BASE.to_json())
    assert json.loads(text) == BASE.to_json()
    assert json.loads(text)["student"] == {"kind": "ConvNet", "width": 4, "depth": 3}
    assert json.loads(text)["start"]["kind"] == "Hints"
    assert dataclasses.replace(BASE, start=None).to_json()["start"] is None


def test_the_description_is_flat_and_has_both_readings_of_alpha():
    described = BASE.describe()
    assert described["soft_weight"] == described["alpha"] == 0.9
    assert described["hard_weight"] == pytest.approx(0.1)
    assert described["temperature"] == 4.0
    assert (described["family"], described["width"], described["depth"]) == ("ConvNet", 4, 3)
    assert (described["start"], described["start_epochs"], described["epochs"]) == ("hints", 3, 10)
    assert (described["teacher_layer"], described["student_layer"]) == ("block2", "block1")
    assert (described["optim"], described["lr"]) == ("adam", 1e-2)
    assert all(isinstance(value, (str, int, float, bool)) for value in described.values())


@pytest.mark.parametrize(("start", "name"), [(None, "none"), (Pretrain(epochs=3), "pretrain")])
def test_the_description_names_the_start(start, name):
    assert dataclasses.replace(BASE, start=start).describe()["start"] == name


@dataclass(frozen=True, kw_only=True)
class Own:
    widths: tuple[int, ...] = (4, 8)
    name: str | None = None

    def build(self, in_shape, classes):
        return nn.Linear(1, 1)


def test_a_student_of_the_users_own_may_have_tuples():
    recipe = dataclasses.replace(BASE, student=Own())
    assert recipe.to_json()["student"] == {"kind": "Own", "widths": [4, 8], "name": None}
    assert recipe.describe()["widths"] == "[4, 8]"
    assert recipe.fingerprint() != dataclasses.replace(BASE, student=Own(widths=(8, 4))).fingerprint()


@dataclass(frozen=True)
class WithTensor:
    weight: torch.Tensor

    def build(self, in_shape, classes):
        return nn.Linear(1, 1)


@dataclass(frozen=True)
class WithCallable:
    activation: Callable[[], nn.Module]

    def build(self, in_shape, classes):
        return nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("student", "said"),
    [
        (
            WithTensor(torch.ones(2)),
            r"WithTensor\.weight must be a number, .* got Tensor; a recipe has to be written down",
        ),
        (WithCallable(nn.ReLU), r"WithCallable\.activation must be a number, string, boolean, None or a tuple"),
        (Own(widths=[4, 8]), r"Own\.widths must be .* got list"),
        (Own(widths=((4,), 8)), r"Own\.widths must be .* got tuple"),
    ],
)
def test_a_student_that_cannot_be_written_down_is_refused(student, said):
    with pytest.raises(Mistake, match=said):
        dataclasses.replace(BASE, student=student).fingerprint()


@dataclass
class Melted:
    width: int = 1

    def build(self, in_shape, classes):
        return nn.Linear(1, 1)


class Plain:
    def build(self, in_shape, classes):
        return nn.Linear(1, 1)


@pytest.mark.parametrize("student", [Melted(), Plain(), ConvNet, nn.Linear(1, 1), None, Distil()])
def test_a_student_must_be_a_frozen_dataclass_that_builds(student):
    with pytest.raises(Mistake, match=r"student must be a frozen dataclass with build\(in_shape, classes\), got"):
        dataclasses.replace(BASE, student=student)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"distil": None}, "distil must be of Distil, got NoneType"),
        ({"optim": "adam"}, "optim must be of Optim, got str"),
        ({"start": "hints"}, "start must be None, Hints or Pretrain, got str"),
        ({"augment": "flip"}, r"augment must be Augment\(...\) or a frozen dataclass .* got str"),
        ({"epochs": 3}, "epochs must be a whole number above the start's 3, which are part of it, got 3"),
        ({"epochs": 2.5}, "epochs must be a whole number .* got 2.5"),
        ({"start": None, "epochs": 0}, "epochs must be a whole number above the start's 0, .* got 0"),
        ({"start": None, "epochs": True}, "epochs must be a whole number .* got True"),
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong, said):
    with pytest.raises(Mistake, match=said):
        dataclasses.replace(BASE, **wrong)


def test_a_strong_default_needs_no_words():
    recipe = Recipe(student=ConvNet(width=4, depth=3))
    assert (recipe.distil.temperature, recipe.distil.alpha, recipe.start) == (4.0, 0.9, None)


def test_a_family_named_like_one_of_ours_is_refused_because_load_would_build_ours():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class ConvNet:
        width: int

        def build(self, in_shape, classes):
            return torch.nn.Flatten()

    with pytest.raises(Mistake, match="kdsearch has a family ConvNet of its own; give yours another name"):
        Recipe(student=ConvNet(width=3))
