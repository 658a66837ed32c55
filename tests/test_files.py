import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import tensor

from kdsearch.files import (
    DamagedError,
    file_sha256,
    load_tensors,
    read_note,
    save_tensors,
    writable,
    write_atomically,
    write_note,
    write_text,
)
from kdsearch.mistakes import Mistake

NOTES = {"epoch": 3, "what": "a test", "list": [1, 2]}


def content(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


@pytest.mark.parametrize(
    "kept",
    [
        torch.randn(3, 4),
        torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.randn(4, 6).t(),
        torch.arange(5),
        tensor(7),
        tensor([True, False]),
        torch.randn(3).half(),
        torch.randn(3).bfloat16(),
        torch.empty(0, 3),
    ],
    ids=["float", "channels_last", "transposed", "long", "scalar", "bool", "half", "bfloat16", "empty"],
)
def test_tensors_come_back_as_they_were(tmp_path, kept):
    save_tensors(tmp_path / "a.safetensors", {"x": kept}, NOTES)
    tensors, notes = load_tensors(tmp_path / "a.safetensors")
    assert tensors["x"].dtype == kept.dtype
    assert torch.equal(tensors["x"], kept)
    assert notes == NOTES


def test_tensors_that_share_memory_are_kept_each_for_itself(tmp_path):
    shared = torch.randn(4)
    save_tensors(tmp_path / "a.safetensors", {"x": shared, "y": shared[:2]}, {})
    tensors, _ = load_tensors(tmp_path / "a.safetensors")
    assert torch.equal(tensors["x"][:2], tensors["y"])


def test_any_altered_byte_is_found(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.arange(4.0), "y": torch.arange(3)}, NOTES)
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        with pytest.raises(DamagedError):
            load_tensors(path)


@pytest.mark.parametrize("length", [0, 4, 50, -1])
def test_a_truncated_file_is_damaged(tmp_path, length):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.arange(4.0)}, NOTES)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedError, match=r"a\.safetensors"):
        load_tensors(path)


def test_a_file_without_a_checksum_is_damaged(tmp_path):
    save_file({"x": torch.arange(4.0)}, tmp_path / "strange.safetensors")
    with pytest.raises(DamagedError, match="checksum"):
        load_tensors(tmp_path / "strange.safetensors")


def test_a_missing_file_is_missing_not_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "none.safetensors")


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "kept.txt"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half of the n")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert content(tmp_path) == {"kept.txt"}


def test_the_old_file_stands_while_the_new_one_is_written(tmp_path):
    path = tmp_path / "kept.txt"
    write_text(path, "old")
    seen = []

    def write(temporary: Path) -> None:
        temporary.write_text("new")
        seen.append(path.read_text())

    write_atomically(path, write)
    assert seen == ["old"]
    assert path.read_text() == "new"


def test_folders_are_made_and_others_may_read_the_file(tmp_path):
    path = tmp_path / "a" / "b" / "note.json"
    write_text(path, json.dumps({"größe": 1}))
    assert json.loads(path.read_text(encoding="utf-8")) == {"größe": 1}
    assert path.stat().st_mode & 0o777 == 0o644


def test_sha256_of_abc(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_that_cannot_be_made_is_a_mistake_with_a_way_out(tmp_path):
    (tmp_path / "file").write_text("in the way")
    below = tmp_path / "file" / "folder"
    with pytest.raises(Mistake, match=r"cannot write .*file/folder .*; name a folder that you may"), writable(below):
        write_text(below / "note.txt", "x")


def test_a_full_disk_is_one_clear_message(tmp_path):
    with pytest.raises(Mistake, match="No space left on device"), writable(tmp_path):
        raise OSError(28, "No space left on device")


def test_a_note_is_what_was_written_or_damaged_and_one_of_an_older_version_has_no_checksum(tmp_path):
    path = tmp_path / "note.json"
    write_note(path, {"accuracy": 0.5})
    assert read_note(path) == {"accuracy": 0.5}
    whole = path.read_text()
    for torn in ("", whole[:-1], "[1]", whole.replace("0.5", "0.7"), "\udcff"):
        path.write_bytes(torn.encode(errors="surrogateescape"))
        with pytest.raises(DamagedError, match=r"torn or altered: it holds no JSON object|checksum does not fit"):
            read_note(path)
    path.write_text('{"accuracy": 0.5}')
    assert read_note(path) == {"accuracy": 0.5}
