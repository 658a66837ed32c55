"""The study files that stand for published results: they load, their spaces draw, what they compare can be trained."""

from pathlib import Path

import pytest
import torch

from kdsearch import api
from kdsearch.data.base import Data, Split
from kdsearch.screening import Screen, check_space
from kdsearch.source import Source
from kdsearch.study import Study
from kdsearch.teacher import Untrained

FOLDER = Path(__file__).parents[1] / "studies"
SHAPES = {"digits": (1, 8, 8), "cifar10": (3, 32, 32)}
COMPARED = [("mnist_hinton", "hinton"), ("mnist_fitnets", "fitnets")]
every_study = pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))


def load(name: str) -> Study:
    return Source(path=FOLDER / f"{name}.py").load()


def screen(study: Study) -> Screen:
    """On blank pictures of the study's shape: sizes and layers need no data."""
    shape = SHAPES.get(study.name, (1, 28, 28))
    blank = Split(inputs=torch.zeros(20, *shape, dtype=torch.uint8), labels=torch.arange(20) % 10)
    data = Data(name="blank", train=blank, validation=blank, test=blank)
    return Screen(study, shape, 10, Untrained.of(study.teacher(data), data).members)


@every_study
def test_a_study_bears_its_files_name_and_its_space_draws(name):
    study = load(name)
    assert study.name == name
    assert f"studies/{name}.py" in study.card
    check_space(study, screen(study))


@every_study
def test_all_that_a_study_compares_can_be_trained(name):
    study = load(name)
    judge = screen(study)
    reasons = {label: judge(recipe).reason for arms in study.comparisons.values() for label, recipe in arms.items()}
    assert not any(reasons.values()), reasons
    for recipes in study.comparisons.values():
        assert len({recipe.epochs for recipe in recipes.values()}) == 1, "budgets are equal"


def test_the_arms_of_published_comparisons_are_the_papers():
    hinton = load("mnist_hinton").comparisons
    assert [recipe.distil.temperature for recipe in hinton["temperatures_30"].values()] == [20, 1, 2, 4, 8]
    assert {recipe.student.width for recipe in hinton["temperatures_300"].values()} == {300}
    assert hinton["hinton"]["alone"].distil.alpha == 0
    fitnets = load("mnist_fitnets").comparisons["fitnets"]
    hints = screen(load("mnist_fitnets"))(fitnets["hints, then distilled"]).recipe.start
    assert (hints.teacher_layer, hints.student_layer) == ("block2", "block4")
    assert fitnets["backprop alone"].distil.alpha == 0


@pytest.mark.parametrize(("name", "compared"), COMPARED)
def test_a_comparison_shrunk_to_seconds_has_all_its_arms(name, compared, shared_data, monkeypatch, tmp_path):
    monkeypatch.setenv("KDSEARCH_DATA", str(shared_data))
    study = load(name).smoke()
    results = api.confirm_study(study, compare=compared, seeds=1, workspace=tmp_path, engine="inline", track=False)
    (finding,) = results.findings
    assert [arm.label for arm in finding.arms] == list(study.comparisons[compared])
    assert all(0 <= arm.test.mean <= 1 and arm.failed == 0 for arm in finding.arms)


def test_fashion_mnist_shrunk_to_seconds_is_searched_and_confirmed(shared_data, monkeypatch, tmp_path):
    monkeypatch.setenv("KDSEARCH_DATA", str(shared_data))
    results = api.run(
        FOLDER / "fashion_mnist.py", smoke=True, trials=2, workspace=tmp_path, engine="inline", track=False
    )
    assert [record.state for record in results.records] == ["complete", "complete"]
    assert results.confirmed.teacher_test_accuracy is not None
    assert {arm.label for finding in results.findings for arm in finding.arms} >= {"distilled", "alone"}
