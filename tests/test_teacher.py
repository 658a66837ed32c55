"""Teachers: trained once, loaded ever after, never changed."""

import dataclasses
import pickle
import shutil

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdsearch import metrics
from kdsearch.data.augment import Augment
from kdsearch.files import load_tensors
from kdsearch.mistakes import Mistake, UserCodeError
from kdsearch.students import MLP, ConvNet
from kdsearch.teacher import Frozen, Teacher, as_teachers, freeze
from kdsearch.training import Optim, StopRequestedError


def weights(frozen: Frozen) -> dict[str, torch.Tensor]:
    return {f"{number}.{name}": value.clone() for number, member in enumerate(frozen.members)
            for name, value in member.state_dict().items()}  # fmt: skip


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def epochs():
    """(member, epoch) of each epoch of training, and a callback that notes them."""
    seen = []

    def on_epoch(member, line) -> bool:
        seen.append((member, line["epoch"]))
        return False

    on_epoch.seen = seen
    return on_epoch


def test_a_teacher_is_trained_once_and_loaded_afterwards(tiny_data, tiny_teacher, tmp_path, epochs):
    first = freeze(tiny_teacher, tiny_data, tmp_path, on_epoch=epochs)
    assert epochs.seen == [(0, 1), (0, 2), (0, 3)]
    again = freeze(tiny_teacher, tiny_data, tmp_path, on_epoch=epochs)
    assert len(epochs.seen) == 3
    assert again.key == first.key
    assert equal(weights(first), weights(again))


def test_the_number_of_threads_is_kept_and_not_known_after_two(tiny_data, tiny_teacher, tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert freeze(tiny_teacher, tiny_data, tmp_path / "whole").threads == 2
        with pytest.raises(StopRequestedError):
            freeze(tiny_teacher, tiny_data, tmp_path / "parts", on_epoch=lambda member, line: True)
        torch.set_num_threads(1)
        assert freeze(tiny_teacher, tiny_data, tmp_path / "whole").threads == 2, (
            "as it was trained, not as it is loaded"
        )
        assert freeze(tiny_teacher, tiny_data, tmp_path / "parts").threads is None
    finally:
        torch.set_num_threads(before)


def test_a_teacher_learns(tiny_data, frozen):
    predictions = frozen.predictions(tiny_data, tiny_data.validation.inputs, tiny_data.validation.labels)
    assert metrics.accuracy(predictions, tiny_data.validation.labels) > 0.6  # chance is a third


def test_a_frozen_teacher_is_in_evaluation_mode_without_gradients(frozen):
    for member in frozen.members:
        assert not any(module.training for module in member.modules())
        assert not any(parameter.requires_grad for parameter in member.parameters())


def test_training_leaves_the_callers_generator_alone(tiny_data, tiny_teacher, tmp_path):
    before = torch.get_rng_state()
    freeze(tiny_teacher, tiny_data, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("damage", ["altered", "truncated", "removed", "emptied"])
def test_a_kept_teacher_that_is_damaged_is_trained_again_to_the_same_bits(
    tiny_data, tiny_teacher, tmp_path, epochs, damage
):
    first = freeze(tiny_teacher, tiny_data, tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    content = path.read_bytes()
    match damage:
        case "altered":
            path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
        case "truncated":
            path.write_bytes(content[:-10])
        case "emptied":
            path.write_bytes(b"")
        case "removed":
            path.unlink()
    again = freeze(tiny_teacher, tiny_data, tmp_path, on_epoch=epochs)
    assert len(epochs.seen) == 3
    assert equal(weights(first), weights(again))
    load_tensors(path)  # whole again


@pytest.mark.parametrize("stop", [1, 2, 5, 6])
def test_an_interrupted_training_continues_to_the_same_bits(tiny_data, tiny_teacher, tmp_path, epochs, stop):
    teacher = dataclasses.replace(tiny_teacher, epochs=7)
    whole = freeze(teacher, tiny_data, tmp_path / "whole")
    with pytest.raises(StopRequestedError):
        freeze(teacher, tiny_data, tmp_path / "parts", on_epoch=lambda member, line: line["epoch"] == stop)
    parts = freeze(teacher, tiny_data, tmp_path / "parts", on_epoch=epochs)
    assert epochs.seen == [(0, epoch) for epoch in range(stop + 1, 8)]
    assert equal(weights(whole), weights(parts))
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) == 1  # no unfinished one is left


def test_a_stop_in_the_last_epoch_comes_too_late(tiny_data, tiny_teacher, tmp_path):
    freeze(tiny_teacher, tiny_data, tmp_path, on_epoch=lambda member, line: line["epoch"] == 3)


def test_an_unfinished_training_that_is_damaged_begins_anew(tiny_data, tiny_teacher, tmp_path, epochs):
    with pytest.raises(StopRequestedError):
        freeze(tiny_teacher, tiny_data, tmp_path, on_epoch=lambda member, line: True)
    (path,) = tmp_path.glob("*.part.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    freeze(tiny_teacher, tiny_data, tmp_path, on_epoch=epochs)
    assert len(epochs.seen) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"optim": Optim(lr=2e-2, batch_size=20)},
        {"epochs": 2},
        {"seed": 1},
        {"build": lambda: ConvNet(width=5, depth=3).build((1, 8, 8), 3)},
        {"build": lambda: nn.Sequential(*ConvNet(width=4, depth=3).build((1, 8, 8), 3), nn.Identity())},
    ],
    ids=["optim", "epochs", "seed", "width", "architecture"],
)
def test_another_teacher_has_another_key(tiny_data, tiny_teacher, frozen, tmp_path, change):
    other = freeze(dataclasses.replace(tiny_teacher, **change), tiny_data, tmp_path)
    assert other.key != frozen.key


def test_golden_votes_weigh_the_members_probabilities(tiny_data, tiny_teacher, tmp_path, epochs):
    other = dataclasses.replace(tiny_teacher, seed=1)
    equal_votes = freeze([tiny_teacher, other], tiny_data, tmp_path)
    heavier = dataclasses.replace(other, vote=3.0)
    weighted = freeze([tiny_teacher, heavier], tiny_data, tmp_path, on_epoch=epochs)
    assert epochs.seen == []  # the members' weights are the same
    assert weighted.votes == (0.25, 0.75)
    assert weighted.key != equal_votes.key
    inputs, labels = tiny_data.validation.inputs, tiny_data.validation.labels
    one, two = (metrics.logits(member, tiny_data, tiny_data.validation).softmax(1) for member in weighted.members)
    assert torch.equal(weighted.predictions(tiny_data, inputs, labels), (0.25 * one + 0.75 * two).argmax(1))
    almost_alone = freeze([dataclasses.replace(tiny_teacher, vote=1e-9), other], tiny_data, tmp_path)
    assert torch.equal(almost_alone.predictions(tiny_data, inputs, labels), two.argmax(1))


def test_equal_votes_are_no_votes(tiny_data, tiny_teacher, tmp_path):
    other = dataclasses.replace(tiny_teacher, seed=1)
    pair = freeze([tiny_teacher, other], tiny_data, tmp_path)
    twos = [dataclasses.replace(teacher, vote=2.0) for teacher in (tiny_teacher, other)]
    assert (freeze(twos, tiny_data, tmp_path).key, pair.votes) == (pair.key, None)
    assert freeze(dataclasses.replace(tiny_teacher, vote=2.0), tiny_data, tmp_path).votes is None


@pytest.mark.parametrize("vote", [0, -1.0, float("inf"), float("nan")])
def test_a_vote_is_above_zero(tiny_teacher, vote):
    with pytest.raises(Mistake, match=f"vote must be above 0 and finite, got {vote}; a member without a say is left"):
        dataclasses.replace(tiny_teacher, vote=vote)


def test_a_teacher_may_be_trained_on_augmented_views(tiny_data, tiny_teacher, frozen, tmp_path):
    augmented = dataclasses.replace(tiny_teacher, augment=Augment(shift=1, mixup=0.2, views=2))
    other = freeze(augmented, tiny_data, tmp_path / "a")
    assert other.key != frozen.key
    assert not equal(weights(other), weights(frozen))
    with pytest.raises(StopRequestedError):
        freeze(augmented, tiny_data, tmp_path / "b", on_epoch=lambda member, line: line["epoch"] == 1)
    assert equal(weights(freeze(augmented, tiny_data, tmp_path / "b")), weights(other))


def test_other_data_give_another_key(make_data, tiny_teacher, frozen, tmp_path):
    assert freeze(tiny_teacher, make_data(train=63), tmp_path).key != frozen.key


def test_an_ensemble_predicts_by_the_mean_of_its_members_probabilities(tiny_data, tiny_teacher, tmp_path, epochs):
    other = dataclasses.replace(tiny_teacher, seed=1)
    both = freeze([tiny_teacher, other], tiny_data, tmp_path, on_epoch=epochs)
    assert epochs.seen == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert both.parameters == 2 * metrics.parameters(both.members[0])
    logits = [metrics.logits(member, tiny_data, tiny_data.validation) for member in both.members]
    assert not torch.equal(*logits)
    expected = ((logits[0].softmax(1) + logits[1].softmax(1)) / 2).argmax(1)
    found = both.predictions(tiny_data, tiny_data.validation.inputs, tiny_data.validation.labels)
    assert torch.equal(found, expected)
    alone = freeze(tiny_teacher, tiny_data, tmp_path, on_epoch=epochs)  # shared with the ensemble
    assert len(epochs.seen) == 6
    assert alone.key != both.key


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_weights_are_read_from_a_file_and_never_trained(tiny_data, tiny_teacher, frozen, tmp_path, epochs, kind):
    path = tmp_path / f"given.{'safetensors' if kind == 'safetensors' else 'pt'}"
    state = frozen.members[0].state_dict()
    save_file(state, path) if kind == "safetensors" else torch.save(state, path)
    given = dataclasses.replace(tiny_teacher, weights=path)
    loaded = freeze(given, tiny_data, tmp_path / "kept", on_epoch=epochs)
    assert epochs.seen == []
    assert equal(weights(loaded), weights(frozen))
    # by content: neither the file's place nor settings of a training that is not done are part of the key
    elsewhere = tmp_path / f"elsewhere{path.suffix}"
    shutil.copy(path, elsewhere)
    again = dataclasses.replace(given, weights=str(elsewhere), epochs=99)
    assert freeze(again, tiny_data, tmp_path / "kept").key == loaded.key


def test_other_weights_have_another_key(tiny_data, tiny_teacher, tmp_path):
    keys = set()
    for number in range(2):
        torch.save(tiny_teacher.build().state_dict(), tmp_path / f"{number}.pt")
        given = dataclasses.replace(tiny_teacher, weights=tmp_path / f"{number}.pt")
        keys.add(freeze(given, tiny_data, tmp_path).key)
    assert len(keys) == 2


class Trap:
    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_of_anything_but_tensors_is_refused_and_not_run(tiny_data, tiny_teacher, tmp_path):
    for number, save in enumerate((torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2)))):
        path, sprung = tmp_path / f"trap{number}.pt", tmp_path / "sprung"
        save({"block1.0.weight": Trap(str(sprung))}, path)
        with pytest.raises(Mistake, match=rf"weights .*trap{number}\.pt are no state dict of plain tensors"):
            freeze(dataclasses.replace(tiny_teacher, weights=path), tiny_data, tmp_path)
        assert not sprung.exists()


def test_a_whole_module_in_a_torch_file_is_refused(tiny_data, tiny_teacher, tmp_path):
    torch.save(tiny_teacher.build(), tmp_path / "module.pt")
    with pytest.raises(Mistake, match="no state dict of plain tensors"):
        freeze(dataclasses.replace(tiny_teacher, weights=tmp_path / "module.pt"), tiny_data, tmp_path)


@pytest.mark.parametrize("name", ["given.safetensors", "given.pt"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04"])
def test_a_file_that_holds_no_weights_is_a_mistake(tiny_data, tiny_teacher, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Mistake, match=rf"the teacher's weights .*{name}"):
        freeze(dataclasses.replace(tiny_teacher, weights=tmp_path / name), tiny_data, tmp_path)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_of_another_architecture_say_what_does_not_fit(tiny_data, tiny_teacher, tmp_path, suffix):
    state = ConvNet(width=5, depth=3).build((1, 8, 8), 3).state_dict()
    path = tmp_path / f"other.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    with pytest.raises(Mistake, match=r"do not fit what build\(\) makes: .*size mismatch"):
        freeze(dataclasses.replace(tiny_teacher, weights=path), tiny_data, tmp_path)


def test_weights_that_do_not_exist_are_a_mistake(tiny_data, tiny_teacher, tmp_path):
    with pytest.raises(Mistake, match=r"gone\.pt do not exist; give a file, or leave weights out to train"):
        freeze(dataclasses.replace(tiny_teacher, weights=tmp_path / "gone.pt"), tiny_data, tmp_path)


def test_given_weights_for_other_classes_are_a_mistake_before_anything_is_trained(tiny_data, tiny_teacher, tmp_path):
    of_ten = tmp_path / "ten.safetensors"
    save_file(ConvNet(width=4, depth=3).build((1, 8, 8), 10).state_dict(), of_ten)
    given = dataclasses.replace(tiny_teacher, weights=of_ten)
    lines = []
    with pytest.raises(Mistake, match=r"do not fit what build\(\) makes: .*size mismatch.*\[10"):
        freeze([tiny_teacher, given], tiny_data, tmp_path / "kept", on_epoch=lambda *line: lines.append(line))
    assert lines == []


def test_a_teacher_of_another_number_of_classes_is_a_mistake(tiny_data, tmp_path):
    teacher = Teacher(build=lambda: MLP(width=2, depth=1).build((1, 8, 8), 10))
    with pytest.raises(Mistake, match=r"outputs of shape \(10,\) .* stripes has 3 classes; .* logits of shape \(3,\)"):
        freeze(teacher, tiny_data, tmp_path)


def test_a_build_that_gives_no_module_is_a_mistake(tiny_data, tmp_path):
    with pytest.raises(Mistake, match=r"build\(\) must return a torch.nn.Module, got ConvNet"):
        freeze(Teacher(build=lambda: ConvNet(width=2, depth=2)), tiny_data, tmp_path)


def test_errors_of_the_users_own_code_say_where(tiny_data, tmp_path):
    def build():
        raise KeyError("size")

    with pytest.raises(UserCodeError, match=r"the teacher's build\(\) raised KeyError: 'size' \(test_teacher.py, line"):
        freeze(Teacher(build=build), tiny_data, tmp_path)
    with pytest.raises(UserCodeError, match="the teacher's forward pass raised RuntimeError"):
        freeze(Teacher(build=lambda: nn.Linear(5, 3)), tiny_data, tmp_path)


@pytest.mark.parametrize("given", [None, [], [None], "teacher", {}, [nn.Linear(1, 1)]])
def test_anything_but_teachers_is_a_mistake(given):
    with pytest.raises(Mistake, match=r"teacher\(data\) must return a Teacher or a list of them, got"):
        as_teachers(given)


def test_a_teacher_without_epochs_is_a_mistake():
    with pytest.raises(Mistake, match="the teacher's epochs must be at least 1, got 0"):
        Teacher(build=nn.Identity, epochs=0)
