"""What is found wrong with a study before its teacher is trained, and studies with augmentation from end to end."""

import pytest

from kdsearch import api
from kdsearch.events import Note
from kdsearch.mistakes import Mistake
from kdsearch.prepare import draft
from kdsearch.source import Source
from kdsearch.workspace import Workspace
from tests.studies_for_tests import write_study

IMPORTS = ("Split, Study, Teacher, digits", "Augment, Split, Study, Teacher, digits, drawn")
AUGMENTED = (
    "return Recipe(student=student, start=start, epochs=3,",
    "return Recipe(student=student, start=start, epochs=3, augment=Augment(shift=1, mixup=0.2, views=2),",
)
CONVOLUTIONAL = (
    'Mine(width=trial.suggest_int("width", 2, 40))',
    'ConvNet(width=trial.suggest_int("width", 2, 6), depth=3)',
)
HINTED = ('["none", "pretrain"]', '["none", "hints"]')
OWN = """

@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    views: int = 2
    def apply(self, inputs_B, index_B, view):
        return inputs_B + NUMBERS

"""


def own(numbers: str, **recipe: object) -> list[tuple[str, str]]:
    """A study that augments with noise of its own; `recipe` are further arguments of its recipes."""
    more = "".join(f" {name}={value!r}," for name, value in recipe.items())
    return [
        IMPORTS,
        ("\ndef space(trial):", OWN.replace("NUMBERS", numbers) + "def space(trial):"),
        (AUGMENTED[0], f"{AUGMENTED[0]} augment=Noise(),{more}"),
    ]


def run(path, tmp_path, engine="inline", **options):
    return api.run(path, engine=engine, track=False, confirm=False, workspace=tmp_path / "runs", **options)


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_an_augmented_study_runs_to_its_end(tmp_path, engine):
    path = write_study(tmp_path, IMPORTS, AUGMENTED, CONVOLUTIONAL, HINTED)
    results = run(path, tmp_path, engine, trials=4, workers=None if engine == "inline" else 2)
    assert [record.state for record in results.records] == ["complete"] * 4
    assert {record.described["augment"] for record in results.records} == {"Augment(shift=1, mixup=0.2, views=2)"}
    stored = sorted(file.name.split("-")[0] for file in (tmp_path / "runs" / "small" / "signals").glob("*.npy"))
    hints = any(record.params["start"] == "hints" for record in results.records)
    assert stored == ["features"] * hints + ["logits"] * 2, "one epoch of hints sees one view"
    status = api.status("small", workspace=tmp_path / "runs")
    assert status["signals_mb"] == pytest.approx(
        (2 * (128 + 200 * 10 * 4) + hints * (128 + 200 * 12 * 4 * 4 * 2)) / 1e6, abs=0.001
    )


def test_a_continued_augmented_study_replays_its_trials(tmp_path):
    path = write_study(tmp_path, IMPORTS, AUGMENTED)
    first = run(path, tmp_path, trials=1)
    both = run(path, tmp_path, trials=2)
    assert both.records[0].fingerprint == first.records[0].fingerprint


@pytest.mark.parametrize("numbers", ["torch.rand(inputs_B.shape)", "inputs_B.float().mean()"])
def test_an_augmentation_that_cannot_be_replayed_is_refused_before_the_teacher_is_trained(tmp_path, numbers):
    with pytest.raises(Mistake, match=r"Noise.apply\(\) cannot be replayed: .*; or have the teacher run in every step"):
        run(write_study(tmp_path, *own(numbers)), tmp_path)
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_an_augmentation_that_cannot_be_replayed_runs_with_a_live_teacher_when_asked(tmp_path):
    path = write_study(tmp_path, *own("torch.rand(inputs_B.shape)", live_teacher=True))
    results = run(path, tmp_path, trials=1)
    assert [record.state for record in results.records] == ["complete"]
    assert results.records[0].described["live_teacher"] is True


def test_an_augmentation_of_the_studys_own_reaches_the_workers(tmp_path):
    path = write_study(tmp_path, *own("drawn(index_B, 64, 0, view).view(inputs_B.shape).float()"))
    results = run(path, tmp_path, "local", trials=1, workers=1)
    assert [record.state for record in results.records] == ["complete"]


def test_a_limit_below_what_the_logits_take_is_refused_before_the_teacher_is_trained(tmp_path):
    limited = ("trials=4,", "trials=4, signals_gb=9e-6,")  # 200 examples of 10 classes: 8,000 bytes a view
    plain = draft(Source(path=write_study(tmp_path, limited)), Workspace.chosen(tmp_path / "plain"))
    assert plain.study.signals_gb == 9e-6
    with pytest.raises(
        Mistake, match=r"logits on 2 views of the training split take 1.6e-05 GB, above signals_gb of 9e-06"
    ):
        run(write_study(tmp_path, IMPORTS, AUGMENTED, limited), tmp_path)
    assert not list((tmp_path / "runs").rglob("*.safetensors"))
    with pytest.raises(Mistake, match="signals_gb must be above 0, got 0"):
        run(write_study(tmp_path, ("trials=4,", "trials=4, signals_gb=0,")), tmp_path)


@pytest.mark.parametrize("omit", [(10,), (3, 12), tuple(range(10))], ids=str)
def test_omitted_classes_must_be_some_of_the_datas_and_not_all(omit, tmp_path):
    path = write_study(tmp_path, (AUGMENTED[0], f"{AUGMENTED[0]} omit={omit},"))
    with pytest.raises(Mistake, match=r"omit must be some of the classes 0 to 9 of few, and not all of them, got \("):
        run(path, tmp_path)
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_a_damaged_signal_file_is_said_to_the_user(tmp_path):
    path = write_study(tmp_path)
    run(path, tmp_path, trials=1)
    (file,) = (tmp_path / "runs" / "small" / "signals").glob("logits-*.npy")
    file.write_bytes(file.read_bytes()[:-5])
    heard = []
    run(path, tmp_path, trials=2, listeners=[heard.append])
    notes = [happening.text for happening in heard if isinstance(happening, Note)]
    assert notes == [f"the teacher's signals in {file} were truncated or altered: they are computed again"]
