"""The losses of knowledge distillation, pure functions of tensors; those of later papers are in `further_losses`.

Shape letters: B batch, K classes, M teachers of an ensemble, C channels, H height, W width.
Every loss is a mean over the batch and a sum over the rest: `nn.KLDivLoss()`'s default, which also divides by the
number of classes, makes the soft term K times too weak and is not used. Losses are at least in single precision,
whatever the student's outputs are in.

An ensemble has one meaning everywhere: the mean, weighted by `votes_M` (positive, of sum 1; None: equal votes), of its
members' probabilities, each softened at the temperature of the loss. What needs logits gets `pooled_logits`.
"""

import torch
from torch import Tensor, logsumexp, tensordot
from torch.nn import functional


def exact(outputs: Tensor) -> Tensor:
    """Outputs in single precision, where a student gave them in less."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def soften(teacher_BK: Tensor, temperature: float, votes_M: Tensor | None = None) -> Tensor:
    """Teacher logits to softened probabilities, (B, K).

    An ensemble's logits (M, B, K) become the mean of its members' softened probabilities, not the softened mean of
    its logits (Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2).
    """
    probabilities = functional.softmax(teacher_BK / temperature, dim=-1)
    if probabilities.ndim == 2:
        return probabilities
    return probabilities.mean(dim=0) if votes_M is None else tensordot(votes_M.to(probabilities), probabilities, dims=1)


def pooled_logits(teacher_MBK: Tensor, temperature: float, votes_M: Tensor | None = None) -> Tensor:
    """An ensemble's logits (M, B, K) as those of one teacher (B, K) that softens to the same probabilities at
    `temperature`: T * log of the mean softened probability. A lone member's are its own, bit for bit.
    """
    if len(teacher_MBK) == 1:
        return teacher_MBK[0]
    log_MBK = functional.log_softmax(teacher_MBK / temperature, dim=-1)
    if votes_M is None:
        votes_M = log_MBK.new_full((len(log_MBK),), 1 / len(log_MBK))
    return temperature * logsumexp(log_MBK + votes_M.to(log_MBK).log()[:, None, None], dim=0)


def soft_targets(student_BK: Tensor, teacher_BK: Tensor, temperature: float, votes_M: Tensor | None = None) -> Tensor:
    """T^2 * KL(teacher_T || student_T), a scalar in nats >= 0 (arXiv:1503.02531, section 2).

    `teacher_BK` holds logits, (B, K) or an ensemble's (M, B, K); it gets no gradient. T^2 keeps the gradient's size
    about constant in `temperature` (> 0).
    """
    teacher_probabilities_BK = soften(teacher_BK.detach(), temperature, votes_M)
    student_log_BK = functional.log_softmax(exact(student_BK) / temperature, dim=-1)
    return temperature**2 * functional.kl_div(student_log_BK, teacher_probabilities_BK, reduction="batchmean")


def soft_cross_entropy(
    student_BK: Tensor, teacher_BK: Tensor, temperature: float, votes_M: Tensor | None = None
) -> Tensor:
    """H(teacher_T, student_T), a scalar in nats, without T^2: the soft term of FitNets (arXiv:1412.6550, Eq. 2).

    Arguments as of `soft_targets`, from which it differs by the factor and by the teacher's entropy.
    """
    return functional.cross_entropy(exact(student_BK) / temperature, soften(teacher_BK.detach(), temperature, votes_M))


def hard_labels(
    student_BK: Tensor, labels_B: Tensor, others_B: Tensor | None = None, weight_B: Tensor | None = None
) -> Tensor:
    """Cross-entropy with the true classes, a scalar in nats.

    Under mixup (arXiv:1710.09412) each example is mixed with another of class `others_B`: `weight_B` in [0, 1] weighs
    the cross-entropy with its own class, 1 - `weight_B` that with the other's.
    """
    student_BK = exact(student_BK)
    own = functional.cross_entropy(student_BK, labels_B, reduction="mean" if weight_B is None else "none")
    if others_B is None or weight_B is None:
        return own
    return (weight_B * own + (1 - weight_B) * functional.cross_entropy(student_BK, others_B, reduction="none")).mean()


def hint(regressed: Tensor, teacher_feature: Tensor) -> Tensor:
    """1/2 ||u_h(x) - r(v_g(x))||^2, summed over the feature, mean over the batch (FitNets, arXiv:1412.6550, Eq. 3).

    Both are (B, ...) of one shape; `teacher_feature` gets no gradient. This is C*H*W/2 times `mse_loss`'s mean.
    """
    difference = exact(regressed) - teacher_feature.detach()
    return 0.5 * difference.square().flatten(1).sum(dim=1).mean()
