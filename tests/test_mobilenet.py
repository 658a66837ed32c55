"""Depthwise-separable nets: their saving by hand."""

import torch

from kdsearch.layers import layer_names, layer_shapes
from kdsearch.metrics import macs
from kdsearch.students import ConvNet, MobileNet, count_parameters, on_meta

MNIST = (1, 28, 28)


def test_a_net_counted_by_hand():
    # stem 1 -> 2, block 2 -> 2, block 2 -> 4 of the second stage; every convolution with its batch norm; 4 -> 3
    stem = 1 * 2 * 9 + 2 * 2
    first = (2 * 9 + 2 * 2) + (2 * 2 + 2 * 2)
    second = (2 * 9 + 2 * 2) + (2 * 4 + 2 * 4)
    assert count_parameters(MobileNet(width=2, depth=2).build(MNIST, 3)) == stem + first + second + (4 * 3 + 3)


def test_macs_by_hand():
    # arXiv:1704.04861, Eq. 5: 9 C H W + C C' H W for each block; the second halves the map before the 1x1
    block1 = 9 * 2 * 28 * 28 + 2 * 2 * 28 * 28
    block2 = 9 * 2 * 14 * 14 + 2 * 4 * 14 * 14
    assert macs(on_meta(MobileNet(width=2, depth=2), MNIST, 3), MNIST) == 9 * 2 * 28 * 28 + block1 + block2 + 4 * 3


def test_three_stages_that_halve_the_map_and_double_the_channels():
    built = on_meta(MobileNet(width=4, depth=5), MNIST, 3)
    shapes = list(layer_shapes(built, layer_names(built), MNIST).values())
    assert shapes == [(4, 28, 28), (4, 28, 28), (4, 28, 28), (8, 14, 14), (8, 14, 14), (16, 7, 7)]


def test_a_block_costs_an_eighth_or_so_of_a_full_convolution():
    # 9 C + C^2 against 9 C^2 weights, C = 64
    wide, full = (
        sum(weight.numel() for weight in on_meta(net, MNIST, 3).block2.parameters() if weight.ndim > 1)
        for net in (MobileNet(width=32, depth=4), ConvNet(width=64, depth=4))
    )
    assert wide == 9 * 32 + 32 * 32
    assert full == 9 * 64 * 64


def test_each_channel_has_a_filter_of_its_own():
    block = MobileNet(width=3, depth=1).build((3, 6, 6), 2).block1.eval()
    depthwise = block[0]
    inputs = torch.rand(1, 3, 6, 6)
    changed = inputs.clone()
    changed[:, 1] += 1
    moved = (depthwise(changed) - depthwise(inputs)).abs().sum((0, 2, 3)) > 0
    assert moved.tolist() == [False, True, False]
