"""The later losses, by numbers worked by hand and by the properties that their papers claim."""

from math import log, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor
from torch.nn import functional

from kdsearch.further_losses import attention, decoupled, relations, standardized
from kdsearch.losses import hard_labels, soft_targets, soften

temperatures = st.sampled_from([0.5, 1.0, 4.0, 20.0])
seeds = st.integers(0, 1000)


def logits(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def log_odds(*parts: float) -> torch.Tensor:
    """Logits (1, K) whose softmax is `parts` over their sum."""
    return tensor([[log(part) for part in parts]])


def test_golden_decoupled_terms_by_hand():
    # teacher (1/2, 1/4, 1/4), student (1/4, 1/4, 1/2), target the first
    target, rest = decoupled(log_odds(1, 1, 2), log_odds(2, 1, 1), 1.0, tensor([0]))
    assert target.item() == pytest.approx(0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75))
    # within the rest: teacher (1/2, 1/2), student (1/3, 2/3)
    assert rest.item() == pytest.approx(0.5 * log(3 / 2) + 0.5 * log(3 / 4))


def test_golden_decoupled_terms_at_temperature_two_have_its_square():
    target, rest = decoupled(log_odds(1, 1, 4), log_odds(4, 1, 1), 2.0, tensor([0]))  # softened: 1:1:2 and 2:1:1
    assert target.item() == pytest.approx(4 * (0.5 * log(2) + 0.5 * log(2 / 3)), rel=1e-5)
    assert rest.item() == pytest.approx(4 * (0.5 * log(3 / 2) + 0.5 * log(3 / 4)), rel=1e-5)


@given(seed=seeds, temperature=temperatures, classes=st.integers(2, 12))
def test_golden_kd_is_tckd_and_one_minus_p_target_times_nckd(seed, temperature, classes):
    student, teacher = logits(seed, 1, classes), logits(seed + 1, 1, classes)
    label = tensor([seed % classes])
    target, rest = decoupled(student, teacher, temperature, label)
    p_target = soften(teacher, temperature)[0, label]
    whole = soft_targets(student, teacher, temperature)
    torch.testing.assert_close((target + (1 - p_target) * rest)[0], whole, rtol=1e-9, atol=1e-9)


def test_decoupled_terms_are_means_over_the_batch():
    student, teacher, labels = logits(1, 5, 4), logits(2, 5, 4), tensor([0, 3, 1, 1, 2])
    alone = [decoupled(student[i : i + 1], teacher[i : i + 1], 3.0, labels[i : i + 1]) for i in range(5)]
    for term, mean in zip(decoupled(student, teacher, 3.0, labels), torch.tensor(alone).mean(dim=0), strict=True):
        assert term.item() == pytest.approx(mean.item())


def test_decoupled_stays_finite_where_the_teacher_is_certain():
    student = torch.zeros(1, 3, requires_grad=True)
    target, rest = decoupled(student, tensor([[200.0, 0.0, -5.0]]), 1.0, tensor([0]))
    (target + rest).backward()
    assert target.item() == pytest.approx(log(3))
    assert rest.item() > 0.5  # 1 - p is 0 in single precision; the other classes still have their order
    assert student.grad.isfinite().all()


def test_decoupled_under_mixup_weighs_both_labels():
    student, teacher = logits(3, 2, 4), logits(4, 2, 4)
    labels, others, weight = tensor([0, 1]), tensor([2, 1]), tensor([0.75, 0.1], dtype=torch.float64)
    mixed = decoupled(student, teacher, 2.0, labels, others, weight)
    for part in (0, 1):
        by_hand = 0.0
        for i in (0, 1):
            own, other = (
                decoupled(student[i : i + 1], teacher[i : i + 1], 2.0, of[i : i + 1])[part].item()
                for of in (labels, others)
            )
            by_hand += (weight[i].item() * own + (1 - weight[i].item()) * other) / 2
        assert mixed[part].item() == pytest.approx(by_hand)


def test_golden_standardized_logits_by_hand():
    root = sqrt(1.5)
    torch.testing.assert_close(standardized(tensor([[1.0, 2.0, 3.0]])), tensor([[-root, 0.0, root]]))


@given(seed=seeds, scale=st.floats(0.1, 50), shift=st.floats(-100, 100), temperature=temperatures)
def test_golden_standardized_kd_is_invariant_to_affine_maps_of_either(seed, scale, shift, temperature):
    student, teacher = logits(seed, 4, 6), logits(seed + 1, 4, 6)
    plain = soft_targets(standardized(student), standardized(teacher), temperature)
    for ours, theirs in ((scale * student + shift, teacher), (student, scale * teacher + shift)):
        mapped = soft_targets(standardized(ours), standardized(theirs), temperature)
        torch.testing.assert_close(mapped, plain, rtol=1e-5, atol=1e-6)
    same = soft_targets(standardized(scale * teacher + shift), standardized(teacher), temperature)
    assert same.item() == pytest.approx(0, abs=1e-8)


def test_a_classifier_that_begins_with_zeros_gets_finite_gradients():
    student = torch.zeros(2, 5, requires_grad=True)
    soft_targets(standardized(student), standardized(logits(0, 2, 5).float()), 2.0).backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() > 0


def test_golden_relations_by_hand():
    # probabilities: student rows (1/2, 1/4, 1/4) and (1/4, 1/2, 1/4), teacher's (1/4, 1/2, 1/4) and (1/4, 1/2, 1/4)
    student = torch.cat([log_odds(2, 1, 1), log_odds(1, 2, 1)])
    teacher = torch.cat([log_odds(1, 2, 1), log_odds(1, 2, 1)])
    between, within = relations(student, teacher, 1.0)
    # centred rows (2, -1, -1)/12 and (-1, 2, -1)/12: -3/6; the second rows are equal
    assert between.item() == pytest.approx(1 - (-0.5 + 1) / 2)
    assert within.item() == pytest.approx(1)  # no class varies with the teacher


def test_golden_relations_at_temperature_two_have_its_square():
    student, teacher = log_odds(4, 1, 1), log_odds(1, 4, 1)  # softened: 2:1:1 and 1:2:1
    assert relations(student, teacher, 2.0)[0].item() == pytest.approx(4 * 1.5, rel=1e-5)


@given(seed=seeds, temperature=temperatures)
def test_relations_are_scipys_correlation_over_rows_and_columns(seed, temperature):
    from scipy.stats import pearsonr

    student, teacher = logits(seed, 6, 4), logits(seed + 1, 6, 4)
    ours, theirs = ((of / temperature).softmax(1).numpy() for of in (student, teacher))
    between, within = relations(student, teacher, temperature)
    rows = [pearsonr(ours[b], theirs[b]).statistic for b in range(6)]
    columns = [pearsonr(ours[:, k], theirs[:, k]).statistic for k in range(4)]
    assert between.item() == pytest.approx(temperature**2 * (1 - sum(rows) / 6), abs=1e-4 * temperature**2)
    assert within.item() == pytest.approx(temperature**2 * (1 - sum(columns) / 4), abs=1e-4 * temperature**2)


def test_relations_of_what_does_not_vary_are_finite():
    student = torch.zeros(1, 4, requires_grad=True)
    between, within = relations(student, logits(0, 1, 4).float(), 4.0)
    (between + within).backward()
    assert (between.item(), within.item()) == (16, 16)
    assert student.grad.isfinite().all()


def maps(*channels: list[list[float]]) -> torch.Tensor:
    return tensor([channels])


def test_golden_attention_by_hand():
    # Q_S = (9, 0, 0, 16) from two channels, of norm sqrt(337); Q_T = (1, 0, 0, 1), of norm sqrt(2)
    ours, theirs = maps([[3.0, 0], [0, 0]], [[0, 0], [0, -4.0]]), maps([[1.0, 0], [0, -1.0]])
    assert attention(ours, theirs).item() == pytest.approx(1 - 25 / sqrt(2 * 337))


def test_golden_attention_averages_the_larger_map():
    larger = maps([[2.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1.0, 1], [0, 0, 1, 1]])  # Q averaged: (1, 0, 0, 1)
    smaller = maps([[1.0, 1], [0, 0]])
    for ours, theirs in ((larger, smaller), (smaller, larger)):
        assert attention(ours, theirs).item() == pytest.approx(1 - 1 / 2)


def test_attention_ignores_scale_sign_and_number_of_channels():
    ours = torch.randn(3, 2, 4, 4)
    assert attention(ours, -7 * ours.repeat(1, 3, 1, 1)).item() == pytest.approx(0, abs=1e-6)
    assert attention(maps([[1.0, 0]]), maps([[0, 1.0]])).item() == pytest.approx(1)  # elsewhere altogether


def test_attention_is_the_papers_code_up_to_half_the_positions():
    ours, theirs = torch.randn(3, 2, 5, 4), torch.randn(3, 6, 5, 4)
    published = functional.mse_loss(*(functional.normalize(of.pow(2).mean(1).flatten(1)) for of in (ours, theirs)))
    assert attention(ours, theirs).item() == pytest.approx(published.item() * 5 * 4 / 2, rel=1e-5)


def test_no_teacher_gets_a_gradient():
    student, teacher = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    ours, theirs = torch.randn(3, 2, 4, 4, requires_grad=True), torch.randn(3, 2, 4, 4, requires_grad=True)
    labels = tensor([0, 1, 2])
    terms = [*decoupled(student, teacher, 2.0, labels), *relations(student, teacher, 2.0), attention(ours, theirs)]
    (sum(terms) + hard_labels(student, labels)).backward()
    assert student.grad is not None and ours.grad is not None
    assert teacher.grad is None and theirs.grad is None
