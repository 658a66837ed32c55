"""Data: three splits of compact arrays, and one source per file."""

from kdsearch.data.arrays import arrays
from kdsearch.data.augment import Augment, Augmentation, drawn
from kdsearch.data.base import Data, Split
from kdsearch.data.cifar import cifar10, cifar100
from kdsearch.data.dataset import from_dataset
from kdsearch.data.digits import digits
from kdsearch.data.fetching import download
from kdsearch.data.idx import fashion_mnist, idx, mnist
from kdsearch.data.images import cifar10_jpeg, image_folder
from kdsearch.data.sequences import tokens

__all__ = [
    "Augment",
    "Augmentation",
    "Data",
    "Split",
    "arrays",
    "cifar10",
    "cifar10_jpeg",
    "cifar100",
    "digits",
    "download",
    "drawn",
    "fashion_mnist",
    "from_dataset",
    "idx",
    "image_folder",
    "mnist",
    "tokens",
]
