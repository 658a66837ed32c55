"""Read inner activations of any module by dotted path. Hooks are always removed, also when the forward pass raises."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch.mistakes import Mistake


class _ReachedError(Exception):
    """Ends a forward pass whose last wanted layer has run."""


_Seen = tuple[object, int]
"""A layer's output and its version then, which rises when it is changed in place."""


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
    return forward_to_last(module, [path], inputs)[path]


def forward_to_last(module: nn.Module, paths: Sequence[str], inputs: Tensor) -> dict[str, Tensor]:
    """Run `module` up to whichever of the layers at `paths` is last, nothing above it; their outputs by path."""
    seen: dict[str, _Seen] = {}

    def stop() -> None:
        if len(seen) == len(set(paths)):
            raise _ReachedError

    with _watched(module, paths, seen, stop), suppress(_ReachedError):
        module(inputs)
    return _tensors(seen, paths)


def forward_with(module: nn.Module, path: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The output of `module` and that of its layer at `path`, from one forward pass."""
    seen: dict[str, _Seen] = {}
    with _watched(module, [path], seen, lambda: None):
        output: Tensor = module(inputs)
    return output, _tensors(seen, [path])[path]


@contextmanager
def _watched(
    module: nn.Module, paths: Iterable[str], seen: dict[str, _Seen], then: Callable[[], None]
) -> Iterator[None]:
    """While this lasts, `seen` gets the first output of each layer at `paths`; `then` is called after each layer."""

    def watch(path: str) -> Callable[[nn.Module, Any, object], None]:
        def hook(_module: nn.Module, _args: Any, output: object) -> None:
            seen.setdefault(path, (output, _version(output)))
            then()

        return hook

    handles = [module.get_submodule(path).register_forward_hook(watch(path)) for path in set(paths)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _version(output: object) -> int:
    return output._version if isinstance(output, Tensor) and not output.is_inference() else 0


def _tensors(seen: dict[str, _Seen], paths: Iterable[str]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in paths:
        if path not in seen:
            raise Mistake(f"layer {path!r} is never run in the forward pass, so it has no features")
        output, version = seen[path]
        if not isinstance(output, Tensor):
            raise Mistake(f"layer {path!r} gives a {type(output).__name__}, features must be one tensor")
        if _version(output) != version:
            raise Mistake(f"what follows layer {path!r} changes its output in place; name the layer after it instead")
        found[path] = output
    return found


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
