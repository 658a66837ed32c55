"""The second stage in each of its forms: terms, weights and columns, against the formulas on the live teacher."""

import math
import re

import pytest
import torch
from torch.nn import functional

from kdsearch.data.augment import Augment
from kdsearch.data.views import Views
from kdsearch.further_losses import attention, decoupled, relations, standardized
from kdsearch.layers import forward_to
from kdsearch.losses import pooled_logits, soft_targets, soften
from kdsearch.mistakes import Mistake
from kdsearch.signals import Signals
from kdsearch.stages import Attention, Distil, FitNetsDistil, ImpossibleError
from kdsearch.students import MLP, ConvNet
from kdsearch.teacher import Frozen

INDEX = torch.tensor([33, 1, 59, 12])


@pytest.fixture
def student():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConvNet(width=3, depth=3).build((1, 8, 8), 3).eval()


@pytest.fixture
def outputs(student, tiny_data, frozen):
    """Logits of student and teacher, both live, on the examples `INDEX`, and the labels."""
    inputs = tiny_data.normalize(tiny_data.train.inputs[INDEX])
    return student(inputs), frozen.members[0](inputs), tiny_data.train.labels[INDEX]


def terms_of(stage, student, data, signals, epoch=0, epochs=2) -> dict[str, float]:
    terms = stage.begin(student, Views(data), signals, 0, epochs=epochs).loss(INDEX, epoch)
    return {name: term.item() for name, term in terms.items()}


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_golden_distillation_weighs_the_soft_term_by_alpha(student, tiny_data, signals, frozen, alpha):
    student.eval()
    work = Distil(temperature=3.0, alpha=alpha).begin(student, Views(tiny_data), signals, 0, epochs=2)
    index = torch.tensor([33, 1, 59, 12])
    inputs = tiny_data.normalize(tiny_data.train.inputs[index])
    ours, theirs = student(inputs), frozen.members[0](inputs)  # the teacher live, on the same examples
    hard = functional.cross_entropy(ours, tiny_data.train.labels[index])
    soft = 9 * ((theirs / 3).softmax(1) * ((theirs / 3).log_softmax(1) - (ours / 3).log_softmax(1))).sum(1).mean()
    terms = work.loss(index, 0)
    assert terms["hard"].item() == pytest.approx(hard.item(), rel=1e-4)
    if alpha:  # else the teacher is not asked at all
        assert terms["soft"].item() == pytest.approx(soft.item(), rel=1e-4)
    assert terms["loss"].item() == pytest.approx(((1 - alpha) * hard + alpha * soft).item(), rel=1e-4)


@pytest.mark.parametrize("temperature", [0, -1, math.inf, math.nan])
def test_a_temperature_that_is_not_above_zero_is_refused(temperature):
    with pytest.raises(Mistake, match=f"temperature must be above 0, got {temperature}; 1 leaves the distribution"):
        Distil(temperature=temperature)


@pytest.mark.parametrize("wrong", ["4", None, True, (1.0,)])
@pytest.mark.parametrize(
    ("stage", "name", "rule"),
    [
        (Distil, "temperature", "above 0"),
        (Distil, "alpha", r"in \[0, 1\]"),
        (Distil, "beta", "at least 0 and finite"),
        (Distil, "attention", "at least 0 and finite"),
        (FitNetsDistil, "temperature", "above 0"),
        (FitNetsDistil, "first_weight", "at least 0 and finite"),
    ],
)
def test_what_is_no_number_is_refused_with_the_rule(stage, name, rule, wrong):
    with pytest.raises(Mistake, match=f"{name} must be {rule}, got {re.escape(repr(wrong))}"):
        stage(**{name: wrong})


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_an_alpha_outside_zero_to_one_is_refused(alpha):
    with pytest.raises(Mistake, match=rf"alpha must be in \[0, 1\], got {alpha}; it weighs the soft \(teacher\) term"):
        Distil(alpha=alpha)


def test_plain_kd_has_the_columns_it_always_had(student, tiny_data, signals):
    assert set(terms_of(Distil(), student, tiny_data, signals)) == {"loss", "hard", "soft"}


def test_golden_decoupled_kd_weighs_its_terms(student, tiny_data, signals, outputs):
    ours, theirs, labels = outputs
    terms = terms_of(Distil(loss="dkd", temperature=2.0, alpha=0.6, beta=3.0), student, tiny_data, signals)
    target, rest = decoupled(ours, theirs, 2.0, labels)
    assert (terms["tckd"], terms["nckd"]) == pytest.approx((target.item(), rest.item()), rel=1e-4)
    assert terms["soft"] == pytest.approx(terms["tckd"] + 3 * terms["nckd"], rel=1e-5)
    assert terms["loss"] == pytest.approx(0.4 * terms["hard"] + 0.6 * terms["soft"], rel=1e-5)
    assert Distil(loss="dkd").beta == 8  # the paper's


def test_golden_dist_weighs_its_relations(student, tiny_data, signals, outputs):
    ours, theirs, _ = outputs
    stage = Distil(loss="dist", temperature=2.0, alpha=0.6, inter_class=1.5, intra_class=0.5)
    terms = terms_of(stage, student, tiny_data, signals)
    inter, intra = relations(ours, theirs, 2.0)
    assert (terms["inter_class"], terms["intra_class"]) == pytest.approx((inter.item(), intra.item()), rel=1e-4)
    assert terms["soft"] == pytest.approx(1.5 * terms["inter_class"] + 0.5 * terms["intra_class"], rel=1e-5)
    assert (Distil(loss="dist").inter_class, Distil(loss="dist").intra_class) == (2, 2)  # the paper's


def test_golden_standardizing_z_scores_both(student, tiny_data, signals, outputs):
    ours, theirs, _ = outputs
    terms = terms_of(Distil(temperature=2.0, standardize=True), student, tiny_data, signals)
    assert terms["soft"] == pytest.approx(soft_targets(standardized(ours), standardized(theirs), 2.0).item(), rel=1e-4)


ATTENTION = Distil(attention=30.0, teacher_layer="block1", student_layer="block2")


def test_golden_attention_is_added_with_its_weight(student, tiny_data, signals, frozen):
    terms = terms_of(ATTENTION, student, tiny_data, signals)
    inputs = tiny_data.normalize(tiny_data.train.inputs[INDEX])
    ours, theirs = forward_to(student, "block2", inputs), forward_to(frozen.members[0], "block1", inputs)
    assert theirs.shape[2:] == (8, 8) and ours.shape[2:] == (4, 4)
    assert terms["attention"] == pytest.approx(attention(ours, theirs).item(), rel=2e-3)  # features in half precision
    plain = terms_of(Distil(), student, tiny_data, signals)
    assert terms["loss"] == pytest.approx(plain["loss"] + 30 * terms["attention"], rel=1e-5)


def test_attention_trains_the_student_and_leaves_no_hook(student, tiny_data, signals):
    work = Distil(alpha=0.0, attention=30.0, teacher_layer="block1", student_layer="block2").begin(
        student, Views(tiny_data), signals, 0, epochs=2
    )
    work.loss(INDEX, 0)["attention"].backward()
    reached = {name.split(".")[0] for name, weight in student.named_parameters() if weight.grad is not None}
    assert reached == {"block1", "block2"}
    assert not any(part._forward_hooks for part in student.modules())


def test_attention_needs_maps_in_both_networks(student, frozen):
    flat = MLP(width=5, depth=2).build((1, 8, 8), 3)
    joined = Attention(teacher_layer=0.5, student_layer=0.5).located(flat, frozen.members[0])
    assert joined == Attention(teacher_layer="block2", student_layer="hidden1")
    with pytest.raises(ImpossibleError, match=r"maps \(C, H, W\); the student's layer 'hidden1' gives \(5,\)"):
        joined.check(flat, frozen.members[0], (1, 8, 8), 0)
    Attention(teacher_layer="block1", student_layer="block3").check(student, frozen.members[0], (1, 8, 8), 0)


def test_layers_without_attention_make_no_other_recipe():
    assert Distil(teacher_layer="block1", student_layer=0.75) == Distil()


@pytest.mark.parametrize("loss", ["dkd", "kd", "dist"])
def test_every_loss_takes_mixed_examples(student, tiny_data, signals, loss):
    views = Views(tiny_data, Augment(mixup=0.4, views=2), first_epoch=1)
    work = Distil(loss=loss).begin(student, views, signals, 0, epochs=2)
    work.loss(INDEX, 0)["loss"].backward()
    assert all(weight.grad.isfinite().all() for weight in student.parameters())


@pytest.fixture
def ensemble(frozen, tiny_data, tmp_path):
    """Two members with votes 3:1, and their signals."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        other = ConvNet(width=2, depth=2).build((1, 8, 8), 3).eval().requires_grad_(False)
    both = Frozen(members=(frozen.members[0], other), key="both", votes=(0.75, 0.25))
    return both, Signals(lambda: both, "both", tiny_data, tmp_path / "ensemble")


@pytest.mark.parametrize("live", [False, True])
def test_golden_an_ensemble_is_one_teacher_of_its_weighted_mean_probabilities(student, tiny_data, ensemble, live):
    frozen, signals = ensemble
    inputs = tiny_data.normalize(tiny_data.train.inputs[INDEX])
    ours, theirs = student(inputs), torch.stack([member(inputs) for member in frozen.members])
    votes = torch.tensor([0.75, 0.25])
    mean = 0.75 * (theirs[0] / 3).softmax(1) + 0.25 * (theirs[1] / 3).softmax(1)
    one = 3 * mean.log()
    labels = tiny_data.train.labels[INDEX]
    expected = {
        Distil(temperature=3.0): 9 * (mean * (mean.log() - (ours / 3).log_softmax(1))).sum(1).mean(),
        Distil(temperature=3.0, loss="dkd", beta=2.0): (lambda parts: parts[0] + 2 * parts[1])(
            decoupled(ours, one, 3.0, labels)
        ),
        Distil(temperature=3.0, loss="dist", inter_class=1.0, intra_class=1.0): sum(relations(ours, one, 3.0)),
        Distil(temperature=3.0, standardize=True): soft_targets(standardized(ours), standardized(one), 3.0),
        FitNetsDistil(): functional.cross_entropy(ours / 3, mean),
    }
    for stage, soft in expected.items():
        work = stage.begin(student, Views(tiny_data), signals, 0, epochs=2, live=live)
        assert work.loss(INDEX, 0)["soft"].item() == pytest.approx(soft.item(), rel=1e-4), stage
    torch.testing.assert_close(soften(pooled_logits(theirs, 3.0, votes), 3.0), mean)


@pytest.mark.parametrize(("epochs", "expected"), [(4, [4, 3, 2, 1]), (2, [4, 1]), (1, [2.5]), (7, [4, 3.5, 3, 2.5])])
def test_golden_fitnets_lambda_falls_linearly_from_four_to_one(epochs, expected):
    stage = FitNetsDistil()
    assert [stage.weight_at(epoch, epochs) for epoch in range(len(expected))] == pytest.approx(expected)
    whole = [stage.weight_at(epoch, epochs) for epoch in range(epochs)]
    assert sum(whole) / epochs == pytest.approx(stage.described()["soft_weight"])


@pytest.mark.parametrize(("epoch", "weight"), [(0, 4.0), (2, 2.0), (3, 1.0)])
def test_golden_fitnets_second_stage_is_equation_two(student, tiny_data, signals, outputs, epoch, weight):
    ours, theirs, labels = outputs
    terms = terms_of(FitNetsDistil(), student, tiny_data, signals, epoch, epochs=4)
    hard = functional.cross_entropy(ours, labels).item()
    soft = -((theirs / 3).softmax(1) * (ours / 3).log_softmax(1)).sum(1).mean().item()  # tau = 3, no T^2
    assert (terms["hard"], terms["soft"], terms["soft_weight"]) == pytest.approx((hard, soft, weight), rel=1e-4)
    assert terms["loss"] == pytest.approx(hard + weight * soft, rel=1e-4)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"loss": "crd"}, "loss must be one of kd, dkd, dist, got 'crd'"),
        ({"standardize": 1}, "standardize must be True or False, got 1"),
        ({"beta": 2.0}, r"beta weighs a term of loss='dkd', got beta=2.0 with loss='kd'; sample it only where"),
        ({"loss": "dkd", "intra_class": 1.0}, "intra_class weighs a term of loss='dist'"),
        ({"loss": "dkd", "beta": -1.0}, "beta must be at least 0 and finite, got -1.0"),
        ({"attention": math.nan}, "attention must be at least 0 and finite, got nan"),
        ({"attention": 1.0, "teacher_layer": 0}, "teacher_layer must be a layer's dotted path or a relative position"),
    ],
)
def test_what_does_not_go_together_is_refused(wrong, said):
    with pytest.raises(Mistake, match=said):
        Distil(**wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"temperature": 0}, "temperature must be above 0, got 0"),
        ({"first_weight": -1.0}, "first_weight must be at least 0 and finite, got -1.0"),
        ({"last_weight": math.inf}, "last_weight must be at least 0 and finite, got inf"),
    ],
)
def test_fitnets_weights_are_at_least_zero(wrong, said):
    with pytest.raises(Mistake, match=said):
        FitNetsDistil(**wrong)
