"""Processing: observations to tensors and back, the same for the robot and for recordings."""

import dataclasses
import hashlib
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.vipa_inference.model.tiny import TINY
from tests.vipa_inference.test_tokenizers import CONFIG as QWEN
from tests.vipa_inference.test_tokenizers import IDS, write_tokenizer
from vipa_inference.config import NANO, PRESETS, PromptConfig, VipaVlaConfig
from vipa_inference.description import ACTION_NAMES
from vipa_inference.policy import ActionChunk, CameraView, CommittedPlan, Observation, PolicyError
from vipa_inference.processing import (
    PADDING_ID,
    PROPRIOCEPTION_NAMES,
    Processor,
    actions_from_poses,
    proprioception_vector,
)
from vipa_inference.rotations import matrix_from_rotation_vector
from vipa_inference.runtime.inputs import check_batch
from vipa_inference.statistics import Statistics, VectorStatistics
from vipa_inference.tokenizers import ByteTokenizer, make_tokenizer

GENERATOR = np.random.default_rng(7)
STATISTICS = Statistics.fit(GENERATOR.normal(0.3, 0.5, (200, 22)), GENERATOR.normal(0.1, 0.2, (200, 12)))
INTRINSICS = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
STEP_NS = 50_000_000


def make_processor(config: VipaVlaConfig = NANO) -> Processor:
    return Processor(config, STATISTICS, ByteTokenizer())


def draw(seed: int, height: int = 480, width: int = 640) -> np.ndarray:
    """An image with edges, gradients and a disc; the same on every machine."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([(rows * (3 + seed)) % 256, (columns * 2 + rows) % 256, (rows // 7 * columns // 5) % 256], axis=-1)
    image[(rows - height // 2) ** 2 + (columns - width // 3) ** 2 < 60**2] = (205, 30, 28 + seed)
    return image.astype(np.uint8)


def make_pose(vector: tuple[float, ...], position: tuple[float, ...]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = matrix_from_rotation_vector(vector), position
    return pose


def make_observation(seed: int = 0, **changes: Any) -> Observation:
    views = {
        name: CameraView(draw(seed + i), 1_000_000_000, INTRINSICS, np.eye(4))
        for i, name in enumerate(("side", "front"))
    }
    observation = Observation(
        views=views,
        end_effector_pose=make_pose((0.1, -2.0, 0.4), (0.45, -0.1, 0.3)),
        joint_positions=np.linspace(-1.0, 1.0, 7),
        hand_positions=np.linspace(0.0, 1.0, 6),
        instruction="touch the red ball",
    )
    return dataclasses.replace(observation, **changes)


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


class TestGolden:
    """Bit for bit what the model was trained with."""

    TENSORS: typing.ClassVar = {
        "semantic_pixels": ("<f4", "163cc480caf96d7e"),
        "spatial_pixels": ("<f4", "2be293ff20abe8fc"),
        "input_ids": ("<i8", "852999df602426ee"),
        "attention_mask": ("<i8", "8c08c17d13ea9883"),
        "proprioception": ("<f4", "39e7b029fc44c464"),
    }
    ACTIONS = "44dd74641019f217"

    @pytest.fixture
    def processor(self) -> Processor:
        """With statistics that do not depend on how a machine adds up."""
        vectors = [VectorStatistics((0.25,) * n, (0.5,) * n, (-0.5,) * n, (1.0,) * n) for n in (22, 12)]
        return Processor(NANO, Statistics(*vectors), ByteTokenizer())

    def test_tensors_of_a_drawn_observation(self, processor: Processor) -> None:
        """A change here makes every trained checkpoint see something else than in its training."""
        pose = np.diag([1.0, -1.0, -1.0, 1.0])
        batch = processor.batch(make_observation(end_effector_pose=pose))
        assert {name: (values.dtype.str, digest(values)) for name, values in batch.items()} == self.TENSORS

    def test_actions(self, processor: Processor) -> None:
        normalised = np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 12)
        assert digest(processor.unnormalise_actions(normalised)) == self.ACTIONS

    @pytest.mark.parametrize("config", [NANO, TINY, replace(NANO, spatial=None), replace(NANO, frames=3)])
    def test_recorded_arrays_give_the_same_bits_as_observations(self, config: VipaVlaConfig) -> None:
        processor = make_processor(config)
        observations = [make_observation(seed) for seed in range(config.frames)]
        batch = processor.batch(observations[-1], observations[:-1])
        frames = {name: np.stack([o.views[name].image for o in observations]) for name in config.views}
        last = observations[-1]
        semantic, spatial = processor.images([frames[name][t] for t in range(config.frames) for name in config.views])
        ids, mask = processor.prompt(last.instruction)
        states = processor.proprioception(
            np.stack([o.end_effector_pose for o in observations]),
            np.stack([o.joint_positions for o in observations]),
            np.stack([o.hand_positions for o in observations]),
        )
        recorded = {
            "semantic_pixels": semantic,
            "spatial_pixels": spatial,
            "input_ids": ids,
            "attention_mask": mask,
            "proprioception": states[-1],
        }
        assert set(batch) == {name for name, values in recorded.items() if values is not None}
        for name, values in batch.items():
            assert values.tobytes() == recorded[name].tobytes(), name
        check_batch(batch, config)
        assert batch["input_ids"].shape == (1, config.prompt_length)


class TestImages:
    """Fitted into a square without distortion, normalised twice."""

    def test_the_two_normalisations_hold_the_same_image(self) -> None:
        semantic, spatial = make_processor().images([draw(0), draw(1)])
        assert spatial is not None
        rows = slice(16, 112)  # 640 x 480 becomes 128 x 96
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        for image, a, b in zip((draw(0), draw(1)), semantic, spatial, strict=True):
            wanted = cv2.resize(image, (128, 96), interpolation=cv2.INTER_AREA) / 255.0
            np.testing.assert_allclose(a.transpose(1, 2, 0)[rows] * std + mean, wanted, atol=1e-6)
            np.testing.assert_allclose(b.transpose(1, 2, 0)[rows], 2.0 * wanted - 1.0, atol=1e-6)
        for pixels in (semantic, spatial):
            assert not pixels[:, :, :16].any()
            assert not pixels[:, :, 112:].any()

    @pytest.mark.parametrize(
        ("height", "width"), [(480, 640), (640, 480), (720, 1280), (60, 80), (128, 128), (101, 333)]
    )
    def test_a_circle_stays_a_circle_in_the_middle(self, height: int, width: int) -> None:
        image = np.full((height, width, 3), 255, np.uint8)
        cv2.circle(image, (width // 2, height // 2), min(height, width) // 3, (0, 0, 0), -1, cv2.LINE_AA)
        _, spatial = make_processor().images([image] * 2)
        assert spatial is not None
        rows, columns = np.nonzero(spatial[0, 0] < -0.5)
        assert abs(np.ptp(rows) - np.ptp(columns)) <= 1
        assert rows.mean() == pytest.approx(63.5, abs=1.0)
        assert columns.mean() == pytest.approx(63.5, abs=1.0)

    def test_each_encoder_has_its_own_size(self) -> None:
        assert NANO.spatial is not None
        config = replace(NANO, spatial=replace(NANO.spatial, image_size=160))
        semantic, spatial = make_processor(config).images([draw(0), draw(1)])
        assert spatial is not None
        assert (semantic.shape, spatial.shape) == ((2, 3, 128, 128), (2, 3, 160, 160))

    def test_views_of_one_frame_are_adjacent_oldest_frame_first(self) -> None:
        processor = make_processor(replace(NANO, frames=2))
        batch = processor.batch(make_observation(4), [make_observation(9), make_observation(2)])
        alone = make_processor()
        wanted = [alone.batch(make_observation(seed))["semantic_pixels"][0] for seed in (2, 4)]
        np.testing.assert_array_equal(batch["semantic_pixels"][0], np.concatenate(wanted))
        front = alone.images([make_observation(2).views["front"].image] * 2)[0][0]
        np.testing.assert_array_equal(batch["semantic_pixels"][0, 0], front)

    def test_the_oldest_frame_stands_for_missing_ones(self) -> None:
        pixels = make_processor(replace(NANO, frames=3)).batch(make_observation(4), [make_observation(2)])
        frames = pixels["semantic_pixels"].reshape(3, 2, 3, 128, 128)
        np.testing.assert_array_equal(frames[0], frames[1])
        assert (frames[1] != frames[2]).any()

    @settings(max_examples=30, deadline=None)
    @given(height=st.integers(1, 300), width=st.integers(1, 300), step=st.sampled_from([1, -1]))
    def test_every_size_and_memory_layout_is_taken(self, height: int, width: int, step: int) -> None:
        image = np.full((height, width, 3), 128, np.uint8)[::step, :, ::-1]
        _, spatial = make_processor().images([image] * 2)
        assert spatial is not None
        assert np.abs(spatial).max() == pytest.approx(2 * 128 / 255 - 1, abs=1e-6)

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            ([draw(0)], "processing: 1 images, expected 1 x front, side, oldest first"),
            ([draw(0), draw(0).astype(np.float32)], r"camera side gave an image of float32 \(480, 640, 3\)"),
            ([draw(0).transpose(2, 0, 1), draw(0)], r"camera front gave an image of uint8 \(3, 480, 640\), expected"),
            ([draw(0), draw(0)[:0]], r"camera side gave an image of uint8 \(0, 640, 3\)"),
            ([draw(0)[..., 0], draw(0)], r"camera front gave an image of uint8 \(480, 640\)"),
        ],
    )
    def test_what_is_no_image_is_refused(self, images: list[Any], message: str) -> None:
        with pytest.raises(PolicyError, match=message):
            make_processor().images(images)


class TestPrompt:
    """One length for every instruction, images in front."""

    @settings(max_examples=60, deadline=None)
    @given(st.text(min_size=1, max_size=16).filter(str.strip))
    def test_layout(self, instruction: str) -> None:
        ids, mask = make_processor().prompt(instruction)
        words = list(instruction.strip().encode())
        image = [256, *[258] * NANO.semantic.tokens, 257]
        prompt = [*image, *image, *words]
        padding = NANO.prompt_length - len(prompt)
        assert ids.tolist() == [PADDING_ID] * padding + prompt
        assert mask.tolist() == [0] * padding + [1] * len(prompt)

    def test_chat_format(self, tmp_path: Path) -> None:
        write_tokenizer(tmp_path)
        config = replace(TINY, language=QWEN, prompt=PromptConfig(text_tokens=20))
        processor = Processor(config, STATISTICS, make_tokenizer(QWEN, tmp_path))
        ids, mask = processor.prompt("touch the <IMG_CONTEXT> ball<|im_end|>")
        image = [IDS["<img>"], *[IDS["<IMG_CONTEXT>"]] * config.semantic.tokens, IDS["</img>"]]
        start, end, user, unknown = IDS["<|im_start|>"], IDS["<|im_end|>"], 10, 0
        found = ids[mask == 1].tolist()
        assert found[: 2 + 2 * len(image) + 2] == [start, user, *image, *image, 1, 2]
        assert found[-3:] == [end, start, unknown]  # "assistant" is no word of this tokenizer
        assert found.count(IDS["<IMG_CONTEXT>"]) == 2 * config.semantic.tokens
        assert found.count(end) == 1
        assert len(ids) == config.prompt_length

    def test_public_size(self) -> None:
        assert PRESETS["2b"].prompt_length == 2 * (256 + 2) + 128
        assert NANO.prompt_length == 2 * (16 + 2) + 64

    def test_the_longest_instruction_fits_and_one_more_does_not(self) -> None:
        _, mask = make_processor().prompt("x" * 64)
        assert mask.all()
        for length in (65, 10_000):
            with pytest.raises(PolicyError, match=f"takes {length} tokens, at most 64 fit. Shorten it"):
                make_processor().prompt("x" * length)

    @pytest.mark.parametrize("instruction", ["", "  \n"])
    def test_an_empty_instruction_is_refused(self, instruction: str) -> None:
        with pytest.raises(PolicyError, match="the instruction is empty"):
            make_processor().batch(make_observation(instruction=instruction))

    def test_a_template_that_fills_the_prompt_is_refused(self) -> None:
        prompt = PromptConfig(template="Images: {images}. Task: {instruction}", text_tokens=17)
        with pytest.raises(PolicyError, match="text_tokens: 17 leaves no room"):
            make_processor(replace(NANO, prompt=prompt))

    @pytest.mark.parametrize("template", ["{images}", "{instruction} {images}", "{images}{instruction}{images}"])
    def test_a_template_without_its_places_is_refused(self, template: str) -> None:
        with pytest.raises(ValueError, match=r"prompt\.template"):
            PromptConfig(template=template)


class TestVectors:
    """Proprioception and actions: layout, statistics, and back."""

    def test_layout_of_proprioception(self) -> None:
        pose = make_pose((0.3, 0.2, -0.9), (0.4, 0.5, 0.6))
        vector = proprioception_vector(pose, np.arange(7.0), np.arange(6.0) / 10)
        by_name = dict(zip(PROPRIOCEPTION_NAMES, vector, strict=True))
        assert (by_name["x"], by_name["y"], by_name["z"]) == (0.4, 0.5, 0.6)
        assert by_name["rotation_zx"] == pose[2, 0]
        assert by_name["rotation_xy"] == pose[0, 1]
        assert by_name["joint_7"] == 6.0
        assert by_name["hand_thumb_rotate"] == 0.5

    def test_layout_of_actions(self) -> None:
        reference, target = make_pose((np.pi, 0, 0), (0.4, 0.0, 0.3)), make_pose((np.pi, 0, 0), (0.5, -0.1, 0.3))
        target[:3, :3] = matrix_from_rotation_vector((0.0, 0.0, 0.2)) @ target[:3, :3]
        action = actions_from_poses(target, np.full(6, 0.7), reference)
        assert dict(zip(ACTION_NAMES, action, strict=True)) == pytest.approx(
            dict.fromkeys(ACTION_NAMES[:6], 0.0)
            | {"translation_x": 0.1, "translation_y": -0.1, "rotation_z": 0.2}
            | dict.fromkeys(ACTION_NAMES[6:], 0.7)
        )

    @settings(max_examples=60, deadline=None)
    @given(
        vectors=arrays(np.float64, (5, 3), elements=st.floats(-1.7, 1.7)),
        positions=arrays(np.float64, (5, 3), elements=st.floats(-1.0, 1.0)),
    )
    def test_actions_lead_to_the_poses_that_they_were_made_from(self, vectors: Any, positions: Any) -> None:
        poses = np.tile(np.eye(4), (5, 1, 1))
        poses[:, :3, :3], poses[:, :3, 3] = matrix_from_rotation_vector(vectors), positions
        reference = make_pose((0.2, 3.0, -0.1), (0.4, 0.1, 0.3))
        actions = actions_from_poses(poses, np.zeros((5, 6)), reference)
        chunk = ActionChunk(actions, 0.05, reference, 0, "vipa", "")
        np.testing.assert_allclose(chunk.target_poses(), poses, atol=1e-9)

    @pytest.mark.parametrize("kind", ["mean_std", "quantile"])
    def test_normalised_actions_come_back(self, kind: Any) -> None:
        processor = make_processor(replace(NANO, normalisation=kind))
        actions = np.random.default_rng(0).normal(0.1, 0.2, (3, 16, 12))
        normalised = processor.normalise_actions(actions)
        assert normalised.dtype == np.float32
        np.testing.assert_allclose(processor.unnormalise_actions(normalised), actions, atol=1e-6)
        assert np.abs(normalised).mean() == pytest.approx(0.8 if kind == "mean_std" else 0.35, abs=0.05)

    @pytest.mark.parametrize(
        ("proprioception", "action", "message"),
        [
            (21, 12, "proprioception has 22 dimensions, the model's has 22, its statistics 21"),
            (22, 7, "action has 12 dimensions, the model's has 12, its statistics 7"),
        ],
    )
    def test_statistics_of_another_robot_are_refused(self, proprioception: int, action: int, message: str) -> None:
        statistics = Statistics.fit(np.eye(proprioception), np.eye(action))
        with pytest.raises(PolicyError, match=message):
            Processor(NANO, statistics, ByteTokenizer())

    def test_a_model_of_another_robot_is_refused(self) -> None:
        with pytest.raises(PolicyError, match="action has 12 dimensions, the model's has 7"):
            make_processor(replace(NANO, action=replace(NANO.action, action_dimension=7)))


class TestPrefix:
    """What is committed, as the beginning of a chunk."""

    def plan(self, start_ns: int, count: int, step_ns: int = STEP_NS) -> CommittedPlan:
        """A straight, turning path: 0.1 m/s along x, 0.5 rad/s about the base's z, the hand closing in 2 s."""
        times_ns = start_ns + step_ns * np.arange(count)
        poses = np.stack([self.at(t) for t in times_ns])
        return CommittedPlan(times_ns, poses, np.tile(1.0 - times_ns[:, None] / 2e9, 6))

    def at(self, time_ns: float) -> np.ndarray:
        pose = make_pose((0.0, 0.0, 0.5e-9 * time_ns), (0.4 + 0.1e-9 * time_ns, 0.0, 0.3))
        pose[:3, :3] = pose[:3, :3] @ matrix_from_rotation_vector((np.pi, 0.0, 0.0))
        return pose

    @pytest.mark.parametrize("step_ns", [10_000_000, 50_000_000, 73_000_000])
    def test_rows_are_the_plan_at_their_times(self, step_ns: int) -> None:
        processor, observed_ns = make_processor(), 123_456_789
        reference = self.at(observed_ns)
        prefix, length = processor.prefix(self.plan(0, 9, step_ns), reference, observed_ns, 16)
        end_ns = 8 * step_ns
        assert length == max(0, (end_ns - observed_ns) // STEP_NS)
        assert prefix.shape == (1, 16, 12)
        assert prefix.dtype == np.float32
        assert not prefix[0, length:].any()
        seconds = 0.05 * np.arange(1, length + 1)
        actions = processor.unnormalise_actions(prefix[0, :length])
        np.testing.assert_allclose(actions[:, 0], 0.1 * seconds, atol=1e-6)
        np.testing.assert_allclose(actions[:, 5], 0.5 * seconds, atol=1e-6)
        np.testing.assert_allclose(actions[:, [1, 2, 3, 4]], 0.0, atol=1e-6)
        hand = 1.0 - (observed_ns * 1e-9 + seconds) / 2.0
        np.testing.assert_allclose(actions[:, 6:], np.tile(hand[:, None], 6), atol=1e-6)

    def test_a_chunk_of_the_prefix_is_the_plan(self) -> None:
        processor, plan = make_processor(), self.plan(0, 30)
        prefix, length = processor.prefix(plan, self.at(0), 0, 16)
        assert length == 16
        chunk = ActionChunk(processor.unnormalise_actions(prefix[0]), 0.05, self.at(0), 0, "vipa", "")
        np.testing.assert_allclose(chunk.target_poses(), plan.poses[1:17], atol=1e-6)

    @pytest.mark.parametrize(
        ("start_ns", "count", "observed_ns", "steps", "expected"),
        [
            (0, 30, 0, 8, 8),  # no more than asked for
            (0, 4, 0, 8, 3),  # no more than the plan covers
            (0, 30, 0, 0, 0),
            (0, 4, 500_000_000, 8, 0),  # the plan is over
            (60_000_000, 9, 0, 8, 0),  # it begins after the first action: the chunk cannot join it
            (50_000_000, 1, 0, 8, 1),  # a single moment
            (50_000_000, 1, 10_000_000, 8, 0),
        ],
    )
    def test_only_rows_that_the_plan_covers_count(
        self, start_ns: int, count: int, observed_ns: int, steps: int, expected: int
    ) -> None:
        prefix, length = make_processor().prefix(self.plan(start_ns, count), self.at(0), observed_ns, steps)
        assert length == expected
        assert np.count_nonzero(prefix.any(axis=-1)) == expected
        assert np.isfinite(prefix).all()

    def test_rotations_take_the_shortest_arc(self) -> None:
        poses = np.stack([make_pose((0, 0, angle), (0.4, 0, 0.3)) for angle in (3.0, -3.0)])
        plan = CommittedPlan(np.array([0, 2 * STEP_NS]), poses, np.ones((2, 6)))
        processor = make_processor()
        prefix, _ = processor.prefix(plan, poses[0], 0, 8)
        turned = processor.unnormalise_actions(prefix[0, :2])[:, 5]
        np.testing.assert_allclose(turned, np.array([0.5, 1.0]) * (2 * np.pi - 6.0), atol=1e-6)


class TestBadObservations:
    """Each one clear error."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"views": {}}, r"no frame of camera front \(present: none\)"),
            ({"joint_positions": np.full(7, np.nan)}, "joint positions not finite"),
            ({"end_effector_pose": np.zeros((4, 4))}, "end-effector pose is no rigid transform"),
            ({"hand_positions": np.zeros(5)}, "hand positions of shape"),
            ({"committed": CommittedPlan(np.zeros(0, np.int64), np.zeros((0, 4, 4)), np.zeros((0, 6)))}, "do not incr"),
            ({"committed": CommittedPlan(np.array([5, 5]), np.tile(np.eye(4), (2, 1, 1)), np.ones((2, 6)))}, "do not"),
            (
                {"committed": CommittedPlan(np.arange(2), np.tile(np.eye(4), (3, 1, 1)), np.ones((2, 6)))},
                "plan of shape",
            ),
            ({"committed": CommittedPlan(np.arange(2), np.zeros((2, 4, 4)), np.ones((2, 6)))}, "plan is no rigid"),
            ({"committed": CommittedPlan(np.arange(1), np.eye(4)[None], np.full((1, 6), np.nan))}, "plan not finite"),
        ],
    )
    def test_named(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(PolicyError, match=message) as caught:
            make_processor().batch(make_observation(**changes))
        assert "\n" not in str(caught.value)

    def test_an_earlier_one_is_checked_too(self) -> None:
        with pytest.raises(PolicyError, match="no frame of camera front"):
            make_processor(replace(NANO, frames=2)).batch(make_observation(), [make_observation(views={})])
