"""Graphs of the model as ONNX files."""

import contextlib
import io
import logging
import warnings
from collections.abc import Generator
from pathlib import Path

import torch

from vipa_inference.config import VipaVlaConfig
from vipa_inference.policy import PolicyError
from vipa_inference.runtime.graphs import Graph, example_inputs

OPSET = 20  # the first with Gelu; bfloat16 of all operators needs 22
EXTERNAL_DATA_BYTES = 1_900_000_000  # an ONNX file is a protocol buffer, which ends at 2 GB


class ExportError(PolicyError):
    """A graph cannot be exported."""


def export_graph(graph: Graph, config: VipaVlaConfig, file: Path, opset: int = OPSET, any_prompt: bool = False) -> None:
    """Write a graph as ONNX: static shapes, one file unless its weights exceed what one may hold.

    Args:
        graph: from ``make_graphs``; in evaluation mode.
        config: of the model.
        file: to write; weights that do not fit into it lie beside it as ``<name>.onnx.data``.
        opset: of ONNX.
        any_prompt: leave the length of the prompt open, so that a runtime can leave out the padding.

    Raises:
        ExportError: the exporter met something that ONNX cannot express, or the file cannot be written.
    """
    inputs = example_inputs(graph, config)
    size = sum(t.numel() * t.element_size() for t in graph.module.state_dict().values())
    length = torch.export.Dim("prompt_length", min=2, max=config.prompt_length)
    shapes = {port.name: {1: length} if port.integer else None for port in graph.inputs}
    try:
        with torch.no_grad(), quietly():
            program = torch.onnx.export(
                graph.module,
                kwargs=inputs,
                dynamo=True,
                opset_version=opset,
                input_names=[port.name for port in graph.inputs],
                output_names=[graph.output.name],
                dynamic_shapes=shapes if any_prompt else None,
                optimize=False,
                verbose=False,
            )
            if program is None:
                raise ExportError(f"{graph.name}: the exporter gave no graph")
            program.save(str(file), external_data=size > EXTERNAL_DATA_BYTES)
    except (torch.onnx.OnnxExporterError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"{graph.name}: cannot be exported to {file}: {reason}") from None


@contextlib.contextmanager
def quietly() -> Generator[None, None, None]:
    """Without what the exporter reports: its progress and its deprecations, which are no news to the user."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
