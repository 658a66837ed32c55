"""Arrays kept by several processes: whole or not there, within the limit, and never silently wrong."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from kdsearch.mistakes import Mistake
from kdsearch.signal_files import Content, SignalFiles, space_bytes

KB = 1000


class Maker:
    """Makes an array of `rows` numbers in two parts, and counts how often it is asked."""

    def __init__(self, rows: int = 250, start: int = 0) -> None:
        self.rows, self.start, self.asked = rows, start, 0

    def __call__(self) -> Content:
        self.asked += 1
        whole = np.arange(self.start, self.start + self.rows, dtype=np.float32)
        return Content(
            shape=(self.rows,), dtype=np.float32, parts=lambda: iter(np.array_split(whole, 2)), note=lambda: {"mine": 1}
        )

    @property
    def expected(self) -> torch.Tensor:
        return torch.arange(self.start, self.start + self.rows, dtype=torch.float32)


@pytest.fixture
def files(tmp_path) -> SignalFiles:
    return SignalFiles(tmp_path, 1e9)


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix not in (".npy", ".json", ".lock", ".said")}


def test_an_array_is_made_once_and_found_by_others(files, tmp_path):
    maker = Maker()
    for _ in range(2):
        assert torch.equal(files.array("features-a", maker), maker.expected)
    assert torch.equal(SignalFiles(tmp_path, 1e9).array("features-a", maker), maker.expected)
    assert maker.asked == 1
    assert np.array_equal(np.load(tmp_path / "features-a.npy", allow_pickle=False), maker.expected.numpy())
    assert files.note("features-a")["mine"] == 1
    assert files.note("features-b") is None
    assert not leftovers(tmp_path)


def test_a_checksum_is_verified_once_in_a_process(files, tmp_path, monkeypatch):
    files.array("features-a", Maker())
    read = []
    monkeypatch.setattr("kdsearch.signal_files.file_sha256", lambda path: read.append(path) or "another")
    files.array("features-a", Maker())
    assert not read
    SignalFiles(tmp_path, 1e9).array("features-a", Maker())
    assert len(read) == 1


@pytest.mark.parametrize("damage", ["altered", "truncated", "emptied", "no note", "torn note", "list"])
def test_a_damaged_file_is_made_again_and_said_so(files, tmp_path, damage):
    maker = Maker()
    files.array("features-a", maker)
    path, note = tmp_path / "features-a.npy", tmp_path / "features-a.json"
    content = path.read_bytes()
    match damage:
        case "altered":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 64]))
        case "truncated":
            path.write_bytes(content[:-4])
        case "emptied":
            path.write_bytes(b"")
        case "no note":
            note.unlink()
        case "torn note":
            note.write_text(note.read_text()[:9])
        case "list":
            note.write_text("[]")
    another = SignalFiles(tmp_path, 1e9)
    assert torch.equal(another.array("features-a", maker), maker.expected)
    assert maker.asked == 2
    (said,) = another.notes
    assert said == f"the teacher's signals in {path} were truncated or altered: they are computed again"
    quiet = SignalFiles(tmp_path, 1e9)
    quiet.array("features-a", maker)
    assert not quiet.notes


def test_a_removed_file_is_made_again_without_a_word(files, tmp_path):
    files.array("features-a", Maker())
    (tmp_path / "features-a.npy").unlink()
    another = SignalFiles(tmp_path, 1e9)
    another.array("features-a", Maker())
    assert not another.notes


def test_a_stray_write_does_not_reach_the_file(files, tmp_path):
    files.array("features-a", Maker()).fill_(7)
    assert torch.equal(SignalFiles(tmp_path, 1e9).array("features-a", Maker()), Maker().expected)


def test_the_least_recently_used_features_make_place_and_logits_stay(tmp_path):
    files = SignalFiles(tmp_path, 4 * 1.2 * KB)  # four arrays of 1,000 bytes and a header of 128
    for number, stem in enumerate(("logits-x", "features-a", "features-b", "features-c")):
        files.array(stem, Maker())
        os.utime(tmp_path / f"{stem}.npy", (number, number))
    kept = files.array("features-a", Maker())  # used again: b is now the oldest
    files.array("features-d", Maker())
    assert {path.stem for path in tmp_path.glob("*.npy")} == {"logits-x", "features-a", "features-c", "features-d"}
    assert not (tmp_path / "features-b.json").exists()
    files.array("features-e", Maker(rows=2 * 250 + 20))
    assert {path.stem for path in tmp_path.glob("*.npy")} == {"logits-x", "features-d", "features-e"}
    assert torch.equal(kept, Maker().expected), "what is mapped stays readable when its file is removed"
    again = Maker()
    assert torch.equal(files.array("features-a", again), again.expected)
    assert again.asked == 1
    assert space_bytes(tmp_path) <= 4 * 1.2 * KB
    assert not files.notes


def test_logits_above_the_limit_are_kept_and_said_once(tmp_path):
    files = SignalFiles(tmp_path, 2 * KB)
    for stem in ("logits-x", "features-a", "logits-y", "logits-z"):
        files.array(stem, Maker())
    assert {path.stem for path in tmp_path.glob("*.npy")} == {"logits-x", "logits-y", "logits-z"}
    assert len(files.notes) == 1
    assert "more than the 2e-06 GB of signals_gb: the logits of every augmentation tried are kept" in files.notes[0]
    another = SignalFiles(tmp_path, 2 * KB)
    another.array("logits-u", Maker())
    assert not another.notes, "another process has said it"


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_signal_files import Maker, SignalFiles
from kdsearch.mistakes import Mistake
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
files = SignalFiles(Path({folder!r}), 1e9)
files.array("features-small", Maker(rows=1000))
try:
    files.array("features-a", Maker(rows=20_000))
except Mistake as mistake:
    print(mistake)
"""


def test_a_full_disk_is_one_message_and_leaves_nothing_half_written(tmp_path):
    code = FULL.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(f"no room for 0.1 MB of the teacher's signals in {tmp_path} (File too large); free")
    assert {path.stem for path in tmp_path.glob("*.npy")} == {"features-small"}
    assert {path.stem for path in tmp_path.glob("*.json")} == {"features-small"}
    assert not leftovers(tmp_path)


def test_a_disk_that_fills_up_while_parts_are_written(files, tmp_path, monkeypatch):
    def parts():
        yield np.zeros(5, np.float32)
        raise OSError(28, "No space left on device")

    content = Content(shape=(10,), dtype=np.float32, parts=parts, note=dict)
    with pytest.raises(
        Mistake, match=r"no room for .* \(No space left on device\); free some, name another --workspace"
    ):
        files.array("features-a", lambda: content)
    assert not leftovers(tmp_path)
    assert not list(tmp_path.glob("*.npy"))
    assert torch.equal(files.array("features-a", Maker()), Maker().expected)  # and the lock is free


SLOW = """
import sys, time
from pathlib import Path
import numpy as np
from kdsearch.signal_files import Content, SignalFiles
def parts():
    yield np.zeros(125, np.float32)
    print("half", flush=True)
    time.sleep(60)
SignalFiles(Path({folder!r}), 1e9).array(
    "features-a", lambda: Content(shape=(250,), dtype=np.float32, parts=parts, note=dict))
"""


def test_others_wait_for_the_writer_and_take_over_when_it_is_killed(files, tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", SLOW.format(folder=str(tmp_path))], stdout=subprocess.PIPE)
    try:
        assert writer.stdout.readline() == b"half\n"
        assert leftovers(tmp_path)
        assert space_bytes(tmp_path) >= 1000, "what is being written counts whole"
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from pathlib import Path; from test_signal_files import Maker, SignalFiles\n"
            f"maker = Maker(); SignalFiles(Path({str(tmp_path)!r}), 1e9).array('features-a', maker); print(maker.asked)"
        )
        waiter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        time.sleep(3)
        assert waiter.poll() is None, "it waits as long as the writer lives"
    finally:
        writer.kill()
        writer.wait()
    assert waiter.communicate()[0] == b"1\n"
    assert torch.equal(files.array("features-a", Maker()), Maker().expected)
    assert not files.notes, "a writer's death is no damage"
    assert not leftovers(tmp_path)


def test_the_space_of_a_folder_that_is_not_there_is_none(tmp_path):
    assert space_bytes(tmp_path / "none") == 0


def test_the_note_stands_beside_the_array_as_json(files, tmp_path):
    files.array("features-a", Maker())
    assert set(json.loads((tmp_path / "features-a.json").read_text())) == {"mine", "sha256", "sum"}
