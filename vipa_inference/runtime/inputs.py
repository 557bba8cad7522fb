"""Checks of what goes into a runtime: shapes and types are those of the model, and one observation at a time."""

import numpy as np
from numpy.typing import NDArray

from vipa_inference.config import VipaVlaConfig
from vipa_inference.policy import PolicyError
from vipa_inference.runtime.base import Array, Batch


def check_batch(batch: Batch, config: VipaVlaConfig) -> None:
    """Refuse a batch that a runtime cannot take.

    Raises:
        PolicyError: a tensor is missing, of another type or shape, there is more than one observation, or the prompt
            does not hold one placeholder for each image token; the message names it.
    """
    frames = config.frames * len(config.views)
    size = config.semantic.image_size
    _check(batch, "semantic_pixels", np.float32, (1, frames, 3, size, size))
    if config.spatial is not None:
        size = config.spatial.image_size
        _check(batch, "spatial_pixels", np.float32, (1, frames, 3, size, size))
    ids = _check(batch, "input_ids", np.int64, (1, None))
    _check(batch, "attention_mask", np.int64, (1, ids.shape[1]))
    placeholders = int(np.count_nonzero(ids == config.language.image_token_id))
    if placeholders != frames * config.semantic.tokens:
        raise PolicyError(
            f"runtime: input_ids hold {placeholders} image placeholders, expected {frames} frames of "
            f"{config.semantic.tokens}"
        )


def check_action_inputs(
    config: VipaVlaConfig,
    context: Array,
    proprioception: Array,
    actions: Array,
    prefix: Array | None = None,
    prefix_length: int = 0,
    tau: Array | None = None,
) -> None:
    """Refuse inputs of the action head that are not the model's.

    Raises:
        PolicyError: a wrong shape or type, or a prefix longer than the chunk; the message names it.
    """
    chunk = (1, config.action.horizon, config.action.action_dimension)
    inputs: Batch = {"context": context, "proprioception": proprioception, "actions": actions}
    _check(inputs, "context", np.float32, (1, config.action_queries, config.language.width))
    _check(inputs, "proprioception", np.float32, (1, config.action.proprioception_dimension))
    _check(inputs, "actions", np.float32, chunk)
    if prefix is not None:
        _check({"prefix": prefix}, "prefix", np.float32, chunk)
    if tau is not None:
        _check({"tau": tau}, "tau", np.float32, chunk[:2])
    if not 0 <= prefix_length <= (0 if prefix is None else chunk[1]):
        raise PolicyError(f"runtime: prefix_length {prefix_length} does not fit a prefix of {chunk[1]} actions")


def _check(batch: Batch, name: str, kind: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[np.generic]:
    values = batch.get(name)
    wanted = f"{np.dtype(kind)} ({', '.join('L' if n is None else str(n) for n in shape)})"
    if values is None:
        raise PolicyError(f"runtime: no {name} in the batch, expected {wanted}")
    fits = len(values.shape) == len(shape) and all(n in (None, m) for n, m in zip(shape, values.shape, strict=True))
    if values.dtype != kind or not fits:
        raise PolicyError(f"runtime: {name} is {values.dtype} {values.shape}, expected {wanted}")
    return values
