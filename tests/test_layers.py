import pytest
import torch
from torch import nn

from kdsearch.layers import (
    find_layer,
    forward_to,
    forward_to_last,
    forward_with,
    layer_names,
    layer_shapes,
    nearest_layer,
)
from kdsearch.mistakes import Mistake
from kdsearch.students import ConvNet, on_meta


class Named(nn.Module):
    hint_layers = ("body.1", "body.0")

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
        self.unused = nn.Linear(1, 1)

    def forward(self, inputs):
        return self.body(inputs)


class Fails(nn.Module):
    def forward(self, inputs):
        raise RuntimeError("no")


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in module.modules())


def test_layer_names_are_the_children_but_the_classifier():
    assert layer_names(ConvNet(width=2, depth=3).build((1, 8, 8), 3)) == ("block1", "block2", "block3")


def test_layer_names_may_be_named_by_the_module():
    assert layer_names(Named()) == ("body.1", "body.0")


@pytest.mark.parametrize(
    ("position", "count", "number"),
    [
        (0.5, 1, 1),
        (0.5, 2, 1),
        (0.5, 3, 2),
        (0.5, 5, 3),  # the middle of five, where rounding to even would say two
        (0.5, 7, 4),
        (0.25, 4, 1),
        (0.75, 4, 3),
        (1.0, 4, 4),
        (0.01, 4, 1),
        (0.33, 9, 3),
    ],
)
def test_relative_positions_name_the_nearest_layer(position, count, number):
    layers = [f"layer{index}" for index in range(1, count + 1)]
    assert nearest_layer(position, layers) == f"layer{number}"


def test_a_relative_position_without_layers_says_how_to_name_them():
    with pytest.raises(Mistake, match="hint_layers"):
        nearest_layer(0.5, [])


def test_find_layer_names_the_layers_that_exist():
    with pytest.raises(Mistake, match=r"the student has no layer 'block9'; its hint layers are: block1, block2"):
        find_layer(ConvNet(width=2, depth=2).build((1, 8, 8), 3), "block9", "student")


def test_forward_to_gives_the_layers_output_and_runs_nothing_above():
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), Fails())
    inputs = torch.randn(3, 4)
    torch.testing.assert_close(forward_to(module, "1", inputs), module[0](inputs).relu())


def test_forward_to_passes_gradients():
    module = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    forward_to(module, "0", torch.randn(3, 4)).sum().backward()
    assert module[0].weight.grad is not None
    assert module[1].weight.grad is None


def test_hooks_are_removed_also_when_the_forward_pass_raises():
    good, bad = nn.Sequential(nn.Linear(4, 6), nn.ReLU()), nn.Sequential(Fails(), nn.Linear(4, 6))
    forward_to(good, "0", torch.randn(3, 4))
    with pytest.raises(RuntimeError, match="no"):
        forward_to(bad, "1", torch.randn(3, 4))
    assert hooks(good) == hooks(bad) == 0


@pytest.mark.parametrize("paths", [["0", "2"], ["2", "0"], ["2", "2"]])
def test_several_layers_are_read_in_one_pass_that_ends_at_the_last(paths):
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2), Fails())
    inputs = torch.randn(3, 4)
    found = forward_to_last(module, paths, inputs)
    assert set(found) == set(paths)
    torch.testing.assert_close(found["2"], module[:3](inputs))
    if "0" in found:
        torch.testing.assert_close(found["0"], module[0](inputs))
    assert hooks(module) == 0


def test_a_layer_is_read_beside_the_output():
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    inputs = torch.randn(3, 4)
    output, feature = forward_with(module, "1", inputs)
    torch.testing.assert_close(output, module(inputs))
    torch.testing.assert_close(feature, module[:2](inputs))
    (output.sum() + feature.sum()).backward()
    assert hooks(module) == 0
    with pytest.raises(RuntimeError, match="no"):
        forward_with(nn.Sequential(*module, failing := Fails()), "1", inputs)
    assert hooks(module) == hooks(failing) == 0


def test_a_layer_whose_output_is_changed_in_place_is_refused():
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True))
    with pytest.raises(Mistake, match="what follows layer '0' changes its output in place; name the layer after it"):
        forward_with(module, "0", torch.randn(3, 4))
    forward_to(module, "0", torch.randn(3, 4))  # nothing follows


def test_a_layer_that_is_never_run_is_named():
    module = Named()
    with pytest.raises(Mistake, match="'unused' is never run"):
        forward_to(module, "unused", torch.randn(3, 4))
    assert hooks(module) == 0


def test_a_layer_that_gives_no_tensor_is_named():
    with pytest.raises(Mistake, match="layer '0' gives a tuple"):
        forward_to(nn.Sequential(nn.LSTM(4, 6)), "0", torch.randn(3, 4))


def test_layer_shapes_on_the_meta_device():
    student = on_meta(ConvNet(width=4, depth=3), (3, 32, 32), 10)
    shapes = layer_shapes(student, ["block1", "block2", "block3"], (3, 32, 32))
    # halved after the second and the third of three blocks; the second half of the blocks is twice as wide
    assert shapes == {"block1": (4, 32, 32), "block2": (8, 16, 16), "block3": (8, 8, 8)}


def test_layer_shapes_leave_mode_and_statistics_as_they_were():
    student = ConvNet(width=2, depth=2).build((1, 8, 8), 3).train()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    layer_shapes(student, ["block2"], (1, 8, 8))
    assert student.training
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())
