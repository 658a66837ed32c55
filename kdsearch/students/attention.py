"""Transformer blocks on maps, for images and text alike.

Shape letters: B batch, D width, H height, W width of the map, L = H * W tokens.
Between blocks tokens are pixels of a map (B, D, H, W), a text's of one (B, D, 1, L), so that whatever joins
convolutional features (FitNets' regressors, attention transfer) joins these. Maps are channels_last: tokens (B, L, D)
are then a view of them, nothing is copied.
"""

from torch import Tensor, nn
from torch.nn import functional

from kdsearch.mistakes import Mistake
from kdsearch.students.base import at_least_one


class Block(nn.Module):
    """Attention and a two-layer perceptron of `hidden` units, each added to what it gets after its own layer norm.

    The block of ViT (Dosovitskiy et al. 2021, arXiv:2010.11929, Eqs. 2 and 3), without dropout. `present_BL` (None: all
    of them) marks the tokens that are attended to; the others come out as 0.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        _keep_moment(self)

    def forward(self, map_B: Tensor, present_BL: Tensor | None = None) -> Tensor:
        tokens_BLD = tokens_of(map_B)
        tokens_BLD = tokens_BLD + self._attention(self.norm1(tokens_BLD), present_BL)
        tokens_BLD = tokens_BLD + self.mlp(self.norm2(tokens_BLD))
        if present_BL is not None:
            tokens_BLD = tokens_BLD * present_BL[:, :, None]
        return map_of(tokens_BLD, map_B.shape[2], map_B.shape[3])

    def _attention(self, tokens_BLD: Tensor, present_BL: Tensor | None) -> Tensor:
        batch, length, width = tokens_BLD.shape
        split = self.queries_keys_values(tokens_BLD).view(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        mask = None if present_BL is None else present_BL[:, None, None, :]
        read = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        joined: Tensor = self.joined(read.transpose(1, 2).reshape(batch, length, width))
        return joined


class Readout(nn.Module):
    """Logits (B, K) from a map: layer norm, the mean over the present tokens, one linear layer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, classes)
        _keep_moment(self)

    def forward(self, map_B: Tensor, present_BL: Tensor | None = None) -> Tensor:
        tokens_BLD = self.norm(tokens_of(map_B))
        if present_BL is None:
            mean_BD = tokens_BLD.mean(1)
        else:
            mean_BD = (tokens_BLD * present_BL[:, :, None]).sum(1) / present_BL.sum(1, keepdim=True)
        logits: Tensor = self.linear(mean_BD)
        return logits


def tokens_of(map_B: Tensor) -> Tensor:
    """A map (B, D, H, W) as tokens (B, L, D), row by row."""
    return map_B.permute(0, 2, 3, 1).flatten(1, 2)


def map_of(tokens_BLD: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `tokens_of`."""
    batch, _, depth = tokens_BLD.shape
    return tokens_BLD.view(batch, height, width, depth).permute(0, 3, 1, 2)


def _keep_moment(module: nn.Module) -> None:
    """Linear layers that begin by giving their inputs' second moment: torch's own give a third of it, from which small
    transformers take several times the epochs to learn anything.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)


def hidden_units(family: str, width: int, depth: int, heads: int, mlp_ratio: float) -> int:
    """The perceptron's units in a transformer of these fields; a `Mistake` for fields that make none."""
    at_least_one(family, width=width, depth=depth, heads=heads)
    if width % heads:
        below = width - width % heads
        near = f"{below} or {below + heads}" if below else f"{heads}"
        raise Mistake(
            f"{family}: width must be a multiple of heads, got width {width} and {heads} heads; "
            f"take a width of {near}, in a space suggest_int('width', {heads}, ..., step={heads})"
        )
    if isinstance(mlp_ratio, bool) or not isinstance(mlp_ratio, (int, float)) or not 0 < mlp_ratio < float("inf"):
        raise Mistake(f"{family}: mlp_ratio must be above 0 and finite, got {mlp_ratio!r}")
    return max(1, round(width * mlp_ratio))
