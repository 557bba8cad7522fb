"""The simulated laboratory as a Gymnasium environment: same world, observation and action, no ROS, in lock-step.

What the real graph does between an action and the motors is done here with its own parts: the safety gate and the
inverse kinematics of the controller with the laboratory's settings, the stiffness and damping of the arm's controller,
the hand's firmware with its latency, speed and force limit. Physics steps are 2 ms instead of the laboratory's 1 ms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from vipa.control.gate import SafetyGate
from vipa.control.kinematics import Kinematics
from vipa.hardware.inspire_models import NEWTON_PER_GRAM, FingerScale
from vipa.lab import LabConfig, load_lab
from vipa_inference.policy import ACTION_DIMENSION, ActionChunk, CameraView, Observation
from vipa_inference.processing import PROPRIOCEPTION_NAMES, actions_from_poses, proprioception_vector
from vipa_sim.errors import SimulationError
from vipa_sim.fci.arm import DAMPING_RATIO, STIFFNESS
from vipa_sim.hand_firmware import HandFirmware
from vipa_sim.hand_model import PINCH_IN_FLANGE
from vipa_sim.renderer import Renderer
from vipa_sim.scenes import make_scene
from vipa_sim.scenes.base import CAMERAS
from vipa_sim.world import World

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

_HAND_PERIOD_NS = 5_000_000  # between two steps of the hand's firmware, as in the laboratory
_MAX_INSTRUCTION = 200
_PRINTABLE = "".join(map(chr, range(32, 127)))
_DAMPING = DAMPING_RATIO * np.sqrt(STIFFNESS)


@dataclass(frozen=True)
class EnvironmentConfig:
    """How the environment steps and what it shows."""

    step_period: float = 0.05  # s of an action
    physics_step: float = 0.002  # s
    render: bool = True  # without pictures it steps many times as fast
    image_size: tuple[int, int] = (224, 168)  # px, width and height; in the shape of the laboratory's cameras
    lab: LabConfig = field(default_factory=lambda: load_lab("simulated"))  # settings of gate, kinematics and hand

    def __post_init__(self) -> None:
        if not 0.0005 <= self.physics_step <= 0.004:
            raise ValueError(f"physics_step: {self.physics_step} s is outside 0.0005-0.004")
        steps = self.step_period / self.physics_step
        if not steps >= 1 or abs(steps - round(steps)) > 1e-6:
            raise ValueError(f"step_period: must be a multiple of physics_step, is {self.step_period} s")
        if min(self.image_size) < 1:
            raise ValueError(f"image_size: must be positive, is {self.image_size}")


class LaboratoryEnvironment(gymnasium.Env[dict[str, Any], Array]):
    """One task of the laboratory.

    An observation holds ``front`` and ``side`` (height, width, 3) uint8 RGB (only where it renders), ``proprioception``
    (22,) and ``instruction``; ``observation`` is the same as a policy gets it. An action (12,) is the row of an action
    chunk whose reference is the pose of the latest observation: the target for the end of the step; ``action_to`` makes
    one. The reward is the share of sub-tasks newly done.

    The arm's set-points are the quadratic B-spline through the targets: its velocity is continuous, and it follows a
    moving target half a step late.

    Args:
        task: name of a scene.
        config: how to step.
        variant: of the scene; the option ``variant`` of ``reset`` overrules it.

    Raises:
        SimulationError: no such task or variant.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, task: str, config: EnvironmentConfig | None = None, variant: str = "seen") -> None:
        self.config = config or EnvironmentConfig()
        self.render_mode = "rgb_array" if self.config.render else None
        self.scene = make_scene(task)
        self.variant = variant
        self._step_ns = round(self.config.physics_step * 1e9)
        self.world = World(self.scene, start_ns=0, variant=variant, step_ns=self._step_ns)
        self.world.set_impedance(STIFFNESS, _DAMPING)
        control = self.config.lab.control
        self._kinematics = Kinematics(control.kinematics, PINCH_IN_FLANGE)
        self._gate = SafetyGate(control.gate, self._kinematics)
        self._steps = round(self.config.step_period / self.config.physics_step)
        self._renderer: Renderer | None = None
        if self.config.render:
            self._renderer = Renderer(self.world.model, *self.config.image_size)
        width, height = self.config.image_size
        images = {name: spaces.Box(0, 255, (height, width, 3), np.uint8) for name in CAMERAS if self.config.render}
        self.observation_space = spaces.Dict(
            {
                **images,
                "proprioception": spaces.Box(-np.inf, np.inf, (len(PROPRIOCEPTION_NAMES),), np.float64),
                "instruction": spaces.Text(_MAX_INSTRUCTION, charset=_PRINTABLE),
            }
        )
        low = np.array([-2.0] * 3 + [-np.pi] * 3 + [0.0] * 6)
        self.action_space = spaces.Box(low, np.array([2.0] * 3 + [np.pi] * 3 + [1.0] * 6), dtype=np.float64)
        self._begin()

    @property
    def observation(self) -> Observation:
        """The latest observation, as a policy gets it; without rendering its images are empty."""
        return self._observation

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode: the robot at home, the scene drawn from the seed (a random one where None).

        Args:
            seed: the same one gives the same episode.
            options: ``variant``: of the scene.

        Raises:
            SimulationError: no such variant or option.
        """
        super().reset(seed=seed)
        unknown = set(options or {}) - {"variant"}
        if unknown:
            raise SimulationError(f"reset: unknown option {sorted(unknown)[0]!r}; known: variant")
        self.variant = str((options or {}).get("variant", self.variant))
        self.world.restart(int(self.np_random.integers(2**31)) if seed is None else seed, self.variant)
        self._begin()
        return self._as_dictionary(), self._info(())

    def step(self, action: ArrayLike) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act for one step period.

        Returns:
            The observation, the reward, whether every sub-task is done, whether the time is over, and: ``done`` (which
            sub-tasks), ``time_s``, ``changes`` (what the gate changed or refused; the arm stays where it refused).

        Raises:
            ValueError: not twelve finite numbers.
        """
        row = np.asarray(action, dtype=np.float64)
        if row.shape != (ACTION_DIMENSION,) or not np.isfinite(row).all():
            raise ValueError(f"action: expected {ACTION_DIMENSION} finite numbers, found {row}")
        before = self.scene.done
        changes = self._command(row)
        self._advance()
        self._look()
        reward = (sum(self.scene.done) - sum(before)) / max(len(self.scene.done), 1)
        late = self.world.time_ns >= self.scene.time_limit_s * 1e9
        return self._as_dictionary(), reward, all(self.scene.done), late, self._info(changes)

    def action_to(self, pose: Array, hand: Array) -> Array:
        """The action (12,) whose target is the end-effector pose (4, 4) in the base frame and hand (6,)."""
        return actions_from_poses(pose, hand, self._observation.end_effector_pose)

    def render(self) -> Image | None:
        """(height, width of all cameras, 3): the latest pictures side by side; None where it does not render."""
        if self._renderer is None:
            return None
        return np.concatenate([self._observation.views[name].image for name in CAMERAS], axis=1)

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _begin(self) -> None:
        hand = self.config.lab.hand
        self._firmware = HandFirmware(hand.model)
        model = self._firmware.model
        self._scale = FingerScale.of(model, hand.reversed_fingers)
        self._firmware.write_registers(model.registers.speed_set, [round(hand.speed * model.speed_maximum)] * 6)
        self._firmware.write_registers(model.registers.force_set, [round(hand.force_limit / NEWTON_PER_GRAM)] * 6)
        self._target = self.world.positions  # (7,) rad: the newest control point of the spline
        self._setpoint, self._speed = self.world.positions, np.zeros(7)
        self._knot = self._setpoint, self._speed  # where the spline is at the end of the next step
        self._look()

    def _command(self, row: Array) -> tuple[str, ...]:
        """Send the targets of hand and arm as far as the gate allows; returns the rules by which it changed them."""
        observation, period = self._observation, self.config.step_period
        now_ns = self.world.time_ns
        chunk = ActionChunk(row[None], period, observation.end_effector_pose, now_ns, "environment", "")
        verdict = self._gate.check_chunk(chunk, now_ns)
        self._knot = self._target, np.zeros(7)  # where the gate refuses, the spline ends
        if verdict.chunk is None:
            return tuple(change.rule for change in verdict.changes)
        raw = self._scale.to_raw(verdict.chunk.actions[0, 6:])
        self._firmware.write_registers(self._firmware.model.registers.angle_set, raw.tolist())
        solution = self._kinematics.solve(verdict.chunk.target_poses()[0], self._target)
        speed = (solution.q - self._target) / period
        end = 0.5 * (self._target + solution.q)
        joints = self._gate.check_joints([period], end[None], self._setpoint, self._speed, speed[None])
        changes = (*verdict.changes, *joints.changes)
        if joints.accepted:
            self._knot = joints.q[0], joints.dq[0]
            self._target = joints.q[0] + 0.5 * period * joints.dq[0]
        return tuple(change.rule for change in changes)

    def _advance(self) -> None:
        """Step the world: the arm along the spline's next piece, the hand as its firmware says."""
        world, steps, period = self.world, self._steps, self.config.step_period
        start, (end, end_speed) = self._setpoint, self._knot
        x = (np.arange(1, steps + 1) / steps)[:, None]
        rise, first, last = end - start, period * self._speed, period * end_speed
        square, cube = 3.0 * rise - 2.0 * first - last, first + last - 2.0 * rise
        positions = start + x * (first + x * (square + x * cube))
        speeds = (first + x * (2.0 * square + 3.0 * x * cube)) / period
        for k in range(steps):
            world.step_towards(positions[k], speeds[k])
            if world.time_ns % _HAND_PERIOD_NS < self._step_ns:
                measured = world.hand_positions(), world.hand_forces()
                world.set_hand_targets(self._firmware.step(world.time_ns * 1e-9, *measured))
        self._setpoint, self._speed = end, end_speed

    def _look(self) -> None:
        """Take the observation of this moment."""
        world, size = self.world, self.config.image_size
        images = dict.fromkeys(CAMERAS, np.zeros((0, 0, 3), np.uint8))
        intrinsics, poses = dict.fromkeys(CAMERAS, np.eye(3)), dict.fromkeys(CAMERAS, np.eye(4))
        if self._renderer is not None:
            self._renderer.update(world.snapshot())
            images = {name: self._renderer.render(name)[0] for name in CAMERAS}
            intrinsics = {name: self._renderer.intrinsics(name) for name in CAMERAS}
            poses = {name: self._renderer.camera_to_base(name) for name in CAMERAS}
            assert images[CAMERAS[0]].shape == (size[1], size[0], 3)
        self._observation = Observation(
            views={name: CameraView(images[name], world.time_ns, intrinsics[name], poses[name]) for name in CAMERAS},
            end_effector_pose=world.end_effector_pose(),
            joint_positions=world.positions,
            hand_positions=world.hand_positions(),
            instruction=self.scene.instruction,
        )

    def _as_dictionary(self) -> dict[str, Any]:
        seen = self._observation
        images = {name: seen.views[name].image for name in CAMERAS if self._renderer is not None}
        state = proprioception_vector(seen.end_effector_pose, seen.joint_positions, seen.hand_positions)
        return {**images, "proprioception": state, "instruction": seen.instruction}

    def _info(self, changes: tuple[str, ...]) -> dict[str, Any]:
        done = dict(zip(self.scene.sub_tasks, self.scene.done, strict=True))
        return {"done": done, "time_s": self.world.time_ns * 1e-9, "changes": changes}
