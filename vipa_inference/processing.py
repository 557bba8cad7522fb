"""Observations to the model's tensors, and its actions back: the only place where that is done.

Training calls the same functions on recorded frames, so that what the model learned from is what it gets on the robot.
Nothing here needs torch.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_inference.config import VipaVlaConfig
from vipa_inference.description import HAND_NAMES
from vipa_inference.observation_checks import check_image, check_observation
from vipa_inference.policy import ACTION_DIMENSION, CommittedPlan, Observation, PolicyError
from vipa_inference.real_time_chunking import interpolate
from vipa_inference.rotations import rotation_vector_from_matrix, six_d_from_matrix
from vipa_inference.runtime.base import Batch
from vipa_inference.statistics import Statistics
from vipa_inference.tokenizers import Tokenizer

Array = NDArray[np.float64]
Image = NDArray[np.uint8]  # (height, width, 3) RGB
Pixels = NDArray[np.float32]  # (F, 3, S, S)

PROPRIOCEPTION_NAMES = (
    *("x", "y", "z"),  # end effector in the base frame, m
    *("rotation_xx", "rotation_yx", "rotation_zx"),  # its x axis in the base frame
    *("rotation_xy", "rotation_yy", "rotation_zy"),  # its y axis
    *(f"joint_{i}" for i in range(1, 8)),  # rad
    *HAND_NAMES,
)
"""The 22 dimensions of proprioception."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB; what InternVL expects
SPATIAL_MEAN, SPATIAL_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # to [-1, 1]; what CUT3R expects
PADDING_ID = 0  # any token: the attention mask hides it


def proprioception_vector(end_effector_pose: Array, joint_positions: Array, hand_positions: Array) -> Array:
    """Proprioception (..., 22) of poses (..., 4, 4), joints (..., 7) rad and hand positions (..., 6), in SI units."""
    rotation = six_d_from_matrix(end_effector_pose[..., :3, :3])
    return np.concatenate([end_effector_pose[..., :3, 3], rotation, joint_positions, hand_positions], axis=-1)


def actions_from_poses(poses: Array, hand: Array, reference_pose: Array) -> Array:
    """Actions (..., 12) that lead to target poses (..., 4, 4) and hand targets (..., 6); SI units, base frame.

    The inverse of ``ActionChunk.target_poses``.
    """
    translation = poses[..., :3, 3] - reference_pose[:3, 3]
    rotation = rotation_vector_from_matrix(poses[..., :3, :3] @ reference_pose[:3, :3].T)
    return np.concatenate([translation, rotation, hand], axis=-1)


class Processor:
    """Observations to tensors and back, for one model.

    Args:
        config: of the model.
        statistics: of its proprioception and actions.
        tokenizer: of its language model.

    Raises:
        PolicyError: the configuration or the statistics have another dimension than the vectors declared here, or the
            prompt's template is longer than the prompt.
    """

    def __init__(self, config: VipaVlaConfig, statistics: Statistics, tokenizer: Tokenizer) -> None:
        self.config, self.statistics = config, statistics
        for name, declared, model, known in (
            (
                "proprioception",
                len(PROPRIOCEPTION_NAMES),
                config.action.proprioception_dimension,
                statistics.proprioception.dimension,
            ),
            ("action", ACTION_DIMENSION, config.action.action_dimension, statistics.action.dimension),
        ):
            if not declared == model == known:
                raise PolicyError(
                    f"processing: {name} has {declared} dimensions, the model's has {model}, its statistics {known}. "
                    "Use a checkpoint of this robot"
                )
        self._proprioception = statistics.proprioception.normaliser(config.normalisation)
        self._action = statistics.action.normaliser(config.normalisation)
        self._tokenizer = tokenizer
        self._before_instruction, self._after_instruction = self._template()

    def batch(self, observation: Observation, earlier: Sequence[Observation] = ()) -> Batch:
        """The tensors of one observation, with B = 1; see ``runtime.base.Batch``.

        Args:
            observation: the newest.
            earlier: the ones before it, oldest first, for models with more than one frame per view; where there are too
                few, the oldest stands for those before it.

        Raises:
            PolicyError: an observation cannot be used, or the instruction is empty or too long.
        """
        observations = [*earlier, observation][-self.config.frames :]
        observations = [observations[0]] * (self.config.frames - len(observations)) + observations
        for one in observations:
            check_observation(one, self.config.views)
        semantic, spatial = self.images([one.views[name].image for one in observations for name in self.config.views])
        ids, mask = self.prompt(observation.instruction)
        state = self.proprioception(
            observation.end_effector_pose, observation.joint_positions, observation.hand_positions
        )
        batch: Batch = {
            "semantic_pixels": semantic[None],
            "input_ids": ids[None],
            "attention_mask": mask[None],
            "proprioception": state[None],
        }
        if spatial is not None:
            batch["spatial_pixels"] = spatial[None]
        return batch

    def images(self, views: Sequence[Image]) -> tuple[Pixels, Pixels | None]:
        """Pixels (F, 3, S, S) for the semantic and (F, 3, R, R) for the spatial encoder, None where there is none.

        Each image is fitted into a square without distortion, in its middle; the border is 0, the mean colour.

        Args:
            views: F images of any size; oldest frame first, the views of one frame in the order of ``config.views``.

        Raises:
            PolicyError: another number of images, or one that is not uint8 (height, width, 3).
        """
        config = self.config
        if len(views) != config.images:
            raise PolicyError(
                f"processing: {len(views)} images, expected {config.frames} x {', '.join(config.views)}, oldest first"
            )
        for i, view in enumerate(views):
            check_image(view, f"processing: camera {config.views[i % len(config.views)]}")
        return image_pixels(config, views)

    def prompt(self, instruction: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids (L,) and attention mask (L,) of the prompt with an instruction, padded on the left.

        Raises:
            PolicyError: the instruction is empty or too long.
        """
        text = instruction.strip()
        if not text:
            raise PolicyError("observation: the instruction is empty. Say what the robot shall do")
        tokens = self._tokenizer.encode(text)
        room = self.config.prompt_length - len(self._before_instruction) - len(self._after_instruction)
        if len(tokens) > room:
            raise PolicyError(
                f"observation: the instruction takes {len(tokens)} tokens, at most {room} fit. Shorten it, "
                "or train with a larger model.prompt.text_tokens"
            )
        if self.config.language.image_token_id in tokens:
            raise PolicyError("observation: the instruction holds the placeholder of an image. Rephrase it")
        prompt = [*self._before_instruction, *tokens, *self._after_instruction]
        padding = self.config.prompt_length - len(prompt)
        ids = np.array([PADDING_ID] * padding + prompt, dtype=np.int64)
        return ids, (np.arange(self.config.prompt_length) >= padding).astype(np.int64)

    def proprioception(
        self, end_effector_pose: Array, joint_positions: Array, hand_positions: Array
    ) -> NDArray[np.float32]:
        """Normalised proprioception (..., 22) of poses (..., 4, 4), joints (..., 7) rad and hand positions (..., 6)."""
        return self._proprioception.normalise(proprioception_vector(end_effector_pose, joint_positions, hand_positions))

    def normalise_actions(self, actions: ArrayLike) -> NDArray[np.float32]:
        """Normalised actions (..., 12) of actions (..., 12) in SI units."""
        return self._action.normalise(actions)

    def unnormalise_actions(self, normalised: ArrayLike) -> Array:
        """Actions (..., 12) in SI units of normalised actions (..., 12)."""
        return self._action.unnormalise(normalised)

    def prefix(
        self, committed: CommittedPlan, reference_pose: Array, observation_ns: int, steps: int
    ) -> tuple[NDArray[np.float32], int]:
        """What a chunk must begin with, so that it continues what the robot is committed to.

        Row k is the plan at ``observation_ns + (k + 1) * step_period``, interpolated. Only rows count whose times, and
        those of all rows before, the plan covers; the others are 0.

        Args:
            committed: the plan.
            reference_pose: (4, 4) of the chunk, in the base frame.
            observation_ns: of the chunk, ROS time.
            steps: at most so many rows count.

        Returns:
            Normalised actions (1, H, 12), and how many of them count.
        """
        horizon = self.config.action.horizon
        times_ns = observation_ns + np.round(np.arange(1, horizon + 1) * self.config.step_period * 1e9).astype(np.int64)
        covered = (times_ns >= committed.times_ns[0]) & (times_ns <= committed.times_ns[-1])
        length = min(int(np.logical_and.accumulate(covered).sum()), max(steps, 0))
        prefix = np.zeros((1, horizon, ACTION_DIMENSION), dtype=np.float32)
        rows = interpolate(committed, times_ns[:length])
        prefix[0, :length] = self.normalise_actions(actions_from_poses(rows.poses, rows.hand, reference_pose))
        return prefix, length

    def _template(self) -> tuple[list[int], list[int]]:
        """Ids before the instruction, images included, and after it."""
        prompt = self.config.prompt
        ids, end = template_ids(self.config, self._tokenizer, self.config.images)
        if len(ids) + len(end) >= self.config.prompt_length:
            raise PolicyError(f"prompt.text_tokens: {prompt.text_tokens} leaves no room for an instruction")
        return ids, end


def image_pixels(config: VipaVlaConfig, images: Sequence[Image]) -> tuple[Pixels, Pixels | None]:
    """Pixels (F, 3, S, S) and (F, 3, R, R) of any number of images, as ``Processor.images`` says."""
    size = config.semantic.image_size
    fitted = [_fit(image, size) for image in images]
    semantic = _normalise(fitted, size, IMAGENET_MEAN, IMAGENET_STD)
    if config.spatial is None:
        return semantic, None
    if config.spatial.image_size != size:
        size = config.spatial.image_size
        fitted = [_fit(image, size) for image in images]
    return semantic, _normalise(fitted, size, SPATIAL_MEAN, SPATIAL_STD)


def template_ids(config: VipaVlaConfig, tokenizer: Tokenizer, images: int) -> tuple[list[int], list[int]]:
    """Ids of the prompt's template before the instruction, with the places of some images, and after it."""
    language, prompt = config.language, config.prompt
    before, rest = prompt.template.split("{images}")
    between, after = rest.split("{instruction}")
    image = [language.image_begin_id, *[language.image_token_id] * config.semantic.tokens, language.image_end_id]
    ids = tokenizer.encode(before, special=True)
    for i in range(images):
        ids += [*(tokenizer.encode(prompt.separator, special=True) if i else []), *image]
    ids += tokenizer.encode(between, special=True)
    return ids, tokenizer.encode(after, special=True)


def _fit(image: Image, size: int) -> Image:
    """An image (h, w, 3) whose longer side is ``size`` px, without distortion."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    target = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), target, interpolation=method).astype(np.uint8, copy=False)


def _normalise(images: Sequence[Image], size: int, mean: Sequence[float], std: Sequence[float]) -> Pixels:
    """Pixels (F, 3, size, size): (image / 255 - mean) / std in the middle, 0 around."""
    scale = (1.0 / (255.0 * np.array(std))).astype(np.float32)[:, None, None]
    offset = (-np.array(mean) / np.array(std)).astype(np.float32)[:, None, None]
    pixels = np.zeros((len(images), 3, size, size), dtype=np.float32)
    for canvas, image in zip(pixels, images, strict=True):
        height, width = image.shape[:2]
        top, left = (size - height) // 2, (size - width) // 2
        middle = canvas[:, top : top + height, left : left + width]
        middle[...] = image.transpose(2, 0, 1)
        middle *= scale
        middle += offset
    return pixels
