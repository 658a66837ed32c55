"""A student's recipe and what fresh seeds gave for it, in sentences: from the card that `export.card` describes.

Layers, labels and fields of the user's own are shown letter by letter, as code.
"""

from collections.abc import Mapping
from typing import Any

from kdsearch.markup import code_span

_LOSSES = {
    "kd": "T² times the Kullback-Leibler divergence from the teacher's softened predictions (arXiv:1503.02531)",
    "dkd": "Decoupled KD (arXiv:2203.08679) with beta {beta:g}",
    "dist": "DIST (arXiv:2205.10536) with weights {inter_class:g} between classes and {intra_class:g} within them",
}
_OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
_SCHEDULES = {
    "constant": "constant",
    "cosine": "falling to zero along a cosine",
    "linear": "falling to zero linearly",
    "step": "a tenth of it after half of the epochs and a hundredth after three quarters",
}
_VERDICTS = {
    "better": "the distilled student is better than the same student alone (the whole interval of the difference is "
    "above 0)",
    "no better": "the distilled student is no better than the same student alone (the whole interval of the difference "
    "is below 0.2 points)",
    "unclear": "it is unclear whether the distilled student is better than the same student alone",
}


def recipe_in_words(card: Mapping[str, Any]) -> list[str]:
    """What was done, a line each: the student, its start, what it learned from, how it was optimized, on what."""
    told = [student_of(card), _start(card), _distillation(card["described"]), _optimization(card["described"])]
    how = card["described"]
    if "augment" in how:
        told.append(f"augmentation: {code_span(str(how['augment']))}")
    if how.get("live_teacher"):
        told.append("the teacher ran in every step (nothing of it was stored)")
    if "omit" in how:
        told.append(f"no example of the classes numbered {code_span(str(how['omit']))} was shown to the student")
    return told


def student_of(card: Mapping[str, Any]) -> str:
    """Its family and fields."""
    fields = (f"{name} {_value(value)}" for name, value in card["student"].items() if name != "kind")
    return f"student: {code_span(card['student']['kind'])} with {', '.join(fields) or 'no fields'}"


def _start(card: Mapping[str, Any]) -> str:
    how = card["described"]
    of = f"for {how['start_epochs']} of the {how['epochs']} epochs"
    match how["start"]:
        case "hints":
            second = f" and {_pair(how, '_2')}" if "teacher_layer_2" in how else ""
            return (
                f"start: FitNets' hints (arXiv:1412.6550) {of}: {_pair(how)}{second}, through a regressor "
                f"({how['regressor']}) that was thrown away"
            )
        case "pretrain":
            return f"start: pretrained on the labels alone (arXiv:1709.02929) {of}"
        case _:
            return "start: random weights"


def _pair(how: Mapping[str, Any], which: str = "") -> str:
    teacher, student = (code_span(str(how[f"{owner}_layer{which}"])) for owner in ("teacher", "student"))
    return f"the student up to {student} learned the teacher's features at {teacher}"


def _distillation(how: Mapping[str, Any]) -> str:
    if how["loss"] == "fitnets":
        return (
            "distilled as in FitNets (arXiv:1412.6550, equation 2): cross-entropy on the labels plus lambda times "
            f"that with the teacher's predictions at temperature {how['temperature']:.4g}, lambda falling from "
            f"{how['first_weight']:g} to {how['last_weight']:g}"
        )
    parts = [
        f"distilled at temperature {how['temperature']:.4g} with alpha {how['alpha']:.4g}, which weighs the teacher's "
        f"soft term; the labels have {how['hard_weight']:.4g} (where alpha weighs the labels, it is that)",
        f"soft term: {_LOSSES[how['loss']].format(**how)}",
    ]
    if how.get("standardize"):
        parts.append("both networks' logits standardized first (arXiv:2403.01427)")
    if "attention" in how:
        ends = (code_span(str(how[f"attention_{owner}_layer"])) for owner in ("teacher", "student"))
        parts.append(f"plus {how['attention']:g} times attention transfer (arXiv:1612.03928) from {' to '.join(ends)}")
    return "; ".join(parts)


def _optimization(how: Mapping[str, Any]) -> str:
    momentum = f", momentum {how['momentum']:g}" if how["optim"] == "sgd" else ""
    warmup = f", after {how['warmup_epochs']:g} epochs of linear rise" if how["warmup_epochs"] else ""
    slower = f", in the distillation times {how['distil_lr_factor']:g}" if "distil_lr_factor" in how else ""
    precision = ", in bfloat16 where torch's autocast allows" if how.get("precision") == "bf16" else ""
    return (
        f"{how['epochs']} epochs in all (the start's included), {_OPTIMIZERS[how['optim']]} with learning rate "
        f"{how['lr']:.4g}{slower}, {_SCHEDULES[how['schedule']]}{warmup}; batches of {how['batch_size']}, weight decay "
        f"{how['weight_decay']:g}{momentum}{precision}"
    )


def fresh_seeds_in_words(card: Mapping[str, Any]) -> str:
    """What training the recipe again gave, beside the same student alone; where nobody did, that."""
    found = card["confirmed"]
    if not found:
        command = code_span(f"kdsearch confirm {card['study']} --trial {card['trial']}")
        return (
            "Not confirmed: the accuracy of a search's best is too good, for it is the best of many noisy runs. "
            f"{command} trains the recipe again on fresh seeds, beside the same student alone."
        )
    own, alone = found["test_accuracy"], found["alone_test_accuracy"]
    parts = [
        f"Trained again on {_seeds(own['seeds'])}, the recipe had a mean test accuracy of {_interval(own)}: what to "
        "expect of it, rather than the figures of the one student above."
    ]
    if alone is not None:
        parts.append(
            f"The same student alone (no teacher, no start, the same epochs and optimizer, {_seeds(alone['seeds'])}) "
            f"had {_interval(alone)}."
        )
    if (verdict := found["verdict"]) is not None:
        parts.append(f"Verdict: {_VERDICTS[verdict]}.")
    if card["trained_on"] != "train":
        parts.append("Those runs learned from the training split alone, this student from validation data too.")
    parts.append(
        "Intervals are 95 %. They speak of other seeds on this very test split, not of other examples, and of a "
        "student alone with the optimizer that was searched for the distilled one."
    )
    return " ".join(parts)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _interval(found: Mapping[str, float]) -> str:
    return f"{percent(found['mean'])} ({100 * found['low']:.2f} to {100 * found['high']:.2f})"


def _seeds(number: int) -> str:
    return f"{number} fresh seed{'' if number == 1 else 's'}"


def _value(value: Any) -> str:
    return code_span(value) if isinstance(value, str) else str(value)
