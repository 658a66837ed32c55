import pytest
import torch
from torch import nn, tensor

from kdsearch import metrics
from kdsearch.students import MLP, ConvNet, ResNet, on_meta


def test_accuracy_is_the_share_that_is_right():
    assert metrics.accuracy(tensor([0, 1, 2, 2]), tensor([0, 1, 1, 2])) == 0.75


def test_macro_f1_by_hand():
    predictions, labels = tensor([0, 0, 1, 2]), tensor([0, 1, 1, 0])
    # class 0: one of two predictions right, one of two found: 1/2; class 1: 1 of 1, 1 of 2: 2/3; class 2: 0
    assert metrics.macro_f1(predictions, labels) == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)


def test_macro_f1_counts_a_class_that_is_never_predicted_as_zero():
    assert metrics.macro_f1(tensor([0, 0, 0, 0]), tensor([0, 0, 0, 1])) == pytest.approx((6 / 7 + 0) / 2)


def test_macs_of_a_residual_net_by_hand():
    # He et al. 2016, ResNet-20 at 32x32: stem; 6 + 1 + 5 + 1 + 5 convolutions; classifier
    stem = 3 * 16 * 9 * 1024
    stages = 6 * 16 * 16 * 9 * 1024 + (16 * 32 + 5 * 32 * 32) * 9 * 256 + (32 * 64 + 5 * 64 * 64) * 9 * 64
    assert metrics.macs(on_meta(ResNet(width=16, depth=9), (3, 32, 32), 10), (3, 32, 32)) == stem + stages + 640


def test_macs_of_a_linear_net_are_its_weights_without_biases():
    student = MLP(width=3, depth=2).build((1, 2, 2), 2)
    assert metrics.macs(student, (1, 2, 2)) == 4 * 3 + 3 * 3 + 3 * 2


def test_size_counts_weights_and_buffers_in_bytes():
    assert metrics.size_kb(nn.Linear(10, 10)) == pytest.approx(0.440)
    # weight, bias, running mean and variance of 10 floats, and a 64-bit counter
    assert metrics.size_kb(nn.BatchNorm1d(10)) == pytest.approx(0.168)
    assert metrics.size_kb(nn.Linear(10, 10).half()) == pytest.approx(0.220)


def test_logits_are_those_of_evaluation_mode_and_change_nothing(tiny_data):
    student = nn.Sequential(ConvNet(width=2, depth=2).build((1, 8, 8), 3), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    found = metrics.logits(student, tiny_data, tiny_data.validation, batch_size=7)
    assert found.shape == (30, 3)
    assert student.training
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
    whole = student.eval()(tiny_data.normalize(tiny_data.validation.inputs)).detach()
    torch.testing.assert_close(found, whole)


def test_logits_can_be_differentiated_against(tiny_data):
    student = MLP(width=2, depth=1).build((1, 8, 8), 3)
    found = metrics.logits(student, tiny_data, tiny_data.validation)
    assert not found.is_inference()
    weight = torch.ones(3, requires_grad=True)
    (found * weight).sum().backward()
    assert weight.grad is not None


def test_the_mode_is_put_back_when_the_forward_pass_raises(tiny_data):
    student = nn.Sequential(nn.Linear(5, 5)).train()
    with pytest.raises(RuntimeError):
        metrics.logits(student, tiny_data, tiny_data.validation)
    with pytest.raises(RuntimeError):
        metrics.macs(student, (1, 8, 8))
    assert student.training


def test_latency_is_measured_with_one_thread_that_is_put_back():
    seen = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, inputs):
            seen.append((torch.get_num_threads(), tuple(inputs.shape)))
            return self.linear(inputs)

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert metrics.latency_ms(Spy(), (4,), repeats=5) > 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert set(seen) == {(1, (1, 4))}
