"""Archives of a finished study, spoiled: as bytes, or part by part under checksums that fit again."""

import io
import json
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random

from benchmarks.bad_ground import Ground, Outcome, commanded
from benchmarks.spoiling import TEXTS, spoiled_bytes, spoiled_json
from kdsearch.plain import digest
from kdsearch.upkeep.bundle import MANIFEST, ROWS
from kdsearch.upkeep.packing import archive_study

Parts = dict[str, bytes]


def archive(random: Random, ground: Ground, at: Path) -> tuple[str, Callable[[], Outcome]]:
    """An archive, restored into a new workspace; what was taken is looked at by other commands too."""
    whole = ground.folder / "small.tar.gz"
    if not whole.exists():
        archive_study("small", whole, signals=True, workspace=ground.runs)
    file = at / "spoiled.tar.gz"
    if random.random() < 0.3:
        said = "bytes"
        file.write_bytes(spoiled_bytes(random, whole.read_bytes()))
    else:
        parts = _parts(whole)
        said = random.choice(_CHANGES)(random, parts)
        _write(file, parts)
    there = ["--workspace", str(at / "other")]
    then = random.choice((["status", "small"], ["doctor"], ["export", "small", "--to", str(at / "to"), "--no-onnx"]))

    def attempt() -> Outcome:
        restored = commanded(["restore", str(file), *there])
        return restored if restored.ended != "taken" else commanded([*then, *there])

    return said, attempt


def _parts(file: Path) -> Parts:
    with tarfile.open(file) as packed:
        return {member.name: packed.extractfile(member).read() for member in packed.getmembers()}  # type: ignore[union-attr]


def _write(file: Path, parts: Parts) -> None:
    with tarfile.open(file, "w:gz", compresslevel=1) as packed:
        for name, content in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))


def _other_rows(random: Random, parts: Parts) -> str:
    lines = parts[ROWS].decode().splitlines()
    place = random.randrange(len(lines))
    lines[place] = json.dumps(spoiled_json(random, json.loads(lines[place])))
    parts[ROWS] = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    _fit(parts)
    return f"row {place}: {lines[place][:200]}"


def _other_file(random: Random, parts: Parts) -> str:
    name = random.choice(sorted(parts.keys() - {MANIFEST}))
    parts[name] = spoiled_bytes(random, parts[name])
    if random.random() < 0.7:
        _fit(parts)
    return name


def _other_name(random: Random, parts: Parts) -> str:
    name = random.choice(sorted(parts.keys() - {MANIFEST}))
    other = random.choice((*TEXTS, "../../escaped", "/escaped", "files/students/../../x", "files/logs/x.py"))
    other = other.encode("utf-8", "replace").decode()
    parts[other] = parts.pop(name)
    if random.random() < 0.7:
        _fit(parts)
    return f"{name} as {other!r}"


def _other_contents(random: Random, parts: Parts) -> str:
    contents = json.loads(parts[MANIFEST])
    changed = spoiled_json(random, {name: part for name, part in contents.items() if name != "sha256"})
    try:
        parts[MANIFEST] = json.dumps({**changed, "sha256": digest(changed)}).encode()
    except (TypeError, ValueError, OverflowError):
        parts[MANIFEST] = json.dumps(changed).encode("utf-8", "surrogatepass")
    return f"contents: {parts[MANIFEST][:200]!r}"


_CHANGES = (_other_rows, _other_rows, _other_file, _other_name, _other_contents)


def _fit(parts: Parts) -> None:
    """Have the table of contents say what the parts are."""
    contents = json.loads(parts[MANIFEST])
    del contents["sha256"]
    contents["members"] = {
        name: [sha256(content).hexdigest(), len(content)] for name, content in parts.items() if name != MANIFEST
    }
    parts[MANIFEST] = json.dumps({**contents, "sha256": digest(contents)}).encode()
