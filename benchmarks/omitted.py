"""A digit left out (Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 3): does a student that never saw a 3 know
one?

Trains the distilled student of studies/mnist_hinton.py without any 3, on fresh seeds. Its share of right test 3s is
given as it is, and after a bias correction: one number added to the logit of class 3, the one with the most right on
the whole validation split. The test split is read once for each run, to report.

    python -m benchmarks.omitted --seeds 3 [--workspace DIR] [--data DIR]

Shape letters: N examples, K classes.
"""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kdsearch import metrics
from kdsearch.prepare import Prepared, prepare
from kdsearch.repeats import Repeat
from kdsearch.source import Source
from kdsearch.trial import Segment, advance
from kdsearch.workspace import Workspace

STUDY = Path(__file__).parents[1] / "studies" / "mnist_hinton.py"
OMITTED = 3


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a student without a class gets wrong on the test split, with `bias` added to that class's logit."""

    bias: float
    errors: int
    errors_omitted: int
    omitted: int

    @property
    def share(self) -> float:
        """Of the omitted class's examples, those that are right."""
        return 1 - self.errors_omitted / self.omitted


def best_bias(logits_NK: Tensor, labels_N: Tensor, omitted: int) -> float:
    """What to add to the logit of class `omitted` for the most right predictions; the middle of the best stretch.

    An example is predicted `omitted` from a bias of its margin, the largest other logit above that of `omitted`,
    upwards; so from there on one of the class is right, and one of another that was right is not.
    """
    others_NK = logits_NK.clone()
    others_NK[:, omitted] = -torch.inf
    best_N, predicted_N = others_NK.max(1)
    margins, place_N = (best_N - logits_NK[:, omitted]).double().unique(return_inverse=True)
    gained_N = (labels_N == omitted).long() - (predicted_N == labels_N).long()
    right = torch.zeros(len(margins), dtype=torch.int64).index_add(0, place_N, gained_N).cumsum(0)
    first = int(right.argmax())
    if right[first] <= 0:
        return float(margins[0]) - 1  # never predicted
    # the best stretch ends where the next margin changes the count
    ends = (right[first:] != right[first]).nonzero()
    end = float(margins[first + int(ends[0])]) if len(ends) else float(margins[-1]) + 2
    return (float(margins[first]) + end) / 2


def found(logits_NK: Tensor, labels_N: Tensor, omitted: int, bias: float = 0.0) -> Found:
    """The errors of these logits (N, K) once `bias` is added to class `omitted`."""
    moved_NK = logits_NK.clone()
    moved_NK[:, omitted] += bias
    wrong_N, of_class_N = moved_NK.argmax(1) != labels_N, labels_N == omitted
    return Found(
        bias=bias,
        errors=int(wrong_N.sum()),
        errors_omitted=int((wrong_N & of_class_N).sum()),
        omitted=int(of_class_N.sum()),
    )


def trained(prepared: Prepared, seed: int) -> nn.Module:
    """The distilled student without the omitted class, trained on a fresh seed."""
    recipe = dataclasses.replace(prepared.study.comparisons["hinton"]["distilled"], omit=(OMITTED,))
    prepared.screen(recipe)
    seeds = Repeat(label="omitted", recipe=recipe, seed=seed).seeds(prepared.study.seed)
    segment = Segment(
        trial=seed, recipe=recipe, seeds=seeds, state=None, upto=recipe.epochs, objectives=prepared.study.objectives
    )
    student = recipe.student.build(prepared.data.shape, prepared.data.classes)
    student.load_state_dict(advance(segment, prepared.data, prepared.signals).state.train.module)
    return student


def measured(prepared: Prepared, seed: int) -> tuple[Found, Found]:
    """One run's test errors: as they are, and with the bias that the validation split chose."""
    student, data = trained(prepared, seed), prepared.data
    bias = best_bias(metrics.logits(student, data, data.validation), data.validation.labels, OMITTED)
    test_NK = metrics.logits(student, data, data.test)
    return found(test_NK, data.test.labels, OMITTED), found(test_NK, data.test.labels, OMITTED, bias)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="fresh seeds")
    parser.add_argument("--workspace", help="the study's, so that its teacher is not trained again")
    parser.add_argument("--data", help="the folder with MNIST's four files")
    given = parser.parse_args(arguments)
    if given.data is not None:
        os.environ["KDSEARCH_DATA"] = given.data
    prepared = prepare(Source(path=STUDY), Workspace.chosen(given.workspace))
    print(f"seed  bias   errors  on {OMITTED}s  {OMITTED}s right")
    for seed in range(given.seeds):
        for one in measured(prepared, seed):
            print(f"{seed:4} {one.bias:5.2f} {one.errors:8} {one.errors_omitted:6} {one.share:9.1%}", flush=True)


if __name__ == "__main__":
    main()
