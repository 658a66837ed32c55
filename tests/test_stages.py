"""The stages: what each trains and what it leaves alone."""

import dataclasses
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from kdsearch.data.augment import Augment
from kdsearch.data.views import Views
from kdsearch.layers import forward_to
from kdsearch.mistakes import Mistake
from kdsearch.stages import Distil, FitNetsDistil, Hints, ImpossibleError, Pretrain
from kdsearch.students import MLP, ConvNet, count_parameters, on_meta
from kdsearch.training import Optim, fit


@pytest.fixture
def student():
    """Features of blocks 1 to 3: (3, 8, 8), (6, 4, 4), (6, 2, 2); the teacher's: (4, 8, 8), (8, 4, 4), (8, 2, 2)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConvNet(width=3, depth=3).build((1, 8, 8), 3)


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def train(work, epochs: int = 2) -> None:
    optim = Optim(name="adamw", lr=1e-2, weight_decay=0.1, batch_size=20)
    fit(work.module, work.loss, optim=optim, examples=60, epochs=epochs, upto=epochs, seed=0, stage="some")


@pytest.mark.parametrize(
    ("regressor", "teacher_layer", "guided"),
    [("conv", "block2", "block1"), ("conv", "block3", "block2"), ("pooled", "block1", "block2")],
)
def test_hints_change_nothing_above_the_guided_layer(student, tiny_data, signals, regressor, teacher_layer, guided):
    hints = Hints(epochs=2, teacher_layer=teacher_layer, student_layer=guided, regressor=regressor)
    before = snapshot(student)
    train(hints.begin(student, Views(tiny_data), signals, 0, epochs=2))
    for name, tensor in student.state_dict().items():
        above = name.split(".")[0] > guided  # block1 < block2 < block3 < classifier
        # bit for bit, batch-norm statistics and their counters included; below, all of these move
        assert torch.equal(tensor, before[name]) == above, name


def test_hints_bring_the_student_nearer_to_the_teacher(student, tiny_data, signals):
    work = Hints(epochs=8, teacher_layer="block2", student_layer="block2").begin(
        student, Views(tiny_data), signals, 0, epochs=2
    )
    everything = torch.arange(60)
    before = work.loss(everything, 0)["loss"].item()
    train(work, epochs=8)
    assert work.loss(everything, 0)["loss"].item() < before / 2


def test_hints_train_a_regressor_that_is_not_in_the_student(student, tiny_data, signals):
    work = Hints(epochs=2, teacher_layer="block2", student_layer="block1").begin(
        student, Views(tiny_data), signals, 0, epochs=2
    )
    names, parameters = set(student.state_dict()), count_parameters(student)
    regressor = work.module.get_submodule("regressor")
    before = regressor.weight.clone()
    train(work)
    assert not torch.equal(regressor.weight, before)
    assert regressor.weight.shape == (8, 3, 5, 5)  # 8 - 5 + 1 = 4
    assert set(student.state_dict()) == names
    assert count_parameters(student) == parameters
    assert count_parameters(work.module) == parameters + count_parameters(regressor)
    assert not work.scores_classes


def test_the_regressor_is_seeded(student, tiny_data, signals):
    hints = Hints(epochs=2, teacher_layer="block2", student_layer="block1")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (
        hints.begin(student, Views(tiny_data), signals, seed, epochs=2).module.get_submodule("regressor").weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_golden_hint_loss_of_equal_shapes_needs_no_regressor_and_is_equation_three(tiny_data, signals, frozen):
    student = ConvNet(width=4, depth=3).build((1, 8, 8), 3).eval()
    work = Hints(epochs=2, teacher_layer="block2", student_layer="block2").begin(
        student, Views(tiny_data), signals, 0, epochs=2
    )
    work.module.eval()
    assert count_parameters(work.module) == count_parameters(student)
    index = torch.tensor([41, 3, 17])
    inputs = tiny_data.normalize(tiny_data.train.inputs[index])
    ours, theirs = forward_to(student, "block2", inputs), forward_to(frozen.members[0], "block2", inputs)
    expected = 0.5 * (ours - theirs).square().sum() / 3
    assert work.loss(index, 0)["loss"].item() == pytest.approx(expected.item(), rel=1e-3)


TWO = Hints(
    epochs=2, teacher_layer="block3", student_layer="block2", teacher_layer_2="block1", student_layer_2="block1"
)


@pytest.mark.parametrize("live", [False, True])
def test_golden_two_pairs_of_hints_add_up(student, tiny_data, signals, live):
    student.eval()
    index = torch.tensor([7, 8, 30])
    both = TWO.begin(student, Views(tiny_data), signals, 3, epochs=2, live=live)
    assert set(both.module) == {"student", "regressor", "regressor_2"}
    higher = dataclasses.replace(TWO, teacher_layer_2=None, student_layer_2=None)
    lower = dataclasses.replace(higher, teacher_layer="block1", student_layer="block1")
    first = higher.begin(student, Views(tiny_data), signals, 3, epochs=2, live=live)
    second = lower.begin(student, Views(tiny_data), signals, 3, epochs=2, live=live)
    # the first regressor is seeded as if it were alone
    assert torch.equal(both.module["regressor"].weight, first.module["regressor"].weight)
    second.module["regressor"].load_state_dict(both.module["regressor_2"].state_dict())
    terms = both.loss(index, 0)
    assert terms["hint"].item() == pytest.approx(first.loss(index, 0)["loss"].item(), rel=1e-5)
    assert terms["hint_2"].item() == pytest.approx(second.loss(index, 0)["loss"].item(), rel=1e-5)
    assert terms["loss"].item() == pytest.approx(terms["hint"].item() + terms["hint_2"].item(), rel=1e-5)


@pytest.mark.parametrize("swapped", [False, True])
def test_two_pairs_of_hints_train_up_to_the_higher_guided_layer(student, tiny_data, signals, swapped):
    hints = TWO
    if swapped:
        hints = Hints(
            epochs=2, teacher_layer="block1", student_layer="block1", teacher_layer_2="block3", student_layer_2="block2"
        )
    before = snapshot(student)
    work = hints.begin(student, Views(tiny_data), signals, 0, epochs=2)
    regressors = snapshot(work.module["regressor"]), snapshot(work.module["regressor_2"])
    train(work)
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name.split(".")[0] > "block2"), name
    for module, old in zip((work.module["regressor"], work.module["regressor_2"]), regressors, strict=True):
        assert not torch.equal(module.weight, old["weight"])


def test_two_pairs_of_hints_are_located_and_limited_together(student, frozen):
    relative = Hints(epochs=1, teacher_layer=1.0, student_layer=0.75, teacher_layer_2=0.3, student_layer_2=0.3)
    hints = relative.located(student, frozen.members[0])
    assert (hints.teacher_layer, hints.student_layer) == ("block3", "block2")
    assert (hints.teacher_layer_2, hints.student_layer_2) == ("block1", "block1")
    macs = 8 * 6 * 3 * 3 * 2 * 2 + 4 * 3 * 8 * 8  # 4x4 to 2x2: k = 3; 8x8 to 8x8: k = 1
    hints.check(student, frozen.members[0], (1, 8, 8), macs)
    with pytest.raises(
        ImpossibleError, match=rf"from \(6, 4, 4\) to .* and from \(3, 8, 8\) to .* costs {macs:,} macs"
    ):
        hints.check(student, frozen.members[0], (1, 8, 8), macs - 1)
    same = Hints(epochs=1, teacher_layer=0.5, student_layer=0.5, teacher_layer_2=0.6, student_layer_2=0.6)
    with pytest.raises(ImpossibleError, match="both pairs of hints are teacher 'block2' and student 'block2'"):
        same.located(student, frozen.members[0]).check(student, frozen.members[0], (1, 8, 8), 10**9)


@pytest.mark.parametrize("name", ["teacher_layer_2", "student_layer_2"])
def test_half_a_second_pair_is_refused(name):
    with pytest.raises(Mistake, match="a second pair of hints needs both teacher_layer_2 and student_layer_2"):
        Hints(epochs=1, **{name: "block1"})
    with pytest.raises(Mistake, match=f"{name} must be a layer's dotted path or a relative position"):
        Hints(epochs=1, **{"teacher_layer_2": 0.5, "student_layer_2": 0.5, name: 2.0})


@pytest.mark.parametrize("stage", [Hints, Pretrain])
@pytest.mark.parametrize("factor", [0, -1, math.inf, math.nan, None, True])
def test_a_factor_of_the_learning_rate_is_above_zero(stage, factor):
    with pytest.raises(Mistake, match=f"distil_lr_factor must be above 0 and finite, got {factor}"):
        stage(epochs=1, distil_lr_factor=factor)


def test_hints_of_flat_features_use_a_linear_regressor(tiny_data, frozen, signals):
    student = MLP(width=5, depth=2).build((1, 8, 8), 3)
    work = Hints(epochs=1, teacher_layer="classifier.1", student_layer="hidden1").begin(
        student, Views(tiny_data), signals, 0, epochs=1
    )
    assert work.module.get_submodule("regressor").weight.shape == (8, 5)
    train(work)


def test_pooled_hints_compare_at_the_smaller_map(student, tiny_data, signals):
    hints = Hints(epochs=1, teacher_layer="block1", student_layer="block2", regressor="pooled")
    student.eval()
    views = Views(tiny_data)
    work = hints.begin(student, views, signals, 0, epochs=2)
    index = torch.tensor([5, 50])
    ours = forward_to(student, "block2", tiny_data.normalize(tiny_data.train.inputs[index]))  # (2, 6, 4, 4)
    wanted = functional.avg_pool2d(signals.features(views, "block1").view(0)[index].float(), 2)  # 8x8 to 4x4
    expected = 0.5 * (work.module.get_submodule("regressor")(ours) - wanted).square().sum() / 2
    assert work.loss(index, 0)["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_regressor_above_the_limit_is_impossible_with_the_way_out(student, frozen):
    hints = Hints(epochs=1, teacher_layer="block3", student_layer="block1")
    macs = 8 * 3 * 7 * 7 * 2 * 2  # 8x8 to 2x2: k = 7
    hints.check(student, frozen.members[0], (1, 8, 8), macs)
    with pytest.raises(
        ImpossibleError, match=rf"costs {macs:,} macs .* of {macs - 1:,} \(max_regressor_macs\).*pooled"
    ):
        hints.check(student, frozen.members[0], (1, 8, 8), macs - 1)


@pytest.mark.parametrize(
    ("position", "expected"), [(0.25, "block1"), (0.5, "block2"), (0.75, "block3"), (1, "block4"), (1.0, "block4")]
)
def test_relative_positions_become_names_in_each_network(frozen, position, expected):
    student = on_meta(ConvNet(width=2, depth=4), (1, 8, 8), 3)
    hints = Hints(epochs=1, teacher_layer=0.5, student_layer=position).located(student, frozen.members[0])
    assert (hints.teacher_layer, hints.student_layer) == ("block2", expected)
    assert hints.epochs == 1


@pytest.mark.parametrize("owner", ["teacher", "student"])
def test_an_unknown_layer_names_those_that_exist(student, frozen, owner):
    hints = Hints(epochs=1, **{f"{owner}_layer": "layer7"})
    with pytest.raises(
        Mistake, match=f"the {owner} has no layer 'layer7'; its hint layers are: block1, block2, block3"
    ):
        hints.located(student, frozen.members[0])


def test_pretraining_moves_the_whole_student_by_the_labels_alone(student, tiny_data):
    before = snapshot(student)
    work = Pretrain(epochs=2).begin(student, Views(tiny_data), None, 0, epochs=2)  # no signals: the teacher has no say
    train(work)
    assert all(not torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())
    assert work.module is student
    assert work.scores_classes
    student.eval()
    index = torch.tensor([2, 30])
    logits = student(tiny_data.normalize(tiny_data.train.inputs[index]))
    expected = functional.cross_entropy(logits, tiny_data.train.labels[index]).item()
    assert work.loss(index, 0)["loss"].item() == pytest.approx(expected)


@pytest.mark.parametrize("stage", [Hints, Pretrain])
@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, None])
def test_a_start_without_whole_epochs_is_refused(stage, epochs):
    with pytest.raises(Mistake, match=f"{stage.__name__}: epochs must be a whole number .* got {epochs}; start=None"):
        stage(epochs=epochs)


@pytest.mark.parametrize("layer", [0, -0.5, 1.5, math.nan, None])
@pytest.mark.parametrize("name", ["teacher_layer", "student_layer"])
def test_a_layer_is_a_path_or_a_position(name, layer):
    with pytest.raises(Mistake, match=rf"{name} must be a layer's dotted path or a relative position in \(0, 1\], got"):
        Hints(epochs=1, **{name: layer})


def test_an_unknown_regressor_is_refused():
    with pytest.raises(Mistake, match="regressor must be one of conv, pooled, got 'linear'"):
        Hints(epochs=1, regressor="linear")


STAGES = {
    "distil": Distil(temperature=2.0, alpha=0.7),
    "dkd": Distil(temperature=2.0, alpha=0.7, loss="dkd", beta=2.0),
    "dist": Distil(temperature=2.0, alpha=0.7, loss="dist", standardize=True),
    "attention": Distil(temperature=2.0, attention=20.0, teacher_layer="block2", student_layer="block1"),
    "fitnets": FitNetsDistil(),
    "hints": Hints(epochs=5, teacher_layer="block2", student_layer="block1"),
    "pooled": Hints(epochs=5, teacher_layer="block1", student_layer="block2", regressor="pooled"),
}


@given(
    stage=st.sampled_from(sorted(STAGES)),
    epoch=st.integers(0, 4),
    first_epoch=st.integers(0, 3),
    index=st.lists(st.integers(0, 59), min_size=2, max_size=12),
    augment=st.one_of(
        st.none(),
        st.builds(
            Augment, shift=st.integers(0, 2), flip=st.booleans(), cutout=st.integers(0, 3),
            mixup=st.sampled_from([0.0, 0.4]), views=st.integers(1, 3),
        ),
    ),
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_teacher_that_is_looked_up_and_one_that_runs_live_give_the_same_loss(
    tiny_data, signals, stage, epoch, first_epoch, index, augment
):
    views = Views(tiny_data, augment, first_epoch=first_epoch)
    losses = []
    for live in (False, True):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            student = ConvNet(width=3, depth=3).build((1, 8, 8), 3).eval()
        work = STAGES[stage].begin(student, views, signals, 0, epochs=5, live=live)
        losses.append(work.loss(torch.tensor(index), epoch)["loss"])
        losses[-1].backward()  # a live teacher's outputs can be differentiated against
    # logits are kept exactly, features to 11 bits; the square of the difference doubles the relative error
    torch.testing.assert_close(*losses, rtol=1e-4 if stage in ("distil", "dkd", "dist", "fitnets") else 5e-3, atol=1e-5)


def test_a_live_teacher_stays_as_it_is(student, tiny_data, signals, frozen):
    before = snapshot(frozen.members[0])
    work = Hints(epochs=2, teacher_layer="block2", student_layer="block1").begin(
        student, Views(tiny_data), signals, 0, epochs=5, live=True
    )
    train(work)
    assert all(torch.equal(tensor, before[name]) for name, tensor in frozen.members[0].state_dict().items())
