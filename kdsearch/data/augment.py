"""Replayable augmentation: the training split as numbered views, each a pure function of the example and its number.

Shape letters: N examples, B batch, C channels, H height, W width, D drawn numbers.
View 0 is the data as it is; epoch e of a trial's whole budget uses view e mod V. Because a view is the same whenever
and wherever it is made, the teacher's signals are computed once per view, and student and teacher see the same pixels
(Beyer et al. 2022, arXiv:2106.05237; TinyViT, arXiv:2207.10666).
"""

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from kdsearch.mistakes import Mistake
from kdsearch.plain import as_json, is_frozen, is_number
from kdsearch.seeds import derive


@runtime_checkable
class Augmentation(Protocol):
    """What a study may augment with: `Augment`, or a frozen dataclass of plain values of the user's own.

    `apply` gives the stored inputs (B, ...) of the training examples `index_B` (B,) as `view` (1 to `views` - 1) shows
    them, in the same shape. It must depend on its arguments alone, each example on its own index and never on its
    place in the batch: `drawn` gives such random numbers. It is never called for view 0.
    """

    @property
    def views(self) -> int: ...

    def apply(self, inputs_B: Tensor, index_B: Tensor, view: int) -> Tensor: ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Flip, shift, cutout and mixup, in this order; all off by default.

    `flip`: mirrored left to right, for every second example by chance. `shift`: moved by up to so many pixels in each
    direction; what moves in repeats the nearest pixel of the border, so that neither a black background nor a photo
    gets an edge. `cutout` (DeVries & Taylor, arXiv:1708.04552): a square of this side around a random pixel, clipped
    at the border, set to 0 (in data as stored: black; the paper's is the mean). `mixup` (Zhang et al.,
    arXiv:1710.09412): the alpha of the Beta(alpha, alpha) from which an example's weight is drawn; it is mixed with
    another example, under its own flip, shift and cutout. Flat inputs know mixup alone.

    `views`: how many views there are, the data as they are included; a teacher's logits are kept for each.
    """

    shift: int = 0
    flip: bool = False
    cutout: int = 0
    mixup: float = 0.0
    views: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("shift", "cutout"):
            if not _whole(getattr(self, name)) or getattr(self, name) < 0:
                raise Mistake(f"{name} must be a whole number of pixels, at least 0, got {getattr(self, name)!r}")
        if not is_number(self.mixup) or not 0 <= self.mixup < math.inf:
            raise Mistake(f"mixup must be the Beta distribution's alpha, at least 0 (off), got {self.mixup}")
        check_views(self)

    def apply(self, inputs_B: Tensor, index_B: Tensor, view: int) -> Tensor:
        """Flip, shift and cutout of images (B, C, H, W) of any type; mixup needs other examples: see `mixing`."""
        if view == 0 or not (self.flip or self.shift or self.cutout):
            return inputs_B
        if inputs_B.ndim != 4:
            raise Mistake(
                f"Augment's flip, shift and cutout need images (C, H, W), the inputs are of shape "
                f"{tuple(inputs_B.shape[1:])}; flat inputs know mixup alone"
            )
        height, width = inputs_B.shape[2:]
        if max(self.shift, self.cutout) >= min(height, width):
            raise Mistake(
                f"shift and cutout must be below the image's side, got {self.shift} and {self.cutout} for images of "
                f"{height}x{width}"
            )
        flip_B, down_B, right_B, *centre = self._drawn(index_B, view)[:, :5].unbind(1)
        moved = inputs_B
        if self.flip or self.shift:
            from_BH = (torch.arange(height) - self._steps(down_B)).clamp(0, height - 1)
            from_BW = (torch.arange(width) - self._steps(right_B)).clamp(0, width - 1)
            if self.flip:
                from_BW = torch.where(flip_B[:, None] < 0.5, width - 1 - from_BW, from_BW)
            moved = _gathered(inputs_B, from_BH, from_BW)
        if self.cutout:
            rows_BH = _span((centre[0] * height).floor(), self.cutout, height)
            columns_BW = _span((centre[1] * width).floor(), self.cutout, width)
            moved = moved * ~(rows_BH[:, :, None] & columns_BW[:, None, :])[:, None]
        return moved

    def mixing(self, index_B: Tensor, view: int, examples: int) -> tuple[Tensor, Tensor] | None:
        """Mixup's partner of each example, an index (B,) below `examples`, and the example's own weight (B,) in
        [0, 1], float32; None where nothing is mixed.
        """
        if view == 0 or not self.mixup:
            return None
        from scipy.special import betaincinv

        partner_B, level_B = self._drawn(index_B, view)[:, 5:].unbind(1)
        # to four digits, so that another build of SciPy does not change a bit
        weight_B = np.round(betaincinv(self.mixup, self.mixup, level_B.numpy()), 4)
        return (partner_B * examples).long(), torch.from_numpy(weight_B).float()

    def _drawn(self, index_B: Tensor, view: int) -> Tensor:
        return drawn(index_B, 7, self.seed, view)

    def _steps(self, level_B: Tensor) -> Tensor:
        """(B, 1) whole steps, uniform in [-shift, shift]."""
        return ((level_B * (2 * self.shift + 1)).floor().long() - self.shift)[:, None]


def drawn(index_B: Tensor, numbers: int, seed: int, view: int) -> Tensor:
    """Uniform random numbers in [0, 1), (B, D) float64: `numbers` of them that belong to each example and view.

    The same on any machine: NumPy promises Philox's raw stream for ever. An example's numbers do not depend on the
    batch that it is in.
    """
    rows = 1 << int(index_B.max()).bit_length() if len(index_B) else 1
    return torch.from_numpy(_table(rows, numbers, seed, view))[index_B].double()


@lru_cache(maxsize=4)
def _table(rows: int, numbers: int, seed: int, view: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """The numbers of the first `rows` examples; more rows only add to them. 24 bits each: exact in float32."""
    raw = np.random.Philox(key=derive("view", seed, view)).random_raw(rows * numbers)
    return ((raw >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)).reshape(rows, numbers)


def _gathered(inputs_B: Tensor, from_BH: Tensor, from_BW: Tensor) -> Tensor:
    """Images whose pixel (y, x) is the given one's (from_BH[:, y], from_BW[:, x])."""
    channels, height, width = inputs_B.shape[1:]
    place_BHW = from_BH[:, :, None] * width + from_BW[:, None, :]
    flat_BCP = inputs_B.reshape(-1, channels, height * width)
    return flat_BCP.gather(2, place_BHW.flatten(1)[:, None].expand(-1, channels, -1)).view(inputs_B.shape)


def _span(centre_B: Tensor, side: int, length: int) -> Tensor:
    """(B, length) true on the `side` places around each centre, clipped: from centre - side // 2 on."""
    first_B1 = (centre_B - side // 2)[:, None]
    places = torch.arange(length)
    return (places >= first_B1) & (places < first_B1 + side)


def check_views(augment: Augmentation) -> None:
    """Raise `Mistake` where `augment` is none: a frozen dataclass of plain values with `views` >= 1 and `apply`."""
    if not is_frozen(augment) or not isinstance(augment, Augmentation):
        raise Mistake(
            "augment must be Augment(...) or a frozen dataclass with views and apply(inputs_B, index_B, view), "
            f"got {type(augment).__name__}"
        )
    if not _whole(augment.views) or augment.views < 1:
        raise Mistake(f"views must be a whole number of at least 1 (the data as they are), got {augment.views!r}")


def described(augment: Augmentation) -> str:
    """One line for tables: the class and those fields that are not at their default."""
    defaults = {spec.name: spec.default for spec in dataclasses.fields(augment)}  # type: ignore[arg-type]
    fields = {name: value for name, value in as_json(augment).items() if name != "kind"}
    said = (f"{name}={value}" for name, value in fields.items() if getattr(augment, name) != defaults[name])
    return f"{type(augment).__name__}({', '.join(said)})"


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
