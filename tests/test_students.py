"""One contract that every family of students keeps, and hand-worked counts of each."""

import dataclasses
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.layers import layer_names, layer_shapes
from kdsearch.mistakes import Mistake
from kdsearch.students import FAMILIES, MLP, ConvNet, ResNet, Student, count_parameters, on_meta
from tests.families import CLASSES, EVERY_FAMILY, IMAGE, examples, shape_for

every_family = pytest.mark.parametrize("family", EVERY_FAMILY)


def test_no_family_is_left_out_of_the_contract():
    assert set(EVERY_FAMILY) == set(FAMILIES)


@every_family
def test_a_family_is_a_frozen_dataclass_that_builds(family):
    student = EVERY_FAMILY[family](width=4, depth=2)
    assert isinstance(student, Student)
    assert student == EVERY_FAMILY[family](width=4, depth=2)
    assert student != EVERY_FAMILY[family](width=6, depth=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(student, dataclasses.fields(student)[0].name, 4)
    assert type(student) is FAMILIES[family]


@every_family
@settings(max_examples=25)
@given(
    width=st.integers(1, 6),
    depth=st.integers(1, 8),
    channels=st.integers(1, 3),
    height=st.integers(1, 17),
    across=st.integers(1, 17),
    classes=st.integers(2, 11),
)
def test_any_width_depth_and_image_give_logits(family, width, depth, channels, height, across, classes):
    shape = shape_for(family, (channels, height, across))
    student = EVERY_FAMILY[family](width=width, depth=depth).build(shape, classes).eval()
    with torch.no_grad():
        logits = student(examples(family, shape, 2))
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()


@every_family
@pytest.mark.parametrize("width", [1, 5])
@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_the_count_without_memory_is_the_real_count(family, width, depth):
    student, shape = EVERY_FAMILY[family](width=width, depth=depth), shape_for(family)
    on_nothing, real = on_meta(student, shape, CLASSES), student.build(shape, CLASSES)
    assert all(buffer.is_meta for buffer in on_nothing.buffers())
    assert all(parameter.is_meta for parameter in on_nothing.parameters())
    assert count_parameters(on_nothing) == count_parameters(real)
    assert count_parameters(real) == sum(prod(parameter.shape) for parameter in real.parameters())


@every_family
def test_building_on_meta_leaves_the_generator_alone(family):
    before = torch.get_rng_state()
    on_meta(EVERY_FAMILY[family](width=3, depth=3), shape_for(family), CLASSES)
    assert torch.equal(torch.get_rng_state(), before)


@every_family
def test_width_and_depth_are_independent_and_each_costs_parameters(family):
    def count(width, depth):
        return count_parameters(on_meta(EVERY_FAMILY[family](width=width, depth=depth), shape_for(family), CLASSES))

    counts = [[count(width, depth) for width in (2, 3, 8)] for depth in range(1, 9)]
    for row in counts:
        assert row == sorted(set(row))
    for column in zip(*counts, strict=True):
        assert list(column) == sorted(set(column))


@every_family
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7])
def test_layer_names_are_in_forward_order(family, depth):
    student = EVERY_FAMILY[family](width=2, depth=depth).build(shape_for(family), CLASSES).eval()
    run = []
    for name, layer in student.named_children():
        layer.register_forward_hook(lambda *_, name=name: run.append(name))
    with torch.no_grad():
        student(examples(family, shape_for(family), 2))
    assert run == [*layer_names(student), "classifier"]


@every_family
def test_there_is_one_more_hint_layer_with_each_step_of_depth(family):
    make, shape = EVERY_FAMILY[family], shape_for(family)
    counts = [len(layer_names(make(width=2, depth=depth).build(shape, CLASSES))) for depth in range(1, 8)]
    assert counts == list(range(counts[0], counts[0] + 7))
    assert counts[0] >= 1


@every_family
def test_no_map_grows_on_the_way_up(family):
    in_shape = shape_for(family, (1, 32, 32))
    student = on_meta(EVERY_FAMILY[family](width=2, depth=6), in_shape, 10)
    maps = [shape[1:] for shape in layer_shapes(student, layer_names(student), in_shape).values()]
    assert maps == sorted(maps, reverse=True)


@every_family
def test_students_learn_from_every_weight(family):
    student = EVERY_FAMILY[family](width=3, depth=3).build(shape_for(family), CLASSES)
    student(examples(family, shape_for(family), 4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


@every_family
@pytest.mark.parametrize("wrong", [0, -3, 2.5, True, "4", None])
def test_a_width_or_depth_that_is_no_positive_whole_number_is_refused(family, wrong):
    with pytest.raises(Mistake, match=rf"{family}: width must be a whole number of at least 1, got"):
        EVERY_FAMILY[family](width=wrong, depth=2)
    with pytest.raises(Mistake, match=rf"{family}: depth must be a whole number of at least 1, got"):
        EVERY_FAMILY[family](width=2, depth=wrong)


@pytest.mark.parametrize("family", [name for name in EVERY_FAMILY if shape_for(name) == IMAGE and name != "MLP"])
def test_families_for_images_refuse_flat_inputs_and_say_what_takes_them(family):
    with pytest.raises(Mistake, match=r"needs images \(C, H, W\), .* shape \(20,\); use MLP for flat inputs"):
        EVERY_FAMILY[family](width=2, depth=2).build((20,), 3)


def test_the_perceptron_takes_flat_inputs_and_images_alike():
    flat, image = MLP(width=4, depth=2).build((20,), 3), MLP(width=4, depth=2).build((1, 4, 5), 3)
    assert count_parameters(flat) == count_parameters(image)
    assert flat(torch.randn(2, 20)).shape == (2, 3)


def test_a_perceptron_counted_by_hand():
    assert count_parameters(MLP(width=3, depth=2).build((1, 2, 2), 2)) == (4 * 3 + 3) + (3 * 3 + 3) + (3 * 2 + 2)


def test_hintons_small_mnist_net():
    # arXiv:1503.02531, section 3: two hidden layers of 800 units
    expected = (784 * 800 + 800) + (800 * 800 + 800) + (800 * 10 + 10)
    assert count_parameters(on_meta(MLP(width=800, depth=2), (1, 28, 28), 10)) == expected


def test_a_convolutional_net_counted_by_hand():
    # 1 -> 2 -> 4 channels, each block with its batch norm's weight and bias, then 4 -> 3
    expected = (1 * 2 * 9 + 2 * 2) + (2 * 4 * 9 + 2 * 4) + (4 * 3 + 3)
    assert count_parameters(ConvNet(width=2, depth=2).build((1, 8, 8), 3)) == expected


def test_the_residual_net_of_the_paper():
    # He et al. 2016, Table 6: ResNet-20 has 0.27M; 269,722 with shortcuts of option A
    assert count_parameters(on_meta(ResNet(width=16, depth=9), (3, 32, 32), 10)) == 269_722


def test_deeper_residual_nets_of_the_paper():
    # Table 6: 0.46M, 0.66M, 0.85M for 32, 44 and 56 layers
    counts = [count_parameters(on_meta(ResNet(width=16, depth=3 * n), (3, 32, 32), 10)) for n in (5, 7, 9)]
    assert [round(count / 1e6, 2) for count in counts] == [0.46, 0.66, 0.85]


def test_residual_stages_halve_the_map_and_double_the_channels():
    student = on_meta(ResNet(width=4, depth=4), (1, 16, 16), 3)
    shapes = layer_shapes(student, layer_names(student), (1, 16, 16))
    assert list(shapes.values()) == [(4, 16, 16), (4, 16, 16), (4, 16, 16), (8, 8, 8), (16, 4, 4)]


def test_a_residual_block_passes_its_input_when_its_convolutions_say_nothing():
    student = ResNet(width=2, depth=2).build((2, 4, 4), 3).eval()
    inputs = torch.rand(1, 2, 4, 4)
    block = student.get_submodule("block2")  # the first of its stage: every second pixel, missing channels zero
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    expected = torch.cat([inputs[:, :, ::2, ::2], torch.zeros(1, 2, 2, 2)], dim=1)
    torch.testing.assert_close(block(inputs), expected)
