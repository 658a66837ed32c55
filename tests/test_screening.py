"""What is known of a recipe before any training."""

import dataclasses

import pytest

from kdsearch import metrics
from kdsearch.mistakes import Mistake, UserCodeError
from kdsearch.recipe import Recipe
from kdsearch.screening import Screen, check_space
from kdsearch.stages import Distil, Hints
from kdsearch.students import MLP, ConvNet, on_meta
from kdsearch.study import Study

SHAPE, CLASSES = (1, 8, 8), 3
STUDENT = ConvNet(width=2, depth=2)  # 117 parameters, counted in test_students.py


def make_space(trial) -> Recipe:
    return Recipe(student=ConvNet(width=trial.suggest_int("width", 2, 8), depth=trial.suggest_int("depth", 1, 4)))


def made(space=make_space, **changes) -> Study:
    return Study(name="made", data=lambda: None, teacher=lambda data: None, space=space, **changes)


@pytest.fixture
def screen(frozen):
    return lambda **changes: Screen(made(**changes), SHAPE, CLASSES, frozen.members)


def hinted(**changes) -> Recipe:
    whole = {"epochs": 2, "teacher_layer": "block3", "student_layer": "block1"} | changes
    return Recipe(student=ConvNet(width=3, depth=3), start=Hints(**whole))


def test_a_recipe_that_can_work_is_counted(screen):
    candidate = screen()(Recipe(student=STUDENT))
    assert candidate.parameters == 117
    assert candidate.reason is None
    assert candidate.excess <= 0


def test_the_limit_on_parameters_is_inclusive_and_its_excess_is_told(screen):
    recipe = Recipe(student=STUDENT)
    assert screen(max_parameters=117)(recipe).reason is None
    candidate = screen(max_parameters=100)(recipe)
    assert candidate.excess == 17
    assert candidate.reason == "117 parameters are above the study's limit of 100 (max_parameters)"


def test_hint_layers_are_named(screen):
    candidate = screen()(hinted(teacher_layer=0.75, student_layer=0.5))
    assert candidate.recipe.start.teacher_layer == "block2"  # of three: 2.25 is nearest to the second
    assert candidate.recipe.start.student_layer == "block2"
    same = screen()(hinted(teacher_layer="block2", student_layer="block2"))
    assert candidate.recipe.fingerprint() == same.recipe.fingerprint()


def test_attentions_layers_are_named(screen):
    sampled = Recipe(student=STUDENT, distil=Distil(attention=5.0, teacher_layer=0.75, student_layer=0.5))
    candidate = screen()(sampled)
    assert candidate.reason is None
    assert (candidate.recipe.distil.teacher_layer, candidate.recipe.distil.student_layer) == ("block2", "block1")
    named = dataclasses.replace(sampled.distil, teacher_layer="block2", student_layer="block1")
    assert candidate.recipe.fingerprint() == dataclasses.replace(sampled, distil=named).fingerprint()
    with pytest.raises(Mistake, match="the student has no layer 'block7'"):
        screen()(Recipe(student=STUDENT, distil=Distil(attention=5.0, student_layer="block7")))


def test_attention_without_maps_is_screened_with_the_reason_beside_the_hints(screen):
    recipe = Recipe(
        student=MLP(width=4, depth=2), start=Hints(epochs=1, regressor="pooled"), distil=Distil(attention=1.0)
    )
    reason = screen()(recipe).reason
    assert "hints cannot join features of shape (4,)" in reason
    assert "attention transfer compares maps (C, H, W); the student's layer 'hidden1' gives (4,)" in reason


def test_a_second_pair_of_hints_is_named_and_counts_for_the_limit(screen):
    recipe = hinted(student_layer_2=0.5, teacher_layer_2=1.0)
    start = screen()(recipe).recipe.start
    assert (start.teacher_layer_2, start.student_layer_2) == ("block3", "block2")
    macs = 8 * 3 * 7 * 7 * 2 * 2 + 8 * 6 * 3 * 3 * 2 * 2  # 8x8 to 2x2 and 4x4 to 2x2
    assert screen(max_regressor_macs=macs)(recipe).reason is None
    assert f"costs {macs:,} macs" in screen(max_regressor_macs=macs - 1)(recipe).reason


def test_hints_from_a_larger_map_are_screened_with_the_reason(screen):
    candidate = screen()(hinted(teacher_layer="block1", student_layer="block3"))
    assert "cannot enlarge a map: teacher 'block1' is 8x8, student 'block3' 2x2" in candidate.reason
    assert screen()(hinted(teacher_layer="block1", student_layer="block3", regressor="pooled")).reason is None


def test_a_regressor_beyond_the_limit_is_screened(screen):
    macs = 8 * 3 * 7 * 7 * 2 * 2
    assert screen(max_regressor_macs=macs)(hinted()).reason is None
    assert "max_regressor_macs" in screen(max_regressor_macs=macs - 1)(hinted()).reason


def test_every_reason_is_told(screen):
    reason = screen(max_parameters=1)(hinted(teacher_layer="block1", student_layer="block3")).reason
    assert "max_parameters" in reason
    assert "cannot enlarge" in reason


@pytest.mark.parametrize("member", [1, -1])
def test_a_member_that_the_ensemble_lacks_is_a_mistake(screen, member):
    with pytest.raises(Mistake, match=rf"ensemble member {member}, but the teacher has 1 \(counted from 0\)"):
        screen()(hinted(member=member))


def test_a_layer_that_does_not_exist_is_a_mistake(screen):
    with pytest.raises(Mistake, match="the student has no layer 'block9'; its hint layers are: block1, block2, block3"):
        screen()(hinted(student_layer="block9"))


def test_a_family_that_does_not_take_the_data_is_a_mistake(frozen):
    flat = Screen(made(), (20,), CLASSES, frozen.members)
    with pytest.raises(Mistake, match="ConvNet needs images"):
        flat(Recipe(student=STUDENT))
    assert flat(Recipe(student=MLP(width=2, depth=1))).parameters == 20 * 2 + 2 + 2 * 3 + 3


@dataclasses.dataclass(frozen=True)
class Broken:
    def build(self, in_shape, classes):
        raise IndexError("no such layer")


@dataclasses.dataclass(frozen=True)
class Counted:
    width: int
    built = 0

    def build(self, in_shape, classes):
        Counted.built += 1
        return ConvNet(width=self.width, depth=2).build(in_shape, classes)


def test_a_student_is_built_once_however_many_recipes_it_comes_up_in(screen):
    judge = screen()
    recipes = [Recipe(student=Counted(width=width), epochs=epochs) for width in (2, 3) for epochs in range(2, 12)]
    sizes = [judge(recipe).parameters for recipe in recipes]
    assert len(set(sizes)) == Counted.built == 2
    start = Hints(epochs=1, teacher_layer="block3", student_layer=0.25)
    hinted = [dataclasses.replace(recipe, start=start) for recipe in recipes]
    assert all(judge(recipe).recipe.start.student_layer == "block1" for recipe in hinted)
    assert Counted.built == 4


def test_an_error_in_the_users_build_says_where(screen):
    with pytest.raises(
        UserCodeError, match=r"Broken.build\(\) raised IndexError: no such layer \(test_screening.py, line"
    ):
        screen()(Recipe(student=Broken()))


def test_what_needs_no_training_is_known(screen):
    judge = screen()
    known = judge.known(judge(Recipe(student=STUDENT)))
    real = STUDENT.build(SHAPE, CLASSES)
    assert known == {
        "parameters": 117,
        "macs": metrics.macs(real, SHAPE),
        "size_kb": pytest.approx(metrics.size_kb(real)),
    }
    assert known["macs"] == 18 * 64 + 72 * 16 + 12  # block1 at 8x8, block2 at 4x4, classifier


def test_a_space_is_checked_before_anything_is_trained(screen, frozen):
    check_space(made(), screen())

    def two_ranges(trial):
        width = trial.suggest_int("width", 2, 8)
        return Recipe(student=ConvNet(width=width, depth=trial.suggest_int("depth", 1, 4 if width < 5 else 5)))

    with pytest.raises(Mistake, match="'depth' is used with two distributions"):
        check_space(made(two_ranges), screen())

    def rarely_wrong(trial):
        return hinted(
            teacher_layer=trial.suggest_categorical("layer", ["block1", "block2", "blok3"]), regressor="pooled"
        )

    with pytest.raises(Mistake, match="the teacher has no layer 'blok3'"):
        check_space(made(rarely_wrong), screen())


def test_a_space_some_of_whose_recipes_can_work_is_fine(screen):
    smallest = metrics.parameters(on_meta(ConvNet(width=2, depth=1), SHAPE, CLASSES))
    check_space(made(max_parameters=smallest), screen(max_parameters=smallest))


def test_a_space_none_of_whose_recipes_can_work_says_why(screen):
    with pytest.raises(Mistake, match="none of 512 recipes drawn from the space can work:") as found:
        check_space(made(max_parameters=1), screen(max_parameters=1))
    lines = str(found.value).split("\n")[1:]
    assert len(lines) == 1, "one reason, however many sizes it was seen with"
    assert "parameters are above the study's limit of 1 (max_parameters)" in lines[0]
