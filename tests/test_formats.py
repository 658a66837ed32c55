"""All file formats pass one suite, with every family of students and a network of a user's own."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import kdsearch
from kdsearch import api, cli
from kdsearch.export import runner
from kdsearch.export.formats import DEFAULT_FORMATS, FORMATS, Parcel
from kdsearch.export.formats.quantized import calibration
from kdsearch.export.proof import judged
from kdsearch.mistakes import Mistake
from tests.families import EVERY_FAMILY
from tests.studies_for_tests import write_study
from tests.written import Odd, Own, Written, data_for

GRAPHS = tuple(name for name, known in FORMATS.items() if known.graph)


@pytest.fixture
def hasty(monkeypatch):
    """Latencies of a few runs: here nobody reads them."""
    monkeypatch.setattr(runner, "_ENOUGH", 5)
    monkeypatch.setattr(runner, "_SECONDS", 0.0)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("family", [*EVERY_FAMILY, "Own"])
def test_every_format_of_every_family_is_the_student_itself(family, tmp_path, tiny_data):
    own = family == "Own"  # whose weights alone need its study file, see below
    student = Own() if own else EVERY_FAMILY[family](width=4, depth=2)
    written = Written(tmp_path, student, data_for(family, tiny_data), GRAPHS if own else tuple(FORMATS))
    for name in written.formats:
        proof = written.proof(name)
        if FORMATS[name].exact:
            assert proof.largest_difference < 1e-4 and proof.agreement == 1.0, name
        else:
            spread = np.ptp(np.load(written.material / "test-logits.npy"))
            assert proof.largest_difference < 0.25 * spread and proof.agreement > 0.7, name
        if FORMATS[name].graph:
            takes_any_batch(written, name)
            tells_nothing_of_this_machine(written, name)
    holds_the_trained_parameters(onnx.load(written.file("onnx")), written.parcel.module)


def takes_any_batch(written, name):
    run, _ = runner.LOADERS[name](written.file(name))
    inputs = written.parcel.inputs(written.parcel.data.test.inputs[:3]).numpy()
    together = run(inputs)
    for example in range(3):
        np.testing.assert_allclose(run(inputs[example : example + 1])[0], together[example], atol=1e-5)


def tells_nothing_of_this_machine(written, name):
    for place in (str(written.folder.parent), kdsearch.__path__[0], torch.__path__[0]):
        assert place.encode() not in written.file(name).read_bytes(), name


def holds_the_trained_parameters(model, module):
    """By their PyTorch names, and value by value."""
    held = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    for name, parameter in module.named_parameters():
        np.testing.assert_array_equal(held[name], parameter.detach().numpy(), err_msg=name)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("family", ["MLP", "TextConvNet"])
def test_softmax_and_normalization_go_inside(family, tmp_path, tiny_data):
    data = data_for(family, tiny_data)
    written = Written(tmp_path, EVERY_FAMILY[family](width=4, depth=1), data, GRAPHS, softmax=True, normalize=True)
    with torch.no_grad():
        own = written.parcel.module(data.normalize(data.test.inputs)).softmax(1).numpy()
    stored = data.test.inputs.numpy() if data.vocabulary is None else data.test.inputs.long().numpy()
    for name in GRAPHS:
        run, _ = runner.LOADERS[name](written.file(name))
        np.testing.assert_allclose(run(stored), own, atol=1e-5 if FORMATS[name].exact else 0.1)
        assert written.proof(name).agreement > (0.99 if FORMATS[name].exact else 0.8)
    session = onnxruntime.InferenceSession(written.file("onnx"))
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type) == ("input", "tensor(uint8)" if data.vocabulary is None else "tensor(int64)")
    assert (made.name, made.shape) == ("probabilities", ["batch", 3])
    for name in ("onnx", "int8"):
        says_how_to_use_it(onnx.load(written.file(name)), data)
    if family == "MLP":
        runs_alone(written)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("inside", [False, True])
def test_names_that_are_odd_shared_or_idle_keep_no_student_from_its_proof(inside, tmp_path, tiny_data):
    written = Written(tmp_path, Odd(), tiny_data, ("onnx", "pt2"), softmax=inside, normalize=inside)
    for name in ("onnx", "pt2"):
        assert written.proof(name).agreement == 1
    found = runner.examined(written.folder, "student.onnx", written.material)
    missing = written.parcel.prefix + "network.1.weight"
    found["tensors"] = {name: count for name, count in found["tensors"].items() if name != missing}
    with pytest.raises(Mistake, match=r"network.1.weight has 512 numbers .* none in the file.*--no-onnx"):
        judged("onnx", found, written.parcel)


def says_how_to_use_it(model, data):
    noted = {one.key: one.value for one in model.metadata_props}
    assert json.loads(noted["class_names"]) == list(data.class_names)
    preprocessing = json.loads(noted["preprocessing"])
    assert preprocessing["inside"] is True
    assert torch.equal(torch.tensor(preprocessing["mean"]), data.statistics[0].squeeze(0))
    assert torch.equal(torch.tensor(preprocessing["std"]), data.statistics[1].squeeze(0))
    assert (noted["study"], noted["trial"], noted["output"]) == ("s", "3", "probabilities")
    assert (model.producer_name, model.producer_version) == ("kdsearch", kdsearch.__version__)


def runs_alone(written):
    """The runner imports neither torch nor kdsearch for ONNX, and no kdsearch for a program."""
    code = (
        "import io, runpy, sys\n"
        "for file in ('student.onnx', 'student.int8.onnx', 'student.pt2'):\n"
        f"    sys.argv = ['runner', {str(written.folder)!r}, file, {str(written.material)!r}]\n"
        f"    runpy.run_path({runner.__file__!r}, run_name='__main__')\n"
        "    print(sorted({'torch', 'kdsearch'} & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-P", "-c", code], input="", capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[1::2] == ["[]", "[]", "['torch']"]


def test_calibration_looks_at_the_first_training_examples_alone(tiny_data):
    parcel = Parcel(study="s", trial=0, module=nn.Identity(), data=tiny_data)
    read = np.concatenate([batch["input"] for batch in calibration(parcel)])
    np.testing.assert_array_equal(read, tiny_data.normalize(tiny_data.train.inputs[:512]).numpy())


class Bessel(nn.Module):
    def forward(self, inputs):
        return torch.special.bessel_j0(inputs.flatten(1)[:, :3])


class Undecided(nn.Module):
    def forward(self, inputs):
        if inputs.sum() > 0:
            return inputs.flatten(1)[:, :3]
        return -inputs.flatten(1)[:, :3]


class ForOne(nn.Module):
    def forward(self, inputs):
        return torch.stack([image.flatten()[:3] for image in inputs])


@pytest.mark.parametrize(
    ("module", "rule"),
    [
        (Undecided(), r"cannot become a torch\.export program: .*\(test_formats\.py, line \d+, in forward\)"),
        (ForOne(), r"cannot become a torch\.export program: .*specialized it to be a constant"),
        (Bessel(), r"cannot become ONNX: there is no ONNX counterpart of the operator prims\.bessel_j0"),
    ],
    ids=["data-dependent", "one batch size", "no counterpart"],
)
def test_a_network_that_cannot_become_a_graph_is_told_why_in_a_line(module, rule, tiny_data, tmp_path, capfd):
    parcel = Parcel(study="s", trial=0, module=module, data=tiny_data)
    for name in ("onnx", "int8"):
        with pytest.raises(Mistake, match=rule) as caught:
            FORMATS[name].write(parcel, tmp_path / FORMATS[name].file)
        assert "--no-onnx" in str(caught.value) and "\n" not in str(caught.value)
    FORMATS["safetensors"].write(parcel, tmp_path / FORMATS["safetensors"].file)
    if isinstance(module, Bessel):
        FORMATS["pt2"].write(parcel, tmp_path / FORMATS["pt2"].file)
    assert capfd.readouterr() == ("", ""), "libraries say nothing beside"


EACH_START = [
    ("ConvNet(width=6, depth=3)", "MLP(width=12, depth=2)"),
    ('teacher_layer="block2"', 'teacher_layer="hidden1"'),
    ('["none", "pretrain"]', '["none", "hints", "pretrain"]'),
    (
        "trials=4, segment_epochs=2",
        'trials=3, first=[{"width": 9, "start": s, "temperature": 2.0, "alpha": 0.5} for s in '
        '("none", "hints", "pretrain")]',
    ),
]


def test_students_of_every_start_and_the_users_own_family_are_proven_in_fresh_processes(tmp_path):
    study = write_study(tmp_path, *EACH_START)
    results = api.run(study, workspace=tmp_path / "runs", engine="inline", track=False, confirm=False)
    assert [record.params["start"] for record in results.records] == ["none", "hints", "pretrain"]
    for record, formats in zip(results.records, [tuple(FORMATS), ("onnx", "int8"), ("onnx",)], strict=True):
        exported = kdsearch.export_student(
            "small", tmp_path / "out", trial=record.number, formats=formats, workspace=tmp_path / "runs"
        )
        assert tuple(exported.card["proof"]) == formats
        for name, proof in exported.card["proof"].items():
            if FORMATS[name].exact:
                assert proof["validation_accuracy"] == record.measured["accuracy"]
                assert proof["parameters"] == record.known["parameters"]
            else:
                assert abs(proof["validation_accuracy"] - record.measured["accuracy"]) < 0.1
        assert {path.name for path in exported.folder.iterdir()} == {*exported.card["files"], "student.json"}


def test_the_command_line_has_a_flag_for_every_format():
    usual = vars(cli.parser().parse_args(["export", "NAME", "--to", "DIR"]))
    assert {name: usual[name] for name in FORMATS} == {name: known.usual for name, known in FORMATS.items()}
    assert DEFAULT_FORMATS == ("safetensors", "onnx")
    assert set(runner.LOADERS) == set(FORMATS)
