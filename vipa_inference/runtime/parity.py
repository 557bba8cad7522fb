"""Whether a runtime computes what the model computes: compared with eager torch, in numbers that mean something."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from vipa_inference.config import VipaVlaConfig
from vipa_inference.policy import HAND_DIMENSION
from vipa_inference.processing import PADDING_ID, PROPRIOCEPTION_NAMES
from vipa_inference.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix
from vipa_inference.runtime.base import Array, Batch, Runtime
from vipa_inference.statistics import Normaliser, Statistics, VectorStatistics

MAX_ABSOLUTE = (
    1e-5  # in fp32: of normalised actions, and of each graph's output, whose largest value counts as 1 at least
)
MIN_COSINE, MAX_TRANSLATION_MM, MAX_ROTATION_DEG = 0.999, 1.0, 0.2  # in a lower precision
OBSERVATIONS = 4
ASSUMED_STD = (0.05,) * 3 + (0.2,) * 3 + (0.2,) * HAND_DIMENSION  # m, rad, strokes; see ``assumed_statistics``


class StagedRuntime(Runtime, Protocol):
    """A runtime whose two visual stages can be called one by one."""

    def encode_images(self, batch: Batch) -> Array:
        """Image tokens (1, F, N, D)."""
        ...

    def prefill(self, batch: Batch, image_tokens: Array) -> Array:
        """Hidden states of the action queries (1, Q, D) for image tokens (1, F, N, D)."""
        ...


@dataclass(frozen=True)
class Parity:
    """The largest differences to eager torch over all observations.

    The graphs are compared one by one, each from what eager torch computed before it; the rest is of action chunks that
    were computed from the observation to the end.
    """

    precision: str
    vision_encoder: float  # max abs of image tokens, over the largest of them where that is above 1
    vlm_prefill: float  # of the action queries' hidden states, likewise
    action_head: float  # of normalised actions, likewise
    action_step: float  # of the flow, likewise
    max_absolute: float  # of normalised actions
    cosine: float  # the smallest, of normalised actions
    translation_mm: float
    rotation_deg: float

    @property
    def broken(self) -> tuple[str, ...]:
        """One line per bound that does not hold."""
        if self.precision == "fp32":
            names = ("max_absolute", "vision_encoder", "vlm_prefill", "action_head", "action_step")
            differences = {name.replace("_", " "): float(getattr(self, name)) for name in names}
            return tuple(
                f"{name} {value:.2g}, allowed {MAX_ABSOLUTE:g}"
                for name, value in differences.items()
                if not value <= MAX_ABSOLUTE
            )
        lines: list[str] = []
        if not self.cosine >= MIN_COSINE:
            lines.append(f"cosine {self.cosine:.5f}, allowed {MIN_COSINE}")
        if not self.translation_mm <= MAX_TRANSLATION_MM:
            lines.append(f"translation {self.translation_mm:.3g} mm, allowed {MAX_TRANSLATION_MM:g} mm")
        if not self.rotation_deg <= MAX_ROTATION_DEG:
            lines.append(f"rotation {self.rotation_deg:.3g} deg, allowed {MAX_ROTATION_DEG:g} deg")
        return tuple(lines)

    def to_mapping(self) -> dict[str, Any]:
        """For a file."""
        return {**asdict(self), "broken": list(self.broken)}


def measure_parity(reference: StagedRuntime, candidate: StagedRuntime, statistics: Statistics, seed: int = 0) -> Parity:
    """Compare two runtimes on random observations, with and without a committed prefix."""
    config, generator = reference.config, np.random.default_rng(seed)
    normaliser = statistics.action.normaliser(config.normalisation)
    found = [_compare(reference, candidate, i, normaliser, generator) for i in range(OBSERVATIONS)]
    worst = {name: max(_finite(one[name]) for one in found) for name in found[0]}
    return Parity(precision=candidate.description.precision, cosine=1.0 - worst.pop("one_minus_cosine"), **worst)


def _compare(
    reference: StagedRuntime,
    candidate: StagedRuntime,
    index: int,
    normaliser: Normaliser,
    generator: np.random.Generator,
) -> dict[str, float]:
    """Differences for one random observation; the committed prefix grows with its index, from none."""
    action = reference.config.action
    batch = random_batch(reference.config, generator)
    noise, prefix = (_normal(generator, 1, action.horizon, action.action_dimension) for _ in range(2))
    tau = generator.uniform(size=noise.shape[:2]).astype(np.float32)
    length = index * action.horizon // (2 * OBSERVATIONS)
    state = batch["proprioception"].astype(np.float32)
    images = reference.encode_images(batch)
    context = reference.prefill(batch, images)
    chunk = reference.act(context, state, noise, prefix, length)
    found = candidate.act(candidate.condition(batch), state, noise, prefix, length)
    flow = reference.step(context, state, noise, tau)
    translation_mm, rotation_deg = _action_errors(normaliser.unnormalise(chunk[0]), normaliser.unnormalise(found[0]))
    return {
        "vision_encoder": _relative(images, candidate.encode_images(batch)),
        "vlm_prefill": _relative(context, candidate.prefill(batch, images)),
        "action_head": _relative(chunk, candidate.act(context, state, noise, prefix, length)),
        "action_step": _relative(flow, candidate.step(context, state, noise, tau)),
        "max_absolute": float(np.abs(found - chunk).max()),
        "one_minus_cosine": 1.0 - _cosine(chunk, found),
        "translation_mm": translation_mm,
        "rotation_deg": rotation_deg,
    }


def random_batch(config: VipaVlaConfig, generator: np.random.Generator, text_tokens: int | None = None) -> Batch:
    """Tensors of a random observation with an instruction of ``text_tokens``, None: any number; padded on the left."""
    language, frames = config.language, config.images
    size = config.semantic.image_size
    batch: Batch = {
        "semantic_pixels": _normal(generator, 1, frames, 3, size, size),
        "proprioception": _normal(generator, 1, config.action.proprioception_dimension),
    }
    if config.spatial is not None:
        size = config.spatial.image_size
        batch["spatial_pixels"] = generator.uniform(-1, 1, (1, frames, 3, size, size)).astype(np.float32)
    image = [language.image_begin_id, *[language.image_token_id] * config.semantic.tokens, language.image_end_id]
    below = min(language.image_begin_id, language.image_token_id, language.image_end_id, language.vocabulary)
    room = config.prompt_length - len(image) * frames
    count = int(generator.integers(room // 2, room + 1)) if text_tokens is None else min(text_tokens, room)
    text = generator.integers(0, below, count).tolist()
    padding = room - len(text)
    batch["input_ids"] = np.array([[PADDING_ID] * padding + image * frames + text], dtype=np.int64)
    batch["attention_mask"] = (np.arange(config.prompt_length) >= padding).astype(np.int64)[None]
    return batch


def assumed_statistics() -> Statistics:
    """Statistics for a checkpoint that has none: actions that vary by 50 mm and 0.2 rad."""
    size = len(PROPRIOCEPTION_NAMES)
    return Statistics(
        VectorStatistics(*((value,) * size for value in (0.0, 1.0, -1.0, 1.0))),
        VectorStatistics((0.0,) * len(ASSUMED_STD), ASSUMED_STD, tuple(-s for s in ASSUMED_STD), ASSUMED_STD),
    )


def parity_line(parity: Mapping[str, Any]) -> str:
    """A parity in words."""
    return (
        f"max abs {parity['max_absolute']:.2g}, cosine {parity['cosine']:.6f}, "
        f"{parity['translation_mm']:.2g} mm, {parity['rotation_deg']:.2g} deg"
    )


def _action_errors(expected: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The largest distance, mm, and angle, degrees, between actions (H, 12) in SI units."""
    distances = np.linalg.norm(found[:, :3] - expected[:, :3], axis=-1)
    turned, wanted = matrix_from_rotation_vector(found[:, 3:6]), matrix_from_rotation_vector(expected[:, 3:6])
    angles = np.linalg.norm(rotation_vector_from_matrix(turned @ wanted.transpose(0, 2, 1)), axis=-1)
    return float(distances.max() * 1e3), float(np.degrees(angles.max()))


def _relative(expected: Array, found: Array) -> float:
    return float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))


def _cosine(first: Array, second: Array) -> float:
    a, b = first.ravel().astype(np.float64), second.ravel().astype(np.float64)
    with np.errstate(invalid="ignore"):
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _finite(value: float) -> float:
    return value if np.isfinite(value) else np.inf


def _normal(generator: np.random.Generator, *shape: int) -> Array:
    return generator.standard_normal(shape, dtype=np.float32)
