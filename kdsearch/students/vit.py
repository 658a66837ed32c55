"""Small vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929).

Left out: dropout, and the class token: the mean over all tokens reads as well (section D.3 of the paper), and without
it features are maps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdsearch.mistakes import Mistake
from kdsearch.students.attention import Block, Readout, hidden_units
from kdsearch.students.base import at_least_one, needs_image
from kdsearch.students.narrow import Convolution


@dataclass(frozen=True, kw_only=True)
class ViT:
    """`depth` >= 1 transformer blocks of `width` numbers a token, a multiple of `heads`; layers `patches`, `block1` ...
    `blockD`.

    Each token is a square of `patch` x `patch` pixels, so the image's sides must be multiples of `patch`; where it lies
    is learned. A block's perceptron has `mlp_ratio` times `width` units. Features are maps (width, H / patch,
    W / patch).
    """

    width: int
    depth: int
    heads: int = 4
    patch: int = 4
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        hidden_units("ViT", self.width, self.depth, self.heads, self.mlp_ratio)
        at_least_one("ViT", patch=self.patch)

    def build(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, height, width = needs_image("ViT", in_shape)
        if height % self.patch or width % self.patch:
            fitting = [str(side) for side in range(1, min(height, width) + 1) if not (height % side or width % side)]
            raise Mistake(
                f"ViT: the image's sides must be multiples of patch, got images of {height}x{width} and patch "
                f"{self.patch}; take one of {', '.join(fitting)}"
            )
        hidden = hidden_units("ViT", self.width, self.depth, self.heads, self.mlp_ratio)
        network = nn.Sequential()
        rows, columns = height // self.patch, width // self.patch
        network.add_module("patches", _Patches(channels, self.width, self.patch, rows, columns))
        for block in range(self.depth):
            network.add_module(f"block{block + 1}", Block(self.width, self.heads, hidden))
        network.add_module("classifier", Readout(self.width, classes))
        return network


class _Patches(nn.Module):
    """Images (B, C, H, W) to a map (B, D, rows, columns): a linear map of each patch, and a learned place added."""

    def __init__(self, channels: int, width: int, patch: int, rows: int, columns: int) -> None:
        super().__init__()
        self.project = Convolution(channels, width, patch, stride=patch)
        self.places = nn.Parameter(torch.empty(1, width, rows, columns))
        # the paper's 0.02 takes long to tell patches apart: 4 epochs of 10,000 MNIST images gave 62 % and not 71
        nn.init.normal_(self.places)

    def forward(self, images_B: Tensor) -> Tensor:
        places: Tensor = self.project(images_B) + self.places
        return places
