"""Token ids: they reach the network as they are, and what is no id of the vocabulary is named."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from kdsearch import api, taking
from kdsearch.data import Augment, Data, Split, arrays, from_dataset, tokens
from kdsearch.data.kept import keep_data, load_data
from kdsearch.data.views import Views, check_replayable
from kdsearch.mistakes import Mistake
from kdsearch.study import Study
from kdsearch.teacher import Teacher, freeze
from kdsearch.training import Optim

X = np.arange(60 * 5).reshape(60, 5) % 11
Y = np.arange(60) % 3


@pytest.fixture
def sequences() -> Data:
    return tokens(X, Y, vocabulary=11)


def test_networks_get_the_ids_themselves(sequences):
    assert (sequences.shape, sequences.vocabulary, sequences.classes) == ((5,), 11, 3)
    batch = Views(sequences).batch(torch.tensor([7, 2]), 0).inputs_B
    assert batch.dtype == torch.int64
    assert torch.equal(batch, sequences.train.inputs[[7, 2]].long())
    assert torch.equal(sequences.normalize(sequences.test.inputs), sequences.test.inputs.long())
    assert [part.item() for part in sequences.statistics] == [0.0, 1.0]


def test_a_smoke_run_keeps_the_vocabulary(sequences):
    study = Study(name="words", data=lambda: sequences, teacher=lambda data: None, space=lambda trial: None)
    assert study.smoke().data().vocabulary == 11


def test_rows_keep_their_labels(sequences):
    known = {(*row, label) for row, label in zip(X.tolist(), Y.tolist(), strict=True)}
    for split in sequences.splits().values():
        assert {(*row, int(label)) for row, label in zip(split.inputs.tolist(), split.labels, strict=True)} <= known


def test_splits_of_their_own():
    data = tokens(X, Y, vocabulary=11, test=(X[:9] * 0, Y[:9]), validation=(X[:6], torch.from_numpy(Y[:6])), train=30)
    assert [len(split) for split in data.splits().values()] == [30, 6, 9]
    assert int(data.test.inputs.max()) == 0


def test_the_same_from_a_file_and_from_a_dataset(tmp_path, sequences):
    np.savez(tmp_path / "tokens.npz", x=X.astype(np.int16), y=Y)
    filed = arrays(tmp_path / "tokens.npz", vocabulary=11)
    assert filed.vocabulary == 11
    assert filed.train.inputs.dtype == torch.int32
    listed = from_dataset([(torch.from_numpy(row), int(label)) for row, label in zip(X, Y, strict=True)], vocabulary=11)
    assert listed.fingerprint == sequences.fingerprint


def test_the_vocabulary_is_part_of_what_the_data_are(sequences):
    larger = tokens(X, Y, vocabulary=12)
    assert larger.fingerprint != sequences.fingerprint
    splits = {name: Split(inputs=split.inputs.float(), labels=split.labels) for name, split in larger.splits().items()}
    assert Data(name="numbers", **splits).batch(torch.arange(9)).dtype == torch.float32


def test_fingerprints_of_other_data_are_as_they_were(tiny_data):
    """Kept teachers and signals are found by it."""
    assert tiny_data.fingerprint == "9d675eeb79f7dd3371326a34506db87ebf0c073dba995a126e6bbcd890483c05"


def test_kept_tokens_are_still_tokens(sequences, tmp_path):
    keep_data(sequences, tmp_path)
    loaded = load_data(tmp_path, sequences.fingerprint)
    assert loaded.vocabulary == 11
    assert loaded.batch(torch.arange(3)).dtype == torch.int64


@pytest.mark.parametrize("wrong", [-1, 11, 300])
def test_an_id_out_of_range_is_named_with_its_place(wrong):
    bad = X.copy()
    bad[47, 3] = wrong
    with pytest.raises(Mistake, match=rf"must lie in 0\.\.10, got {wrong} in example 47 at position 3"):
        tokens(bad, Y, vocabulary=11)
    with pytest.raises(Mistake, match=rf"item 47 .* got {wrong} in example 0 at position 3"):
        from_dataset([(torch.from_numpy(row), 0) for row in bad], vocabulary=11)


@pytest.mark.parametrize("wrong", [2**63, 2**64 - 1])
def test_an_id_that_int64_cannot_hold_is_named_as_it_is(wrong):
    bad = X.astype(np.uint64)
    bad[47, 3] = wrong
    for given in (bad, torch.from_numpy(bad)):
        with pytest.raises(Mistake, match=rf"must lie in 0\.\.10, got {wrong} in example 47 at position 3"):
            tokens(given, Y, vocabulary=11)
    with pytest.raises(Mistake, match=rf"got {wrong} in example 0 at position 3"):
        from_dataset([(row, 0) for row in bad], vocabulary=11)


@pytest.mark.parametrize("kind", [np.uint8, np.uint64, ">i4", np.int16])
def test_ids_of_every_integer_type_are_the_same_data(kind, sequences):
    assert tokens(X.astype(kind)[:, ::-1], Y, vocabulary=11).fingerprint == (
        tokens(X[:, ::-1].copy(), Y, vocabulary=11).fingerprint
    )
    assert tokens(X.astype(kind), Y, vocabulary=11).fingerprint == sequences.fingerprint


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "said"),
    [
        (X / 2, Y, {}, r"tokens must be integers of shape \(N, L\), got float64"),
        (X[:, :, None], Y, {}, r"got int64 of shape \(60, 5, 1\)"),
        ([[1, 2], [3]], [0, 1], {}, "differ in length; cut and pad"),
        (X, Y[:-1], {}, r"labels must be integers of shape \(60,\)"),
        (X, Y / 1, {}, "labels must be integers"),
        (X, Y > 0, {}, "labels must be integers .* got bool .*; convert booleans to 0 and 1"),
        (X[:, :0], Y, {}, r"shape \(N, L\), L at least 1, got torch.int64 of shape \(60, 0\)"),
        (X, Y, {"train": True}, "a number of examples must be a whole number, got True"),
        (X, Y, {"validation": True}, "validation must be a number of examples or a fraction"),
        (X, Y, {"vocabulary": 1}, "vocabulary must be the number of token ids, 2 to 16,777,216, got 1"),
        (X, Y, {"vocabulary": 2**25}, "vocabulary must be"),
        (X, Y, {"test": (X[:6, :4], Y[:6])}, "sequences of test have length 4, those of train 5"),
    ],
)
def test_what_are_no_tokens_is_refused(inputs, labels, options, said):
    with pytest.raises(Mistake, match=said):
        tokens(inputs, labels, **{"vocabulary": 11, **options})


@pytest.mark.parametrize("name", ["flip", "shift", "cutout", "mixup"])
def test_augmentations_of_pixels_are_refused(sequences, name):
    augment = Augment(**{name: True if name == "flip" else 1})
    with pytest.raises(Mistake, match=f"Augment's {name} would change token ids"):
        check_replayable(augment, sequences)
    with pytest.raises(Mistake, match=f"Augment's {name} would change token ids"):
        Views(sequences, augment)


@dataclass(frozen=True)
class Masked:
    """Every third view hides the first token."""

    views: int = 3

    def apply(self, inputs_B, index_B, view):
        shown = inputs_B.clone()
        shown[:, 0] = 0
        return shown


def test_an_augmentation_of_the_users_own_may_change_tokens(sequences):
    check_replayable(Masked(), sequences)
    batch = Views(sequences, Masked()).batch(torch.arange(4), 1)
    assert batch.inputs_B.dtype == torch.int64
    assert batch.inputs_B[:, 0].tolist() == [0] * 4


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(11, 4)
        self.classifier = nn.Linear(4, 3)

    def forward(self, ids):
        return self.classifier(self.words(ids.long()).mean(1))


def test_a_teacher_reads_tokens(sequences, tmp_path):
    frozen = freeze(Teacher(build=Bag, optim=Optim(lr=0.05, batch_size=9), epochs=2), sequences, tmp_path)
    test = sequences.test
    assert frozen.predictions(sequences, test.inputs, test.labels).shape == (12,)


STUDY = '''"""Which of two words is said?"""
import dataclasses
import torch
from torch import nn
from kdsearch import Distil, Recipe, Study, Teacher, tokens

def data():
    ids = torch.randint(0, 7, (300, 6), generator=torch.Generator().manual_seed(0))
    return tokens(ids, (ids == 3).any(1).long(), vocabulary=7, validation=60, test=60)

class Net(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.words = nn.Embedding(7, width)
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.classifier = nn.Linear(width, classes)
    def forward(self, ids):
        return self.classifier(self.body(self.words(ids.long()).amax(1)))

@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
    width: int
    def build(self, in_shape, classes):
        return Net(self.width, classes)

def teacher(data):
    return Teacher(build=lambda: Net(16, data.classes), epochs=3)

def space(trial):
    student = Words(width=trial.suggest_int("width", 1, 8))
    return Recipe(student=student, epochs=2, distil=Distil(temperature=2, alpha=0.5))

def study():
    return Study(name="words", data=data, teacher=teacher, space=space, trials=3)
'''


def test_a_study_of_tokens_from_search_to_export(tmp_path):
    path = tmp_path / "words.py"
    path.write_text(STUDY)
    results = api.run(path, engine="inline", track=False, workspace=tmp_path / "runs")
    assert len(results.front) >= 1
    exported = taking.export_student("words", tmp_path / "out", formats=["safetensors"], workspace=tmp_path / "runs")
    assert exported.card["input"]["shape"] == [6]
