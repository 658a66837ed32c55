"""A student tried on files: the same answers from its weights and from every kind of ONNX, and clear refusals."""

import json
import math

import numpy as np
import pytest
import torch

from kdsearch import cli
from kdsearch.mistakes import Mistake
from kdsearch.predicting import predict
from kdsearch.saved import WEIGHTS, load
from kdsearch.students import MLP, TextConvNet
from tests.exports import ONNX, linear_onnx, write_export
from tests.pictures import picture

SHAPE = (1, 6, 4)
NAMES = ("black", "white", "\x1b[31mred")
# of a picture all 100 + 50 v: normalized v, logits 0, 24 v and -24 v
WEIGHTS_KF = np.outer([0, 1, -1], np.ones(24))
INPUT = {"mean": [[[100.0]]], "std": [[[50.0]]]}
OWN = {"kind": "Mine", "width": 3}


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    """An exported student of kdsearch's own, without ONNX."""
    folder = tmp_path_factory.mktemp("mlp") / "out"
    student = {"kind": "MLP", "width": 3, "depth": 1}
    module = MLP(width=3, depth=1).build(SHAPE, 3)
    write_export(folder, student=student, shape=SHAPE, names=NAMES, module=module, input=INPUT)
    return folder


@pytest.fixture(params=[(False, False), (True, False), (False, True), (True, True)], ids=str)
def own(request, tmp_path):
    """An exported student of a family of the user's own, whose ONNX normalizes and gives probabilities, or not."""
    raw, softmax = request.param
    model = linear_onnx(WEIGHTS_KF, SHAPE, raw=(100.0, 50.0) if raw else None, softmax=softmax)
    graph = {"input": "raw" if raw else "normalized", "output": "probabilities" if softmax else "logits"}
    write_export(tmp_path / "out", student=OWN, shape=SHAPE, names=NAMES, onnx_model=model, input=INPUT, graph=graph)
    return tmp_path / "out"


def saved(path, array):
    np.save(path, array)
    return path


def test_onnx_of_every_kind_gives_the_probabilities_worked_by_hand(own, tmp_path):
    picture(tmp_path / "a.png", (105, 105, 105))
    (found,) = predict(own, [tmp_path / "a.png"])
    odds = [math.exp(24 * 0.1 * sign) for sign in (1, 0, -1)]
    assert [one.name for one in found.classes] == ["white", "black", NAMES[2]]
    assert [one.probability for one in found.classes] == pytest.approx([part / sum(odds) for part in odds], rel=1e-5)
    assert (found.index, found.note) == (None, "")


def test_weights_answer_as_the_loaded_module_does(mlp, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (600, *SHAPE), dtype=np.uint8)
    found = predict(mlp, [saved(tmp_path / "many.npy", array), saved(tmp_path / "one.npy", array[7])], top=9)
    expected = load(mlp, raw_inputs=True)(torch.from_numpy(array)).softmax(1)
    assert [one.index for one in found] == [*range(600), None]
    assert all(len(one.classes) == 3 for one in found)
    best = [NAMES[k] for k in expected.argmax(1).tolist()]
    assert [one.classes[0].name for one in found] == [*best, best[7]]
    probabilities = [one.classes[0].probability for one in found]
    assert probabilities == pytest.approx([*expected.amax(1).tolist(), expected[7].max().item()], rel=1e-5)


def test_tokens_are_read_as_numbers(tmp_path):
    student = {"kind": "TextConvNet", "vocabulary": 11, "width": 4, "depth": 1, "kernel": 3}
    module = TextConvNet(vocabulary=11, width=4, depth=1).build((5,), 2)
    tokens = {"dtype": "int64", "low": 0, "high": 10, "mean": [0.0], "std": [1.0], "vocabulary": 11}
    write_export(tmp_path / "out", student=student, shape=(5,), module=module, input=tokens)
    ids = np.array([[1, 2, 3, 0, 0], [10, 9, 8, 7, 6]], np.int32)
    found = predict(tmp_path / "out", [saved(tmp_path / "ids.npy", ids)])
    expected = module.eval()(torch.from_numpy(ids)).softmax(1)
    assert [one.classes[0].probability for one in found] == pytest.approx(expected.amax(1).tolist(), rel=1e-5)
    with pytest.raises(Mistake, match=r"must lie in 0\.\.10, got 11"):
        predict(tmp_path / "out", [saved(tmp_path / "wrong.npy", ids + 1)])


def test_the_command_prints_a_line_an_example_and_obeys_no_name(mlp, tmp_path, capsys):
    picture(tmp_path / "a.png", (200, 30, 30), (8, 8))
    array = saved(tmp_path / "two.npy", np.zeros((2, *SHAPE), np.uint8))
    assert cli.main(["predict", str(mlp), str(tmp_path / "a.png"), str(array), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(tmp_path / "a.png"), f"{array}[0]", f"{array}[1]"]
    assert lines[0].endswith("; resized from 8x8 to 6x4 (HxW)")
    assert all(line.count("%") == 2 for line in lines)
    assert cli.main(["predict", str(mlp), str(array), "--json"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in "".join(lines) + said
    told = json.loads(said)
    assert [one["index"] for one in told] == [0, 1]
    assert set(told[0]) == {"file", "index", "classes", "note"}
    assert sum(one["probability"] for one in told[0]["classes"]) == pytest.approx(1)
    assert cli.main(["predict", str(mlp), str(tmp_path / "gone.png")]) == 2
    assert "there is no file" in capsys.readouterr().err


def test_a_family_of_ones_own_needs_onnx_or_its_class(tmp_path):
    module = MLP(width=3, depth=1).build(SHAPE, 2)
    write_export(tmp_path / "out", student={"kind": "Mine", "width": 3, "depth": 1}, shape=SHAPE, module=module)
    picture(tmp_path / "a.png")
    with pytest.raises(Mistake, match=r"a family of its study's own \(Mine\).* without ONNX.*again with --onnx"):
        predict(tmp_path / "out", [tmp_path / "a.png"])
    mine = type("Mine", (MLP,), {})
    assert len(predict(tmp_path / "out", [tmp_path / "a.png"], family=mine)) == 1
    write_export(tmp_path / "nothing", student={"kind": "MLP", "width": 3, "depth": 1}, shape=SHAPE)
    with pytest.raises(Mistake, match=r"there is nothing to run; export it again with --onnx$"):
        predict(tmp_path / "nothing", [tmp_path / "a.png"])


def test_nothing_is_answered_by_files_that_were_altered(own, mlp, tmp_path):
    import shutil

    picture(tmp_path / "a.png")
    (own / ONNX).write_bytes((own / ONNX).read_bytes() + b"\0")
    shutil.copytree(mlp, tmp_path / "copy")
    content = bytearray((tmp_path / "copy" / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (tmp_path / "copy" / WEIGHTS).write_bytes(content)
    for folder in (own, tmp_path / "copy"):
        with pytest.raises(Mistake, match="was altered: its checksum is not the one in"):
            predict(folder, [tmp_path / "a.png"])
    with pytest.raises(Mistake, match="holds no exported student"):
        predict(tmp_path, [tmp_path / "a.png"])


@pytest.mark.parametrize(
    ("input", "rule"),
    [
        ({"dtype": "load"}, "load is no type of numbers"),
        ({"shape": "wide"}, "lacks what describes"),
        ({"low": None}, "lacks what describes"),
    ],
)
def test_a_crafted_card_is_refused(tmp_path, input, rule):
    write_export(tmp_path / "out", student=OWN, shape=SHAPE, input=input)
    with pytest.raises(Mistake, match=rule):
        predict(tmp_path / "out", [tmp_path / "a.png"])


def test_onnx_that_this_runtime_cannot_run_is_refused(tmp_path):
    model = linear_onnx(WEIGHTS_KF, SHAPE)
    model.ir_version = 999  # of a time to come
    write_export(tmp_path / "out", student=OWN, shape=SHAPE, onnx_model=model)
    with pytest.raises(Mistake, match=r"student\.onnx cannot be run by ONNX Runtime .*; update it, or export again"):
        predict(tmp_path / "out", [tmp_path / "a.png"])


def test_there_must_be_something_to_say_of_something(mlp):
    with pytest.raises(Mistake, match="top must be at least 1, got 0"):
        predict(mlp, ["a.png"], top=0)
    with pytest.raises(Mistake, match="nothing to predict"):
        predict(mlp, [])
