"""Policies without a model: ``wave`` moves between poses, ``reach`` touches coloured markers that it sees."""

import dataclasses
import re
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vipa_inference.color_markers import BALL_RADIUS_M, HUES, find_markers
from vipa_inference.description import PolicyDescription
from vipa_inference.observation_checks import check_observation
from vipa_inference.path_following import PathConfig, PathFollower, config_hash, fingers_down
from vipa_inference.policy import ActionChunk, Observation, Policy, PolicyError
from vipa_inference.rotations import matrix_from_rotation_vector

Array = NDArray[np.float64]

HAND_SHAPES: dict[str, tuple[float, ...]] = {"flat": (1.0,) * 6, "pointing": (0.0, 0.0, 0.0, 1.0, 0.3, 1.0)}
"""Hand positions (little, ring, middle, index, thumb bend, thumb rotate) for touching."""


@dataclass(frozen=True)
class WavePose:
    """One stop of the wave."""

    position: tuple[float, float, float]  # m, base frame
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0)  # rad, rotation vector in the base frame, from fingers down
    hand: float = 1.0  # all six: 0 closed - 1 open

    def __post_init__(self) -> None:
        if not (0.3 <= self.position[0] <= 0.65 and abs(self.position[1]) <= 0.3 and 0.1 <= self.position[2] <= 0.6):
            raise ValueError(f"position: {self.position} is outside x 0.3-0.65, y -0.3-0.3, z 0.1-0.6 m")
        if not 0.0 <= self.hand <= 1.0:
            raise ValueError(f"hand: {self.hand} is outside 0 (closed) - 1 (open)")


@dataclass(frozen=True)
class WaveConfig:
    """Where the wave goes; it repeats."""

    path: PathConfig = field(default_factory=PathConfig)
    poses: tuple[WavePose, ...] = (
        WavePose((0.45, 0.0, 0.38)),
        WavePose((0.45, 0.15, 0.42), tilt=(0.25, 0.0, 0.0), hand=0.2),
        WavePose((0.50, 0.10, 0.30)),
        WavePose((0.50, -0.10, 0.30), hand=0.2),
        WavePose((0.45, -0.15, 0.42), tilt=(-0.25, 0.0, 0.0)),
    )

    def __post_init__(self) -> None:
        if not self.poses:
            raise ValueError("poses: at least one is needed")


class WavePolicy:
    """Moves smoothly between a few poses, opening and closing the hand; shows that the loop is alive."""

    name = "wave"

    def __init__(self, config: WaveConfig | None = None) -> None:
        self.config = config or WaveConfig()
        self.policy_hash = config_hash(self.name, self.config)
        self._follower = PathFollower(self.config.path)
        self.reset()

    @property
    def description(self) -> PolicyDescription:
        """What the policy needs and gives."""
        return self.config.path.description

    def reset(self) -> None:
        """Start the wave anew, at the next observation."""
        self._follower.reset()
        self._next = 0
        self._down = np.eye(3)

    def infer(self, observation: Observation) -> ActionChunk:
        """The next 0.8 s of the wave.

        Raises:
            PolicyError: the observation cannot be used.
        """
        config = self.config
        check_observation(observation, config.path.cameras)
        if self._follower.track(observation):
            self._down = fingers_down(observation.end_effector_pose[:3, :3])
        now_ns = observation.observation_ns
        chunk_end_ns = now_ns + round(config.path.horizon * config.path.step_period * 1e9)
        while self._follower.path.end_ns < chunk_end_ns:
            stop = config.poses[self._next % len(config.poses)]
            pose = _pose(np.array(stop.position), matrix_from_rotation_vector(stop.tilt) @ self._down)
            self._follower.go_to(pose, np.full(6, stop.hand), now_ns)
            self._next += 1
        return self._follower.chunk(observation, self.name, self.policy_hash)


@dataclass(frozen=True)
class ReachConfig:
    """How markers are touched.

    The end-effector frame lies between the tips of thumb and fingers, z out of the hand; the lowest fingertip of the
    chosen hand shape lies ``fingertip_reach_m`` further along z and ``fingertip_offset_m`` along x and y of that frame.
    """

    path: PathConfig = field(default_factory=PathConfig)
    hand_shape: Literal["flat", "pointing"] = "flat"
    fingertip_reach_m: float = 0.062
    fingertip_offset_m: tuple[float, float] = (0.069, 0.0105)
    ball_radius_m: float = BALL_RADIUS_M
    hover_m: float = 0.09  # from the top of the highest known ball to the fingertip on the way
    press_m: float = 0.008  # how far the fingertip is sent below the top of the ball
    press_time: float = 0.3  # s
    descent_speed: float = 0.12  # m/s
    arrived_m: float = 0.008
    settle_time: float = 1.0  # s; after this an arm that is on the path but not within arrived_m counts as arrived
    sightings: int = 3  # frames that must show a marker before the arm goes there
    memory: int = 15  # frames of which the median is taken
    search_pose: tuple[float, float, float] = (0.35, 0.0, 0.5)  # m; from here the hand hides nothing
    search_after: float = 1.5  # s without seeing the marker until the arm goes to the search pose
    search_timeout: float = 8.0  # s
    workspace_low: tuple[float, float, float] = (0.2, -0.5, -0.05)  # m; markers are expected between these corners
    workspace_high: tuple[float, float, float] = (0.8, 0.5, 0.4)  # m

    def __post_init__(self) -> None:
        if len(self.path.cameras) < 2:
            raise ValueError("path.cameras: two are needed to locate a marker")
        if self.sightings < 1 or self.memory < self.sightings:
            raise ValueError(
                f"memory: {self.memory} must be at least sightings ({self.sightings}), and that at least 1"
            )
        if not 0.0 <= self.press_m <= 0.02:
            raise ValueError(f"press_m: {self.press_m} is outside 0-0.02 m")
        for name in ("ball_radius_m", "hover_m", "descent_speed", "arrived_m"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")


class ReachPhase(Enum):
    """What the arm is doing about the marker whose turn it is."""

    SEARCH = "search"
    RAISE = "raise"
    TRANSIT = "transit"
    DESCEND = "descend"
    PRESS = "press"
    DONE = "done"


class ReachPolicy:
    """Touches the markers that the instruction names, in its order, from above with a fingertip.

    Each phase but the press is one minimum-jerk segment of the reference path and is over when the measured pose has
    arrived. An arm that leaves the path (pushed, stopped) raises the hand and approaches the same marker again.
    """

    name = "reach"

    def __init__(self, config: ReachConfig | None = None) -> None:
        self.config = config or ReachConfig()
        self.policy_hash = config_hash(self.name, self.config)
        self._follower = PathFollower(self.config.path)
        self._hand = np.array(HAND_SHAPES[self.config.hand_shape])
        self.reset()

    @property
    def description(self) -> PolicyDescription:
        """What the policy needs and gives."""
        return self.config.path.description

    def reset(self) -> None:
        """Forget the markers and start with the first one."""
        self._follower.reset()
        self._order: tuple[str, ...] = ()
        self._index = 0
        self.phase = ReachPhase.SEARCH
        self._phase_ns = 0  # since when
        self._down = np.eye(3)
        self._seen = {colour: deque[Array](maxlen=self.config.memory) for colour in HUES}

    def infer(self, observation: Observation) -> ActionChunk:
        """The next 0.8 s of the path to the marker whose turn it is.

        Raises:
            PolicyError: the observation or its instruction cannot be used, or a marker stays out of sight.
        """
        check_observation(observation, self.config.path.cameras)
        order = parse_touch_instruction(observation.instruction)
        if order != self._order:
            self.reset()
            self._order = order
        if self._follower.track(observation):
            self._down = fingers_down(observation.end_effector_pose[:3, :3])
            if self.phase is not ReachPhase.DONE:
                self._enter(ReachPhase.SEARCH, observation.observation_ns)
        self._look(observation)
        self._advance(observation)
        return self._follower.chunk(observation, self.name, self.policy_hash)

    def marker_position(self, colour: str) -> Array | None:
        """Median of the sightings (3,) in the base frame, m; None until there are enough."""
        seen = self._seen[colour]
        return np.median(np.stack(seen), axis=0) if len(seen) >= self.config.sightings else None

    def _look(self, observation: Observation) -> None:
        views = {name: observation.views[name] for name in self.config.path.cameras}
        touching = self.phase in (ReachPhase.DESCEND, ReachPhase.PRESS)
        for colour, position in find_markers(views, self.config.ball_radius_m).items():
            hidden_by_the_hand = touching and colour == self._order[self._index]
            expected = np.all(position >= self.config.workspace_low) and np.all(position <= self.config.workspace_high)
            if expected and not hidden_by_the_hand:
                self._seen[colour].append(position)

    def _advance(self, observation: Observation) -> None:
        """Enter the next phase where the present one is over."""
        now_ns = observation.observation_ns
        if self.phase is ReachPhase.SEARCH:
            self._search(observation)
        elif self.phase is ReachPhase.PRESS:
            if self._pressed_long_enough(observation):
                self._index += 1
                last = self._index == len(self._order)
                self._enter(ReachPhase.DONE if last else ReachPhase.SEARCH, now_ns)
                self._go_to(self._raised(), now_ns, self.config.descent_speed)
        elif self.phase is not ReachPhase.DONE and self._arrived(observation):
            target = self.marker_position(self._order[self._index])
            if target is None:
                self._enter(ReachPhase.SEARCH, now_ns)
            elif self.phase is ReachPhase.RAISE:
                self._enter(ReachPhase.TRANSIT, now_ns)
                self._go_to(self._above(target, self._transit_height() - self._touch_height(target)), now_ns)
            elif self.phase is ReachPhase.TRANSIT:
                self._enter(ReachPhase.DESCEND, now_ns)
                self._go_to(self._above(target, -self.config.press_m), now_ns, self.config.descent_speed)
            else:
                self._enter(ReachPhase.PRESS, now_ns)

    def _search(self, observation: Observation) -> None:
        config, now_ns = self.config, observation.observation_ns
        colour = self._order[self._index]
        waited = (now_ns - self._phase_ns) * 1e-9
        if self.marker_position(colour) is not None:
            self._enter(ReachPhase.RAISE, now_ns)
            if self._follower.path.end.pose[2, 3] < self._transit_height() - 0.005:
                self._go_to(self._raised(), now_ns)
        elif waited > config.search_timeout and not self._seen[colour]:
            raise PolicyError(
                f"reach: the {colour} marker has not been seen by cameras {' and '.join(config.path.cameras)} "
                f"for {waited:.0f} s. Put it in view of both, or check their calibration"
            )
        elif waited > config.search_after and not np.allclose(self._follower.path.end.pose[:3, 3], config.search_pose):
            self._go_to(_pose(np.array(config.search_pose), self._down), now_ns)

    def _arrived(self, observation: Observation) -> bool:
        path, now_ns = self._follower.path, observation.observation_ns
        error = float(np.linalg.norm(observation.end_effector_pose[:3, 3] - path.end.pose[:3, 3]))
        # The ball may stop the fingertip at its top.
        blocked = self.config.press_m if self.phase is ReachPhase.DESCEND else 0.0
        tolerance = max(self.config.arrived_m, blocked + self.config.arrived_m / 2)
        waited = (now_ns - path.end_ns) * 1e-9
        return waited >= 0.0 and (error <= tolerance or waited >= self.config.settle_time)

    def _pressed_long_enough(self, observation: Observation) -> bool:
        return (observation.observation_ns - self._phase_ns) * 1e-9 >= self.config.press_time

    def _enter(self, phase: ReachPhase, now_ns: int) -> None:
        self.phase, self._phase_ns = phase, now_ns

    def _go_to(self, pose: Array, now_ns: int, linear_speed: float | None = None) -> None:
        self._follower.go_to(pose, self._hand, now_ns, linear_speed)

    def _touch_height(self, target: Array) -> float:
        """Height of the end effector at which the fingertip is at the top of the ball, m."""
        return float(target[2]) + self.config.ball_radius_m + self.config.fingertip_reach_m

    def _transit_height(self) -> float:
        """Height of the end effector at which the fingertip clears every known ball, m."""
        known = [p for p in map(self.marker_position, HUES) if p is not None]
        return max(map(self._touch_height, known)) + self.config.hover_m

    def _above(self, target: Array, height: float) -> Array:
        """Pose with the fingertip ``height`` (m) above the top of the ball at ``target``."""
        offset = self._down @ np.array([*self.config.fingertip_offset_m, 0.0])
        return _pose(np.array([*target[:2], self._touch_height(target) + height]) - offset, self._down)

    def _raised(self) -> Array:
        """The end of the path, lifted to the transit height."""
        x, y, z = self._follower.path.end.pose[:3, 3]
        return _pose(np.array([x, y, max(z, self._transit_height())]), self._down)


@dataclass(frozen=True)
class ScriptedConfig:
    """Both behaviours."""

    wave: WaveConfig = field(default_factory=WaveConfig)
    reach: ReachConfig = field(default_factory=ReachConfig)


class ScriptedPolicy:
    """Reaches where the instruction says "touch", otherwise waves."""

    name = "scripted"

    def __init__(self, config: ScriptedConfig | None = None) -> None:
        self.config = config or ScriptedConfig()
        self.policy_hash = config_hash(self.name, self.config)
        self._wave, self._reach = WavePolicy(self.config.wave), ReachPolicy(self.config.reach)
        self._active: Policy = self._wave

    @property
    def description(self) -> PolicyDescription:
        """What the policy needs and gives."""
        return self.config.wave.path.description

    def reset(self) -> None:
        """Forget the episode so far."""
        self._wave.reset()
        self._reach.reset()

    def infer(self, observation: Observation) -> ActionChunk:
        """The chunk of the behaviour that the instruction asks for.

        Raises:
            PolicyError: the observation or its instruction cannot be used, or a marker stays out of sight.
        """
        wanted = self._reach if re.search(r"\btouch\b", observation.instruction.lower()) else self._wave
        if wanted is not self._active:
            wanted.reset()
            self._active = wanted
        return dataclasses.replace(wanted.infer(observation), policy=self.name, policy_hash=self.policy_hash)


def parse_touch_instruction(instruction: str) -> tuple[str, ...]:
    """The colours in "touch the red, then the green, then the blue marker", in order; any subset, each once.

    Raises:
        PolicyError: the instruction holds a word that is not understood, no colour, or a colour twice.
    """
    example = 'expected for example "touch the red, then the green, then the blue marker"'
    words = re.findall(r"[^\W_]+", instruction.lower())
    if not words or words[0] != "touch":
        raise PolicyError(f'instruction "{instruction}" does not begin with "touch"; {example}')
    fillers = {"touch", "the", "then", "and", "finally", "marker", "markers", "ball", "balls"}
    unknown = [word for word in words if word not in fillers and word not in HUES]
    if unknown:
        known = ", ".join(HUES)
        raise PolicyError(
            f'instruction "{instruction}": "{unknown[0]}" is not understood (colours: {known}); {example}'
        )
    colours = tuple(word for word in words if word in HUES)
    if not colours:
        raise PolicyError(f'instruction "{instruction}" names no colour; {example}')
    if len(set(colours)) < len(colours):
        raise PolicyError(f'instruction "{instruction}" names a colour twice; {example}')
    return colours


def _pose(position: Array, rotation: Array) -> Array:
    pose = np.eye(4)
    pose[:3, 3], pose[:3, :3] = position, rotation
    return pose
