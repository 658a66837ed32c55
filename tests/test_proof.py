import dataclasses

import numpy as np
import onnx
import pytest

import kdsearch
from kdsearch import api
from kdsearch.export import runner
from kdsearch.export.formats import FORMATS
from kdsearch.export.formats.onnx_graph import Onnx
from kdsearch.mistakes import Mistake
from tests.studies_for_tests import write_study

OURS = ('Mine(width=trial.suggest_int("width", 2, 40))', 'MLP(width=trial.suggest_int("width", 2, 40), depth=1)')


def beside(given, own, labels):
    """`runner.compared` of outputs that are given."""
    return runner.compared(lambda part: part, np.array(given, np.float32), np.array(labels), np.array(own), lambda x: x)


def test_outputs_are_compared_by_the_example():
    own = [[2.0, 1.0], [0.5, 0.50001], [1000.0, 0.0], [0.0, 1.0]]
    given = [[2.0, 1.0], [0.50002, 0.5], [1000.05, 0.0], [0.0, 1.0]]
    found = beside(given, own, [0, 1, 1, 1])
    # 0.05 is within 1e-4 of a thousand; the second example's classes are closer than the tolerance
    assert "differs" not in found
    assert (found["examples"], found["correct"], found["same"], found["ties"]) == (4, 2, 3, 1)
    assert found["largest_difference"] == pytest.approx(0.05, rel=1e-3)


def test_the_first_example_that_differs_is_named():
    own = [[0.0, 1.0]] * 300
    given = [*own[:200], [0.0, 1.00011], *own[201:250], [float("nan"), 1.0], *own[251:]]
    found = beside(given, own, [1] * 300)
    assert found["differs"]["example"] == 200
    assert found["differs"]["own"] == [0.0, 1.0]
    assert beside(own[:250] + given[250:], own, [1] * 300)["differs"]["example"] == 250, "no number equals no other"
    with pytest.raises(ValueError, match=r"outputs of shape \(2, 1\), the student \(2, 2\)"):
        beside([[1.0], [2.0]], [[1.0, 2.0]] * 2, [0, 0])


def test_probabilities_are_compared_with_the_softmax_of_the_logits():
    np.testing.assert_allclose(runner.softmax(np.log([[1.0, 3.0]]) + 1000), [[0.25, 0.75]])


def test_latency_is_of_one_and_of_sixty_four_examples_however_few_there_are():
    seen = []
    found = runner.latencies(lambda part: seen.append(part.shape), np.zeros((10, 3)))
    assert set(seen) == {(1, 3), (64, 3)}
    assert min(seen.count(shape) for shape in set(seen)) >= 30
    for quartiles in found.values():
        assert 0 < quartiles["low"] <= quartiles["median"] <= quartiles["high"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proof")
    api.run(write_study(folder, OURS), workspace=folder / "runs", engine="inline", track=False, confirm=False, trials=1)
    return folder


@dataclasses.dataclass(frozen=True)
class Altered(Onnx):
    """A format whose writer does something wrong with the file."""

    wrong: object = None

    def write(self, parcel, path):
        super().write(parcel, path)
        self.wrong(path)


def one_weight(path):
    model = onnx.load(path)
    held = next(one for one in model.graph.initializer if one.name == "classifier.bias")
    values = onnx.numpy_helper.to_array(held).copy()
    values[4] += 0.01
    held.CopyFrom(onnx.numpy_helper.from_array(values, held.name))
    onnx.save(model, path)


def another_name(path):
    model = onnx.load(path)
    for one in [*model.graph.initializer, *model.graph.node]:
        if one.name == "classifier.bias":
            one.name = "merged"
        if isinstance(one, onnx.NodeProto):
            one.input[:] = ["merged" if name == "classifier.bias" else name for name in one.input]
    onnx.save(model, path)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (
            one_weight,
            r"student\.onnx is not the student: for example 0 of the validation split it gives \[.*\], the student "
            r"itself \[.*\], which differ by 0\.01 for class 4; nothing was exported",
        ),
        (
            another_name,
            r"student\.onnx does not hold what was trained: classifier\.bias has 10 numbers in the student and none",
        ),
        (
            cut_short,
            r"student\.onnx could not be run in a fresh process: .*Protobuf parsing failed.*; nothing was exported",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_that_is_not_the_student_is_found_out_and_nothing_is_left(made, tmp_path, monkeypatch, wrong, rule):
    monkeypatch.setitem(FORMATS, "onnx", Altered(wrong=wrong))
    with pytest.raises(Mistake, match=rule):
        kdsearch.export_student("small", tmp_path / "out", trial=0, formats=["onnx"], workspace=made / "runs")
    assert list(tmp_path.iterdir()) == []
    assert not list((made / "runs" / "small").glob(".proof-*"))
