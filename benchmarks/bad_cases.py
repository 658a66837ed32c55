"""Bad inputs by kind: each maker gives one attempt, drawn anew every time, with what it was in words."""

import contextlib
import dataclasses
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np

import kdsearch
from benchmarks.bad_ground import Ground, Outcome, called, commanded
from benchmarks.spoiling import NASTY, TEXTS, spoiled_bytes, spoiled_json, spoiled_text
from kdsearch import cli
from kdsearch.data import arrays, cifar10, idx, image_folder
from kdsearch.export.repeatable import read_recipe
from kdsearch.plain import digest
from kdsearch.prepare import Draft
from kdsearch.saved import load, write_card

Attempt = tuple[str, Callable[[], Outcome]]


def study_file(random: Random, ground: Ground, at: Path) -> Attempt:
    """The study's own file, spoiled, run where its trials are: at least these must survive it."""
    text = ground.file.read_text(encoding="utf-8")
    for _ in range(random.choice((1, 1, 2))):
        text = spoiled_text(random, text)
    content = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.05:
        content = spoiled_bytes(random, content)
    file = at / "small.py"
    file.write_bytes(content)
    workspace = ["--workspace", str(ground.runs), "--engine", "inline", "--no-confirm", "--quiet"]
    return text, lambda: commanded(["run", str(file), *workspace], limit_seconds=4.0)


VALUES: tuple[Any, ...] = (
    kdsearch.MLP(width=4, depth=1),
    kdsearch.ConvNet(width=2, depth=2),
    kdsearch.ResNet(width=2, depth=1),
    kdsearch.MobileNet(width=4, depth=1),
    kdsearch.ViT(width=4, depth=1, heads=1, patch=2),
    kdsearch.MaxoutNet.thin(width=2, depth=2),
    kdsearch.TextConvNet(vocabulary=9, width=4, depth=1),
    kdsearch.TextTransformer(vocabulary=9, width=4, depth=1, heads=1),
    kdsearch.Optim(),
    kdsearch.Distil(),
    kdsearch.FitNetsDistil(),
    kdsearch.Hints(epochs=1, teacher_layer=0.5, student_layer=0.5),
    kdsearch.Pretrain(epochs=1),
    kdsearch.Augment(shift=1),
)
_PLACES = {"optim": (8,), "distil": (9, 10), "start": (11, 12), "augment": (13,)}


def recipe(random: Random, planned: Draft) -> Attempt:
    """One or two fields of one part of a recipe replaced by nasty values; if it is a recipe, it is screened."""
    whole = {"student": VALUES[0], "distil": kdsearch.Distil(), "epochs": 3}
    number = random.randrange(len(VALUES) + 1)
    place = next((name for name, numbers in _PLACES.items() if number in numbers), "student")
    changes: dict[str, Any] = {}
    target = VALUES[number] if number < len(VALUES) else kdsearch.Recipe(**whole)
    names = [spec.name for spec in dataclasses.fields(target) if spec.init]
    for name in random.sample(names, random.choice((1, 1, 2)) if len(names) > 1 else 1):
        changes[name] = random.choice(NASTY)

    def attempt() -> None:
        changed = dataclasses.replace(target, **changes)
        made = changed if number == len(VALUES) else kdsearch.Recipe(**{**whole, place: changed})
        made.fingerprint()
        made.start_fingerprint()
        made.describe()
        planned.screen(made)

    return f"{type(target).__name__}: {changes!r}", lambda: called(attempt)


def study_value(random: Random, planned: Draft) -> Attempt:
    """Fields of the study itself and of its teacher."""
    teacher = planned.teacher.teachers[0]
    target = random.choice((planned.study, teacher))
    name = random.choice([spec.name for spec in dataclasses.fields(target) if spec.init])
    value = random.choice(NASTY)
    return f"{type(target).__name__}.{name} = {value!r}", lambda: called(
        lambda: repr(dataclasses.replace(target, **{name: value}))
    )


def data_file(random: Random, files: Path, at: Path) -> Attempt:
    """A good file or folder of one of the formats, one of its files spoiled."""
    kind = random.choice(sorted(path.name for path in files.iterdir()))
    readers: dict[str, Callable[[Path], object]] = {
        "mine.npz": arrays,
        "tokens.npz": lambda path: arrays(path, vocabulary=7),
        "idx": lambda path: idx(path, validation=6),
        "cifar": _small_cifar,
        "pictures": image_folder,
        "pictures.zip": image_folder,
    }
    copy = at / kind
    if (files / kind).is_dir():
        shutil.copytree(files / kind, copy)
        target = random.choice(sorted(path for path in copy.rglob("*") if path.is_file()))
    else:
        target = copy
        shutil.copyfile(files / kind, copy)
    content = target.read_bytes()
    for _ in range(random.choice((1, 1, 3))):
        content = spoiled_bytes(random, content)
    target.write_bytes(content)
    return f"{target.relative_to(at)}: {len(content)} bytes", lambda: called(lambda: readers[kind](copy))


def _small_cifar(path: Path) -> object:
    with patch("kdsearch.data.cifar._EXAMPLES", 10):
        return cifar10(path, validation=10)


def database(random: Random, ground: Ground, at: Path) -> Attempt:
    """A copy of the study's database with bytes, rows or JSON of it spoiled."""
    path = at / "optuna.db"
    shutil.copyfile(ground.runs / "optuna.db", path)
    said = "bytes"
    match random.randrange(4):
        case 0:
            path.write_bytes(spoiled_bytes(random, path.read_bytes()))
        case 1:
            said = _other_rows(random, path)
        case _:
            said = _other_json(random, path)
    command = random.choice((["status", "small"], ["status", "small", "--json"], ["list"], ["report", "small"]))
    export = ["export", "small", "--to", str(at / "to"), "--no-onnx", "--no-register"]
    chosen = export if random.random() < 0.05 else command
    return f"{' '.join(chosen[:1])}: {said}", lambda: commanded([*chosen, "--workspace", str(at)])


def _other_rows(random: Random, path: Path) -> str:
    base = sqlite3.connect(path)
    tables = [name for (name,) in base.execute("select name from sqlite_master where type = 'table' order by 1")]
    table = random.choice(tables)
    columns = [row[1] for row in base.execute(f"pragma table_info({table})")]
    column, value = random.choice(columns), random.choice(NASTY)
    plain = value if isinstance(value, (str, float, bytes, type(None))) or value in (0, 1, -1) else str(value)
    statements = [
        f"drop table {table}",
        f"delete from {table}",
        f"update {table} set {column} = ?",
        f"update {table} set {column} = ?",
        f"alter table {table} rename column {column} to other",
    ]
    statement = random.choice(statements)
    try:
        with base:
            base.execute(statement, (plain,) if "?" in statement else ())
    except (sqlite3.Error, UnicodeError):
        pass  # what the database itself refuses is no input
    finally:
        base.close()
    return f"{statement} ({plain!r})"


def _other_json(random: Random, path: Path) -> str:
    base = sqlite3.connect(path)
    table, key = random.choice(
        (
            ("study_user_attributes", "value_json"),
            ("trial_user_attributes", "value_json"),
            ("trial_params", "distribution_json"),
            ("trial_system_attributes", "value_json"),
        )
    )
    rows = base.execute(f"select rowid, {key} from {table}").fetchall()
    if not rows:
        base.close()
        return "no rows"
    row, text = random.choice(rows)
    changed = json.dumps(spoiled_json(random, json.loads(text)))
    changed = changed if random.random() < 0.9 else changed[: random.randrange(len(changed) + 1)]
    with base:
        base.execute(f"update {table} set {key} = ? where rowid = ?", (changed, row))
    base.close()
    return f"{table}: {changed[:300]}"


def export_folder(random: Random, ground: Ground, at: Path) -> Attempt:
    """A copy of the export with bytes of a file, or parts of its card, spoiled; the card's checksum may fit again."""
    folder = at / "export"
    shutil.copytree(ground.export, folder)
    np.save(at / "x.npy", np.zeros((1, 6, 6), dtype=np.uint8))
    card = json.loads((folder / "student.json").read_text(encoding="utf-8"))
    said = "card"
    if random.random() < 0.6:
        changed = spoiled_json(random, {key: part for key, part in card.items() if key not in ("format", "sha256")})
        with contextlib.suppress(UnicodeError):
            write_card(folder, changed if isinstance(changed, dict) else {})
    else:
        target = random.choice(sorted(folder.iterdir()))
        said = target.name
        target.write_bytes(spoiled_bytes(random, target.read_bytes()))
        if target.name in card["files"] and random.random() < 0.5:
            from kdsearch.files import file_sha256

            card["files"][target.name]["sha256"] = file_sha256(target)
            write_card(folder, {key: part for key, part in card.items() if key not in ("format", "sha256")})
    ways: list[Callable[[], Outcome]] = [
        lambda: commanded(["predict", str(folder), str(at / "x.npy")]),
        lambda: commanded(["compare", str(folder), str(ground.export)]),
        lambda: commanded(["compare", str(folder), "--json"]),
        lambda: called(lambda: load(folder)),
        lambda: called(lambda: load(folder, raw_inputs=True)),
    ]
    return said, random.choice(ways)


def recipe_file(random: Random, ground: Ground, at: Path) -> Attempt:
    """The export's recipe.json with a part spoiled and a checksum that fits again; trained only where it is read."""
    found = json.loads((ground.export / "recipe.json").read_text(encoding="utf-8"))
    changed = spoiled_json(random, {key: part for key, part in found.items() if key != "sha256"})
    if isinstance(changed, dict):
        changed = {**changed, "sha256": digest(changed)} if _canonical(changed) else changed
    path = at / "recipe.json"
    path.write_bytes(json.dumps(changed).encode("utf-8", "surrogatepass"))
    shutil.copyfile(ground.export / "study.py", at / "study.py")
    said = f"recipe: {json.dumps(changed)[:300]}"
    if random.random() < 0.7:
        return said, lambda: called(lambda: read_recipe(path))
    return said, lambda: commanded(["train", str(path), "--workspace", str(ground.runs)])


def _canonical(content: dict[str, Any]) -> bool:
    try:
        digest(content)
    except (ValueError, OverflowError):
        return False
    return True


def flags(random: Random, ground: Ground, at: Path) -> Attempt:
    """A subcommand with options that it has, or another has, and random values for them."""
    parser = cli.parser()
    (subcommands,) = (one.choices for one in parser._actions if isinstance(one.choices, dict))
    name = random.choice(sorted(set(subcommands) - {"ui", "dashboard", "download"}))
    known = [text for action in subcommands[name]._actions for text in action.option_strings if text not in _LEFT_OUT]
    arguments = [name]
    good = {
        "run": str(ground.file),
        "new": str(at / "new.py"),
        "train": str(ground.export),
        "predict": str(ground.export),
    }
    good["compare"] = str(ground.export)
    if name != "list":
        arguments.append(good.get(name, "small") if random.random() < 0.7 else random.choice(TEXTS))
    if name == "predict":
        arguments.append(random.choice(TEXTS))
    for option in random.sample(known, min(len(known), random.choice((0, 1, 2, 4)))):
        arguments += [option] if random.random() < 0.3 else [option, random.choice(TEXTS)]
    if random.random() < 0.05:
        arguments.insert(random.randrange(len(arguments)), random.choice(TEXTS))
    if name == "run":
        arguments += ["--engine", "inline", "--no-confirm", "--trials", "3"]
    elif name == "confirm":
        arguments += ["--engine", "inline", "--seeds", "1"]
    elif name in ("export", "train"):
        arguments += ["--no-onnx", "--to", str(at / "to")]
    if "--workspace" not in arguments and name not in ("predict", "compare", "new"):
        arguments += ["--workspace", str(ground.runs)]
    return " ".join(arguments)[:400], lambda: commanded(arguments, limit_seconds=8.0)


_LEFT_OUT = ("--help", "-h", "--address", "--engine", "--seeds", "--to", "--workers", "--int8", "--pt2", "--all-front")
"""Those that start servers, clusters or processes, and those that are given below."""
