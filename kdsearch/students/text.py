"""Text classifiers on token numbers: convolutions, and a small transformer.

Shape letters: B batch, L tokens, D width, V vocabulary.
Inputs are whole numbers (B, L) of any type, 0 for padding, which neither takes part in attention nor in the mean that
is classified: a text's logits do not depend on how far it is padded. Features are maps (D, 1, L), 0 where the padding
is, so that hints join them as they join images. The embedding's V * D weights are parameters like any others.

Left out: words to numbers (a tokenizer is the data's), and dropout.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdsearch.mistakes import Mistake
from kdsearch.students.attention import Block, Readout, hidden_units, map_of, tokens_of
from kdsearch.students.base import at_least_one, needs_tokens, whole
from kdsearch.students.narrow import Convolution


@dataclass(frozen=True, kw_only=True)
class TextConvNet:
    """Embedding and `depth` >= 1 residual convolutions over `kernel` (odd) neighbouring tokens, all of `width`
    channels; layers `embedding`, `block1` ... `blockD`. Token numbers must be below `vocabulary`.

    A block adds ReLU(convolution(layer norm(x))) to its input x; the mean over the text is classified, after Kim 2014
    (arXiv:1408.5882), who has one layer of several kernels.
    """

    vocabulary: int
    width: int
    depth: int
    kernel: int = 3

    def __post_init__(self) -> None:
        at_least_one("TextConvNet", width=self.width, depth=self.depth, kernel=self.kernel)
        whole("TextConvNet", 2, vocabulary=self.vocabulary)
        if self.kernel % 2 == 0:
            raise Mistake(f"TextConvNet: kernel must be odd, so that a token stands in its middle, got {self.kernel}")

    def build(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        needs_tokens("TextConvNet", in_shape)
        network = _TextNet()
        network.add_module("embedding", _Embedding("TextConvNet", self.vocabulary, self.width))
        for block in range(self.depth):
            network.add_module(f"block{block + 1}", _Convolved(self.width, self.kernel))
        network.add_module("classifier", Readout(self.width, classes))
        return network


@dataclass(frozen=True, kw_only=True)
class TextTransformer:
    """Embedding and `depth` >= 1 transformer blocks of `width` numbers a token, a multiple of `heads`; layers
    `embedding`, `block1` ... `blockD`. Token numbers must be below `vocabulary`.

    Positions are the sines and cosines of Vaswani et al. 2017 (arXiv:1706.03762, section 3.5), which have no weights.
    A block's perceptron has `mlp_ratio` times `width` units.
    """

    vocabulary: int
    width: int
    depth: int
    heads: int = 4
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        hidden_units("TextTransformer", self.width, self.depth, self.heads, self.mlp_ratio)
        whole("TextTransformer", 2, vocabulary=self.vocabulary)

    def build(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        needs_tokens("TextTransformer", in_shape)
        hidden = hidden_units("TextTransformer", self.width, self.depth, self.heads, self.mlp_ratio)
        network = _TextNet()
        network.add_module("embedding", _Embedding("TextTransformer", self.vocabulary, self.width, placed=True))
        for block in range(self.depth):
            network.add_module(f"block{block + 1}", Block(self.width, self.heads, hidden))
        network.add_module("classifier", Readout(self.width, classes))
        return network


class _TextNet(nn.Sequential):
    """Layers that all get to know, after the first, which tokens are present."""

    def forward(self, tokens_BL: Tensor) -> Tensor:
        tokens_BL = tokens_BL.long()
        present_BL = tokens_BL != 0
        present_BL = present_BL | ~present_BL.any(1, keepdim=True)  # a text of padding alone is a text all the same
        embedding, *layers = self
        feature: Tensor = embedding(tokens_BL)
        for layer in layers:
            feature = layer(feature, present_BL)
        return feature


class _Embedding(nn.Module):
    """Token numbers (B, L) to a map (B, D, 1, L), 0 for padding; `placed` adds where each token stands."""

    def __init__(self, family: str, vocabulary: int, width: int, *, placed: bool = False) -> None:
        super().__init__()
        self.family, self.placed = family, placed
        self.table = nn.Embedding(vocabulary, width, padding_idx=0)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        try:
            embedded_BLD = self.table(tokens_BL)
        except IndexError:
            raise Mistake(
                f"{self.family}: token numbers must be in 0..{self.table.num_embeddings - 1}, got "
                f"{int(tokens_BL.min())} to {int(tokens_BL.max())}; vocabulary must be above the largest"
            ) from None
        if self.placed:
            places_LD = sinusoids(tokens_BL.shape[1], self.table.embedding_dim, embedded_BLD.device)
            embedded_BLD = embedded_BLD + places_LD * (tokens_BL != 0)[:, :, None]
        return map_of(embedded_BLD, 1, tokens_BL.shape[1])


class _Convolved(nn.Module):
    """x + ReLU(convolution(layer norm(x))) on a map (B, D, 1, L), 0 where no token is present."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = Convolution(width, width, (1, kernel), padding=(0, kernel // 2))

    def forward(self, map_B: Tensor, present_BL: Tensor) -> Tensor:
        present = present_BL[:, None, None, :]
        normed = map_of(self.norm(tokens_of(map_B)), 1, map_B.shape[3]) * present
        return (map_B + functional.relu(self.conv(normed))) * present


def sinusoids(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Position p's numbers (L, D): the sines, then the cosines, of p / 10000^(2 i / D) for i = 0, 1, ...

    In section 3.5 of arXiv:1706.03762 these stand in turns.
    """
    half = math.ceil(width / 2)
    rates = 10_000.0 ** (-2 * torch.arange(half, device=device) / width)
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]
