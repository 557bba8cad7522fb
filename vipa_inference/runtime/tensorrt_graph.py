"""Exported graphs as TensorRT takes them: of fixed shape, without computed constants, in the engine's precision."""

from pathlib import Path

import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants

from vipa_inference.policy import PolicyError
from vipa_inference.runtime.export import EXTERNAL_DATA_BYTES, quietly
from vipa_inference.runtime.precision import in_precision


def prepare_graph(source: Path, target: Path, precision: str, prompt_length: int) -> None:
    """Write an exported graph anew for TensorRT.

    A fixed length of the prompt lets every stage be captured as a CUDA graph. The parser takes neither sequences nor
    axes that are worked out, which is what folding of constants does away with.

    Args:
        source: ONNX in fp32, where the length of the prompt may be open.
        target: to write; weights that do not fit into it lie beside it as ``<name>.data``.
        precision: "fp32", "fp16" or "bf16".
        prompt_length: tokens of every prompt.

    Raises:
        PolicyError: the graph cannot be read, written or brought into the precision.
    """
    try:
        model = ir.load(source)
        fix_prompt_length(model, prompt_length)
        with quietly():
            fold_constants(model)
        RemoveUnusedNodesPass()(model)
        if precision != "fp32":
            in_precision(model, precision)
        weights = [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]
        is_large = sum(tensor.nbytes for tensor in weights) > EXTERNAL_DATA_BYTES
        ir.save(model, target, external_data=f"{target.name}.data" if is_large else None)
    except (OSError, DecodeError, ir.serde.SerdeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise PolicyError(f"{source}: cannot be prepared for TensorRT: {reason}") from None


def fix_prompt_length(model: ir.Model, length: int) -> None:
    """Give every open dimension, which is the length of the prompt, a size."""
    for value in model.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape([dim if isinstance(dim, int) else length for dim in value.shape])
    for node in model.graph:
        for value in node.outputs:
            if value.shape is not None and not value.shape.is_static():
                value.shape = None  # depends on the length in a way that the graph itself says
