"""Layers for few channels: torch's own in everything but time."""

import pytest
import torch
from torch import nn

from kdsearch.students import ConvNet
from kdsearch.students.narrow import BatchNorm, Convolution

SHAPES = [(5, 1, 7, 3), (4, 2, 8, 8), (3, 3, 5, 7), (2, 7, 1, 1), (6, 8, 4, 4)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_layout = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["plain", "last"])


def both(shape: tuple[int, ...]) -> tuple[nn.BatchNorm2d, BatchNorm]:
    theirs, ours = nn.BatchNorm2d(shape[1]), BatchNorm(shape[1])
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@every_shape
@every_layout
def test_batch_norm_gives_and_learns_what_torchs_does(shape, layout):
    theirs, ours = both(shape)
    inputs = (torch.randn(shape) * 3 + 5).to(memory_format=layout)
    one, other = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    target = torch.randn(shape)
    for module, given in ((theirs, one), (ours, other)):
        for _ in range(2):
            (module(given) - target).square().sum().backward()
    torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))
    torch.testing.assert_close(ours.eval()(inputs), theirs.eval()(inputs))


def test_batch_norms_gradients_are_those_of_its_outputs():
    module = BatchNorm(3).double()
    inputs = torch.randn(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)

    def output(given, weight, bias):
        return torch.func.functional_call(module, {"weight": weight, "bias": bias}, given)

    module.momentum = 0.0  # gradcheck calls it again and again
    torch.autograd.gradcheck(output, (inputs, module.weight, module.bias))


def test_batch_norm_by_hand():
    # mean 2, variance 1 with eps against it; running: a tenth of the mean, of the unbiased variance 2
    module = BatchNorm(1)
    output = module(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1))
    assert output.flatten().tolist() == pytest.approx([-1, 1], abs=1e-4)
    assert module.running_mean.item() == pytest.approx(0.2)
    assert module.running_var.item() == pytest.approx(0.9 + 0.1 * 2)
    assert module.num_batches_tracked.item() == 1


def test_one_value_a_channel_is_refused_as_by_torch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchNorm(2)(torch.randn(1, 2, 1, 1))


def test_its_output_may_be_worked_on_in_place():
    module, inputs = BatchNorm(2), torch.randn(4, 2, 3, 3)
    nn.functional.relu(module(inputs), inplace=True).square().sum().backward()
    found = module.weight.grad.clone()
    module.zero_grad()
    nn.functional.relu(module(inputs)).square().sum().backward()
    torch.testing.assert_close(found, module.weight.grad)


@pytest.mark.parametrize("channels", [1, 3])
@every_layout
def test_convolutions_are_torchs_in_channels_last(channels, layout):
    ours, theirs = Convolution(channels, 4, 3, padding=1), nn.Conv2d(channels, 4, 3, padding=1)
    theirs.load_state_dict(ours.state_dict())
    inputs = torch.randn(2, channels, 5, 6).to(memory_format=layout)
    output = ours(inputs)
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output, theirs(inputs))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_layout_of_the_inputs_does_not_change_a_bit(channels):
    # an exported student gets other strides than the one that was measured
    student = ConvNet(width=3, depth=4).build((channels, 12, 12), 5).eval()
    inputs = torch.randn(16, channels, 12, 12)
    with torch.inference_mode():
        assert torch.equal(student(inputs), student(inputs.to(memory_format=torch.channels_last)))


def test_weights_stay_contiguous_and_described_as_torchs_own():
    student = ConvNet(width=3, depth=2).build((1, 8, 8), 3)
    student(torch.randn(4, 1, 8, 8)).square().sum().backward()
    assert all(tensor.is_contiguous() for tensor in student.state_dict().values())
    assert str(student[0]) == str(
        nn.Sequential(nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2))
        if len(student[0]) == 4
        else nn.Sequential(nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU())
    )  # kept teachers are found by their description
