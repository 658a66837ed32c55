"""Several exported students in one table."""

import json

import pytest
from torch import nn

from kdsearch import cli
from kdsearch.comparing import compare_students, differences
from kdsearch.mistakes import Mistake
from kdsearch.saved import WEIGHTS
from tests.exports import linear_onnx, write_export
from tests.made import EVIL

CONFIRMED = {
    "test_accuracy": {"mean": 0.9, "low": 0.88, "high": 0.92, "seeds": 5},
    "alone_test_accuracy": {"mean": 0.85, "low": 0.83, "high": 0.87, "seeds": 5},
    "verdict": "better",
}
MODULE = nn.Linear(4, 2)


def export(folder, **changes):
    write_export(folder, student={"kind": "Mine"}, shape=(4,), module=MODULE, **changes)
    return str(folder)


def test_a_row_for_each_file_and_one_for_each_teacher(tmp_path):
    first = export(tmp_path / "a", onnx_model=linear_onnx(MODULE.weight.detach().numpy(), (4,)), confirmed=CONFIRMED)
    second = export(tmp_path / "b")
    table = compare_students([first, second, first])
    assert table["student"].tolist() == [first, first, second, ""]
    assert table["file"].tolist() == [WEIGHTS, "student.onnx", WEIGHTS, "teacher"]
    assert table["parameters"].tolist() == [10, 10, 10, 1000]
    sizes = [(tmp_path / place).stat().st_size for place in (f"a/{WEIGHTS}", "a/student.onnx", f"b/{WEIGHTS}")]
    assert table["size_kb"].tolist() == [*(size / 1000 for size in sizes), 4.0]
    assert table["share"].tolist() == [0.01] * 3 + [1.0]
    assert table["latency_64_ms"].tolist() == [2.5] * 4
    assert table["test_accuracy"].tolist() == [0.85] * 3 + [0.89]
    assert table["fresh_low"][:2].tolist() == [0.88] * 2
    assert table["fresh_seeds"].isna().tolist() == [False, False, True, True]
    assert table["verdict"][0] == "better"
    assert differences(table) == []


def test_figures_that_cannot_be_held_against_each_other_are_said(tmp_path):
    folders = [
        export(tmp_path / "a"),
        export(tmp_path / "b", data={"name": "toy", "fingerprint": "f" * 64}),
        export(tmp_path / "c", machine={"processor": "arm", "system": "Linux"}),
    ]
    table = compare_students(folders)
    assert (table["file"] == "teacher").sum() == 2  # a teacher's figures are of the data too
    data, machine = differences(table)
    assert data.startswith("accuracies are of different data and not comparable (")
    assert f"{folders[0]}, {folders[2]}: toy 0123456789ab" in data
    assert f"{folders[1]}: toy ffffffffffff" in data
    assert machine.startswith("latencies are of other machines and not comparable (")
    assert f"{folders[2]}: arm, Linux" in machine


def test_the_command_shows_a_table_or_json_and_obeys_no_name(tmp_path, capsys):
    folders = [export(tmp_path / "\x1b[31mred"), export(tmp_path / "b", study=EVIL, confirmed=CONFIRMED)]
    retrained = {"validation_accuracy": None, "parameters": 10, "share_of_teacher": 0.01, "macs": 20}
    folders.append(export(tmp_path / "c", metrics=retrained, trained_on="train and validation"))
    assert cli.main(["compare", *folders]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert r"\x1b[31mred  safetensors" in said
    assert said.count("87.50%") == 2  # the third was trained on that split
    assert said.count("85.00%") == 3
    assert cli.main(["compare", *folders, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["validation_accuracy"] for row in told["rows"]] == [0.875, 0.875, None, 0.9]
    assert [row["trial"] for row in told["rows"]] == [3, 3, 3, None]
    assert told["notes"] == []


def test_what_is_no_whole_export_is_refused(tmp_path):
    with pytest.raises(Mistake, match="holds no exported student"):
        compare_students([tmp_path])
    with pytest.raises(Mistake, match="nothing to compare"):
        compare_students([])
    folder = export(tmp_path / "a")
    (tmp_path / "a" / WEIGHTS).unlink()
    with pytest.raises(Mistake, match=r"cannot be read .*; export the student again"):
        compare_students([folder])
    for number, part in enumerate(({"proof": {}}, {"teacher": []}, {"machine": None}, {"metrics": {"macs": "many"}})):
        with pytest.raises(Mistake, match="lacks figures to compare"):
            compare_students([export(tmp_path / str(number), **part)])
