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
from kdsearch.recipe import HOW, Recipe
from kdsearch.stages import Distil, FitNetsDistil, Hints, Pretrain
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
        "teacher_layer_2": "block3", "student_layer_2": 0.75, "distil_lr_factor": 0.1,
    },
    "distil": {
        "temperature": 4.5, "alpha": 0.8, "loss": "dkd", "standardize": True, "beta": 2.0, "inter_class": 1.0,
        "intra_class": 1.0, "attention": 1.0, "teacher_layer": 0.75, "student_layer": 0.75,
    },
    "optim": {
        "name": "adamw", "lr": 2e-2, "schedule": "step", "batch_size": 64, "weight_decay": 0.1, "momentum": 0.8,
        "warmup_epochs": 1.0, "precision": "bf16",
    },
}  # fmt: skip


# fields that go with others: what stands beside them in both recipes that are compared
BESIDE = {
    "beta": {"loss": "dkd"},
    "inter_class": {"loss": "dist"},
    "intra_class": {"loss": "dist"},
    "teacher_layer_2": {"student_layer_2": "block2", "teacher_layer_2": "block2"},
    "student_layer_2": {"student_layer_2": "block2", "teacher_layer_2": "block2"},
}
ATTENDING = {"attention": 2.0}


def base(part: str, name: str) -> Recipe:
    beside = ATTENDING if part == "distil" and name.endswith("_layer") else BESIDE.get(name, {})
    return dataclasses.replace(BASE, **{part: dataclasses.replace(getattr(BASE, part), **beside)})


def changed(part: str, name: str) -> Recipe:
    before = base(part, name)
    return dataclasses.replace(
        before, **{part: dataclasses.replace(getattr(before, part), **{name: CHANGES[part][name]})}
    )


def test_every_field_of_every_part_is_tried_below():
    for part, changes in CHANGES.items():
        assert set(changes) == {spec.name for spec in dataclasses.fields(getattr(BASE, part))}


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, changes in CHANGES.items() for name in changes])
def test_the_fingerprint_differs_for_each_field(part, name):
    before, after = base(part, name), changed(part, name)
    assert after.fingerprint() != before.fingerprint()
    # the start's depends on student, start and optim alone, and not on what comes after it
    later = part == "distil" or name == "distil_lr_factor"
    assert (after.start_fingerprint() == before.start_fingerprint()) == later


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
    assert not {"augment", "live_teacher", "omit"} & set(recipe.describe())
    assert set(recipe.to_json()["distil"]) == {"kind", "temperature", "alpha"}
    assert set(recipe.to_json()["start"]) == {
        *("kind", "epochs", "teacher_layer", "student_layer", "regressor", "member")
    }
    pretrained = dataclasses.replace(recipe, start=Pretrain(epochs=3))
    assert (pretrained.fingerprint(), pretrained.start_fingerprint()) == ("f6df2a0a524af303", "b917d402a205b5f8")


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


def test_omitted_classes_are_part_of_the_recipe_and_of_its_start():
    other = dataclasses.replace(BASE, omit=(5, 3, 5))
    assert other == dataclasses.replace(BASE, omit=(3, 5)) != BASE
    assert other.fingerprint() != BASE.fingerprint()
    assert other.start_fingerprint() != BASE.start_fingerprint()
    assert json.loads(json.dumps(other.to_json()))["omit"] == [3, 5]
    assert other.describe()["omit"] == "[3, 5]"
    assert "omit" in HOW
    assert dataclasses.replace(BASE, omit=()).to_json() == BASE.to_json()


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


def test_the_description_has_what_is_on_and_nothing_else():
    plain = set(BASE.describe())
    cases = {
        Distil(loss="dkd"): {"beta"},
        Distil(loss="dist"): {"inter_class", "intra_class"},
        Distil(standardize=True): {"standardize"},
        Distil(attention=3.0): {"attention", "attention_teacher_layer", "attention_student_layer"},
    }
    for distil, further in cases.items():
        described = dataclasses.replace(BASE, distil=distil).describe()
        assert set(described) == plain | further
        assert set(described) - plain <= HOW
        assert described["loss"] == distil.loss
    second = dataclasses.replace(BASE.start, teacher_layer_2=0.25, student_layer_2=0.25, distil_lr_factor=0.1)
    described = dataclasses.replace(BASE, start=second).describe()
    assert set(described) - plain == {"teacher_layer_2", "student_layer_2", "distil_lr_factor"} <= HOW


def test_fitnets_own_stage_is_described_without_an_alpha_and_with_its_mean_weight():
    described = dataclasses.replace(BASE, distil=FitNetsDistil()).describe()
    assert "alpha" not in described
    assert (described["loss"], described["temperature"]) == ("fitnets", 3.0)
    assert (described["hard_weight"], described["soft_weight"]) == (1.0, 2.5)
    assert (described["first_weight"], described["last_weight"]) == (4.0, 1.0)
    assert set(described) - set(BASE.describe()) <= HOW


@pytest.mark.parametrize("start", [Pretrain(epochs=3, distil_lr_factor=0.1), Hints(epochs=3, distil_lr_factor=0.1)])
def test_the_start_may_lower_the_distil_stages_learning_rate(start):
    recipe = dataclasses.replace(BASE, start=start)
    assert recipe.distil_optim.lr == pytest.approx(1e-3)
    assert dataclasses.replace(recipe.distil_optim, lr=1e-2) == recipe.optim
    assert BASE.distil_optim == BASE.optim
    assert dataclasses.replace(BASE, start=None).distil_optim == BASE.optim


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
        ({"distil": None}, "distil must be of Distil or FitNetsDistil, got NoneType"),
        ({"optim": "adam"}, "optim must be of Optim, got str"),
        ({"start": "hints"}, "start must be None, Hints or Pretrain, got str"),
        ({"augment": "flip"}, r"augment must be Augment\(...\) or a frozen dataclass .* got str"),
        ({"epochs": 3}, "epochs must be a whole number above the start's 3, which are part of it, got 3"),
        ({"epochs": 2.5}, "epochs must be a whole number .* got 2.5"),
        ({"start": None, "epochs": 0}, "epochs must be a whole number above the start's 0, .* got 0"),
        ({"omit": 3}, r"omit must be a tuple of class numbers, from 0, such as \(3,\), got 3"),
        ({"omit": [3]}, r"omit must be a tuple of class numbers, .* got \[3\]"),
        ({"omit": (-1,)}, r"omit must be a tuple of class numbers, .* got \(-1,\)"),
        ({"omit": (True,)}, r"omit must be a tuple of class numbers, .* got \(True,\)"),
        (
            {"omit": (3,), "augment": Augment(mixup=0.2)},
            r"mixup would mix examples of the omitted classes \(3,\) into the others",
        ),
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
