"""Confirmations and comparisons: what is trained on which seeds, what never twice, and what is said of it."""

import dataclasses
import json

import pytest
import torch

from kdsearch import api, cli, evidence, reporting, taking
from kdsearch.confirm import alone
from kdsearch.events import Note, RepeatEnded, RepeatsBegan
from kdsearch.findings import of_member
from kdsearch.mistakes import Mistake
from kdsearch.plain import as_json
from kdsearch.recipe import Recipe
from kdsearch.repeats import Repeat
from kdsearch.stages import Distil, FitNetsDistil, Hints, Pretrain
from kdsearch.students import ConvNet
from kdsearch.trial import Segment, advance
from tests.studies_for_tests import with_moods, write_study

STARTS = (
    "segment_epochs=2)",
    "segment_epochs=2, starts=[None, Pretrain(epochs=1), Hints(epochs=1, teacher_layer='block2', "
    "student_layer='body', regressor='pooled')], comparisons={'mine': {"
    "'alone': Recipe(student=Mine(width=8), epochs=2, distil=Distil(alpha=0.0)), "
    "'soft': Recipe(student=Mine(width=8), epochs=2, distil=Distil(temperature=2.0, alpha=1.0))}})",
)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A small study, searched and not confirmed; tests work on copies of its workspace."""
    folder = tmp_path_factory.mktemp("confirm")
    path = write_study(folder, STARTS)
    api.run(path, workspace=folder / "runs", engine="inline", track=False, confirm=False)
    return path, folder / "runs"


@pytest.fixture
def place(searched, tmp_path):
    import shutil

    path, workspace = searched
    shutil.copytree(workspace, tmp_path / "runs")
    return path, tmp_path / "runs"


def confirm(place, **options):
    workspace = place[1]
    heard = []
    options = {"engine": "inline", "track": False, "seeds": 2, **options}
    results = api.confirm_study("small", workspace=workspace, listeners=[heard.append], **options)
    return results, heard


def trained(heard):
    return [(event.record.label, event.record.seed) for event in heard if isinstance(event, RepeatEnded)]


def test_a_student_alone_has_the_same_budget_and_no_teacher():
    hinted = Recipe(
        student=ConvNet(width=4, depth=3),
        start=Hints(epochs=3, teacher_layer="a", student_layer="b"),
        distil=Distil(temperature=7.0, alpha=0.9),
        epochs=10,
        live_teacher=True,
    )
    other = dataclasses.replace(hinted, start=Pretrain(epochs=2), distil=FitNetsDistil(), live_teacher=False)
    assert alone(hinted) == alone(other), "equal students share their control"
    assert (alone(hinted).epochs, alone(hinted).start, alone(hinted).distil.alpha) == (10, None, 0.0)
    assert alone(hinted).student == hinted.student


def test_the_whole_front_is_confirmed_beside_the_same_students_alone(place):
    results, heard = confirm(place)
    front = [int(number) for number in results.front.index]
    assert sorted(trained(heard)) == sorted(
        (f"trial {number} {label}", seed) for number in front for label in ("distilled", "alone") for seed in (0, 1)
    )
    for number in front:
        finding = of_member(results.findings, number)
        own, control = finding.arms
        samples = [
            {
                record.seed: record.measured["test_accuracy"]
                for record in results.confirmed.records
                if record.label == f"trial {number} {label}"
            }
            for label in ("distilled", "alone")
        ]
        assert own.test == evidence.mean_interval(samples[0], 150)
        assert control.difference == evidence.difference_interval(samples[0], samples[1], 150)
        assert control.said == evidence.verdict(control.difference)
        assert results.front["verdict"].to_dict()[number] == control.said
        assert results.front["test_accuracy"].to_dict()[number] == own.test.mean
    told = api.status("small", workspace=place[1])
    assert {"mean", "low", "high", "seeds"} == set(told["front"][0]["test_accuracy"])
    assert set(told["front"][0]) >= {"test_accuracy", "alone_test_accuracy", "verdict"}
    assert 0 <= told["teacher"]["test_accuracy"] <= 1
    json.dumps(told)


def test_a_run_is_what_advance_gives_for_the_fresh_seed_and_reads_the_test_split(place):
    results, _ = confirm(place, seeds=1)
    record = results.confirmed.records[0]
    from kdsearch.confirm import recipe_of
    from kdsearch.prepare import prepare
    from kdsearch.source import Source
    from kdsearch.workspace import Workspace

    ready = prepare(Source(path=place[0]), Workspace.chosen(place[1]))
    trial = next(r for r in results.records if r.fingerprint == record.fingerprint)
    recipe = recipe_of(ready, trial)
    seeds = Repeat(label="", recipe=recipe, seed=0).seeds(ready.study.seed)
    assert dataclasses.asdict(seeds) == record.seeds
    assert trial.seeds != record.seeds, "fresh: not what the search used"
    segment = Segment(
        trial=0, recipe=recipe, seeds=seeds, state=None, upto=recipe.epochs, objectives=("accuracy",), confirming=True
    )
    progress = advance(segment, ready.data, ready.signals)
    assert progress.measured == record.measured
    unread = advance(dataclasses.replace(segment, confirming=False), ready.data, ready.signals)
    assert "test_accuracy" not in unread.measured


def test_nothing_is_trained_twice_and_more_seeds_add_to_what_is_there(place):
    _, first = confirm(place)
    again, second = confirm(place)
    assert trained(second) == []
    assert next(e for e in second if isinstance(e, RepeatsBegan)).done == len(trained(first))
    more, third = confirm(place, seeds=3)
    assert {seed for _, seed in trained(third)} == {2}
    assert len(more.confirmed.records) == len(again.confirmed.records) * 3 // 2


def test_an_interrupted_confirmation_goes_on_to_what_an_undisturbed_one_gives(place, tmp_path, monkeypatch):
    import contextlib
    import shutil

    shutil.copytree(place[1], tmp_path / "other")
    whole, _ = confirm((place[0], tmp_path / "other"))
    asked = iter(range(1000))

    @contextlib.contextmanager
    def soon():
        yield lambda: next(asked) > 9  # from somewhere inside a run on

    with monkeypatch.context() as patched:
        patched.setattr(api, "interrupts", soon)
        stopped, heard = confirm(place)
    assert stopped.interrupted
    assert len(trained(heard)) < len(whole.confirmed.records)
    shutil.copytree(place[1], tmp_path / "torn")
    (state,) = (tmp_path / "torn" / "small" / "confirm").glob("*.safetensors")
    state.write_bytes(state.read_bytes()[:-1])
    again, heard = confirm((place[0], tmp_path / "torn"))
    assert any(isinstance(event, Note) and "begins again" in event.text for event in heard)
    results, _ = confirm(place)
    assert not results.interrupted
    figures = [{(r.arm, r.seed): r.measured for r in one.confirmed.records} for one in (whole, results, again)]
    assert figures[0] == figures[1] == figures[2]
    assert not list((place[1] / "small" / "confirm").glob("*.safetensors")), "no state is left of what is over"


def test_workers_give_the_bits_that_inline_gives(place, tmp_path):
    import shutil

    shutil.copytree(place[1], tmp_path / "other")
    inline, _ = confirm(place, seeds=1)
    local, _ = confirm((place[0], tmp_path / "other"), seeds=1, engine="local", workers=2)
    figures = [{(r.arm, r.seed): r.measured for r in one.confirmed.records} for one in (inline, local)]
    assert figures[0] == figures[1]


def test_controls_on_request_are_a_permuted_teacher_and_the_other_starts(place):
    results, heard = confirm(place, controls=("permuted", "starts"), trials=[0], seeds=1)
    (question,) = [question for question in results.confirmed.questions if question.trial == 0]
    labels = [arm.label for arm in question.arms]
    assert labels[:3] == ["distilled", "alone", "permuted teacher"]
    own = results.records[0].described["start"]
    starts = {label.split(" (")[0] for label in labels if label.startswith("start")}
    # hints cannot join the flat features of this student, and are left out with a note
    assert starts == {"start none", "start pretrain"} - {f"start {own}"}
    assert any("is left out: hints cannot join" in event.text for event in heard if isinstance(event, Note))
    assert len({arm.key for arm in question.arms}) == len(labels)
    assert len(trained(heard)) == len(labels)


def test_a_permuted_teacher_speaks_of_other_examples_and_of_the_same_one_each_time(signals, tiny_data):
    from kdsearch.data.views import Views

    views = Views(tiny_data)
    index = torch.arange(len(tiny_data.train))
    own = signals.logits(views)(views.batch(index, 0))
    permuted = signals.permuted(3)
    for live in (False, True):
        other = permuted.logits(views, live=live)(views.batch(index, 0))
        assert not torch.equal(other, own)
        torch.testing.assert_close(other[0].sort(dim=0).values, own[0].sort(dim=0).values)
        again = torch.cat([permuted.logits(views, live=live)(views.batch(part, 0)) for part in index.split(7)], dim=1)
        torch.testing.assert_close(again, other)
    assert torch.equal(signals.logits(views)(views.batch(index, 0)), own), "the signals themselves are as they were"


def test_a_comparison_varies_one_choice_in_every_member_and_pools_them(place):
    results, heard = confirm(place, compare="temperature", seeds=2)
    asked = [question for question in results.confirmed.questions if question.name == "temperature"]
    assert [arm.label for arm in asked[0].arms] == ["T = 1", "T = 2", "T = 4", "T = 8", "T = 16"]
    recipes = {record.arm: record.recipe for record in results.confirmed.records}
    for question in asked:
        varied = [recipes[arm.key] for arm in question.arms]
        assert [recipe["distil"].pop("temperature") for recipe in varied] == [1, 2, 4, 8, 16]
        assert all(recipe == varied[0] for recipe in varied), "in everything else they are equal"
    found = [finding for finding in results.findings if finding.name == "temperature"]
    assert len(found) == len(asked) + (len(asked) > 1)
    for finding in found:
        assert finding.arms[0].difference is None
        for arm in finding.arms[1:]:
            assert arm.said == evidence.effect(arm.difference)
            assert arm.epochs == 3 and arm.seconds > 0
    assert trained(heard)


def test_recipes_of_the_studys_own_are_compared_without_a_search(tmp_path):
    path = write_study(tmp_path, STARTS)
    results = api.confirm_study(
        path, compare="mine", seeds=2, workspace=tmp_path / "runs", engine="inline", track=False
    )
    (finding,) = results.findings
    assert [arm.label for arm in finding.arms] == ["alone", "soft"]
    assert (finding.trial, finding.members, finding.arms[1].test.seeds) == (None, 1, 2)
    assert results.records == []


def test_layers_that_cannot_be_joined_are_left_out_with_a_note(place):
    with pytest.raises(Mistake, match="at least two different recipes that can work"):
        # the student's only hint layer gives flat features, the teacher's give maps
        confirm(place, compare="layers", trials=[0])


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"compare": "colour"}, "--compare must be one of start, layers, temperature, alpha, mine"),
        ({"controls": ("sham",)}, "controls must be of permuted, starts"),
        ({"trials": [99]}, "has no complete trial 99"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"workers": 0}, "workers must be above 0"),
    ],
)
def test_wrong_use(place, options, rule):
    with pytest.raises(Mistake, match=rule):
        confirm(place, **options)


def test_starts_that_differ_in_one_value_are_told_apart_and_too_long_ones_left_out(tmp_path):
    starts = (
        "[None, Pretrain(epochs=1), Pretrain(epochs=1, distil_lr_factor=0.1), Pretrain(epochs=3), Pretrain(epochs=1)]"
    )
    path = write_study(tmp_path, ("segment_epochs=2)", f"segment_epochs=2, starts={starts})"))
    api.run(path, workspace=tmp_path / "runs", engine="inline", track=False, confirm=False, trials=1)
    results, heard = confirm((path, tmp_path / "runs"), compare="start", seeds=1)
    labels = [arm.label for arm in results.confirmed.questions[0].arms]
    assert labels == ["start none", "start pretrain (epochs 1)", "start pretrain (epochs 1, distil_lr_factor 0.1)"]
    notes = [event.text for event in heard if isinstance(event, Note)]
    assert any("start pretrain (epochs 3) is left out: epochs must be a whole number above" in note for note in notes)


def test_layers_of_the_same_name_are_one_arm(tmp_path):
    hints = "[Hints(epochs=1, regressor='pooled')]"
    path = write_study(
        tmp_path,
        ('Mine(width=trial.suggest_int("width", 2, 40))', 'ConvNet(width=trial.suggest_int("width", 2, 3), depth=2)'),
        ("segment_epochs=2)", f"segment_epochs=2, starts={hints})"),
    )
    api.run(path, workspace=tmp_path / "runs", engine="inline", track=False, confirm=False, trials=1)
    results, heard = confirm((path, tmp_path / "runs"), compare="layers", seeds=1)
    arms = results.confirmed.questions[0].arms
    assert len({arm.key for arm in arms}) == len(arms) < 9
    assert any("is the same recipe as" in event.text for event in heard if isinstance(event, Note))


def test_a_student_alone_asks_no_teacher(frozen, tiny_data, tmp_path):
    from kdsearch.signals import Signals
    from kdsearch.trial import Seeds

    def nobody():
        raise AssertionError("the teacher was asked")

    recipe = alone(Recipe(student=ConvNet(width=2, depth=2), epochs=2))
    segment = Segment(
        trial=0, recipe=recipe, seeds=Seeds(start=1, distil=2), state=None, upto=2, objectives=("accuracy",)
    )
    progress = advance(segment, tiny_data, Signals(nobody, "no key", tiny_data, tmp_path / "none"))
    assert set(progress.curve[0]) >= {"hard", "validation_accuracy"}
    assert "soft" not in progress.curve[0]


@pytest.mark.parametrize(
    ("field", "rule"),
    [
        ("starts=['hints']", "starts must be Hints, Pretrain or None"),
        ("comparisons=['a']", "comparisons must be names with recipes by label"),
        ("comparisons={'confirm': {}}", "none of confirm, start, layers, temperature, alpha"),
        ("comparisons={'a': {'b': Recipe(student=Mine(width=2))}}", "at least two Recipes by label"),
        ("comparisons={'a': {1: Recipe(student=Mine(width=2)), 2: 3}}", "a label must be a line of 1 to 80 characters"),
        ("comparisons={'a': {'b': Recipe(student=Mine(width=2)), 'c': 3}}", "'c' must be a Recipe, got int"),
    ],
)
def test_wrong_fields_of_a_study(tmp_path, field, rule):
    path = write_study(tmp_path, ("segment_epochs=2)", f"segment_epochs=2, {field})"))
    with pytest.raises(Mistake, match=rule):
        api.run(path, workspace=tmp_path / "runs", engine="inline", track=False)


def test_a_study_file_without_trials_is_told_before_its_teacher_is_trained(tmp_path):
    path = write_study(tmp_path, ("def teacher(data):", "def teacher(data):\n    raise AssertionError"))
    (tmp_path / "runs").mkdir()
    with pytest.raises(Mistake, match=r"there is no database|no study 'small' here"):
        api.confirm_study(path, workspace=tmp_path / "runs", engine="inline", track=False)


def test_a_study_without_a_front_cannot_be_confirmed(tmp_path):
    path = write_study(tmp_path, with_moods("fails"))
    api.run(path, workspace=tmp_path / "runs", engine="inline", track=False, confirm=False, trials=1)
    for compare in (None, "temperature"):
        with pytest.raises(Mistake, match="no trial is complete yet; run the study first"):
            confirm((path, tmp_path / "runs"), compare=compare)


def test_a_study_that_changed_is_not_confirmed_by_guess(place):
    workspace = place[1]
    other = write_study(workspace.parent, STARTS, ("head(200)", "head(190)"), name="other.py")
    with pytest.raises(Mistake, match="has changed in the data"):
        confirm(place, file=other)


def test_a_run_that_fails_is_told_and_tried_again_by_the_next_call(tmp_path):
    path = write_study(
        tmp_path, STARTS, ("'soft': Recipe(student=Mine(width=8)", "'soft': Recipe(student=Mine(width=8, mood='nan')")
    )
    options = {"compare": "mine", "seeds": 1, "workspace": tmp_path / "runs", "engine": "inline", "track": False}
    results = api.confirm_study(path, **options)
    soft = results.findings[0].arms[1]
    assert (soft.failed, soft.test, soft.difference) == (1, None, None)
    heard = []
    api.confirm_study(path, listeners=[heard.append], **options)
    assert trained(heard) == [("soft", 0)]


def test_run_ends_with_a_confirmation_of_at_most_three(tmp_path, capsys):
    path = write_study(tmp_path)
    options = ["--workspace", str(tmp_path / "runs")]
    assert cli.main(["run", str(path), "--smoke", "--engine", "inline", *options]) == 0
    said = capsys.readouterr().out
    assert "on fresh seeds" in said
    assert "distilled minus this" in said
    results = api.open_study("small-smoke", workspace=tmp_path / "runs")
    assert 1 <= len(results.confirmed.questions) <= 3
    assert {record.seed for record in results.confirmed.records} == {0, 1}
    assert cli.main(["confirm", "small-smoke", "--seeds", "1", "--engine", "inline", *options]) == 0
    assert cli.main(["list", *options]) == 0
    assert "/confirm" not in capsys.readouterr().out


def test_the_card_of_an_export_has_the_confirmed_figures(place, tmp_path):
    results, _ = confirm(place)
    trial = int(results.front.index[0])
    exported = taking.export_student(
        "small", tmp_path / "out", trial=trial, formats=["safetensors"], workspace=place[1], study=place[0]
    )
    finding = of_member(results.findings, trial)
    assert exported.card["confirmed"]["test_accuracy"] == dataclasses.asdict(finding.arms[0].test)
    assert exported.card["confirmed"]["verdict"] == finding.arms[1].said


def test_the_report_shows_intervals_verdicts_and_no_promise(place, tmp_path):
    before = reporting.write_report("small", workspace=place[1], to=tmp_path / "a").read_text()
    assert "Nothing is confirmed on fresh seeds" in before
    confirm(place)
    after = reporting.write_report("small", workspace=place[1], to=tmp_path / "b").read_text()
    assert "On fresh seeds, on the test split" in after
    assert "the same student alone" in after
    assert "Nothing is confirmed" not in after


def test_json_of_a_student_alone_is_kept_out_of_old_fingerprints():
    assert as_json(Distil(temperature=1.0, alpha=0.0)) == {"kind": "Distil", "temperature": 1.0, "alpha": 0.0}
