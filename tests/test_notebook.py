"""Studies, results and progress in notebooks: what they show of themselves, and real kernels."""

import re

import nbformat
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from kdsearch import Mistake, Results, Study
from tests.events_for_tests import facts, trial
from tests.notebooks import ROOT, executed, shown

HOSTILE = "<script>alert(1)</script>"
TUTORIAL = ROOT / "studies" / "tutorial.ipynb"


def nobody(*_: object):
    raise AssertionError("a study must not be loaded to be shown")


def test_a_study_shows_its_question_without_loading_anything():
    study = Study(name="mine", data=nobody, teacher=lambda data: nobody(), space=nobody, minutes=2.5, patience=7)
    assert repr(study) == (
        "Study('mine': objectives accuracy (maximize), parameters (minimize); budget 40 trials or 2.5 minutes or "
        "7 trials without a gain; data nobody(); teacher a function without a name; space nobody(); "
        "sampler size_aware; early stopping none)"
    )
    assert "<td" in study._repr_html_() and "2.5 minutes" in study._repr_html_()


def test_what_a_study_or_its_results_are_called_is_shown_as_text():
    study = Study(name="mine", data=nobody, teacher=nobody, space=nobody, card=f"{HOSTILE}\nmore")
    results = Results(facts(name=HOSTILE), [trial(0, 0.9, start=HOSTILE)])
    for shown_html in (study._repr_html_(), results._repr_html_()):
        assert "<script" not in shown_html
        assert "&lt;script&gt;alert(1)" in shown_html


def test_results_show_their_front_and_that_nothing_is_confirmed():
    results = Results(facts(accuracy=0.98), [trial(0, 0.9, 1_000), trial(1, 0.8, 5_000), trial(2, 0.95, 20_000)])
    said = results._repr_html_()
    assert "made: 3 of 3 trials complete, 2 on the front" in repr(results)
    assert "1,000 parameters, 1.00% of the teacher" in repr(results) or "20,000 parameters, 20.00%" in repr(results)
    rows = re.findall(r"<tr><td>(\d+)</td>", said)
    assert rows == ["0", "2"], "by rising parameters, without the dominated"
    assert "Nothing is confirmed on fresh seeds yet" in said


def test_results_without_a_trial_or_a_measured_teacher_say_what_there_is():
    assert repr(Results(facts(), [])) == "Results(made: 0 of 0 trials complete.)"
    assert Results(facts(), [])._repr_html_() == "<p>made: 0 of 0 trials complete.</p>"
    assert "nan" not in Results(facts(accuracy=float("nan")), [trial(0, 0.9)])._repr_html_().lower()


def test_a_figure_is_asked_for_by_name():
    results = Results(facts(), [trial(0, 0.9, 1_000), trial(1, 0.95, 5_000)])
    assert isinstance(results.figure(), go.Figure)
    with pytest.raises(Mistake, match=r"a figure must be one of pareto, growth.*, got 'nothing'"):
        results.figure("nothing")
    with pytest.raises(Mistake, match=r"there is no figure 'pareto' of made yet: .*o trial"):
        Results(facts(), []).figure()


CELLS = """
import torch
from torch import nn
from dataclasses import dataclass
import kdsearch
from kdsearch import ConvNet, Data, Distil, Recipe, Study, Teacher, digits

def data():
    whole = digits()
    return Data(name="few", train=whole.train.head(200), validation=whole.validation.head(150),
                test=whole.test.head(150))

def teacher(data):
    return Teacher(build=lambda: ConvNet(width=6, depth=3).build(data.shape, data.classes), epochs=2)

@dataclass(frozen=True, kw_only=True)
class Mine:
    width: int

    def build(self, in_shape, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, self.width), nn.ReLU(), nn.Linear(self.width, classes))

def space(trial):
    return Recipe(student=Mine(width=trial.suggest_int("width", 2, 40)), epochs=20,
                  distil=Distil(temperature=trial.suggest_float("temperature", 1, 10), alpha=0.9))
---
results = kdsearch.run(Study(name="cells", data=data, teacher=teacher, space=space, trials=5), workers=2,
                       confirm=False, track=False)
---
results
---
results.figure()
---
kdsearch.run(Study(name="cells", data=data, teacher=teacher, space=space, trials=5), trials=6, workers=1,
             confirm=False, track=False, progress=False).facts.name
"""


@pytest.mark.slow
def test_a_study_made_in_cells_is_searched_by_processes_and_shown_in_one_display(tmp_path):
    notebook = new_notebook(cells=[new_code_cell(part.strip()) for part in CELLS.split("---")])
    cells = executed(notebook, tmp_path).cells
    (progress,) = cells[1]["outputs"]
    assert "5/5" in progress["data"]["text/html"] and "\x1b" not in progress["data"]["text/html"]
    assert "cells: 5 of 5 trials complete" in shown(cells[2], "text/html")[0]
    assert shown(cells[3], "application/vnd.plotly.v1+json")[0]["data"]
    assert [output["output_type"] for output in cells[4]["outputs"]] == ["execute_result"]
    assert (tmp_path / "runs" / "optuna.db").exists()


@pytest.mark.slow
def test_the_tutorial_runs_from_its_first_cell_to_its_last(tmp_path):
    tutorial = nbformat.read(TUTORIAL, as_version=4)
    for cell in tutorial.cells:  # all of it, with less training
        cell.source = cell.source.replace("trials=12", "trials=4").replace("epochs=12", "epochs=4")
    cells = executed(tutorial, tmp_path).cells
    assert (tmp_path / "exported" / "tutorial" / "student.safetensors").exists()
    said = "".join(
        output["text"]
        for cell in cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "stream" and output["name"] == "stdout"
    )
    assert re.search(r"this is a \d; the student says \d, [\d.]+% sure", said)
    assert "@@" in said, "the digit is drawn"
    verdicts = " ".join(html for cell in cells for html in shown(cell, "text/html"))
    assert re.search(r"unclear|better|worse", verdicts)


def test_the_tutorial_is_kept_without_outputs_and_names_no_place_of_ours():
    text = TUTORIAL.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in notebook.cells if "outputs" in cell)
    assert not re.search(r"https?://|/home|/tmp|/root|/work|localhost|127\.0\.0\.1|\\\\Users", text)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
