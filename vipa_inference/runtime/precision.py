"""Graphs in fp16 or bf16: TensorRT's networks are strongly typed and take the precision of every layer from the graph.

Inputs and outputs stay fp32, and so does inside what would lose too much:

- the angles of rotary positions and of time embeddings, with all that they are worked out from: bf16 holds no integer
  above 256 exactly;
- layer norms, and the mean square of each RMS norm: its squares exceed what fp16 holds, and layer norms that work out
  their statistics in bf16 more than triple the error of nano's action head;
- the action chunk while the flow is integrated, so that rounding does not add up over the denoising steps.
"""

from collections.abc import Iterable

import ml_dtypes
import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass, ShapeInferencePass

from vipa_inference.policy import PolicyError

TYPES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
OPSET = 22  # the first in which every operator takes bf16
_NUMPY_TYPES = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}
_ANGLES = {"Cos", "Sin"}
_AFTER_MEAN = {"Add", "Sqrt", "Reciprocal"}
_SQUARES = {"Pow", "Mul"}
_SUMS = {"Add", "Where", "Identity"}


class PrecisionError(PolicyError):
    """A graph cannot be brought into a precision."""


def in_precision(model: ir.Model, precision: str) -> ir.Model:
    """The graph with fp16 or bf16 inside, fp32 outside; it is changed in place.

    Args:
        model: in fp32, without control flow.
        precision: "fp16" or "bf16".

    Raises:
        PrecisionError: no such precision, control flow, or a weight that the precision cannot hold.
    """
    if precision not in TYPES:
        raise PrecisionError(f"precision {precision}: unknown; known: {', '.join(TYPES)}")
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    ShapeInferencePass()(model)
    for node in model.graph:
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            raise PrecisionError(f"precision {precision}: {node.op_type} {node.name}: control flow is not supported")
    _Conversion(model.graph, precision).run()
    model.opset_imports[""] = max(OPSET, model.opset_imports.get("", 0))
    model.graph.opset_imports[""] = model.opset_imports[""]
    return model


def kept_in_fp32(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that stay fp32: angles, norms, and the sums that lead from an input to an output."""
    layer_norms = {node for node in graph if node.op_type == "LayerNormalization"}
    return _angles(graph) | layer_norms | _means(graph) | _running_sums(graph)


def _angles(graph: ir.Graph) -> set[ir.Node]:
    found: set[ir.Node] = set()
    waiting = [node for node in graph if node.op_type in _ANGLES]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [source for value in node.inputs if value is not None and (source := value.producer())]
    return found


def _means(graph: ir.Graph) -> set[ir.Node]:
    found: set[ir.Node] = set()
    for mean in graph:
        if mean.op_type != "ReduceMean":
            continue
        found.add(mean)
        source = mean.inputs[0].producer() if mean.inputs[0] is not None else None
        if source is not None and source.op_type in _SQUARES and source.outputs[0].consumers() == (mean,):
            found.add(source)
        after = mean.outputs[0].consumers()
        while len(after) == 1 and after[0].op_type in _AFTER_MEAN:
            found.add(after[0])
            after = after[0].outputs[0].consumers()
    return found


def _running_sums(graph: ir.Graph) -> set[ir.Node]:
    """Nodes that add to what came in, on the way to what goes out."""
    reached: set[ir.Node] = set()
    for node in graph:
        inputs = [value for value in node.inputs if value is not None and value.dtype == ir.DataType.FLOAT]
        if node.op_type in _SUMS and any(value.is_graph_input() or value.producer() in reached for value in inputs):
            reached.add(node)
    leading: set[ir.Node] = set()
    for node in reversed(graph):
        if node in reached and any(v.is_graph_output() or leading.intersection(v.consumers()) for v in node.outputs):
            leading.add(node)
    return leading


class _Conversion:
    """One graph on its way into a lower precision."""

    def __init__(self, graph: ir.Graph, precision: str) -> None:
        self._graph, self._precision = graph, precision
        self._low = TYPES[precision]
        self._kept = kept_in_fp32(graph)
        self._others: dict[ir.Value, ir.Value] = {}  # the same values in the other precision

    def run(self) -> None:
        nodes = list(self._graph)
        is_float = {
            value
            for node in nodes
            for value in (*node.inputs, *node.outputs)
            if value is not None and value.dtype == ir.DataType.FLOAT
        }
        for node in nodes:
            if node not in self._kept:
                self._lower(node, is_float)
        for node in nodes:
            wanted = ir.DataType.FLOAT if node in self._kept else self._low
            for i, value in enumerate(node.inputs):
                if value is not None and value in is_float and value.dtype != wanted:
                    node.replace_input_with(i, self._other(value, wanted))
        for i, value in enumerate(self._graph.outputs):
            if value.dtype == self._low:
                self._graph.outputs[i] = self._raised(value)
        self._remove_unused(value for value in self._others if value.is_initializer())

    def _lower(self, node: ir.Node, is_float: set[ir.Value]) -> None:
        for value in node.outputs:
            if value in is_float:
                value.dtype = self._low
        to = node.attributes.get("to")
        if node.op_type == "Cast" and to is not None and to.as_int() == ir.DataType.FLOAT:
            node.attributes["to"] = ir.AttrInt64("to", self._low)

    def _other(self, value: ir.Value, wanted: ir.DataType) -> ir.Value:
        """The same value in the wanted type, made once."""
        if value not in self._others:
            self._others[value] = self._constant(value) if value.is_initializer() else self._cast(value, wanted)
        return self._others[value]

    def _constant(self, value: ir.Value) -> ir.Value:
        assert value.const_value is not None
        array = value.const_value.numpy()
        with np.errstate(over="ignore"):
            low = array.astype(_NUMPY_TYPES[self._precision])
        if not np.array_equal(np.isfinite(low.astype(np.float32)), np.isfinite(array)):
            largest = float(np.abs(array).max())
            raise PrecisionError(
                f"precision {self._precision}: {value.name} reaches {largest:.3g}, which it cannot hold. Use bf16"
            )
        name = f"{value.name}_{self._precision}"
        made = ir.Value(
            name=name, shape=value.shape, type=ir.TensorType(self._low), const_value=ir.tensor(low, name=name)
        )
        self._graph.register_initializer(made)
        return made

    def _cast(self, value: ir.Value, wanted: ir.DataType) -> ir.Value:
        made = ir.Value(name=f"{value.name}_{wanted.name.lower()}", shape=value.shape, type=ir.TensorType(wanted))
        self._insert(ir.node("Cast", [value], {"to": wanted}, outputs=[made], name=f"cast_{made.name}"), value)
        return made

    def _raised(self, value: ir.Value) -> ir.Value:
        """An output in fp32, under the name that it had."""
        made = ir.Value(name=value.name, shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))
        value.name = f"{value.name}_{self._precision}"
        self._insert(
            ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, outputs=[made], name=f"cast_{made.name}"), value
        )
        return made

    def _insert(self, cast: ir.Node, value: ir.Value) -> None:
        producer = value.producer()
        if producer is not None:
            self._graph.insert_after(producer, cast)
        else:
            self._graph.insert_before(self._graph[0], cast)

    def _remove_unused(self, values: Iterable[ir.Value]) -> None:
        for value in values:
            if not value.uses() and value.name is not None:
                self._graph.initializers.pop(value.name)
