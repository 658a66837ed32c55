"""What the teacher says about each training example under each view: computed once, looked up by index."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kdsearch.data.augment import Augment
from kdsearch.data.views import Views
from kdsearch.layers import forward_to
from kdsearch.mistakes import Mistake
from kdsearch.signals import Live, Signals, Stored, check_room
from kdsearch.teacher import Frozen
from kdsearch.threads import torch_threads

AUGMENT = Augment(shift=1, flip=True, mixup=0.4, views=3)


class Counted:
    """A teacher that counts how many examples it is shown."""

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
    return lambda **limit: Signals(counted, frozen.key, tiny_data, tmp_path / "signals", **limit)


@pytest.fixture
def as_is(tiny_data) -> Views:
    return Views(tiny_data)


def live(frozen: Frozen, batch, layer: str | None = None) -> torch.Tensor:
    with torch.no_grad():
        return (
            frozen.members[0](batch.inputs_B) if layer is None else forward_to(frozen.members[0], layer, batch.inputs_B)
        )


@pytest.mark.parametrize("augment", [None, AUGMENT], ids=["as it is", "augmented"])
def test_rows_are_what_the_teacher_says_of_that_example(open_signals, frozen, tiny_data, augment):
    index = torch.randperm(60, generator=torch.Generator().manual_seed(3))[:17]
    signals, views = open_signals(), Views(tiny_data, augment)
    for view in range(views.count):
        batch = views.batch(index, view)
        torch.testing.assert_close(signals.logits(views)(batch)[0], live(frozen, batch), rtol=1e-5, atol=1e-5)
        for layer in ("block1", "block2", "block3", "block1.0"):
            found = signals.features(views, layer)(batch)
            assert found.dtype == torch.float16
            torch.testing.assert_close(found.float(), live(frozen, batch, layer), rtol=2**-10, atol=1e-4)


@pytest.mark.parametrize("augment", [None, AUGMENT], ids=["as it is", "augmented"])
def test_the_order_of_the_training_indices_changes_nothing(open_signals, tiny_data, augment):
    signals, views = open_signals(), Views(tiny_data, augment)
    order = torch.randperm(60)
    for lookup, axis in ((signals.logits(views), 1), (signals.features(views, "block2"), 0)):
        for view in range(views.count):
            straight = lookup(views.batch(torch.arange(60), view))
            permuted = lookup(views.batch(order, view))
            assert torch.equal(permuted, straight.index_select(axis, order))


def test_the_number_of_threads_that_the_logits_were_computed_with_is_noted(open_signals, as_is):
    assert open_signals().threads is None
    with torch_threads(2):
        open_signals().compute(as_is)
    assert torch.get_num_threads() == 1
    open_signals().compute(as_is)
    assert open_signals().threads == 2


def test_shapes(open_signals, as_is):
    signals = open_signals()
    assert signals.logits(as_is).view(0).shape == (1, 60, 3)
    assert signals.logits(as_is).view(0).dtype == torch.float32
    assert signals.features(as_is, "block2").view(0).shape == (60, 8, 4, 4)
    for runs in (False, True):
        assert signals.logits(as_is, live=runs).shape == (3,)
        assert signals.features(as_is, "block2", live=runs).shape == (8, 4, 4)


def test_each_signal_is_computed_once_for_all_processes(open_signals, counted, tiny_data):
    views = Views(tiny_data, AUGMENT)
    shown = []
    handle = counted.frozen.members[0].register_forward_pre_hook(lambda module, args: shown.append(len(args[0])))
    try:
        for _ in range(2):
            signals = open_signals()
            for view in range(3):
                signals.logits(views).view(view), signals.features(views, "block1").view(view)
            shown.remove(1) if 1 in shown else None  # to know the layer's shape
            assert shown == [60] * 6
    finally:
        handle.remove()
    assert counted.calls == 1, "a process that finds everything there needs no teacher"


def test_the_data_as_they_are_are_shared_by_all_augmentations(open_signals, counted, tiny_data, tmp_path):
    open_signals().logits(Views(tiny_data)).view(0)
    open_signals().logits(Views(tiny_data, AUGMENT)).view(0)
    open_signals().logits(Views(tiny_data, Augment(cutout=2))).view(0)
    assert counted.calls == 1
    assert len(list((tmp_path / "signals").glob("*.npy"))) == 1


def test_computing_them_ahead_covers_every_view(open_signals, counted, tiny_data):
    open_signals().compute(Views(tiny_data, AUGMENT))
    lookup = open_signals().logits(Views(tiny_data, AUGMENT))
    assert [lookup.view(view).shape for view in range(3)] == [(1, 60, 3)] * 3
    assert counted.calls == 1


def test_a_view_is_the_same_in_another_process(open_signals, frozen, tiny_data, tmp_path):
    torch.save(tiny_data.train.inputs, tmp_path / "inputs.pt")
    code = (
        "import sys, torch; sys.path.insert(0, {tests!r})\n"
        "from conftest import stripes; from kdsearch.data.base import Data; from kdsearch.data.views import Views\n"
        "from test_signals import AUGMENT\n"
        "parts = [stripes(60, 1, 8), stripes(30, 2, 8), stripes(30, 3, 8)]\n"
        "views = Views(Data(name='stripes', train=parts[0], validation=parts[1], test=parts[2]), AUGMENT)\n"
        "torch.save([views.key(2), views.batch(torch.arange(60), 2).inputs_B], {path!r})"
    ).format(tests=str(Path(__file__).parent), path=str(tmp_path / "there.pt"))
    subprocess.run([sys.executable, "-c", code], check=True)
    key, inputs = torch.load(tmp_path / "there.pt")
    views = Views(tiny_data, AUGMENT)
    assert key == views.key(2)
    assert torch.equal(inputs, views.batch(torch.arange(60), 2).inputs_B)


def test_a_damaged_file_is_computed_again_and_said_so_once(open_signals, counted, as_is, tmp_path):
    expected = open_signals().logits(as_is).view(0).clone()
    (path,) = (tmp_path / "signals").glob("*.npy")
    content = path.read_bytes()
    path.write_bytes(content[:-2] + bytes([content[-2] ^ 64]) + content[-1:])
    signals = open_signals()
    assert torch.equal(signals.logits(as_is).view(0), expected)
    assert [note.split(path.name)[1] for note in signals.take_notes()] == [
        " were truncated or altered: they are computed again"
    ]
    assert signals.take_notes() == []
    assert counted.calls == 2


def test_another_teacher_has_its_own_signals(frozen, tiny_data, as_is, tmp_path):
    other = dataclasses.replace(frozen, key="other", members=(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)),))
    first = Signals(lambda: frozen, frozen.key, tiny_data, tmp_path).logits(as_is).view(0)
    assert not torch.equal(Signals(lambda: other, "other", tiny_data, tmp_path).logits(as_is).view(0), first)
    assert len(list(tmp_path.glob("*.npy"))) == 2


@pytest.mark.parametrize("runs", [False, True], ids=["stored", "live"])
def test_the_members_of_an_ensemble_are_kept_apart(frozen, tiny_data, as_is, tmp_path, runs):
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 3)).requires_grad_(False)
    both = Frozen(members=(frozen.members[0], other), key="both")
    signals = Signals(lambda: both, "both", tiny_data, tmp_path)
    batch = as_is.batch(torch.arange(60), 0)
    logits = signals.logits(as_is, live=runs)(batch)
    assert logits.shape == (2, 60, 3)
    torch.testing.assert_close(logits[1], other(batch.inputs_B))
    assert signals.features(as_is, "1", member=1, live=runs)(batch).shape == (60, 5)


def test_votes_are_known_without_the_teacher_once_its_logits_are_kept(frozen, tiny_data, as_is, tmp_path):
    counted = Counted(Frozen(members=frozen.members * 2, key="voted", votes=(0.25, 0.75)))
    first = Signals(counted, "voted", tiny_data, tmp_path)
    torch.testing.assert_close(first.votes, torch.tensor([0.25, 0.75]))
    first.compute(as_is)
    later = Signals(counted, "voted", tiny_data, tmp_path)
    torch.testing.assert_close(later.votes, torch.tensor([0.25, 0.75]))
    assert counted.calls == 1


def test_equal_votes_are_none(open_signals, counted, as_is):
    signals = open_signals()
    assert signals.votes is None
    signals.compute(as_is)
    calls = counted.calls
    assert open_signals().votes is None
    assert counted.calls == calls


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, inputs):
        return inputs * self.factor


def scaling(factor: float) -> Frozen:
    member = nn.Sequential(Scaled(factor), nn.Flatten(), nn.Linear(64, 3)).requires_grad_(False)
    return Frozen(members=(member,), key=f"scaled by {factor}")


def test_features_that_half_precision_cannot_hold_are_kept_single(tiny_data, as_is, tmp_path):
    loud = scaling(1e5)
    found = Signals(lambda: loud, loud.key, tiny_data, tmp_path).features(as_is, "0").view(0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, tiny_data.normalize(tiny_data.train.inputs) * 1e5)
    (note,) = (json.loads(path.read_text()) for path in tmp_path.glob("features-*.json"))
    assert (note["precision"], note["max_absolute_error"]) == ("float32", 0.0)


def test_the_error_of_half_precision_is_measured_and_stands_beside_the_file(tiny_data, as_is, tmp_path):
    plain = scaling(1.0)
    found = Signals(lambda: plain, plain.key, tiny_data, tmp_path).features(as_is, "0").view(0)
    (note,) = (json.loads(path.read_text()) for path in tmp_path.glob("features-*.json"))
    exact = tiny_data.normalize(tiny_data.train.inputs).double()
    error = found.double() - exact
    assert note["precision"] == "float16"
    assert note["max_absolute_error"] == pytest.approx(error.abs().max().item())
    assert note["rms_relative_error"] == pytest.approx((error.square().mean() / exact.square().mean()).sqrt().item())
    assert 0 < note["rms_relative_error"] < 2**-11


def test_features_that_would_not_fit_run_live_and_it_is_said_once(open_signals, counted, tiny_data, tmp_path):
    views = Views(tiny_data, AUGMENT)
    logits = 3 * 60 * 3 * 4
    features = 60 * 8 * 4 * 4 * 2  # of one view of block2, in half precision
    signals = open_signals(limit_gb=(logits + 3 * features - 1) / 1e9)
    lookup = signals.features(views, "block2")
    assert isinstance(lookup, Live)
    batch = views.batch(torch.arange(9), 2)
    assert torch.equal(lookup(batch), live(counted.frozen, batch, "block2"))
    (note,) = signals.take_notes()
    assert "the features of the teacher's layer 'block2' would take 4.61e-05 GB and the logits 2.16e-06 GB" in note
    signals.features(views, "block2")
    again = open_signals(limit_gb=(logits + 3 * features - 1) / 1e9)
    assert isinstance(again.features(views, "block2"), Live)
    assert signals.take_notes() == again.take_notes() == []
    assert isinstance(again.features(views, "block2", epochs=2), Stored), "two epochs see two views"
    assert isinstance(again.features(views, "block3"), Stored), "another layer fits"
    assert isinstance(open_signals(limit_gb=(logits + 3 * features) / 1e9).features(views, "block2"), Stored)


def test_logits_that_would_not_fit_are_a_mistake(open_signals, tiny_data):
    with pytest.raises(Mistake, match=r"logits on 3 views .* take 2.16e-06 GB, above signals_gb of 2e-06; raise it"):
        open_signals(limit_gb=2e-6).logits(Views(tiny_data, AUGMENT)).view(0)
    check_room(3, 1, tiny_data, 2.16e-6)


def test_a_live_teacher_leaves_no_files(open_signals, frozen, tiny_data, tmp_path):
    views = Views(tiny_data, AUGMENT)
    signals = open_signals()
    batch = views.batch(torch.arange(7), 1)
    assert torch.equal(signals.logits(views, live=True)(batch)[0], live(frozen, batch))
    found = signals.features(views, "block1", live=True)(batch)
    assert not found.requires_grad
    assert not found.is_inference()
    assert not (tmp_path / "signals").exists()


def test_the_time_is_counted(open_signals, as_is):
    signals = open_signals()
    assert signals.seconds == 0
    signals.logits(as_is).view(0)
    computing = signals.seconds
    assert computing > 0
    signals.logits(as_is, live=True)(as_is.batch(torch.arange(60), 0))
    assert signals.seconds > computing


def test_computing_draws_no_random_numbers(open_signals, as_is, frozen, tiny_data, tmp_path):
    def careless() -> Frozen:
        torch.rand(3)
        return frozen

    before = torch.get_rng_state()
    Signals(careless, frozen.key, tiny_data, tmp_path).logits(as_is).view(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_more_examples_than_one_batch_stay_in_order(make_data, frozen, tmp_path):
    data = make_data(train=1100)
    views = Views(data, AUGMENT)
    lookup = Signals(lambda: frozen, "many", data, tmp_path).logits(views)
    for begin in (0, 511, 512, 1023, 1024, 1099):
        batch = views.batch(torch.tensor([begin]), 1)
        torch.testing.assert_close(lookup(batch)[0], live(frozen, batch), rtol=1e-4, atol=1e-5)


def test_a_key_cannot_lead_out_of_the_folder(frozen, tiny_data, as_is, tmp_path):
    member = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).requires_grad_(False)
    signals = Signals(lambda: Frozen(members=(member,), key="../../up"), "../../up", tiny_data, tmp_path / "signals")
    signals.features(as_is, "1").view(0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["signals"]


def test_files_are_plain_arrays(open_signals, as_is, tmp_path):
    open_signals().logits(as_is).view(0)
    (path,) = (tmp_path / "signals").glob("*.npy")
    assert np.load(path, allow_pickle=False).shape == (1, 60, 3)


def test_the_test_split_and_the_validation_split_are_never_asked(open_signals, counted, tiny_data, as_is):
    seen = []
    handle = counted.frozen.members[0].register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    try:
        open_signals().logits(as_is).view(0)
    finally:
        handle.remove()
    assert sum(seen) == len(tiny_data.train)
