"""One trial's training: the same segment gives the same bits, however it is cut."""

import dataclasses
import time
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from kdsearch import metrics
from kdsearch.data.augment import Augment
from kdsearch.data.views import Views
from kdsearch.files import load_tensors, save_tensors
from kdsearch.recipe import Recipe
from kdsearch.signals import Signals
from kdsearch.stages import Distil, FitNetsDistil, Hints, Pretrain
from kdsearch.students import ConvNet
from kdsearch.training import DivergedError, Optim
from kdsearch.trial import Progress, Seeds, Segment, TrialState, advance

OPTIM = Optim(lr=2e-2, batch_size=20)
STUDENT = ConvNet(width=3, depth=3)
RECIPES = {
    "no start": Recipe(student=STUDENT, optim=OPTIM, epochs=5),
    "hints": Recipe(
        student=STUDENT, optim=OPTIM, epochs=5, start=Hints(epochs=2, teacher_layer="block3", student_layer="block2")
    ),
    "pooled hints": Recipe(
        student=STUDENT,
        optim=Optim(name="sgd", lr=1e-2, batch_size=20),
        epochs=5,
        start=Hints(epochs=3, teacher_layer="block1", student_layer="block2", regressor="pooled"),
    ),
    "pretrain": Recipe(student=STUDENT, optim=OPTIM, epochs=5, start=Pretrain(epochs=2)),
    "two pairs of hints, then attention": Recipe(
        student=STUDENT,
        optim=OPTIM,
        epochs=5,
        start=Hints(
            epochs=2, teacher_layer="block3", student_layer="block2", teacher_layer_2="block1", student_layer_2="block1"
        ),
        distil=Distil(loss="dist", attention=10.0, teacher_layer="block2", student_layer="block3"),
    ),
    "pretrain, slower, then FitNets' own": Recipe(
        student=STUDENT, optim=OPTIM, epochs=5, start=Pretrain(epochs=1, distil_lr_factor=0.1), distil=FitNetsDistil()
    ),
    "augmented decoupled": Recipe(
        student=STUDENT,
        optim=OPTIM,
        epochs=5,
        distil=Distil(loss="dkd", standardize=True, beta=4.0),
        augment=Augment(shift=1, mixup=0.3, views=2),
    ),
    "augmented hints": Recipe(
        student=STUDENT,
        optim=OPTIM,
        epochs=5,
        start=Hints(epochs=2, teacher_layer="block2", student_layer="block1"),
        augment=Augment(shift=1, flip=True, mixup=0.3, views=3),
    ),
    "augmented pretraining, live": Recipe(
        student=STUDENT,
        optim=OPTIM,
        epochs=5,
        start=Pretrain(epochs=2),
        augment=Augment(shift=1, cutout=2, views=2),
        live_teacher=True,
    ),
}
RECIPES |= {
    f"{name}, a class left out": dataclasses.replace(RECIPES[name], omit=(1,))
    for name in ("no start", "hints", "augmented pretraining, live")
}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())


@dataclass(frozen=True, kw_only=True)
class Dropping:
    """A student of the user's own, with randomness in its forward pass."""

    units: int

    def build(self, in_shape, classes):
        return nn.Sequential(
            nn.Sequential(nn.Flatten(), nn.Linear(64, self.units), nn.ReLU(), nn.Dropout(0.5)), nn.Linear(self.units, 3)
        ).to(memory_format=torch.channels_last)


def segment(recipe: Recipe, upto: int, state: TrialState | None = None, trial: int = 1, **changes) -> Segment:
    whole = {"seeds": Seeds.of(0, recipe, trial), "objectives": ("accuracy", "parameters")} | changes
    return Segment(trial=trial, recipe=recipe, state=state, upto=upto, **whole)


def bits(progress: Progress) -> dict[str, torch.Tensor]:
    return progress.state.train.module


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def untimed(curve) -> list[dict]:
    return [
        {name: value for name, value in line.items() if "seconds" not in name and name != "at_ms"} for line in curve
    ]


@pytest.fixture(scope="module")
def undisturbed(tiny_data, frozen, tmp_path_factory):
    """Each recipe trained in one segment."""
    signals = Signals(lambda: frozen, frozen.key, tiny_data, tmp_path_factory.mktemp("signals"))
    return {recipe: advance(segment(recipe, 5), tiny_data, signals) for recipe in RECIPES.values()}


@every_recipe
@pytest.mark.parametrize("cuts", [[1], [3], [2, 4], [1, 2, 3, 4]], ids=str)
def test_any_division_into_segments_gives_the_same_bits(recipe, cuts, undisturbed, tiny_data, signals, tmp_path):
    whole = undisturbed[recipe]
    curve, state = [], None
    for upto in [*cuts, 5]:
        if state is not None:  # by way of a file, as between workers and runs
            save_tensors(tmp_path / "state.safetensors", *state.pack())
            state = TrialState.unpack(*load_tensors(tmp_path / "state.safetensors"))
        progress = advance(segment(recipe, upto, state), tiny_data, signals)
        state = progress.state
        curve += progress.curve
        assert (progress.measured is None) == (upto < 5)
    assert same(bits(progress), bits(whole))
    assert progress.measured == whole.measured
    assert untimed(curve) == untimed(whole.curve)


def test_a_student_with_dropout_is_cut_to_the_same_bits(tiny_data, signals):
    recipe = Recipe(student=Dropping(units=6), optim=OPTIM, epochs=4)
    whole = advance(segment(recipe, 4), tiny_data, signals)
    half = advance(segment(recipe, 2), tiny_data, signals)
    assert same(bits(advance(segment(recipe, 4, half.state), tiny_data, signals)), bits(whole))


@every_recipe
@pytest.mark.parametrize("last", [2, 3])
def test_a_segment_that_is_ended_early_goes_on_to_the_same_bits(recipe, last, undisturbed, tiny_data, signals):
    seen = []

    def on_epoch(line) -> bool:
        seen.append(line)
        return len(seen) == last

    stopped = advance(segment(recipe, 5), tiny_data, signals, on_epoch)
    assert stopped.state.epoch == len(stopped.curve) == last
    assert stopped.measured is None
    rest = advance(segment(recipe, 5, stopped.state), tiny_data, signals)
    assert same(bits(rest), bits(undisturbed[recipe]))


@every_recipe
def test_the_starts_epochs_are_part_of_the_budget(recipe, undisturbed):
    curve = undisturbed[recipe].curve
    first = recipe.start_epochs
    name = recipe.start.name if recipe.start else None
    assert [line["stage"] for line in curve] == [name] * first + ["distil"] * (5 - first)
    assert [line["epoch"] for line in curve] == [*range(1, first + 1), *range(1, 6 - first)]


def test_hints_then_distil_in_one_call_equals_each_in_its_own(tiny_data, signals):
    recipe = RECIPES["hints"]
    start = advance(segment(recipe, 2), tiny_data, signals)
    names = set(STUDENT.build((1, 8, 8), 3).state_dict())
    assert set(bits(start)) == names  # no regressor
    assert start.state.train.optimizer == {}
    assert start.state.train.epoch == 0
    assert "validation_accuracy" not in start.curve[0]
    whole = advance(segment(recipe, 5), tiny_data, signals)
    assert set(bits(whole)) == names
    assert same(bits(advance(segment(recipe, 5, start.state), tiny_data, signals)), bits(whole))


def test_golden_pretraining_is_followed_by_a_tenth_of_the_learning_rate(tiny_data, signals):
    # Wang & Lan 2017: 0.1, then 0.01
    optim = Optim(name="sgd", lr=0.1, schedule="constant", batch_size=20)
    start = Pretrain(epochs=2, distil_lr_factor=0.1)
    recipe = Recipe(student=STUDENT, start=start, optim=optim, epochs=5)
    curve = advance(segment(recipe, 5), tiny_data, signals).curve
    assert [line["lr"] for line in curve] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.01])
    # linear over each stage anew: the last of three batches is at 2/3 of an epoch
    recipe = dataclasses.replace(recipe, optim=dataclasses.replace(optim, schedule="linear"))
    curve = advance(segment(recipe, 5), tiny_data, signals).curve
    expected = [0.1 * (1 - (2 / 3) / 2), 0.1 * (1 - (5 / 3) / 2)]
    expected += [0.01 * (1 - (epoch + 2 / 3) / 3) for epoch in range(3)]
    assert [line["lr"] for line in curve] == pytest.approx(expected)


def test_golden_fitnets_lambda_is_a_column_that_falls_from_four_to_one(undisturbed):
    curve = undisturbed[RECIPES["pretrain, slower, then FitNets' own"]].curve
    assert [line.get("soft_weight") for line in curve] == [None, *(pytest.approx(w) for w in (4, 3, 2, 1))]
    for line in curve[1:]:
        assert line["loss"] == pytest.approx(line["hard"] + line["soft_weight"] * line["soft"], rel=1e-4)


@pytest.mark.parametrize(
    ("recipe", "hints", "columns"),
    [
        (
            "two pairs of hints, then attention",
            {"hint", "hint_2"},
            {"hard", "soft", "inter_class", "intra_class", "attention"},
        ),
        ("augmented decoupled", set(), {"hard", "soft", "tckd", "nckd"}),
        ("no start", set(), {"hard", "soft"}),
    ],
)
def test_the_terms_are_columns_of_the_curve(undisturbed, recipe, hints, columns):
    always = {"stage", "epoch", "loss", "lr", "validation_accuracy", "seconds", "evaluation_seconds", "at_ms"}
    first, last = undisturbed[RECIPES[recipe]].curve[0], undisturbed[RECIPES[recipe]].curve[-1]
    assert set(last) == always | columns
    if hints:
        assert set(first) == (always | hints) - {"validation_accuracy"}


def test_equal_starts_are_seeded_alike_and_give_the_same_bits_in_any_trial(tiny_data, signals):
    one = RECIPES["hints"]
    slower = dataclasses.replace(one.start, distil_lr_factor=0.1)
    other = dataclasses.replace(one, start=slower, distil=Distil(temperature=9.0, alpha=0.1), epochs=4)
    ours, theirs = Seeds.of(0, one, 1), Seeds.of(0, other, 2)
    assert ours.start == theirs.start
    assert ours.distil != theirs.distil
    first = advance(segment(one, 2, trial=1), tiny_data, signals)
    second = advance(segment(other, 2, trial=2), tiny_data, signals)
    assert same(bits(first), bits(second))


@pytest.mark.parametrize(
    "change",
    [
        {"student": ConvNet(width=4, depth=3)},
        {"optim": Optim(lr=3e-2, batch_size=20)},
        {"start": Pretrain(epochs=2)},
        {"start": None},
    ],
    ids=["student", "optim", "start", "none"],
)
def test_other_starts_have_other_seeds(change):
    one = RECIPES["hints"]
    assert Seeds.of(0, dataclasses.replace(one, **change), 1).start != Seeds.of(0, one, 1).start


def test_other_studies_have_other_seeds():
    one, other = Seeds.of(0, RECIPES["hints"], 1), Seeds.of(1, RECIPES["hints"], 1)
    assert one.start != other.start
    assert one.distil != other.distil


def test_the_start_is_trained_on_its_own_seed_and_the_rest_on_the_trials(tiny_data, signals):
    recipe = RECIPES["pretrain"]
    first, second = (advance(segment(recipe, 5, trial=trial), tiny_data, signals) for trial in (1, 2))
    assert untimed(first.curve)[:2] == untimed(second.curve)[:2]
    assert untimed(first.curve)[2:] != untimed(second.curve)[2:]


class Poison:
    """Stands where the test split was: whoever touches it is found."""

    def __getattribute__(self, name):
        raise AssertionError(f"the test split was touched: {name}")

    def __len__(self):
        raise AssertionError("the test split was touched: len")


@every_recipe
def test_the_test_split_is_never_read(recipe, make_data, frozen, tmp_path):
    data = make_data()
    object.__setattr__(data, "test", Poison())
    with pytest.raises(AssertionError, match="touched"):
        len(data.test)
    signals = Signals(lambda: frozen, frozen.key, data, tmp_path)
    progress = advance(segment(recipe, 5, objectives=("accuracy", "macro_f1")), data, signals)
    assert set(progress.measured) == {"accuracy", "macro_f1"}


@every_recipe
def test_the_teacher_stays_as_it_is_to_the_bit(recipe, tiny_data, frozen, tmp_path):
    member = frozen.members[0]
    before = {name: tensor.clone() for name, tensor in member.state_dict().items()}
    advance(segment(recipe, 5), tiny_data, Signals(lambda: frozen, frozen.key, tiny_data, tmp_path))
    assert same(dict(member.state_dict()), before)  # batch-norm statistics and their counters included
    assert not any(module.training for module in member.modules())


def test_threads_and_generators_of_the_caller_are_put_back_and_do_not_matter(tiny_data, signals):
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            torch.manual_seed(count)
            before = torch.get_rng_state()
            found.append(advance(segment(RECIPES["hints"], 5), tiny_data, signals))
            assert torch.get_num_threads() == count
            assert torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_num_threads(threads)
    assert same(bits(found[0]), bits(found[1]))


def test_a_state_is_not_changed_by_going_on_from_it(tiny_data, signals):
    half = advance(segment(RECIPES["no start"], 2), tiny_data, signals)
    kept = {name: tensor.clone() for name, tensor in bits(half).items()}
    advance(segment(RECIPES["no start"], 5, half.state), tiny_data, signals)
    assert same(bits(half), kept)


def test_measured_is_the_accuracy_of_the_whole_validation_split(tiny_data, signals):
    progress = advance(segment(RECIPES["no start"], 5), tiny_data, signals)
    student = STUDENT.build((1, 8, 8), 3)
    student.load_state_dict(bits(progress))
    predictions = metrics.logits(student, tiny_data, tiny_data.validation).argmax(1)
    assert progress.measured == {"accuracy": metrics.accuracy(predictions, tiny_data.validation.labels)}
    assert progress.curve[-1]["validation_accuracy"] == pytest.approx(progress.measured["accuracy"])


def test_only_the_studys_objectives_are_measured(tiny_data, signals):
    objectives = ("accuracy", "macro_f1", "latency_ms", "parameters")
    progress = advance(segment(RECIPES["no start"], 5, objectives=objectives), tiny_data, signals)
    assert set(progress.measured) == {"accuracy", "macro_f1", "latency_ms"}


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_students_learn_from_labels_alone_and_from_the_teacher_alone(alpha, tiny_data, signals):
    recipe = Recipe(student=STUDENT, distil=Distil(alpha=alpha), optim=OPTIM, epochs=12)
    assert advance(segment(recipe, 12), tiny_data, signals).measured["accuracy"] > 0.6  # chance is a third


def test_a_student_of_a_permuted_teacher_learns_nothing(tiny_data, frozen, tmp_path):
    # signals are looked up by example: pairing each with another's would show as a student at chance
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(0))

    class Permuted(Signals):
        def logits(self, views, *, live=False):
            lookup = super().logits(views, live=live)
            return lambda batch: lookup(dataclasses.replace(batch, index_B=rows[batch.index_B]))

    signals = Permuted(lambda: frozen, frozen.key, tiny_data, tmp_path)
    recipe = Recipe(student=STUDENT, distil=Distil(alpha=1.0), optim=OPTIM, epochs=12)
    assert advance(segment(recipe, 12), tiny_data, signals).measured["accuracy"] < 0.6


def test_an_absurd_rate_says_in_which_stage_it_diverged(tiny_data, signals):
    recipe = dataclasses.replace(RECIPES["hints"], optim=Optim(name="sgd", lr=1e30, batch_size=20))
    with pytest.raises(DivergedError, match="stage 'hints' was not finite in its epoch 1"):
        advance(segment(recipe, 5), tiny_data, signals)


def test_epoch_e_of_the_whole_budget_trains_on_view_e_mod_v(tiny_data, signals, monkeypatch):
    seen = []
    plain = Views.batch

    def batch(views, index_B, view):
        if len(index_B) == 20:  # a batch of training, not of computing signals
            seen.append(view)
        return plain(views, index_B, view)

    monkeypatch.setattr(Views, "batch", batch)
    recipe = RECIPES["augmented hints"]
    half = advance(segment(recipe, 1), tiny_data, signals)
    advance(segment(recipe, 5, half.state), tiny_data, signals)
    assert seen == [view for epoch in (0, 1, 2, 3, 4) for view in [epoch % 3] * 3]  # 60 examples, 3 batches an epoch


@every_recipe
def test_golden_no_example_of_an_omitted_class_is_ever_seen(recipe, tiny_data, signals, monkeypatch):
    seen = set()
    plain = Views.batch

    def batch(views, index_B, view):
        if len(index_B) == 20:  # a batch of training, not of computing signals
            seen.update(views.data.train.labels[index_B].tolist())
        return plain(views, index_B, view)

    monkeypatch.setattr(Views, "batch", batch)
    advance(segment(recipe, 5), tiny_data, signals)
    assert seen == {0, 1, 2} - set(recipe.omit)


def test_an_augmented_trial_is_the_same_whether_its_signals_are_there_or_computed_in_between(
    tiny_data, frozen, tmp_path
):
    recipe = dataclasses.replace(RECIPES["augmented hints"], student=Dropping(units=6), start=None)
    fresh = Signals(lambda: frozen, frozen.key, tiny_data, tmp_path)
    first = advance(segment(recipe, 5), tiny_data, fresh)
    second = advance(segment(recipe, 5), tiny_data, Signals(lambda: frozen, frozen.key, tiny_data, tmp_path))
    assert same(bits(first), bits(second))


def test_a_live_teacher_trains_as_one_that_is_looked_up(tiny_data, signals):
    stored = RECIPES["augmented hints"]
    live = dataclasses.replace(stored, live_teacher=True)
    seeds = Seeds.of(0, stored, 1)
    one, other = (advance(segment(recipe, 5, seeds=seeds), tiny_data, signals) for recipe in (stored, live))
    for ours, theirs in zip(one.curve, other.curve, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=2e-2)  # half precision, carried through 15 steps


def test_time_for_signals_is_told_and_is_no_part_of_an_epochs(tiny_data, frozen, tmp_path):
    def slow() -> object:
        time.sleep(0.5)
        return frozen

    progress = advance(segment(RECIPES["no start"], 1), tiny_data, Signals(slow, frozen.key, tiny_data, tmp_path))
    assert progress.signals_seconds > 0.5
    assert progress.curve[0]["seconds"] < 0.5
    again = Signals(slow, frozen.key, tiny_data, tmp_path)
    assert advance(segment(RECIPES["no start"], 1), tiny_data, again).signals_seconds < 0.5


def test_what_the_signals_have_to_say_travels_with_the_progress(tiny_data, frozen, tmp_path):
    recipe = RECIPES["hints"]
    small = Signals(lambda: frozen, frozen.key, tiny_data, tmp_path, limit_gb=2e-6)
    (note,) = advance(segment(recipe, 1), tiny_data, small).notes
    assert "layer 'block3' would take" in note
    assert advance(segment(recipe, 1), tiny_data, small).notes == []
