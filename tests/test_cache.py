"""What is kept between runs: made once, whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kdsearch.data.cache import cache_folder, cached


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path / "cache"))


def make(folder: Path) -> dict[str, object]:
    np.save(folder / "some.npy", np.arange(5))
    return {"what": [1, 2], "how": None}


def test_an_entry_comes_back_as_it_was_made():
    for _ in range(2):
        entry = cached("kind", {"a": 1}, make)
        assert entry.arrays["some"].tolist() == [0, 1, 2, 3, 4]
        assert entry.note == {"what": [1, 2], "how": None}


def test_other_content_is_another_entry():
    made = []
    for content in ({"a": 1}, {"a": 2}, {"a": 1}):
        cached("kind", content, lambda folder: made.append(folder) or make(folder))
    assert len(made) == 2


def test_what_fails_leaves_nothing_behind():
    def fail(folder: Path) -> dict[str, object]:
        make(folder)
        raise KeyError("half way")

    with pytest.raises(KeyError):
        cached("kind", {"a": 1}, fail)
    assert [path for path in (cache_folder() / "kind").iterdir() if path.is_dir()] == []
    assert cached("kind", {"a": 1}, make).note["what"] == [1, 2]


def test_processes_that_ask_at_once_make_it_once(tmp_path):
    code = """
import sys, time
from pathlib import Path
from tests.test_cache import make
from kdsearch.data.cache import cached
def slowly(folder):
    with Path(sys.argv[1]).open("a") as file:
        file.write("made\\n")
    time.sleep(0.5)
    return make(folder)
print(cached("kind", {"a": 1}, slowly).arrays["some"].sum().item())
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-c", code, str(tmp_path / "told")]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0] for process in running] == ["10\n"] * 3
    assert (tmp_path / "told").read_text() == "made\n"


def test_where_it_is(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("KDSEARCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/kdsearch")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/kdsearch")
