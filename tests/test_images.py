"""Pictures in folders and zips: what comes out, what is kept, and what is refused."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kdsearch.data import cifar10_jpeg, image_folder
from kdsearch.data.cache import cache_folder
from kdsearch.mistakes import Mistake
from tests.pictures import COLOURS, folder_of, picture, zipped


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KDSEARCH_DATA", raising=False)


def colours_of(split) -> set[tuple[int, tuple[int, ...]]]:
    """Each label with the colour of the picture's corner."""
    return {
        (int(label), tuple(image[:, 0, 0].tolist())) for image, label in zip(split.inputs, split.labels, strict=True)
    }


def test_a_folder_a_class_becomes_three_stratified_splits(tmp_path):
    data = image_folder(folder_of(tmp_path / "mine"), test=6, validation=0.25)
    assert (data.name, data.class_names, data.shape) == ("mine", ("blue", "red", "white"), (3, 6, 4))
    assert [len(split) for split in data.splits().values()] == [18, 6, 6]
    for split in data.splits().values():
        assert split.inputs.dtype == torch.uint8
        assert colours_of(split) == set(enumerate(COLOURS.values()))
        assert len(set(split.labels.bincount().tolist())) == 1


def test_train_and_test_folders_are_kept_apart(tmp_path):
    folder_of(tmp_path / "mine", each=8, below="train")
    folder_of(tmp_path / "mine", each=2, below="val")
    folder_of(tmp_path / "mine", each=3, below="test")
    data = image_folder(tmp_path / "mine")
    assert [len(split) for split in data.splits().values()] == [24, 6, 9]
    assert len(image_folder(tmp_path / "mine", train=12).train) == 12


def test_a_zip_is_read_in_place_and_is_the_same_data(tmp_path):
    root = folder_of(tmp_path / "mine")
    packed = image_folder(zipped(root, tmp_path / "mine.zip", prefix="around/"))
    assert packed.fingerprint == image_folder(root).fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "mine", "mine.zip"]


def test_rows_follow_sorted_names_and_not_the_directorys_order(tmp_path):
    for label in ("b", "a"):
        for k in (10, 2, 1):
            picture(tmp_path / "mine" / "train" / label / f"{k}.png", (k, k, k))
            picture(tmp_path / "mine" / "test" / label / f"{k}.png", (k, k, k))
            picture(tmp_path / "mine" / "val" / label / f"{k}.png", (k, k, k))
    data = image_folder(tmp_path / "mine")
    assert data.train.inputs[:, 0, 0, 0].tolist() == [1, 10, 2] * 2
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_the_second_call_decodes_nothing(tmp_path, capfd):
    root = folder_of(tmp_path / "mine")
    first = image_folder(root)
    assert "decoding mine, once: 30 pictures" in capfd.readouterr().err
    assert image_folder(root, seed=1).fingerprint != first.fingerprint  # another split of the same pictures
    assert image_folder(root).fingerprint == first.fingerprint
    assert capfd.readouterr().err == ""


def test_a_changed_file_is_decoded_again(tmp_path):
    root = folder_of(tmp_path / "mine")
    first = image_folder(root)
    picture(root / "red" / "003.png", (1, 2, 3))
    os.utime(root / "red" / "003.png", ns=(5, 5))
    assert image_folder(root).fingerprint != first.fingerprint


@pytest.mark.parametrize("harm", ["cut", "altered", "note cut", "gone"])
def test_a_torn_cache_is_found_and_made_again(tmp_path, harm):
    root = folder_of(tmp_path / "mine")
    first = image_folder(root).fingerprint
    (kept,) = (path for path in (cache_folder() / "images").iterdir() if path.is_dir())
    pixels, note = kept / "inputs.npy", kept / "note.json"
    whole = pixels.read_bytes()
    if harm == "cut":
        pixels.write_bytes(whole[:-7])
    elif harm == "altered":
        pixels.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif harm == "note cut":
        note.write_text(note.read_text()[:-9])
    else:
        pixels.unlink()
    assert image_folder(root).fingerprint == first
    assert pixels.read_bytes() == whole


def test_a_stray_write_does_not_reach_the_cache(tmp_path):
    folder_of(tmp_path / "mine", below="train")
    folder_of(tmp_path / "mine", below="test")
    data = image_folder(tmp_path / "mine")
    before = data.fingerprint
    data.test.inputs[:] = 0
    assert image_folder(tmp_path / "mine").fingerprint == before


def test_grey_and_colour_mixed_are_rgb_or_grey_on_request(tmp_path):
    root = tmp_path / "mine"
    for k in range(10):
        picture(root / "a" / f"{k}.png", (100, 100, 100), mode="L")
        picture(root / "b" / f"{k}.png", (0, 0, 200), mode=("RGBA", "P", "LA")[k % 3] if k < 3 else "RGB")
    data = image_folder(root)
    assert data.shape == (3, 6, 4)
    assert colours_of(data.train) >= {(0, (100, 100, 100)), (1, (0, 0, 200))}
    assert image_folder(root, grey=True).shape == (1, 6, 4)
    # ITU-R 601-2: blue weighs 0.114
    assert (1, (round(200 * 0.114),)) in colours_of(image_folder(root, grey=True).train)


def test_sizes_that_differ_need_a_size(tmp_path):
    root = folder_of(tmp_path / "mine")
    picture(root / "red" / "999.png", COLOURS["red"], size=(12, 8))
    with pytest.raises(Mistake, match=r"red/999\.png is 12x8 \(HxW\), others are 6x4: give size=\(H, W\)"):
        image_folder(root)
    data = image_folder(root, size=(3, 5))
    assert data.shape == (3, 3, 5)
    assert colours_of(data.train) == set(enumerate(COLOURS.values()))


def test_a_picture_is_turned_as_its_exif_note_says(tmp_path):
    root = folder_of(tmp_path / "mine", size=(6, 4))
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter: 4x6 as stored, 6x4 as shown
    picture(root / "red" / "999.jpg", COLOURS["red"], size=(4, 6), exif=turned)
    assert image_folder(root).shape == (3, 6, 4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"no picture", "neither JPEG nor PNG"), (b"GIF89a" + bytes(40), "neither JPEG nor PNG"), (b"", "neither JPEG")],
)
def test_an_unreadable_file_is_named_and_skipped_only_when_asked(tmp_path, capfd, content, reason):
    root = folder_of(tmp_path / "mine")
    (root / "red" / "005.png").write_bytes(content)
    (root / "white" / "001.png").write_bytes(content)
    for _ in range(2):  # decoded, and from the cache
        with pytest.raises(Mistake, match=rf"red/005\.png cannot be read \({reason}.*\), and 1 more files; .*skip_unr"):
            image_folder(root)
    data = image_folder(root, skip_unreadable=True)
    assert sum(len(split) for split in data.splits().values()) == 28
    assert colours_of(data.train) == set(enumerate(COLOURS.values()))  # none of the black rows
    assert "left out 2 pictures that cannot be read" in capfd.readouterr().err


def test_a_link_to_nowhere_is_named(tmp_path):
    root = folder_of(tmp_path / "mine")
    (root / "red" / "zzz.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(Mistake, match=r"red/zzz\.jpg cannot be read \(.*No such file"):
        image_folder(root)


def test_a_truncated_picture_is_unreadable(tmp_path):
    root = folder_of(tmp_path / "mine")
    noise = np.random.default_rng(0).integers(0, 255, (6, 4, 3), dtype=np.uint8)
    memory = io.BytesIO()
    Image.fromarray(noise).save(memory, "JPEG")
    (root / "red" / "999.jpg").write_bytes(memory.getvalue()[:-40])
    with pytest.raises(Mistake, match=r"red/999\.jpg cannot be read \(.*truncated"):
        image_folder(root)


def test_sixteen_bits_a_channel_are_refused_rather_than_clipped(tmp_path):
    root = folder_of(tmp_path / "mine")
    Image.fromarray(np.full((6, 4), 40_000, np.uint16)).save(root / "red" / "999.png")
    with pytest.raises(Mistake, match=r"red/999\.png cannot be read \(of Pillow's mode I;16, more than 8 bits"):
        image_folder(root)


def test_a_decompression_bomb_is_unreadable(tmp_path):
    root = folder_of(tmp_path / "mine")
    header = Image.new("1", (20_000, 10_000))  # 200 million pixels in some kilobytes
    header.save(root / "red" / "999.png")
    with pytest.raises(Mistake, match=r"red/999\.png cannot be read \(larger than Pillow's limit of 89,478,485 pixels"):
        image_folder(root)


def test_no_readable_picture_at_all(tmp_path):
    for label in "ab":
        (tmp_path / "mine" / label).mkdir(parents=True)
        (tmp_path / "mine" / label / "1.jpg").write_bytes(b"?")
    with pytest.raises(Mistake, match=r"none of its 2 pictures can be read; a/1\.jpg is neither JPEG nor PNG"):
        image_folder(tmp_path / "mine", skip_unreadable=True)


def test_what_the_layout_lacks_is_said(tmp_path):
    with pytest.raises(Mistake, match=r"there is no folder or zip file .*nowhere"):
        image_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Mistake, match="holds no picture of a class; it needs CLASS"):
        image_folder(tmp_path / "empty")
    picture(tmp_path / "one" / "cat" / "1.png")
    with pytest.raises(Mistake, match="has one class, 'cat'"):
        image_folder(tmp_path / "one")
    root = folder_of(tmp_path / "more", below="train")
    folder_of(root, below="test")
    picture(root / "test" / "green" / "1.png")
    with pytest.raises(Mistake, match="test/ has classes that train/ lacks: green"):
        image_folder(root)


def test_test_pictures_without_classes_are_not_taken_for_a_class(tmp_path):
    root = folder_of(tmp_path / "mine", below="train")
    picture(root / "test" / "1.png")
    with pytest.raises(Mistake, match=r"test/1\.png does not: move it elsewhere"):
        image_folder(root)


@pytest.mark.parametrize("name", ["../a/1.png", "a/../../1.png", "/a/1.png", "..\\a\\1.png", "C:/a/1.png"])
def test_a_zip_whose_names_lead_out_of_it_is_refused(tmp_path, name):
    packed = zipped(folder_of(tmp_path / "mine"), tmp_path / "mine.zip")
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(Mistake, match="a name that leads out of it"):
        image_folder(packed)


def test_a_damaged_zip_is_refused_and_a_damaged_member_named(tmp_path):
    packed = zipped(folder_of(tmp_path / "mine"), tmp_path / "mine.zip")
    content = packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        member = archive.getinfo("red/004.png")
    at = member.header_offset + 60
    packed.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
    with pytest.raises(Mistake, match=r"red/004\.png cannot be read \(Bad CRC-32"):
        image_folder(packed)
    packed.write_bytes(content[:-30])
    with pytest.raises(Mistake, match="cannot be read as a zip file"):
        image_folder(packed)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": (0, 4)}, "size must be"),
        ({"size": 32}, "size must be"),
        ({"test": 0.0}, "test must be"),
        ({"validation": 1.5}, "validation must be"),
        ({"test": True}, "test must be"),
        ({"train": True}, "a number of examples must be a whole number, got True"),
        ({"train": 4.5}, "a number of examples must be a whole number, got 4.5"),
        ({"size": (True, 4)}, "size must be"),
        ({"test": 30}, "cannot take 30 examples of 30"),
    ],
)
def test_wrong_arguments(tmp_path, wrong, said):
    with pytest.raises(Mistake, match=said):
        image_folder(folder_of(tmp_path / "mine"), **wrong)


def test_splits_too_large_for_memory_are_mapped_and_the_same(tmp_path):
    root = folder_of(tmp_path / "mine")
    inside, mapped = image_folder(root), image_folder(root, memory_gb=1e-9)
    assert mapped.fingerprint == inside.fingerprint
    assert not [path for path in cache_folder().iterdir() if path.is_file()]
    if (maps := Path("/proc/self/maps")).exists():
        assert maps.read_text().count(f"{cache_folder()}/") >= 3


def test_a_cache_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(Mistake, match=r"cannot write .*file"):
        image_folder(folder_of(tmp_path / "mine"))


def test_a_script_without_a_main_guard_can_read_pictures(tmp_path):
    folder_of(tmp_path / "mine")
    (tmp_path / "script.py").write_text("from kdsearch import image_folder\nprint(len(image_folder('mine').train))\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "19\n"


@pytest.mark.slow
def test_the_real_cifar10_as_jpeg(shared_data):
    if not (shared_data / "cifar10-jpeg").is_dir():
        pytest.skip(f"the CIFAR-10 pictures are not at {shared_data}")
    data = cifar10_jpeg(shared_data)
    assert [len(split) for split in data.splits().values()] == [45_000, 5_000, 10_000]
    assert (data.shape, data.class_names[0], data.class_names[9]) == ((3, 32, 32), "airplane", "truck")
    assert data.train.labels.bincount().tolist() == [4_500] * 10
    # the means of the originals, 125.3, 123.0, 113.9, survive JPEG
    assert data.statistics[0].flatten().tolist() == pytest.approx([125.3, 123.0, 113.9], abs=0.3)


def test_cifar10_jpeg_says_where_it_looked(tmp_path):
    with pytest.raises(Mistake, match=r"lacks cifar10-images\.zip \(looked in it and in cifar10-jpeg below it\)"):
        cifar10_jpeg(tmp_path)
