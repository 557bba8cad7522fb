"""A trained peer as a policy of VIPA's: observation in, chunk of actions out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vipa_inference.description import PolicyDescription
from vipa_inference.observation_checks import check_observation
from vipa_inference.policy import ActionChunk, Observation, PolicyError
from vipa_inference.processing import proprioception_vector
from vipa_training.evaluation.peers.note import IMAGES, STATE, TASK_VECTOR, PeerError, PeerNote
from vipa_training.evaluation.peers.samples import fit_picture, task_vector

ASPECT_TOLERANCE = 0.02


class PeerPolicy:
    """Serves what ``predict`` answers.

    Args:
        note: what the peer learned.
        policy_hash: of its weights.
        predict: a batch under LeRobot's keys, B = 1, to actions (1, H, 12) in SI units.
        forget: begins a new episode.
    """

    def __init__(
        self,
        note: PeerNote,
        policy_hash: str,
        predict: Callable[[dict[str, Any]], Tensor],
        forget: Callable[[], object] = lambda: None,
    ) -> None:
        self.name, self.policy_hash = note.kind, policy_hash
        self._note, self._predict, self._forget = note, predict, forget

    @property
    def description(self) -> PolicyDescription:
        """What the policy needs and gives."""
        return PolicyDescription(self._note.cameras, self._note.horizon, self._note.step_period)

    def reset(self) -> None:
        """Begin a new episode with the same noise as every one."""
        torch.manual_seed(self._note.seed)
        self._forget()

    def infer(self, observation: Observation) -> ActionChunk:
        """The chunk for one observation.

        Raises:
            PolicyError: the observation cannot be used, or the peer did not learn its instruction.
        """
        check_observation(observation, self._note.cameras)
        with torch.inference_mode():
            actions = self._predict(self._batch(observation))
        return ActionChunk(
            actions=np.asarray(actions[0].float().cpu().numpy(), dtype=np.float64),
            step_period=self._note.step_period,
            reference_pose=observation.end_effector_pose,
            observation_ns=observation.observation_ns,
            policy=self.name,
            policy_hash=self.policy_hash,
            exposures_ns={name: observation.views[name].exposure_ns for name in self._note.cameras},
            instruction=observation.instruction,
        )

    def _batch(self, observation: Observation) -> dict[str, Any]:
        state = proprioception_vector(
            observation.end_effector_pose, observation.joint_positions, observation.hand_positions
        )
        try:
            task = task_vector(self._note, observation.instruction)
        except PeerError as error:
            raise PolicyError(str(error)) from None
        batch: dict[str, Any] = {
            STATE: torch.from_numpy(state.astype(np.float32))[None],
            TASK_VECTOR: task[None],
            "task": [observation.instruction.strip()],
        }
        for name in self._note.cameras:
            batch[f"{IMAGES}{name}"] = self._picture(name, observation)
        return batch

    def _picture(self, name: str, observation: Observation) -> Tensor:
        image = observation.views[name].image
        (height, width), (wanted_height, wanted_width) = image.shape[:2], self._note.image_size
        if abs(height / width * wanted_width / wanted_height - 1.0) > ASPECT_TOLERANCE:
            raise PolicyError(
                f"observation: camera {name} gave {width}x{height} px, learned were {wanted_width}x{wanted_height}: "
                "another shape. Use the cameras of its dataset"
            )
        picture = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255.0
        return fit_picture(picture, self._note.image_size)[None]
