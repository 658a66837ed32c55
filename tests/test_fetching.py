"""Fetching data sets: from a server of the test's own, never from the network."""

import gzip
import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from kdsearch import cli, download
from kdsearch.data import fetching
from kdsearch.mistakes import Mistake

CONTENT = {"images.gz": gzip.compress(bytes(5000)), "labels.gz": b"labels"}


class Handler(SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def log_message(self, *_):
        self.asked.append(self.path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves `served/` on the loopback address as the data set "mine"; gives the paths that were asked for."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    monkeypatch.setattr(Handler, "asked", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        files = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
        base = f"http://127.0.0.1:{running.server_port}/"
        monkeypatch.setitem(fetching._SETS, "mine", fetching._Set(folder="my-set", base=base, files=files))
        monkeypatch.delenv("KDSEARCH_DATA", raising=False)
        yield Handler
        running.shutdown()
        thread.join()


def test_files_arrive_whole_and_once(server, tmp_path):
    for _ in range(2):
        folder = download("mine", tmp_path / "data")
        assert folder == tmp_path / "data" / "my-set"
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert sorted(server.asked) == ["/images.gz", "/labels.gz"]


def test_a_file_that_was_torn_here_is_fetched_again(server, tmp_path):
    folder = download("mine", tmp_path)
    (folder / "images.gz").write_bytes(b"torn")
    download("mine", tmp_path)
    assert (folder / "images.gz").read_bytes() == CONTENT["images.gz"]


def test_another_file_than_the_original_is_not_kept(server, tmp_path):
    (tmp_path / "served" / "images.gz").write_bytes(b"something else")
    with pytest.raises(Mistake, match=r"images\.gz gave a file whose checksum is not the original's; nothing is kept"):
        download("mine", tmp_path / "data")
    assert list((tmp_path / "data" / "my-set").iterdir()) == []


def test_a_file_that_cannot_be_fetched_says_the_way_out(server, tmp_path):
    (tmp_path / "served" / "labels.gz").unlink()
    with pytest.raises(Mistake, match=r"cannot fetch http.*labels\.gz \(HTTPError: 404 .*fetch it by hand to .*my-set"):
        download("mine", tmp_path / "data")
    assert [path.name for path in (tmp_path / "data" / "my-set").iterdir()] == ["images.gz"]


def test_wrong_names_and_folders(tmp_path, monkeypatch):
    monkeypatch.delenv("KDSEARCH_DATA", raising=False)
    with pytest.raises(Mistake, match="there are: mnist, fashion_mnist, cifar10, cifar100"):
        download("imagenet", tmp_path)
    with pytest.raises(Mistake, match="no data folder to fetch to"):
        download("mnist")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Mistake, match=r"cannot write .*file"):
        download("mnist", tmp_path / "file")


def test_the_command_fetches_to_the_data_folder(server, tmp_path, capsys):
    assert cli.main(["download", "mine", "--data", str(tmp_path / "data")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "data" / "my-set")
    assert cli.main(["download", "nothing", "--data", str(tmp_path)]) == 2


def test_the_checksums_are_those_of_the_originals(shared_data):
    for name in ("mnist", "fashion_mnist"):
        wanted = fetching._SETS[name]
        for file, checksum in wanted.files.items():
            assert hashlib.sha256((shared_data / wanted.folder / file).read_bytes()).hexdigest() == checksum
