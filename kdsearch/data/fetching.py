"""The well-known data sets, fetched on request, checked against the checksums of the originals."""

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from kdsearch.files import writable
from kdsearch.mistakes import Mistake


@dataclass(frozen=True, kw_only=True)
class _Set:
    """Files at `base`, each with its checksum as Pooch takes it; they go to `folder` of the data folder."""

    folder: str
    base: str
    files: dict[str, str]


_SETS = {
    "mnist": _Set(
        folder="mnist",
        base="https://ossci-datasets.s3.amazonaws.com/mnist/",
        files={
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "fashion_mnist": _Set(
        folder="fashion-mnist",
        base="https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        files={
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
    # the checksums that the data sets' own page gives
    "cifar10": _Set(
        folder="cifar10",
        base="https://www.cs.toronto.edu/~kriz/",
        files={"cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530"},
    ),
    "cifar100": _Set(
        folder="cifar100",
        base="https://www.cs.toronto.edu/~kriz/",
        files={"cifar-100-binary.tar.gz": "md5:03b5dce01913d631647c71ecec9e9cb8"},
    ),
}


def download(name: str, to: str | os.PathLike[str] | None = None) -> Path:
    """Fetch `mnist`, `fashion_mnist`, `cifar10` or `cifar100` to where the function of that name finds it: a folder
    below `to`, by default the data folder (KDSEARCH_DATA). Gives that folder, which is made where it is missing.

    What is there already, whole, is not fetched again. Raises `Mistake` for another name, where a file cannot be
    fetched, and where its checksum is not the original's: such a file is not kept.
    """
    if name not in _SETS:
        raise Mistake(f"there is no data set {name!r} to fetch; there are: {', '.join(_SETS)}")
    chosen = to if to is not None else os.environ.get("KDSEARCH_DATA")
    if chosen is None:
        raise Mistake("no data folder to fetch to: name one with --data DIR, the variable KDSEARCH_DATA, or `to`")
    wanted = _SETS[name]
    folder = Path(chosen) / wanted.folder
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for file, checksum in wanted.files.items():
            _fetch(wanted.base + file, folder, file, checksum)
    return folder


def _fetch(url: str, folder: Path, file: str, checksum: str) -> None:
    """To a temporary name beside, renamed when its checksum fits."""
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    if not (folder / file).exists():
        print(f"kdsearch: fetching {url}", file=sys.stderr)
    by_hand = f"fetch it by hand to {folder}"
    try:
        pooch.retrieve(url, checksum, fname=file, path=folder, progressbar=sys.stderr.isatty())
    except requests.RequestException as error:
        raise Mistake(
            f"cannot fetch {url} ({type(error).__name__}: {str(error)[:200]}); try again, or {by_hand}"
        ) from None
    except ValueError:  # how Pooch says that a checksum does not fit
        raise Mistake(f"{url} gave a file whose checksum is not the original's; nothing is kept: {by_hand}") from None
