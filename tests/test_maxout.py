"""Maxout nets: the papers' nets by their published counts, and a unit by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from kdsearch.layers import layer_names, layer_shapes, nearest_layer
from kdsearch.mistakes import Mistake
from kdsearch.students import MaxoutNet, count_parameters, on_meta
from kdsearch.students.maxout import (
    FITNET_1,
    FITNET_2,
    FITNET_4,
    MNIST_STUDENT,
    MNIST_TEACHER,
    MaxoutConvolution,
    MaxoutLinear,
    largest,
)

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)
PUBLISHED = {
    "MNIST student": (MNIST_STUDENT, MNIST, 29_944),
    "MNIST teacher": (MNIST_TEACHER, MNIST, 360_816),
    "FitNet 1": (FITNET_1, CIFAR, 249_576),
    "FitNet 2": (FITNET_2, CIFAR, 861_928),
    "FitNet 4": (FITNET_4, CIFAR, 2_544_712),
}
every_published = pytest.mark.parametrize(("net", "shape", "weights"), PUBLISHED.values(), ids=PUBLISHED)


@every_published
def test_the_papers_nets_have_the_published_numbers_of_weights(net, shape, weights):
    # arXiv:1412.6550, Tables 1 and 3: 30K, 361K, 250K, 862K and 2.5M; biases apart
    built = on_meta(net, shape, 10)
    assert sum(weight.numel() for weight in built.parameters() if weight.ndim > 1) == weights


@every_published
def test_two_thirds_of_the_way_is_the_papers_middle_layer(net, shape, weights):
    # the student's 4th layer learns the teacher's 2nd on MNIST, FitNet 4's 11th on CIFAR-10: the end of the second
    # of three stages
    layers = layer_names(on_meta(net, shape, 10))
    middle = {6: "block4", 3: "block2", 9: "block6", 17: "block11"}
    assert nearest_layer(2 / 3, layers) == middle[len(layers)]


def test_maps_on_the_way_up_with_the_partial_windows_that_pooling_keeps():
    def sides(net):
        built = on_meta(net, MNIST, 10)
        return [shape[1] for shape in layer_shapes(built, layer_names(built), MNIST).values()]

    # 28 - 8 + 1 = 21, windows of 4 in steps of 2: 10; 10 + 6 - 8 + 1 = 9: 4; 4 + 6 - 5 + 1 = 6: 3
    assert sides(MNIST_TEACHER) == [10, 4, 3]
    assert sides(MNIST_STUDENT) == [24, 10, 12, 4, 8, 3]


def test_the_first_published_net_layer_by_layer():
    first = MaxoutNet(channels=(48,), kernels=8, paddings=0, pools=4, strides=2)
    assert count_parameters(first.build(MNIST, 10)) == (8 * 8 * 1 * 96 + 96) + (10 * 10 * 48 * 10 + 10)


def test_a_unit_by_hand():
    # the larger of x + 1 and -2x: at -1, 0, 1 these are 2, 1, 2
    unit = MaxoutLinear(1, 1, 2)
    with torch.no_grad():
        unit.linear.weight.copy_(torch.tensor([[1.0], [-2.0]]))
        unit.linear.bias.copy_(torch.tensor([1.0, 0.0]))
    inputs = torch.tensor([[-1.0], [0.0], [1.0]], requires_grad=True)
    outputs = unit(inputs)
    assert outputs.flatten().tolist() == [2, 1, 2]
    outputs.sum().backward()
    assert inputs.grad.flatten().tolist() == [-2, 1, 1]


def test_a_convolution_by_hand():
    # pieces: the pixel itself, and 3 less twice the pixel; channel 1: twice the pixel, and 0
    layer = MaxoutConvolution(1, 2, kernel=1, padding=0, pieces=2, batch_norm=False)
    with torch.no_grad():
        layer.conv.weight.copy_(torch.tensor([1.0, 2.0, -2.0, 0.0]).view(4, 1, 1, 1))
        layer.conv.bias.copy_(torch.tensor([0.0, 0.0, 3.0, 0.0]))
    outputs = layer(torch.tensor([-1.0, 0.5, 2.0, 4.0]).view(1, 1, 2, 2))
    assert outputs[0, 0].flatten().tolist() == [5, 2, 2, 4]
    assert outputs[0, 1].flatten().tolist() == [0, 1, 4, 8]


@pytest.mark.parametrize("pieces", [1, 2, 3, 5])
def test_the_largest_piece_is_torchs_maximum_with_its_gradient(pieces):
    one = torch.randn(4, 3 * pieces, 5, 2, dtype=torch.float64, requires_grad=True)
    other = one.detach().clone().requires_grad_()
    ours, theirs = largest(one, pieces), other.unflatten(1, (pieces, 3)).amax(1)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_activations_neither_die_nor_explode_on_the_way_up(pieces):
    inputs = torch.randn(64, 100)
    layers = nn.Sequential(*(MaxoutLinear(100, 100, pieces) for _ in range(17)))
    with torch.no_grad():
        assert 0.1 < layers(inputs).square().mean() < 10  # a third a layer, torch's own start, would leave 1e-8


def test_dropout_leaves_the_image_and_evaluation_alone():
    net = replace(MNIST_STUDENT, dropout=0.5)
    network, inputs = net.build(MNIST, 10), torch.randn(8, *MNIST)
    assert torch.equal(network.block1(inputs), network.block1(inputs))
    assert not torch.equal(network(inputs), network(inputs))
    network.eval()
    assert torch.equal(network(inputs), network(inputs))
    assert count_parameters(network) == count_parameters(on_meta(MNIST_STUDENT, MNIST, 10))


def test_batch_norm_costs_two_weights_a_piece_less_the_bias():
    plain, normed = (on_meta(replace(FITNET_1, batch_norm=on), CIFAR, 10) for on in (False, True))
    assert count_parameters(normed) - count_parameters(plain) == sum(FITNET_1.channels) * 2


def test_a_thin_net_has_three_stages_and_the_whole_map_pooled():
    net = MaxoutNet.thin(width=4, depth=5, pieces=3)
    assert net.channels == (4, 4, 8, 8, 16)
    built = on_meta(net, CIFAR, 10)
    assert [shape[1] for shape in layer_shapes(built, layer_names(built), CIFAR).values()] == [32, 16, 16, 8, 1]
    assert net.pieces == 3


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"channels": ()}, "channels must be a tuple of one number a block"),
        ({"channels": [4]}, "channels must be a tuple of one number a block"),
        ({"channels": (4, 0)}, "channels must be a whole number of at least 1, got 0"),
        ({"channels": (4, 4), "kernels": (3,)}, "kernels must be one number or one for each of the 2 channels, got 1"),
        ({"channels": (4,), "paddings": -1}, "paddings must be a whole number of at least 0, got -1"),
        ({"channels": (4,), "strides": 0}, "strides must be a whole number of at least 1, got 0"),
        ({"channels": (4,), "pieces": 0}, "pieces must be a whole number of at least 1, got 0"),
        ({"channels": (4,), "units": 2.5}, "units must be a whole number of at least 0, got 2.5"),
        ({"channels": (4,), "dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_a_net_that_cannot_be_is_refused(fields, rule):
    with pytest.raises(Mistake, match=rule):
        MaxoutNet(**fields)


def test_an_image_that_is_too_small_is_named_with_the_block():
    with pytest.raises(Mistake, match="block 1 has a kernel of 8 on a map of 4x4 with a padding of 0; take im"):
        MNIST_TEACHER.build((1, 4, 4), 10)
