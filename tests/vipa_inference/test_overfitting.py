"""The model learns, and it looks: nano fits eight episodes whose target only the images tell.

A ball lies somewhere else in every episode. Instruction, proprioception and hand are the same in all of them: the arm
visits the same poses, and from each the chunk leads to the ball. So whoever does not see can at best aim at the middle
of all balls. As in the paper's post-training, the encoders are frozen (Sec. 4.1) and language model and action head
learn; here the weights begin at random, so projector and fusion learn, too.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.vipa_inference.conftest import INTRINSICS, look_at
from vipa_inference.config import NANO
from vipa_inference.model.action_head import sample_prefix_lengths
from vipa_inference.model.vipa_vla import VipaVla
from vipa_inference.policy import CameraView, Observation
from vipa_inference.processing import Processor, actions_from_poses, proprioception_vector
from vipa_inference.statistics import Statistics
from vipa_inference.tokenizers import ByteTokenizer
from vipa_training.stages.batches import collate
from vipa_training.stages.optimisation import OptimisationConfig, Optimiser, freeze_encoders, post_training_groups

Array = NDArray[np.float64]

INSTRUCTION = "touch the red ball"
MODEL = replace(NANO, prompt=replace(NANO.prompt, text_tokens=len(INSTRUCTION)))  # what would be padding costs time
EPISODES, ARM_POSES = 8, 2
BALL_RADIUS_M, PIXEL_NOISE = 0.05, 1.0
TABLE, BALL = (124, 116, 104), (205, 30, 28)  # RGB
CAMERAS = {
    "front": look_at((1.35, 0.0, 0.75), (0.45, 0.0, 0.15)),
    "side": look_at((0.5, -1.0, 0.65), (0.45, 0.0, 0.15)),
}
DRAWS = 4  # of noise and flow time for each observation
TRAINING = OptimisationConfig(
    steps=260, backbone_learning_rate=4e-4, head_learning_rate=4e-3, warmup_ratio=0.1, final_ratio=0.01
)


@dataclass(frozen=True)
class Episodes:
    """All observations, episode by episode, in each the arm poses in the same order."""

    observations: list[Observation]
    actions: Array  # (EPISODES * ARM_POSES, H, 12), SI units


@dataclass(frozen=True)
class Trained:
    """What one training gave."""

    model: VipaVla
    processor: Processor
    episodes: Episodes

    def error_mm(self, observations: list[Observation], actions: Array, seed: int = 1) -> float:
        """Mean distance of the chunks' translations from those wanted, from fresh noise."""
        batch = _batch(self.processor, observations)
        noise = torch.randn(actions.shape, generator=torch.Generator().manual_seed(seed))
        found = self.processor.unnormalise_actions(self.model.act(batch, noise).numpy())
        return float(np.linalg.norm((found - actions)[..., :3], axis=-1).mean() * 1e3)


def _camera_view(camera: Array, ball: Array, generator: np.random.Generator) -> CameraView:
    """A ball on a table, with the noise of a sensor; 640 x 480 px."""
    image = np.full((480, 640, 3), TABLE, dtype=np.uint8)
    centre = camera[:3, :3].T @ (ball - camera[:3, 3])
    pixel = (INTRINSICS @ centre / centre[2])[:2]
    radius = INTRINSICS[0, 0] * BALL_RADIUS_M / centre[2]
    fine = 16  # parts of a pixel
    corner = round(float(pixel[0]) * fine), round(float(pixel[1]) * fine)
    cv2.circle(image, corner, round(float(radius) * fine), BALL, thickness=-1, lineType=cv2.LINE_AA, shift=4)
    noisy = image + generator.normal(0.0, PIXEL_NOISE, image.shape)
    return CameraView(np.clip(noisy, 0, 255).astype(np.uint8), 0, INTRINSICS, camera)


def make_episodes(noise_seed: int = 0) -> Episodes:
    """Balls on an ellipse around the middle of the table; minimum-jerk motions to them while the hand closes.

    Another seed photographs the same episodes anew: only the noise of the sensors differs.
    """
    generator, noise = np.random.default_rng(0), np.random.default_rng(noise_seed)
    angles = 2 * np.pi * (np.arange(EPISODES) + 0.5) / EPISODES
    balls = np.stack([0.45 + 0.10 * np.cos(angles), 0.12 * np.sin(angles), np.full(EPISODES, BALL_RADIUS_M)], axis=-1)
    arm = generator.uniform((0.40, -0.05, 0.15), (0.50, 0.05, 0.20), (ARM_POSES, 3))
    joints = generator.uniform(-1.0, 1.0, (ARM_POSES, 7))
    progress = np.arange(1, MODEL.action.horizon + 1) / MODEL.action.horizon
    path = 10 * progress**3 - 15 * progress**4 + 6 * progress**5
    hand = np.repeat(1.0 - 0.7 * progress[:, None], 6, axis=1)
    observations: list[Observation] = []
    actions: list[Array] = []
    for ball in balls:
        for position, joint_positions in zip(arm, joints, strict=True):
            pose = np.diag([1.0, -1.0, -1.0, 1.0])
            pose[:3, 3] = position
            views = {name: _camera_view(camera, ball, noise) for name, camera in CAMERAS.items()}
            observations.append(Observation(views, pose, joint_positions, np.ones(6), INSTRUCTION))
            targets = np.tile(pose, (MODEL.action.horizon, 1, 1))
            targets[:, :3, 3] += path[:, None] * (ball - position)
            actions.append(actions_from_poses(targets, hand, pose))
    return Episodes(observations, np.stack(actions))


def _batch(processor: Processor, observations: list[Observation]) -> dict[str, Tensor]:
    return collate([processor.batch(observation) for observation in observations])


def _features(model: VipaVla, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch with what the frozen encoders see in place of the pixels."""
    with torch.no_grad():
        semantic, spatial = model.visual_features(batch["semantic_pixels"], batch["spatial_pixels"])
    assert spatial is not None
    kept = {name: values for name, values in batch.items() if not name.endswith("_pixels")}
    return {**kept, "semantic_features": semantic, "spatial_features": spatial}


def train(episodes: Episodes, seed: int = 0) -> Trained:
    """Post-train a nano with random weights; each step sees every episode once, from one of the arm poses."""
    proprioception = np.stack(
        [proprioception_vector(o.end_effector_pose, o.joint_positions, o.hand_positions) for o in episodes.observations]
    )
    processor = Processor(MODEL, Statistics.fit(proprioception, episodes.actions), ByteTokenizer())
    torch.manual_seed(seed)
    model = VipaVla(MODEL)
    freeze_encoders(model)
    optimiser = Optimiser(post_training_groups(model, TRAINING), TRAINING)
    batch = _features(model, _batch(processor, episodes.observations))
    actions = torch.from_numpy(processor.normalise_actions(episodes.actions))
    weight = torch.ones(EPISODES, MODEL.action.horizon)
    for _ in range(TRAINING.steps):
        chosen = torch.arange(EPISODES) * ARM_POSES + torch.randint(0, ARM_POSES, (EPISODES,))
        prefix = sample_prefix_lengths(EPISODES * DRAWS, MODEL.action.max_prefix)
        sample = {name: values[chosen] for name, values in batch.items()}
        optimiser.step(model.action_loss(sample, actions[chosen], weight, prefix, DRAWS))
    return Trained(model.eval(), processor, episodes)


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(make_episodes())


pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]  # training takes minutes, longer on a busy machine


def test_the_episodes_differ_in_their_images_only() -> None:
    episodes = make_episodes()
    for index, observation in enumerate(episodes.observations):
        first = episodes.observations[index % ARM_POSES]
        assert observation.instruction == first.instruction
        np.testing.assert_array_equal(observation.end_effector_pose, first.end_effector_pose)
        np.testing.assert_array_equal(observation.joint_positions, first.joint_positions)
        np.testing.assert_array_equal(observation.hand_positions, first.hand_positions)


def test_it_fits_the_episodes_to_millimetres(trained: Trained) -> None:
    assert trained.error_mm(trained.episodes.observations, trained.episodes.actions) < 5.0


def test_without_images_it_fails(trained: Trained) -> None:
    """Neither an empty table nor darkness says where the ball was."""
    seen = trained.error_mm(trained.episodes.observations, trained.episodes.actions)
    for colour in (TABLE, (0, 0, 0)):
        blank = np.full((480, 640, 3), colour, dtype=np.uint8)
        blind = [
            replace(o, views={name: replace(view, image=blank) for name, view in o.views.items()})
            for o in trained.episodes.observations
        ]
        error = trained.error_mm(blind, trained.episodes.actions)
        assert error > 20.0
        assert error > 5.0 * seen


def test_it_follows_the_images_of_another_episode(trained: Trained) -> None:
    """With everything else of one episode, but new pictures of the next one's ball, it goes to that ball."""
    observations, actions = trained.episodes.observations, trained.episodes.actions
    pictures = make_episodes(noise_seed=1).observations
    swapped = [
        replace(observation, views=picture.views)
        for observation, picture in zip(observations, pictures[ARM_POSES:] + pictures[:ARM_POSES], strict=True)
    ]
    followed = trained.error_mm(swapped, np.roll(actions, -ARM_POSES, axis=0))
    assert followed < 15.0
    assert trained.error_mm(swapped, actions) > 3.0 * followed
