"""The policy ``vipa``: a checkpoint of VIPA-VLA, a runtime, and the processing between them and the robot."""

import dataclasses
import hashlib
import json
import logging
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from vipa_inference.checkpoint import Checkpoint, load_checkpoint
from vipa_inference.config import PRESETS
from vipa_inference.description import PolicyDescription
from vipa_inference.policy import ACTION_DIMENSION, HAND_DIMENSION, ActionChunk, CameraView, Observation, PolicyError
from vipa_inference.processing import Processor
from vipa_inference.real_time_chunking import continued
from vipa_inference.runtime.select import make_runtime
from vipa_inference.statistics import Statistics
from vipa_inference.tokenizers import make_tokenizer
from vipa_inference.untrained import untrained_checkpoint

if TYPE_CHECKING:
    from vipa_inference.model.action_head import ActionHead

HASH_DIGITS = 16  # of the policy's hash


@dataclass(frozen=True)
class VipaPolicyConfig:
    """Which checkpoint, and how it is run."""

    checkpoint: str = ""  # folder; "" makes an untrained nano, which moves by millimetres, to try the loop
    runtime: str = "auto"  # see runtime.select
    precision: str = "auto"
    real_time_chunking: Literal["auto", "training", "inference", "none"] = "auto"
    """How chunks begin with what is committed: "training" for checkpoints trained with prefixes; "inference" for
    others, by guidance, in torch; "auto": what the checkpoint says; "none": not at all."""
    committed_share: float = 0.5  # at most this share of a chunk begins with what is committed
    seed: int = 0  # of the noise that denoising begins with, and of an untrained model

    def __post_init__(self) -> None:
        if not 0.0 <= self.committed_share <= 1.0:
            raise ValueError(f"committed_share: {self.committed_share} is outside 0-1")
        if self.seed < 0:
            raise ValueError(f"seed: {self.seed} is negative")


class VipaPolicy:
    """Infers chunks with VIPA-VLA.

    Args:
        config: which checkpoint, and how it is run.

    Raises:
        PolicyError: the checkpoint cannot be used or has no statistics, or the runtime cannot run here.
    """

    name = "vipa"

    def __init__(self, config: VipaPolicyConfig | None = None) -> None:
        self.config = config or VipaPolicyConfig()
        folder = Path(self.config.checkpoint).expanduser() if self.config.checkpoint else None
        checkpoint = self._untrained() if folder is None else load_checkpoint(folder)
        if checkpoint.statistics is None:
            raise PolicyError(
                f"{self.config.checkpoint}: holds no statistics.json, so its actions have no scale. "
                "Use a checkpoint that was trained on a robot's recordings"
            )
        statistics = Statistics.from_mapping(checkpoint.statistics, f"{self.config.checkpoint}: statistics")
        tokenizer = make_tokenizer(checkpoint.config.language, folder)
        self.processor = Processor(checkpoint.config, statistics, tokenizer)
        self.runtime = make_runtime(checkpoint, folder, self.config.runtime, self.config.precision)
        self.policy_hash = self._hash(checkpoint)
        self._mode = self.config.real_time_chunking
        if self._mode == "auto":
            self._mode = "training" if checkpoint.config.action.max_prefix else "inference"
        self._guided_head = checkpoint.model.action_head if self._mode == "inference" else None
        self._last_chunk: ActionChunk | None = None
        self._earlier: deque[Observation] = deque(maxlen=checkpoint.config.frames - 1)
        self.reset()

    @property
    def description(self) -> PolicyDescription:
        """Which cameras it needs and what its chunks look like."""
        model = self.processor.config
        return PolicyDescription(model.views, model.action.horizon, model.step_period, model.semantic.image_size)

    def reset(self) -> None:
        """Forget earlier frames; the noise begins anew."""
        self._earlier.clear()
        self._last_chunk = None
        self._noise = np.random.default_rng(self.config.seed)

    def warm_up(self) -> None:
        """Infer once from black pictures: what a runtime allocates or compiles the first time takes longer than a loop
        may wait.

        Raises:
            PolicyError: the model's actions are not finite.
        """
        black = CameraView(np.zeros((480, 640, 3), np.uint8), 0, np.diag([600.0, 600.0, 1.0]), np.eye(4))
        views = dict.fromkeys(self.processor.config.views, black)
        self.infer(Observation(views, np.eye(4), np.zeros(7), np.zeros(HAND_DIMENSION), "hold"))
        self.reset()

    def infer(self, observation: Observation) -> ActionChunk:
        """The chunk of actions for one observation; it begins with what is committed.

        Raises:
            PolicyError: the observation cannot be used, or the model's actions are not finite.
        """
        model = self.processor.config
        batch = self.processor.batch(observation, self._earlier)
        self._earlier.append(observation)
        noise = self._noise.standard_normal((1, model.action.horizon, ACTION_DIMENSION), dtype=np.float32)
        prefix, length = self._prefix(observation)
        context = self.runtime.condition(batch)
        proprioception = batch["proprioception"].astype(np.float32, copy=False)
        if self._guided_head is not None and prefix is not None:
            normalised = self._guided(self._guided_head, observation, context, proprioception, noise, prefix, length)
        else:
            normalised = self.runtime.act(context, proprioception, noise, prefix, length)
        if not np.all(np.isfinite(normalised)):
            raise PolicyError(
                f"policy {self.name}: actions are not finite. Try runtime torch in precision fp32, or train again"
            )
        actions = self.processor.unnormalise_actions(normalised[0])
        actions[:, -HAND_DIMENSION:] = np.clip(actions[:, -HAND_DIMENSION:], 0.0, 1.0)
        self._last_chunk = ActionChunk(
            actions=actions,
            step_period=model.step_period,
            reference_pose=observation.end_effector_pose,
            observation_ns=observation.observation_ns,
            policy=self.name,
            policy_hash=self.policy_hash,
            instruction=observation.instruction,
        )
        return self._last_chunk

    def close(self) -> None:
        """Let go of the runtime."""
        self.runtime.close()

    def _untrained(self) -> Checkpoint:
        logging.getLogger(__name__).warning(
            "policy vipa: no checkpoint is named, so the model is untrained: the robot moves at random, by millimetres"
        )
        return untrained_checkpoint(PRESETS["nano"], self.config.seed)

    def _prefix(self, observation: Observation) -> tuple[NDArray[np.float32] | None, int]:
        """Normalised actions (1, H, 12) that are committed, and how many count; None: none are."""
        if observation.committed is None or self._mode == "none":
            return None, 0
        action = self.processor.config.action
        steps = int(action.horizon * self.config.committed_share)
        if self._mode == "training" and action.max_prefix:
            steps = min(steps, action.max_prefix)
        prefix, length = self.processor.prefix(
            observation.committed, observation.end_effector_pose, observation.observation_ns, steps
        )
        return (prefix, length) if length else (None, 0)

    def _guided(
        self,
        head: "ActionHead",
        observation: Observation,
        context: NDArray[np.float32],
        proprioception: NDArray[np.float32],
        noise: NDArray[np.float32],
        prefix: NDArray[np.float32],
        length: int,
    ) -> NDArray[np.float32]:
        """The normalised chunk (1, H, 12), drawn to what is committed and, less, to what the last chunk intended."""
        from vipa_inference.model.guided_sampling import act_guided

        soft_length = length
        if self._last_chunk is not None and observation.committed is not None:
            plan = continued(observation.committed, self._last_chunk)
            horizon = self.processor.config.action.horizon
            pose, moment_ns = observation.end_effector_pose, observation.observation_ns
            prefix, soft_length = self.processor.prefix(plan, pose, moment_ns, horizon)
        return act_guided(head, context, proprioception, noise, prefix, length, soft_length)

    def _hash(self, checkpoint: Checkpoint) -> str:
        """What decides the actions: weights, statistics, configuration of the model, and runtime."""
        runtime = self.runtime.description
        parts = [
            checkpoint.weights_hash,
            checkpoint.statistics_hash,
            dataclasses.asdict(checkpoint.config),
            [runtime.name, runtime.precision, runtime.device],
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:HASH_DIGITS]
