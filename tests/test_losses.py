from math import log, sqrt

import pytest
import torch
from torch import tensor
from torch.nn import functional

from kdsearch.losses import hard_labels, hint, pooled_logits, soft_cross_entropy, soft_targets, soften


def test_golden_soft_targets_on_three_to_one_odds():
    even, skewed = tensor([[0.0, 0.0]]), tensor([[log(3.0), 0.0]])
    assert soft_targets(even, skewed, 1.0).item() == pytest.approx(0.75 * log(1.5) + 0.25 * log(0.5))


def test_golden_soft_targets_at_temperature_two_soften_three_to_one_to_its_square_root():
    even, skewed = tensor([[0.0, 0.0]]), tensor([[log(3.0), 0.0]])
    p = sqrt(3) / (1 + sqrt(3))
    expected = 4 * (p * log(2 * p) + (1 - p) * log(2 * (1 - p)))
    assert soft_targets(even, skewed, 2.0).item() == pytest.approx(expected, rel=1e-5)


def test_soft_targets_are_zero_when_the_student_agrees_up_to_a_shift():
    logits = torch.randn(5, 7)
    assert soft_targets(logits + 3.0, logits, 4.0).item() == pytest.approx(0, abs=1e-5)


def test_golden_soft_targets_are_a_mean_over_the_batch_and_a_sum_over_classes():
    student, teacher = torch.randn(6, 10), torch.randn(6, 10)
    one_by_one = [soft_targets(student[i : i + 1], teacher[i : i + 1], 3.0).item() for i in range(6)]
    assert soft_targets(student, teacher, 3.0).item() == pytest.approx(sum(one_by_one) / 6, rel=1e-5)
    # nn.KLDivLoss()'s default would be ten times too weak
    log_q, p = functional.log_softmax(student / 3, 1), functional.softmax(teacher / 3, 1)
    mean_over_both = 9 * (p * (p.log() - log_q)).mean()
    assert soft_targets(student, teacher, 3.0).item() == pytest.approx(10 * mean_over_both.item(), rel=1e-5)


def test_golden_gradient_of_soft_targets_matches_zero_mean_logits_at_high_temperature():
    # arXiv:1503.02531, Eq. 4: with the T^2, dC/dz_i tends to (z_i - v_i) / K for zero-mean logits
    student = torch.tensor([[3.0, -1.0, -2.0, 0.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[-2.0, 2.0, 1.0, -1.0]], dtype=torch.float64)
    soft_targets(student, teacher, 1e4).backward()
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 4, rtol=1e-3, atol=1e-3)


def test_gradient_of_soft_targets_is_about_constant_in_the_temperature():
    teacher = torch.randn(32, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def size(temperature: float) -> float:
        student = torch.zeros(32, 10, dtype=torch.float64, requires_grad=True)
        soft_targets(student, teacher, temperature).backward()
        return student.grad.norm().item()

    sizes = [size(temperature) for temperature in (2, 5, 20, 100)]
    assert max(sizes) / min(sizes) < 1.2  # 50 and more without the T^2


def test_gradients_of_soft_targets_equal_those_of_cross_entropy_with_soft_labels():
    student, teacher = torch.randn(4, 5, requires_grad=True), torch.randn(4, 5)
    (kl,) = torch.autograd.grad(soft_targets(student, teacher, 1.0), student)
    (ce,) = torch.autograd.grad(functional.cross_entropy(student, teacher.softmax(1)), student)
    torch.testing.assert_close(kl, ce)


def test_the_teacher_gets_no_gradient():
    student, teacher = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    (soft_targets(student, teacher, 2.0) + hint(student, teacher)).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_golden_an_ensemble_is_the_mean_of_probabilities_not_of_logits():
    members = tensor([[[log(9.0), 0.0]], [[0.0, 0.0]]])  # 9:1 and 1:1; the mean of the logits would give 3:1
    torch.testing.assert_close(soften(members, 1.0), tensor([[0.7, 0.3]]))


def test_golden_an_ensemble_is_softened_before_it_is_averaged():
    members = tensor([[[log(9.0), 0.0]], [[0.0, 0.0]]])
    torch.testing.assert_close(soften(members, 2.0), tensor([[0.625, 0.375]]))  # the mean of 3:1 and 1:1
    loss = soft_targets(tensor([[0.0, 0.0]]), members, 2.0).item()
    assert loss == pytest.approx(4 * (0.625 * log(1.25) + 0.375 * log(0.75)), rel=1e-5)


def test_golden_an_ensemble_with_votes_three_to_one():
    members = tensor([[[log(9.0), 0.0]], [[0.0, 0.0]]])  # 0.9 and 0.5
    votes = tensor([0.75, 0.25])
    torch.testing.assert_close(soften(members, 1.0, votes), tensor([[0.8, 0.2]]))
    loss = soft_targets(tensor([[0.0, 0.0]]), members, 1.0, votes).item()
    assert loss == pytest.approx(0.8 * log(1.6) + 0.2 * log(0.4), rel=1e-5)


@pytest.mark.parametrize("votes", [None, tensor([0.5, 0.2, 0.3])])
@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_pooled_logits_soften_to_the_mean_of_the_softened_probabilities(votes, temperature):
    members = 3 * torch.randn(3, 5, 7)
    pooled = pooled_logits(members, temperature, votes)
    torch.testing.assert_close(soften(pooled, temperature), soften(members, temperature, votes))


def test_pooled_logits_stay_finite_where_probabilities_do_not():
    members = tensor([[[0.0, -300.0]], [[0.0, -400.0]]])  # exp(-300) is 0 in single precision
    torch.testing.assert_close(pooled_logits(members, 1.0), tensor([[0.0, -300.0 - log(2)]]))


def test_a_lone_teachers_pooled_logits_are_its_own():
    logits = torch.randn(1, 3, 4)
    assert torch.equal(pooled_logits(logits, 3.0), logits[0])


def test_golden_soft_cross_entropy_has_no_square_of_the_temperature():
    even, skewed = tensor([[0.0, 0.0]]), tensor([[log(9.0), 0.0]])
    assert soft_cross_entropy(even, skewed, 3.0).item() == pytest.approx(log(2))
    # at tau = 2 both soften to 3:1, whose entropy this is
    assert soft_cross_entropy(skewed, skewed, 2.0).item() == pytest.approx(-0.75 * log(0.75) - 0.25 * log(0.25))


def test_soft_cross_entropy_is_soft_targets_without_the_square_and_with_the_teachers_entropy():
    student, teacher = torch.randn(2, 4, 5, 6)
    members = torch.stack([teacher[0], teacher[1]])
    mean = soften(members, 3.0)
    entropy = -(mean * mean.log()).sum(1).mean().item()
    expected = soft_targets(student[0], members, 3.0).item() / 9 + entropy
    assert soft_cross_entropy(student[0], members, 3.0).item() == pytest.approx(expected, rel=1e-5)


def test_an_ensemble_of_one_is_that_one():
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    assert soft_targets(student, teacher[None], 4.0).item() == pytest.approx(soft_targets(student, teacher, 4.0).item())


def test_hard_labels_on_three_to_one_odds():
    assert hard_labels(tensor([[log(3.0), 0.0]]), tensor([0])).item() == pytest.approx(-log(0.75))
    assert hard_labels(tensor([[log(3.0), 0.0]] * 2), tensor([0, 1])).item() == pytest.approx(
        -(log(0.75) + log(0.25)) / 2
    )


def test_golden_hint_is_half_the_squared_distance_of_the_whole_feature():
    assert hint(tensor([[3.0, 4.0]]), tensor([[0.0, 0.0]])).item() == pytest.approx(12.5)


@pytest.mark.parametrize("shape", [(6, 3, 5, 4), (6, 11)])
def test_golden_hint_is_half_the_features_size_times_the_mean_squared_error(shape):
    ours, theirs = torch.randn(shape), torch.randn(shape)
    size = ours[0].numel()
    assert hint(ours, theirs).item() == pytest.approx(size / 2 * functional.mse_loss(ours, theirs).item(), rel=1e-5)
