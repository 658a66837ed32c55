"""What the teacher says about each training example: computed once, looked up by index."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from kdsearch.layers import forward_to
from kdsearch.signals import Signals
from kdsearch.teacher import Frozen


class Counted:
    """A teacher that counts how often it is asked for."""

    def __init__(self, frozen: Frozen) -> None:
        self.frozen, self.calls = frozen, 0

    def __call__(self) -> Frozen:
        self.calls += 1
        return self.frozen


@pytest.fixture
def counted(frozen) -> Counted:
    return Counted(frozen)


@pytest.fixture
def open_signals(counted, frozen, tiny_data, tmp_path):
    return lambda: Signals(counted, frozen.key, tiny_data, tmp_path / "signals")


def live(frozen: Frozen, data, index: torch.Tensor, layer: str | None = None) -> torch.Tensor:
    inputs = data.normalize(data.train.inputs[index])
    with torch.no_grad():
        return frozen.members[0](inputs) if layer is None else forward_to(frozen.members[0], layer, inputs)


def test_rows_are_what_the_teacher_says_of_that_example(open_signals, frozen, tiny_data):
    index = torch.randperm(60, generator=torch.Generator().manual_seed(3))[:17]
    signals = open_signals()
    torch.testing.assert_close(signals.logits()[0, index], live(frozen, tiny_data, index), rtol=1e-5, atol=1e-5)
    for layer in ("block1", "block2", "block3", "block1.0"):
        found = signals.features(layer)[index]
        assert found.dtype == torch.float16
        torch.testing.assert_close(found.float(), live(frozen, tiny_data, index, layer), rtol=2**-10, atol=1e-4)


def test_shapes(open_signals):
    signals = open_signals()
    assert signals.logits().shape == (1, 60, 3)
    assert signals.logits().dtype == torch.float32
    assert signals.features("block2").shape == (60, 8, 4, 4)


def test_each_signal_is_computed_once_for_all_processes(open_signals, counted):
    first = open_signals()
    first.logits(), first.features("block1")
    assert counted.calls == 2
    first.logits(), first.features("block1")
    again = open_signals()
    assert torch.equal(again.logits(), first.logits())
    assert torch.equal(again.features("block1"), first.features("block1"))
    assert counted.calls == 2


@pytest.mark.parametrize("damage", ["altered", "truncated", "removed", "no checksum", "checksum torn", "checksum list"])
def test_a_damaged_file_is_computed_again(open_signals, counted, tmp_path, damage):
    expected = open_signals().logits().clone()
    (path,) = (tmp_path / "signals").glob("*.npy")
    (checksum,) = (tmp_path / "signals").glob("*.json")
    content = path.read_bytes()
    match damage:
        case "altered":
            path.write_bytes(content[:-2] + bytes([content[-2] ^ 64]) + content[-1:])
        case "truncated":
            path.write_bytes(content[:-4])
        case "removed":
            path.unlink()
        case "no checksum":
            checksum.unlink()
        case "checksum torn":
            checksum.write_text(checksum.read_text()[:10])
        case "checksum list":
            checksum.write_text("[]")
    assert torch.equal(open_signals().logits(), expected)
    assert counted.calls == 2
    open_signals().logits()
    assert counted.calls == 2


def test_a_stray_write_does_not_reach_the_file(open_signals):
    expected = open_signals().logits().clone()
    open_signals().logits().fill_(0)
    assert torch.equal(open_signals().logits(), expected)


def test_another_teacher_has_its_own_signals(frozen, tiny_data, tmp_path):
    other = dataclasses.replace(frozen, key="other", members=(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)),))
    first = Signals(lambda: frozen, frozen.key, tiny_data, tmp_path).logits()
    assert not torch.equal(Signals(lambda: other, "other", tiny_data, tmp_path).logits(), first)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_the_members_of_an_ensemble_are_kept_apart(frozen, tiny_data, tmp_path):
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 3)).requires_grad_(False)
    both = Frozen(members=(frozen.members[0], other), key="both")
    signals = Signals(lambda: both, "both", tiny_data, tmp_path)
    assert signals.logits().shape == (2, 60, 3)
    inputs = tiny_data.normalize(tiny_data.train.inputs)
    torch.testing.assert_close(signals.logits()[1], other(inputs))
    assert signals.features("1", member=1).shape == (60, 5)


def test_features_that_half_precision_cannot_hold_are_kept_single(tiny_data, tmp_path):
    class Loud(nn.Module):
        def forward(self, inputs):
            return inputs * 1e5

    member = nn.Sequential(Loud(), nn.Flatten(), nn.Linear(64, 3)).requires_grad_(False)
    signals = Signals(lambda: Frozen(members=(member,), key="loud"), "loud", tiny_data, tmp_path)
    found = signals.features("0")
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    torch.testing.assert_close(found, tiny_data.normalize(tiny_data.train.inputs) * 1e5)


def test_more_examples_than_one_batch_stay_in_order(make_data, frozen, tmp_path):
    data = make_data(train=1100)
    found = Signals(lambda: frozen, "many", data, tmp_path).logits()[0]
    for begin in (0, 511, 512, 1023, 1024, 1099):
        expected = live(frozen, data, torch.tensor([begin]))
        torch.testing.assert_close(found[begin : begin + 1], expected, rtol=1e-4, atol=1e-5)


def test_a_key_cannot_lead_out_of_the_folder(frozen, tiny_data, tmp_path):
    member = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).requires_grad_(False)
    signals = Signals(lambda: Frozen(members=(member,), key="../../up"), "../../up", tiny_data, tmp_path / "signals")
    signals.features("1")
    assert [entry.name for entry in tmp_path.iterdir()] == ["signals"]


def test_files_are_plain_arrays_and_no_temporary_ones_are_left(open_signals, tmp_path):
    open_signals().logits()
    (path,) = (tmp_path / "signals").glob("*.npy")
    assert np.load(path, allow_pickle=False).shape == (1, 60, 3)
    assert {entry.suffix for entry in (tmp_path / "signals").iterdir()} <= {".npy", ".json", ".lock"}


def test_the_test_split_and_the_validation_split_are_never_asked(open_signals, counted, tiny_data):
    seen = []
    handle = counted.frozen.members[0].register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    try:
        open_signals().logits()
    finally:
        handle.remove()
    assert sum(seen) == len(tiny_data.train)
