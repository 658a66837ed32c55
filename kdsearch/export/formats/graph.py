"""A student's network as a graph: a torch.export program, and the ONNX model made from that.

Both take a batch of any size as `input`. Trained parameters keep their PyTorch names, behind `network.` where softmax
or normalization stands around the network. That is why the ONNX model is simplified here and not by torch, which
folds batch norm into the convolutions, transposes matrices and merges equal parameters: what is in the file could
then not be compared with what was trained. ONNX Runtime does the same when it loads a file, so nothing runs slower.

Traces of the calls that made each operator are left out: they hold the paths of this machine.
"""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from kdsearch.mistakes import Mistake, place_of

if TYPE_CHECKING:
    import onnx
    import onnx_ir

INPUT = "input"
_LARGEST_BYTES = 2_000_000_000
"""Protocol buffers, which ONNX files are, end at 2 GiB."""
_WAY_OUT = "leave out the formats that hold the network (--no-onnx, no --pt2, no --int8)"


class Surrounded(nn.Module):
    """`network` between the normalization of its data, where `statistics` (mean, std) are given, and softmax."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, statistics: tuple[Tensor, Tensor] | None, *, softmax: bool) -> None:
        super().__init__()
        self.network = network
        self.softmax = softmax
        self.normalize = statistics is not None
        if statistics is not None:
            self.register_buffer("mean", statistics[0])
            self.register_buffer("std", statistics[1])

    def forward(self, inputs: Tensor) -> Tensor:
        if self.normalize:
            inputs = (inputs.float() - self.mean) / self.std
        output: Tensor = self.network(inputs)
        return output.softmax(1) if self.softmax else output


def idle(program: ExportedProgram) -> set[str]:
    """The parameters that the network has and never uses: no graph holds them."""
    named = program.graph_signature.inputs_to_parameters
    return {named[node.name] for node in program.graph.nodes if node.name in named and not node.users}


def traced(network: nn.Module, example_B: Tensor) -> ExportedProgram:
    """`network` as a program that takes inputs like `example_B` in batches of any size.

    Raises `Mistake` with the line of the user's code that cannot be followed.
    """
    try:
        with quiet():
            program = torch.export.export(network, (example_B,), dynamic_shapes=({0: Dim("batch")},), strict=False)
    except Exception as error:  # the user's own code runs here
        raise Mistake(
            f"the student cannot become a torch.export program: {_gist(error)}{place_of(error)}; {_WAY_OUT}, or write "
            "its forward without decisions that depend on the values or the number of its inputs"
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def translated(program: ExportedProgram, output: str) -> "onnx.ModelProto":
    """The program as an ONNX model with `output` as its output's name. Raises `Mistake` with the operator that ONNX
    does not have, and for a network too large for one file.
    """
    import onnx_ir

    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size > _LARGEST_BYTES:
        raise Mistake(f"an ONNX file holds at most 2 GB, the student has {size / 1e9:.1f}; leave it out (--no-onnx)")
    try:
        with quiet():
            made = torch.onnx.export(
                program,
                (),
                dynamo=True,
                input_names=[INPUT],
                output_names=[output],
                dynamic_shapes=({0: "batch"},),
                external_data=False,
                optimize=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise Mistake(
            f"the student cannot become ONNX: {_untranslatable(error)}; leave out --int8 and add --no-onnx, or write "
            "its forward without that"
        ) from error
    assert made is not None
    _simplify(made.model, {name for name, _ in program.named_parameters()})
    model = onnx_ir.to_proto(made.model)
    shapes = [value for value in model.graph.value_info if value.name not in made.model.graph.initializers]
    del model.graph.value_info[:]
    model.graph.value_info.extend(shapes)  # an initializer has its shape in itself
    return model


def _simplify(model: "onnx_ir.Model", trained: set[str]) -> None:
    """Fold what is constant, but for the `trained` parameters; drop what repeats, is unused or of this machine."""
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants_ir

    def should_fold(node: "onnx_ir.Node") -> bool | None:
        return False if any(value is not None and value.name in trained for value in node.inputs) else None

    for _ in range(2):  # what is folded lets more be folded
        fold_constants_ir(model, should_fold=should_fold)
    for step in (
        common.IdentityEliminationPass(),
        common.CommonSubexpressionEliminationPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.RemoveUnusedNodesPass(),
        common.ClearMetadataAndDocStringPass(),
    ):
        step(model)


def _untranslatable(error: BaseException) -> str:
    found: BaseException = error
    while found.__cause__ is not None:
        found = found.__cause__
    operator = re.search(r"op='([^']+)'", str(found))
    return f"there is no ONNX counterpart of the operator {operator[1]}" if operator else _gist(found)


def _gist(error: BaseException) -> str:
    """The first two lines of what torch says, without its advice on how to be told more."""
    said = re.sub(r"For more information.*|\(unhinted:.*", "", str(error))
    lines = [line.strip(" -\t") for line in said.splitlines() if line.strip(" -\t")]
    return f"{type(error).__name__}: {' '.join(lines[:2])[:300]}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' remarks on packages that are not there and on their own deprecations; errors are raised
    all the same.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        said = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
