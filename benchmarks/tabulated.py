"""Simulated trials: whole accuracy curves in under a millisecond, as real as benchmarks/digits.csv.gz lets them be.

The table holds real distillations of digits (benchmarks/digits_space.py), each with its validation accuracy after every
epoch. A simulated trial's curve is what extremely randomized trees, fitted on the curves' logits per kind of start,
expect of its recipe, plus the whole residual curve of a table row that lies near it (the row's own trees left out):
so a trial's noise is as large, as skewed and as correlated from epoch to epoch as where its like was really trained.
Trees, since a sampler's own kind of model must not be what it is judged on.

`python -m benchmarks.tabulated` says how well the trees predict rows that they have not seen: R^2 is about 0.9 in the
logit of the final accuracy, and 0.88 in the accuracy itself.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.metrics import mean_absolute_error, r2_score

from benchmarks import digits_space
from benchmarks.common import Figure, finish, options
from kdsearch import ConvNet
from kdsearch.students import count_parameters

TABLE = Path(__file__).with_name("digits.csv.gz")
EXAMPLES = 360
"""Validation examples: every accuracy is a whole number of these."""
STARTS = ("none", "hints", "pretrain")
SHAPE, CLASSES = (1, 8, 8), 10
_TREES = 100
_NEAR = 8
"""Table rows that a simulated trial's residual curve may come from."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A simulated trial. `accuracies` has one value an epoch, NaN while hints train; `final` is the last.

    `seconds` are those of one epoch on the machine that made the table, one per epoch, evaluation included.
    """

    parameters: int
    accuracies: tuple[float, ...]
    final: float
    epochs: int
    start_epochs: int
    seconds: tuple[float, ...]


class Tabulated:
    """The table, and the trees fitted on it. Make it by `load`, which fits once a process."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.rows = len(table)
        self._kinds = {start: _Kind(start, table[table["start"] == start]) for start in STARTS}

    @classmethod
    def load(cls, path: Path = TABLE) -> "Tabulated":
        return _load(path)

    def trial(self, params: Mapping[str, Any], seed: int) -> Curve:
        """The trial of the recipe that `params` give in digits_space.space; equal arguments give equal curves."""
        kind = self._kinds[params["start"]]
        features = _features(params)
        logits = kind.expected(features) + kind.residuals(features, np.random.default_rng(seed))
        right = np.rint(EXAMPLES / (1 + np.exp(-logits))).clip(0, EXAMPLES) / EXAMPLES
        hidden = digits_space.EPOCHS - len(right)  # epochs of hints, after which the output means nothing yet
        accuracies = (float("nan"),) * hidden + tuple(right.tolist())
        return Curve(
            parameters=parameters(params["width"], params["depth"]),
            accuracies=accuracies,
            final=accuracies[-1],
            epochs=digits_space.EPOCHS,
            start_epochs=0 if params["start"] == "none" else digits_space.START_EPOCHS,
            seconds=kind.seconds(features),
        )

    def unseen(self) -> tuple[Array, Array]:
        """Final accuracies of the table's rows, and what trees that have not seen the row expect."""
        finals = [(kind.logits[:, -1], kind.held_out[:, -1]) for kind in self._kinds.values()]
        true, expected = (np.concatenate(part) for part in zip(*finals, strict=True))
        return 1 / (1 + np.exp(-true)), 1 / (1 + np.exp(-expected))


class _Kind:
    """The rows of one start: their features (rows, F), the logits of their curves (rows, epochs), and the trees."""

    def __init__(self, start: str, rows: pd.DataFrame) -> None:
        right = np.array([[int(count) for count in line.split()] for line in rows["right"]])
        hidden = int((right[0] < 0).sum())
        shown = right[:, hidden:]
        self.logits: Array = np.log((shown + 0.5) / (EXAMPLES - shown + 0.5))
        self.features: Array = np.array([_features(row) for row in rows.to_dict("records")])
        forest = ExtraTreesRegressor(
            _TREES, bootstrap=True, oob_score=True, min_samples_leaf=2, max_features=1.0, random_state=0
        ).fit(self.features, self.logits)
        self.held_out: Array = forest.oob_prediction_
        self._leftover: Array = self.logits - self.held_out
        self._forest = _Flat(forest)
        self._scale: Array = self.features.std(axis=0) + 1e-12
        self._epochs = _epoch_seconds(start, rows)

    def expected(self, features: Array) -> Array:
        return self._forest.predict(features)

    def residuals(self, features: Array, random: np.random.Generator) -> Array:
        return self._leftover[random.choice(self._nearest(features, _NEAR))]

    def seconds(self, features: Array) -> tuple[float, ...]:
        # the student alone decides how long an epoch takes
        distances = np.abs((self.features - features) / self._scale)[:, :2].sum(axis=1)
        mean: Array = self._epochs[np.argpartition(distances, _NEAR)[:_NEAR]].mean(axis=0)
        return tuple(mean.tolist())

    def _nearest(self, features: Array, rows: int) -> NDArray[np.intp]:
        apart = (self.features - features) / self._scale
        apart[:, :2] *= 2  # width and depth explain most of the accuracy, and of its noise
        return np.argpartition((apart**2).sum(axis=1), rows)[:rows]


class _Flat:
    """A fitted forest as flat arrays: all trees step down at once, 30 times faster for one row than scikit-learn."""

    def __init__(self, forest: ExtraTreesRegressor) -> None:
        trees = [member.tree_ for member in forest.estimators_]
        offsets = np.cumsum([0] + [tree.node_count for tree in trees])[:-1]
        self._roots = offsets
        self._feature = np.concatenate([tree.feature for tree in trees])
        self._threshold = np.concatenate([tree.threshold for tree in trees])
        self._left, self._right = (
            np.concatenate(
                [
                    np.where(getattr(tree, side) < 0, np.arange(tree.node_count), getattr(tree, side)) + offset
                    for tree, offset in zip(trees, offsets, strict=True)
                ]
            )
            for side in ("children_left", "children_right")
        )
        self._values: Array = np.concatenate([tree.value[:, :, 0] for tree in trees])
        self._depth = max(tree.max_depth for tree in trees)

    def predict(self, features: Array) -> Array:
        features = features.astype(np.float32)  # as scikit-learn compares them
        nodes = self._roots
        for _ in range(self._depth):  # a leaf points at itself
            goes_left = features[self._feature[nodes]] <= self._threshold[nodes]
            nodes = np.where(goes_left, self._left[nodes], self._right[nodes])
        mean: Array = self._values[nodes].mean(axis=0)
        return mean


def _features(params: Mapping[str, Any]) -> Array:
    """What the trees see: width and depth first; hint layers only where there are hints."""
    hints = [params["teacher_layer"], params["student_layer"]] if params["start"] == "hints" else []
    return np.array(
        [
            np.log(params["width"]),
            params["depth"],
            np.log(parameters(int(params["width"]), int(params["depth"]))),
            np.log(params["temperature"]),
            params["alpha"],
            np.log(params["lr"]),
            *hints,
        ],
        dtype=float,
    )


def _epoch_seconds(start: str, rows: pd.DataFrame) -> Array:
    """Seconds of each epoch (rows, epochs)."""
    distil = rows["seconds_distil"].to_numpy(float)
    begin = distil if start == "none" else rows[f"seconds_{start}"].to_numpy(float)
    epochs = np.repeat(distil[:, None], digits_space.EPOCHS, axis=1)
    epochs[:, : digits_space.START_EPOCHS] = begin[:, None]
    return epochs + rows["evaluation_seconds"].to_numpy(float)[:, None]


@cache
def parameters(width: int, depth: int) -> int:
    """The exact size of the student."""
    return count_parameters(ConvNet(width=width, depth=depth).build(SHAPE, CLASSES))


@cache
def _load(path: Path) -> Tabulated:
    return Tabulated(pd.read_csv(path, keep_default_na=False, na_values=[""]))


def main() -> int:
    arguments = options(__doc__).parse_args()
    table = Tabulated.load()
    true, expected = table.unseen()
    figures = [
        Figure(name="rows", value=table.rows),
        Figure(name="final accuracy of unseen rows: R^2", value=float(r2_score(true, expected))),
        Figure(name="final accuracy of unseen rows: mean absolute error", value=mean_absolute_error(true, expected)),
    ]
    return finish(figures, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
