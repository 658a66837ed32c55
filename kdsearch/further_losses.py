"""Losses of the papers after Hinton's and FitNets', pure functions of tensors, a mean over the batch each.

Shape letters: B batch, K classes, J = K - 1 classes but the target, C channels, H height, W width.
Teacher logits are one teacher's, (B, K); an ensemble comes as `losses.pooled_logits`. No teacher gets a gradient.
"""

import torch
from torch import Tensor
from torch.nn import functional

_LEAST_VARIANCE = 1e-8
"""Added to logits' variance: a classifier that begins with zero weights must not get infinite gradients."""


def standardized(logits_BK: Tensor) -> Tensor:
    """Logits with mean 0 and variance 1 over the classes, each example's for itself (arXiv:2403.01427, Algorithm 1).

    Invariant to any map a * z + b of the logits with a > 0. The variance divides by K, as in the paper; its published
    code divides by K - 1, which is the same at a temperature larger by the root of K / (K - 1).
    """
    return functional.layer_norm(logits_BK, logits_BK.shape[-1:], eps=_LEAST_VARIANCE)


def decoupled(
    student_BK: Tensor,
    teacher_BK: Tensor,
    temperature: float,
    labels_B: Tensor,
    others_B: Tensor | None = None,
    weight_B: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Decoupled KD's two terms, TCKD and NCKD, each times T^2, scalars in nats >= 0 (arXiv:2203.08679, Eq. 5-7).

    TCKD compares how sure both are of the target class, NCKD how they spread the rest over the other classes. Example
    by example T^2 * KL = TCKD + (1 - p_target) * NCKD, p_target the teacher's softened probability; the paper's loss
    is alpha * TCKD + beta * NCKD. Under mixup each term is the weighted mean over both labels, as in `hard_labels`.
    """
    target_B, rest_B = _parted(student_BK, teacher_BK.detach(), temperature, labels_B)
    if others_B is not None and weight_B is not None:
        target_of_other_B, rest_of_other_B = _parted(student_BK, teacher_BK.detach(), temperature, others_B)
        target_B = torch.lerp(target_of_other_B, target_B, weight_B)
        rest_B = torch.lerp(rest_of_other_B, rest_B, weight_B)
    return temperature**2 * target_B.mean(), temperature**2 * rest_B.mean()


def _parted(student_BK: Tensor, teacher_BK: Tensor, temperature: float, labels_B: Tensor) -> tuple[Tensor, Tensor]:
    """KL divergences (B,) of target against the rest, and within the rest."""
    rest_BK = functional.one_hot(labels_B, student_BK.shape[1]) == 0
    binary, within = [], []
    for logits_BK in (teacher_BK, student_BK):
        log_BK = functional.log_softmax(logits_BK / temperature, dim=1)
        log_BJ = log_BK[rest_BK].view(len(log_BK), -1)
        # 1 - p in the log domain: where the target has nearly all, the difference would round to 0
        binary.append(torch.stack([log_BK.gather(1, labels_B[:, None])[:, 0], log_BJ.logsumexp(1)], dim=1))
        within.append(functional.log_softmax(log_BJ, dim=1))
    return _divergence(*binary), _divergence(*within)


def _divergence(teacher_log: Tensor, student_log: Tensor) -> Tensor:
    """KL (B,) from log-probabilities (B, ...)."""
    return functional.kl_div(student_log, teacher_log, reduction="none", log_target=True).sum(dim=1)


def relations(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """DIST's two terms, between classes and within classes, each tau^2 * (1 - Pearson's correlation), in [0, 2 tau^2]
    (arXiv:2205.10536, Eq. 9 and 10).

    Between: of an example's softened probabilities over the classes, mean over the batch. Within: of a class's
    probabilities over the batch, mean over the classes. What does not vary is taken to correlate with nothing.
    """
    student_probabilities_BK = functional.softmax(student_BK / temperature, dim=1)
    teacher_probabilities_BK = functional.softmax(teacher_BK.detach() / temperature, dim=1)
    between = 1 - _pearson(student_probabilities_BK, teacher_probabilities_BK).mean()
    within = 1 - _pearson(student_probabilities_BK.T, teacher_probabilities_BK.T).mean()
    return temperature**2 * between, temperature**2 * within


def _pearson(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's correlation of each row."""
    return functional.cosine_similarity(
        one - one.mean(dim=1, keepdim=True), other - other.mean(dim=1, keepdim=True), dim=1
    )


def attention(student_BCHW: Tensor, teacher_BCHW: Tensor) -> Tensor:
    """1/2 || Q_S / ||Q_S|| - Q_T / ||Q_T|| ||^2, in [0, 1], with Q the sum over the channels of the squared
    activations, flattened over positions (attention transfer, arXiv:1612.03928, Eq. 2).

    Of maps of different size the larger Q is averaged to the smaller's. The norm is squared, as in the paper's code,
    which also divides by the positions and leaves out the 1/2: its beta of 1,000 is 2,000 / (H * W) here.
    """
    size = (min(student_BCHW.shape[2], teacher_BCHW.shape[2]), min(student_BCHW.shape[3], teacher_BCHW.shape[3]))
    ours, theirs = (
        functional.normalize(functional.adaptive_avg_pool2d(map_BCHW.square().sum(dim=1), size).flatten(1))
        for map_BCHW in (student_BCHW, teacher_BCHW.detach())
    )
    return 0.5 * (ours - theirs).square().sum(dim=1).mean()
