"""Read inner activations of any module by dotted path. Hooks are always removed, also when the forward pass raises."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch.mistakes import Mistake


class _ReachedError(Exception):
    """Carries a layer's output out of the forward pass, so that nothing above the layer runs."""

    def __init__(self, feature: object) -> None:
        super().__init__()
        self.feature = feature


def layer_names(module: nn.Module) -> tuple[str, ...]:
    """Dotted paths of the layers that hints may join, in forward order.

    A module may name its own in an attribute `hint_layers`; otherwise they are its direct children but the last,
    which is taken to be the classifier; in place of a `ModuleList` or `ModuleDict`, which is never run itself, stand
    its own children. All of kdsearch's student families follow the second rule.
    """
    named = getattr(module, "hint_layers", None)
    return tuple(named) if named is not None else tuple(_run_children(module))[:-1]


def _run_children(module: nn.Module, prefix: str = "") -> Iterator[str]:
    for name, child in module.named_children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from _run_children(child, f"{prefix}{name}.")
        else:
            yield prefix + name


def nearest_layer(position: float, layers: Sequence[str]) -> str:
    """The layer of `layers`, in forward order, nearest to a relative position in (0, 1]: 0.5 is the middle."""
    if not layers:
        raise Mistake("this network names no hint layers; give it an attribute hint_layers of dotted paths")
    # halves go up: round() takes them to the even number, and 0.5 would be the second of five layers
    return layers[min(len(layers), max(1, int(position * len(layers) + 0.5))) - 1]


def find_layer(module: nn.Module, path: str, owner: str) -> nn.Module:
    """The submodule at `path`; a `Mistake` that names the existing ones if there is none (`owner` is for it)."""
    try:
        return module.get_submodule(path)
    except AttributeError:
        known = ", ".join(layer_names(module)) or "none"
        raise Mistake(f"the {owner} has no layer {path!r}; its hint layers are: {known}") from None


def forward_to(module: nn.Module, path: str, inputs: Tensor) -> Tensor:
    """Run `module` up to the layer at `path` and return that layer's output; what lies above is not run at all."""

    def stop(_module: nn.Module, _args: Any, output: object) -> None:
        raise _ReachedError(output)

    handle = module.get_submodule(path).register_forward_hook(stop)
    try:
        module(inputs)
    except _ReachedError as reached:
        if not isinstance(reached.feature, Tensor):
            raise Mistake(f"layer {path!r} gives a {type(reached.feature).__name__}, hints need one tensor") from None
        return reached.feature
    finally:
        handle.remove()
    raise Mistake(f"layer {path!r} is never run in the forward pass, so it cannot give a hint")


def layer_shapes(module: nn.Module, paths: Iterable[str], in_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Output shapes, without the batch dimension, of the layers at `paths`, for inputs of `in_shape`.

    Leaves the module as it was, batch-norm statistics and mode included; works on the meta device.
    """
    device = next(module.parameters()).device
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            example = torch.zeros(1, *in_shape, device=device)
            return {path: tuple(forward_to(module, path, example).shape[1:]) for path in paths}
    finally:
        module.train(training)
