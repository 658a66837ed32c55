"""One item of a Dataset as the tensors that Data is made of.

Shape letters: C channels, H height, W width, F features, L length of a sequence.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsearch.data.base import check_tokens
from kdsearch.mistakes import Mistake

_DEEP = ("I", "F")


def example(item: Any, vocabulary: int | None, what: str) -> tuple[Tensor, int]:
    """(input, label) of an item, the input uint8 or float32 (C, H, W) or (F,), or int32 (L,). Raises `Mistake`."""
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise Mistake(f"{what} must be (input, label), got {type(item).__name__}; wrap the Dataset to give these two")
    given, label = item
    tensor = _picture(given, what) if hasattr(given, "getbands") else _numbers(given, what)
    if vocabulary is not None:
        check_tokens(tensor[None], vocabulary, what)
        tensor = tensor.int()
    elif tensor.dtype not in (torch.uint8, torch.float32):
        tensor = tensor.byte() if tensor.dtype == torch.bool else tensor.float()
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise Mistake(f"{what} holds NaN or infinite values; replace them first")
    whole = label.tolist() if isinstance(label, (Tensor, np.generic, np.ndarray)) else label
    if isinstance(whole, bool) or not isinstance(whole, int):
        raise Mistake(f"{what} has the label {label!r}; labels must be integers from 0: convert booleans to 0 and 1")
    return tensor, whole


def _numbers(given: Any, what: str) -> Tensor:
    tensor = given.detach().cpu() if isinstance(given, Tensor) else None
    if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
        tensor = torch.from_numpy(np.ascontiguousarray(given))
    if tensor is None or tensor.is_complex() or not 1 <= tensor.ndim <= 3:
        shape = f" of shape {tuple(tensor.shape)}" if tensor is not None else ""
        raise Mistake(
            f"{what} must have as its input a picture, or a tensor or array of numbers of shape (C, H, W), (H, W) or "
            f"(F,), got {type(given).__name__}{shape}"
        )
    return tensor.unsqueeze(0) if tensor.ndim == 2 else tensor


def _picture(image: Any, what: str) -> Tensor:
    """A PIL picture as (1, H, W) where it is grey, else as (3, H, W)."""
    if image.mode.startswith(_DEEP):
        raise Mistake(f"{what} is a picture of mode {image.mode}, more than 8 bits a channel; give an array instead")
    pixels = torch.from_numpy(np.array(image.convert("L" if image.mode in ("1", "L") else "RGB")))
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
