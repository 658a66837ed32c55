"""The README of an export: its code runs, its names are harmless, and it says what is the case."""

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from markdown_it import MarkdownIt

import kdsearch
from kdsearch import api
from kdsearch.export.readme import text
from kdsearch.export.wording import fresh_seeds_in_words, recipe_in_words
from kdsearch.markup import code_span
from kdsearch.mistakes import Mistake
from kdsearch.source import Source
from tests.onnx_for_tests import write_onnx
from tests.studies_for_tests import write_study

pytestmark = pytest.mark.xdist_group("readme_card")  # what they share is made by one process, once

OURS = ('Mine(width=trial.suggest_int("width", 2, 40))', "MLP(width=8, depth=1)")
NODE = shutil.which("node")
HOSTILE = "</p><img src=x onerror=alert(1)> ``` [you](https://evil.example) | # a\n---\n# b `c`"
INTERVAL = {"mean": 0.9, "low": 0.88, "high": 0.92, "seeds": 5}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An export of the weights alone, and the study's data."""
    folder = tmp_path_factory.mktemp("readme")
    path = write_study(folder, OURS)
    api.run(path, workspace=folder / "runs", engine="inline", track=False, confirm=False, trials=1)
    exported = kdsearch.export_student(
        "small", folder / "out", trial=0, formats=["safetensors"], workspace=folder / "runs"
    )
    return exported, Source(path=path).load().data()


@pytest.fixture
def card(made):
    """The card, to be changed."""
    found = copy.deepcopy({name: part for name, part in made[0].card.items() if name not in ("format", "sha256")})
    found["files"] = {"student.safetensors": found["files"]["student.safetensors"]}
    return found


def with_file(card, format, file, **more):
    """The card of an export that has this file too."""
    card["files"][file] = {"sha256": "0" * 64, "bytes": 10, "format": format, **more}
    card["proof"][format] = card["proof"]["safetensors"]
    return card


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL)


def run(code, given):
    """Run a snippet with inputs of ours in the place of its own; gives its variables."""
    code, changed = re.subn(r"(np|torch)\.zeros\(\(.*?\), dtype=\S+\)", "given", code)
    assert changed == 1
    names = {"given": given}
    exec(compile(code, "snippet", "exec"), names)
    return names


def test_the_card_is_one_of_the_exports_files_and_is_kept_once_edited(made, tmp_path):
    exported, _ = made
    workspace = exported.folder.parent / "runs"
    page = (exported.folder / "README.md").read_text()
    assert page == text(
        {name: part for name, part in exported.card.items() if name != "files"}
        | {"files": {name: file for name, file in exported.card["files"].items() if name != "README.md"}}
    )
    shutil.copytree(exported.folder, tmp_path / "out")
    again = {"trial": 0, "formats": ["safetensors"], "workspace": workspace}
    kdsearch.export_student("small", tmp_path / "out", **again)
    (tmp_path / "out" / "README.md").write_text(page.replace("**to be filled in**", "MIT"))
    with pytest.raises(Mistake, match="was edited since it was written"):
        kdsearch.export_student("small", tmp_path / "out", **again)


def test_front_matter_leaves_the_licence_to_the_owner(card):
    _, front, _ = text(with_file(card, "onnx", "student.onnx", input="raw", output="logits")).split("---\n", 2)
    assert yaml.safe_load(front) == {
        "license": None,
        "library_name": "kdsearch",
        "pipeline_tag": "image-classification",
        "tags": ["knowledge-distillation", "safetensors", "onnx", "kdsearch"],
        "metrics": ["accuracy"],
    }


def test_the_torch_snippet_gives_the_students_logits(made, monkeypatch):
    exported, data = made
    monkeypatch.chdir(exported.folder)
    (code,) = blocks((exported.folder / "README.md").read_text(), "python")
    expected = kdsearch.load(exported.folder)(data.normalize(data.test.inputs)).detach()
    prepared_by_hand, ready = code.split('\n\nstudent = kdsearch.load(".", raw_inputs=True)')
    assert ready
    torch.testing.assert_close(run(prepared_by_hand, data.test.inputs)["logits"], expected)
    torch.testing.assert_close(run(code, data.test.inputs)["logits"], expected)


def test_a_family_of_ones_own_is_imported(card):
    card["student"] = {"kind": "Mine", "width": 3, "mood": "good"}
    assert "from your_study import Mine" in text(card)
    card["files"]["study.py"] = {"sha256": "0" * 64, "bytes": 10}
    page = text(card)
    assert "from study import Mine" in page
    assert 'student = kdsearch.load(".", family=Mine)' in page
    assert 'kdsearch.load(".", family=Mine, raw_inputs=True)' in page


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("softmax", [False, True])
def test_the_onnx_snippet_runs_without_kdsearch(made, card, tmp_path, monkeypatch, raw, softmax):
    exported, data = made
    monkeypatch.chdir(tmp_path)
    given = {"input": "raw" if raw else "normalized", "output": "probabilities" if softmax else "logits"}
    page = text(with_file(card, "onnx", "student.onnx", **given))
    code = blocks(page, "python")[1]
    assert "kdsearch" not in code
    module = kdsearch.load(exported.folder)
    write_onnx(tmp_path / "student.onnx", module, data if raw else None, softmax=softmax)
    shutil.copy(exported.folder / "student.json", tmp_path)
    found = run(code, data.test.inputs.numpy())
    expected = module(data.normalize(data.test.inputs)).detach()
    expected = expected.softmax(1) if softmax else expected
    np.testing.assert_allclose(found[given["output"]], expected, atol=1e-5)


def test_the_exported_programs_snippet_runs_and_warns(made, card, tmp_path, monkeypatch):
    exported, data = made
    page = text(with_file(card, "pt2", "student.pt2", input="normalized", output="logits"))
    assert "Loading can run code: only load one that you made or trust" in page
    module = kdsearch.load(exported.folder)
    inputs = data.normalize(data.test.inputs)
    program = torch.export.export(module, (inputs[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, tmp_path / "student.pt2")
    monkeypatch.chdir(tmp_path)
    found = run(blocks(page, "python")[1], data.test.inputs)
    torch.testing.assert_close(found["logits"], module(inputs))


ORT = """
import { readFileSync } from "node:fs";
globalThis.fetch = async (name) => ({ json: async () => JSON.parse(readFileSync(name)) });
export class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
export const InferenceSession = { create: async () => ({
  inputNames: ["x"], outputNames: ["y"],
  run: async ({ x }) => {
    const kind = x.data.constructor.name;
    console.log(JSON.stringify([x.type, kind, x.dims, [...x.data].map(Number)]));
    return { y: { data: Float32Array.of(0, 2, 1) } };
  },
}) };
"""


@pytest.mark.skipif(NODE is None, reason="there is no node on this machine")
@pytest.mark.parametrize(
    ("given", "raw", "expected"),
    [
        ({"mean": [[[2.0]]], "std": [[[4.0]]]}, False, ["float32", "Float32Array", [1, 1, 2, 1], [0.0, -0.5]]),
        ({"mean": [[[2.0]]], "std": [[[4.0]]]}, True, ["uint8", "Uint8Array", [1, 1, 2, 1], [2, 0]]),
        (
            {"shape": [2, 1, 1], "mean": [[[1.0]], [[4.0]]], "std": [[[2.0]], [[8.0]]]},
            False,
            ["float32", "Float32Array", [1, 2, 1, 1], [0.5, -0.5]],
        ),
        ({"shape": [2], "vocabulary": 9, "dtype": "int32"}, False, ["int64", "BigInt64Array", [1, 2], [2, 0]]),
        ({"shape": [2], "dtype": "float32"}, True, ["float32", "Float32Array", [1, 2], [2, 0]]),
    ],
)
def test_the_browsers_snippet_parses_and_prepares_its_inputs(card, tmp_path, given, raw, expected):
    card["input"].update({"shape": [1, 2, 1], "dtype": "uint8", **given})
    card["class_names"] = ["no", HOSTILE, "maybe"]
    page = text(with_file(card, "int8", "small.onnx", input="raw" if raw else "normalized", output="logits"))
    (code,) = blocks(page, "js")
    runtime = tmp_path / "node_modules" / "onnxruntime-web"
    runtime.mkdir(parents=True)
    (runtime / "package.json").write_text('{"type": "module", "main": "index.js"}')
    (runtime / "index.js").write_text(ORT)
    (tmp_path / "student.json").write_text(json.dumps(card))
    (tmp_path / "page.mjs").write_text(code.replace("new Array(2).fill(0)", "[2, 0]"))
    ran = subprocess.run([NODE, "page.mjs"], capture_output=True, text=True, check=True, cwd=tmp_path)
    told, best = ran.stdout.split("\n", 1)
    assert json.loads(told) == expected
    assert best == HOSTILE + "\n"


def test_names_from_data_are_shown_letter_by_letter(card):
    card["class_names"] = [HOSTILE, "`", "", " ", "a `` b", "```\n# end", "\u202egnp.exe", "www.evil.example"]
    card["study"] = card["data"]["name"] = HOSTILE
    card["student"] = {"kind": "Mine", "mood": HOSTILE}
    card["machine"]["processor"] = card["versions"]["torch"] = HOSTILE
    card["described"]["augment"] = HOSTILE
    card["command"] = f"kdsearch export {HOSTILE}"
    page = text(card)
    _, front, body = page.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "kdsearch"
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    inner = [child for token in tokens for child in token.children or []]
    assert {token.type for token in [*tokens, *inner]} & {"html_block", "html_inline", "link_open", "image"} == set()
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[1:] == [
        *("Figures", "What fresh seeds gave", "How to load it", "How it was trained", "Limits", "Licences", "Files"),
        "How it was made",
    ]
    shown = {child.content for child in inner if child.type == "code_inline"}
    assert {"www.evil.example", "a `` b", "\\u202egnp.exe", "```\\n# end"} <= shown
    tables = [token for token in tokens if token.type == "table_open"]
    assert len(tables) == 3


@pytest.mark.parametrize(("given", "shown"), [("a", "`a`"), ("a`b", "`` a`b ``"), ("", "`  `"), ("a\nb", r"`a\nb`")])
def test_code_spans_by_hand(given, shown):
    assert code_span(given) == shown


def test_figures_say_what_each_file_is_beside_the_teacher(card):
    with_file(card, "int8", "small.onnx", input="normalized", output="logits")
    card["files"]["small.onnx"]["bytes"] = 4_321
    card["proof"]["int8"] = {
        **card["proof"]["safetensors"],
        **{"agreement": 0.985, "largest_difference": 0.123, "test_accuracy": 0.8},
        "latency_ms": {batch: {"median": 1.5, "low": 1.25, "high": 2.0} for batch in ("1", "64")},
    }
    (row,) = [line for line in text(card).splitlines() if line.startswith("| `small.onnx` |") and "ms" not in line][:1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:6] == ["4.3", f"{card['metrics']['macs']:,}", "1.5 (1.25 to 2)", "1.5 (1.25 to 2)"]
    assert cells[7:] == ["80.00 %", "98.50 %", "0.12"]
    card["teacher"]["members"] = 3
    assert "| teacher (3 networks) |" in text(card)
    assert "an ensemble of 3 networks" in text(card)


def test_a_student_that_learned_from_validation_data_has_its_accuracy_from_test_only(card):
    card["trained_on"], card["metrics"]["validation_accuracy"] = "train and validation", None
    card["confirmed"] = {"test_accuracy": INTERVAL, "alone_test_accuracy": None, "verdict": None}
    page = text(card)
    assert "from test only" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| `student.safetensors` |")][:1]
    assert row.split("|")[7].strip() == "-"
    assert "Those runs learned from the training split alone" in page
    assert "learned from: training and validation data" in page


def test_what_fresh_seeds_gave_in_words(card):
    said = fresh_seeds_in_words(card)
    assert said.startswith("Not confirmed") and "`kdsearch confirm small --trial 0`" in said
    alone = {"mean": 0.85, "low": 0.84, "high": 0.86, "seeds": 1}
    card["confirmed"] = {"test_accuracy": INTERVAL, "alone_test_accuracy": alone, "verdict": "better"}
    said = fresh_seeds_in_words(card)
    assert "90.00 % (88.00 to 92.00)" in said and "1 fresh seed)" in said and "85.00 % (84.00 to 86.00)" in said
    assert "Verdict: the distilled student is better than the same student alone" in said
    for verdict, words in (("no better", "is no better than"), ("unclear", "it is unclear whether")):
        card["confirmed"]["verdict"] = verdict
        assert words in fresh_seeds_in_words(card)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({}, ["random weights", "temperature 4 with alpha 0.9", "the labels have 0.1", "30 epochs in all", "Adam"]),
        (
            {"start": kdsearch.Hints(epochs=3, teacher_layer="a.b", student_layer="c", distil_lr_factor=0.1)},
            [
                "hints (arXiv:1412.6550) for 3 of the 30",
                "up to `c` learned the teacher's features at `a.b`",
                "times 0.1",
            ],
        ),
        (
            {
                "start": kdsearch.Hints(
                    epochs=1, teacher_layer="a", student_layer="c", teacher_layer_2="b", student_layer_2="d"
                )
            },
            ["and the student up to `d` learned the teacher's features at `b`"],
        ),
        ({"start": kdsearch.Pretrain(epochs=2)}, ["pretrained on the labels alone (arXiv:1709.02929) for 2"]),
        ({"distil": kdsearch.Distil(loss="dkd", beta=2.0)}, ["Decoupled KD (arXiv:2203.08679) with beta 2"]),
        ({"distil": kdsearch.Distil(loss="dist")}, ["weights 2 between classes and 2 within them"]),
        ({"distil": kdsearch.Distil(standardize=True, attention=5.0)}, ["2403.01427", "plus 5 times attention"]),
        ({"distil": kdsearch.FitNetsDistil()}, ["lambda falling from 4 to 1", "temperature 3"]),
        (
            {"optim": kdsearch.Optim(name="sgd", lr=0.1, warmup_epochs=2, schedule="step", precision="bf16")},
            ["SGD with learning rate 0.1", "momentum 0.9", "2 epochs of linear rise", "bfloat16", "a tenth of it"],
        ),
        ({"augment": kdsearch.Augment(flip=True), "live_teacher": True}, ["`Augment(flip=True)`", "ran in every step"]),
        ({"omit": (3,)}, ["numbered `[3]` was shown"]),
    ],
)
def test_every_recipe_can_be_said(card, recipe, words):
    made = kdsearch.Recipe(student=kdsearch.MLP(width=4, depth=1), **recipe)
    card |= {"student": made.to_json()["student"], "described": made.describe()}
    said = "\n".join(recipe_in_words(card))
    assert all(word in said for word in words), said
    assert said.startswith("student: `MLP` with width 4, depth 1")
    assert text(card)


def test_the_training_can_be_repeated_where_its_recipe_is_there(card):
    assert "kdsearch train" not in text(card)
    card["files"]["recipe.json"] = {"sha256": "0" * 64, "bytes": 10}
    assert "```sh\nkdsearch train" not in text(card), "a notebook's study has no file to repeat it from"
    card["files"]["study.py"] = {"sha256": "0" * 64, "bytes": 10}
    assert "```sh\nkdsearch train recipe.json\n```" in text(card)


def test_nothing_of_this_machine_is_in_it(made):
    exported, _ = made
    assert str(Path(exported.folder).parent) not in (exported.folder / "README.md").read_text()
