"""Which files of a folder or a zip are pictures of which class, and what becomes of the others."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from kdsearch.data import image_folder
from kdsearch.data.listing import listing
from kdsearch.mistakes import Mistake
from tests.pictures import COLOURS, folder_of, picture, zipped


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path / "cache"))


def files(root: Path, names: Iterable[str]) -> Path:
    """Empty files: to be listed they need not be pictures."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("named", [("Train", "Test", "Val"), ("TRAIN", "test", "Validation")])
def test_split_folders_are_known_in_any_case(tmp_path, named):
    root = tmp_path / "mine"
    for folder, each in zip(named, (8, 3, 2), strict=True):
        folder_of(root, each=each, below=folder)
    for source in (root, zipped(root, tmp_path / "mine.zip", prefix="Around/")):
        data = image_folder(source)
        assert data.class_names == ("blue", "red", "white")
        assert [len(split) for split in data.splits().values()] == [24, 6, 9]


@pytest.mark.parametrize(("one", "other", "part"), [("Train", "train", "train"), ("VAL", "validation", "validation")])
def test_two_folders_for_one_split_are_refused(tmp_path, one, other, part):
    names = [f"{split}/{label}/1.jpg" for split in {"train", one, other} for label in ("cat", "dog")]
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:  # also where a file system knows no case
        for name in names:
            archive.writestr(name, b"")
    with pytest.raises(Mistake, match=f"has both {one}/ and {other}/ for {part}; keep one of them"):
        listing(tmp_path / "mine.zip")


def test_a_class_of_other_formats_alone_is_named_and_left_out_only_when_asked(tmp_path, capfd):
    root = files(folder_of(tmp_path / "mine"), ["green/1.webp", "green/2.WEBP", "green/3.avif"])
    said = r"no JPEG or PNG picture in green/ \(2 \.webp, 1 \.avif\); convert them, .* skip_unreadable=True"
    with pytest.raises(Mistake, match=said):
        image_folder(root)
    assert "decoding" not in capfd.readouterr().err  # which may take long
    data = image_folder(root, skip_unreadable=True)
    assert data.class_names == tuple(COLOURS)
    said_to_user = capfd.readouterr().err
    assert "left out 2 .webp, 1 .avif; only JPEG and PNG are read" in said_to_user
    assert "left out all of green/" in said_to_user
    with pytest.raises(Mistake, match=said):  # now from the cache
        image_folder(root)


@pytest.mark.parametrize(
    ("names", "lost"),
    [
        (["green/0001", "green/0002"], "green/ .2 without an ending"),
        (["green/README.txt", "green/1.npy"], "green/ .1 .npy"),
        (["green/deep/er/1.tif"], "green/ .1 .tif"),
    ],
)
def test_a_class_of_whatever_other_files_is_named(tmp_path, names, lost):
    root = files(tmp_path / "mine", ["cat/1.jpg", "dog/1.jpg", *names])
    with pytest.raises(Mistake, match=f"no JPEG or PNG picture in {lost}"):
        image_folder(root)


def test_splits_of_other_formats_are_named(tmp_path):
    both = [f"{split}/{label}/1.jpg" for split in ("train", "test") for label in ("cat", "dog")]
    assert list(listing(files(tmp_path / "one", [*both, "val/cat/1.gif", "val/dog/1.gif"])).lost) == [
        "val/cat",
        "val/dog",
    ]
    assert list(listing(files(tmp_path / "two", [*both[:2], "test/1.bmp", "test/2.bmp"])).lost) == ["test"]
    for root, first in (("three", "train/cat/1.gif"), ("four", "train/1.gif")):
        with pytest.raises(Mistake, match=r"no JPEG or PNG picture in train/ \(1 \.gif\); convert them"):
            listing(files(tmp_path / root, [*both[2:], first]))
    with pytest.raises(Mistake, match=r"classes that train/ lacks: dog; .* no JPEG or PNG in train/dog/ \(1 \.heic\)"):
        listing(files(tmp_path / "five", [*both[:1], "train/dog/1.heic", *both[2:]]))


def test_sources_of_other_formats_alone_say_what_they_have(tmp_path):
    with pytest.raises(Mistake, match=r"holds no picture of a class; .* and has 2 \.webp"):
        listing(files(tmp_path / "one", ["cat/1.webp", "dog/1.webp"]))
    with pytest.raises(Mistake, match=r"has one class, 'cat'; .* no JPEG or PNG in dog/ \(1 \.webp\): convert them"):
        listing(files(tmp_path / "two", ["cat/1.png", "dog/1.webp"]))


def test_pictures_of_other_formats_are_counted_and_other_files_are_not_told_of(tmp_path, capfd):
    root = files(folder_of(tmp_path / "mine"), ["red/a.webp", "red/b.HEIC", "blue/c.webp"])
    files(root, ["README.txt", "red/Thumbs.db", "red/.DS_Store", "red/.x.webp", "notes/README.md", "white/labels.npy"])
    assert image_folder(root).class_names == tuple(COLOURS)
    told = [line for line in capfd.readouterr().err.splitlines() if "left out" in line]
    assert told == [f"kdsearch: {root}: left out 2 .webp, 1 .heic; only JPEG and PNG are read"]


def test_a_picture_beside_the_classes_does_not_hide_that_a_folder_lies_around_them(tmp_path):
    found = listing(files(tmp_path / "mine", ["around/cat/1.jpg", "around/dog/1.jpg", "around/preview.webp"]))
    assert found.class_names == ("cat", "dog")


def test_hidden_folders_and_what_macos_adds_are_no_classes(tmp_path):
    root = folder_of(tmp_path / "mine")
    for name in (".ipynb_checkpoints", "red/.ipynb_checkpoints", "__MACOSX", "__MACOSX/red"):
        picture(root / name / "001.png")
    for source in (root, zipped(root, tmp_path / "mine.zip"), zipped(root, tmp_path / "in.zip", prefix="./around/")):
        found = listing(source)
        assert (found.class_names, len(found.names)) == (("blue", "red", "white"), 30)


def test_links_that_lead_back_add_nothing(tmp_path):
    root = folder_of(tmp_path / "mine", each=8)
    (root / "red" / "loop").symlink_to("..")
    (root / "red" / "again").symlink_to(root / "red")
    (root / "a_link_that_sorts_first").symlink_to("blue")
    found = listing(root)
    assert (found.class_names, len(found.names)) == (("blue", "red", "white"), 24)


def test_a_link_to_a_folder_elsewhere_is_followed_once(tmp_path):
    root = folder_of(tmp_path / "mine")
    for k in range(4):
        picture(tmp_path / "elsewhere" / "below" / f"{k}.png")
    (root / "green").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    found = listing(root)
    assert [name for name in found.names if name.startswith("green/")] == [f"green/below/{k}.png" for k in range(4)]
    assert len(found.names) == 34
