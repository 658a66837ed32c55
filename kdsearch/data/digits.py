"""The handwritten digits that ship inside scikit-learn: 1,797 real images of 8x8 pixels, 17 grey levels."""

import torch

from kdsearch.data.base import Data, split_off, take


def digits(*, validation: int = 360, test: int = 360, seed: int = 0) -> Data:
    """Optical digits (Alpaydin & Kaynak 1998; scikit-learn's `load_digits`), inputs (N, 1, 8, 8) uint8 in 0..16.

    `validation` and `test` examples are split off, stratified, by `seed`; the other 1,077 are for training.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    inputs = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    rest, test_index = split_off(labels, test, seed, "digits")
    train_of_rest, validation_of_rest = split_off(labels[rest], validation, seed, "digits")
    return Data(
        name="digits",
        train=take(inputs, labels, rest[train_of_rest]),
        validation=take(inputs, labels, rest[validation_of_rest]),
        test=take(inputs, labels, test_index),
    )
