"""The one MuJoCo world of the simulated laboratory: arm, hand and the things of a scene, on one simulated clock."""

import hashlib
import math
import threading
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vipa_sim.engine import Data, Model, mujoco
from vipa_sim.errors import SimulationError
from vipa_sim.hand_model import HAND_PREFIX, MOTOR_JOINTS, MOTOR_RANGES, MOTORS, linkage_matrix, tip_levers
from vipa_sim.robot_model import JOINTS, LINKS, fr3_urdf
from vipa_sim.scenes.base import Scene

STEP_NS = 1_000_000
TASK_PERIOD_NS = 10_000_000
HOME: NDArray[np.float64] = np.array([0.0, -0.18, 0.0, -2.14, 0.0, 1.96, 0.0])
"""(7,) rad: hand above the middle of the table, fingers straight down, palm towards the robot's base."""

_ARM = slice(0, 7)
_HAND = slice(7, 19)
_ROBOT = slice(0, 19)


@dataclass(frozen=True)
class Snapshot:
    """All that a renderer needs to draw one instant of a world; owns its arrays and can be pickled."""

    time_ns: int
    qpos: NDArray[np.float64]
    mocap_pos: NDArray[np.float64]
    mocap_quat: NDArray[np.float64]
    geom_rgba: NDArray[np.float32]
    geom_matid: NDArray[np.int32]
    mat_rgba: NDArray[np.float32]
    textures: dict[int, tuple[int, NDArray[np.uint8]]] = field(default_factory=dict[int, tuple[int, NDArray[np.uint8]]])
    """Textures repainted since the model was compiled: id -> (revision, flat bytes)."""


class World:
    """The laboratory: a plant for the arm's controller, a hand, and a scene with its task.

    One thread may step it while others read or command it: every method holds the world's lock.

    Args:
        scene: what stands on the table and what is to be done.
        seed: draws the first episode.
        start_ns: the clock at the start (ns since the epoch); the wall clock where None.
        variant: the scene's variant; its first where None.
        step_ns: how far a step goes; the arm's controller needs 1 ms.
    """

    def __init__(
        self,
        scene: Scene,
        seed: int = 0,
        start_ns: int | None = None,
        variant: str | None = None,
        step_ns: int = STEP_NS,
    ) -> None:
        self.scene = scene
        self.model: Model = scene.build().compile()
        self.model.opt.timestep = step_ns * 1e-9
        self._step_ns, self._task_steps = step_ns, max(1, TASK_PERIOD_NS // step_ns)
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self.data: Data = mujoco.MjData(self.model)
        self._kinematics: Data = mujoco.MjData(self.model)
        self._lock = threading.RLock()
        self._start_ns = time.time_ns() if start_ns is None else start_ns
        self._steps = 0
        self._push: NDArray[np.float64] | None = None
        self._push_torques = np.zeros(7)
        self._texture_revisions: dict[int, int] = {}

        leading = [self.model.joint(i).name for i in range(_ROBOT.stop)]
        if leading[_ARM] != list(JOINTS) or not all(name.startswith(HAND_PREFIX) for name in leading[_HAND]):
            raise ValueError(f"scene {scene.name}: the robot's joints must come first, found {leading}")
        self._flange: int = self.model.site("flange").id
        self._pinch: int = self.model.site("pinch").id
        self._jacobian = np.zeros((6, self.model.nv))
        self._motor_qpos = np.array([self.model.joint(name).qposadr[0] for name in MOTOR_JOINTS])
        self._motor_ctrl = np.array([self.model.actuator(HAND_PREFIX + motor).id for motor in MOTORS])
        self._tip_force = -linkage_matrix() / tip_levers()[:, None]
        self.hand_geoms: NDArray[np.bool_] = np.array(
            [self.model.geom(i).name.startswith(HAND_PREFIX) for i in range(self.model.ngeom)]
        )
        self.robot_geoms: NDArray[np.bool_] = self.hand_geoms | self.geoms(*LINKS)

        self.restart(seed, variant)

    # The plant of the arm's controller

    @property
    def time_ns(self) -> int:
        """Simulated time, ns since the epoch."""
        return self._start_ns + self._steps * self._step_ns

    @property
    def positions(self) -> NDArray[np.float64]:
        """(7,) rad: joint positions of the arm."""
        with self._lock:
            return self.data.qpos[_ARM].copy()

    @property
    def velocities(self) -> NDArray[np.float64]:
        """(7,) rad/s: joint velocities of the arm."""
        with self._lock:
            return self.data.qvel[_ARM].copy()

    @property
    def urdf(self) -> bytes:
        """The robot's URDF, as the real robot sends it to its clients."""
        return fr3_urdf()

    def step(self, torques: ArrayLike) -> None:
        """Advance by exactly one step, a millisecond unless the world was made with another.

        Args:
            torques: (7,) N m on the arm's joints, beside the gravity compensation.

        Raises:
            ValueError: not seven finite torques; the world stays as it was.
            RuntimeError: the simulation diverged.
        """
        applied = np.asarray(torques, dtype=np.float64)
        if applied.shape != (7,) or not math.isfinite(applied.dot(applied)):  # faster than numpy's isfinite
            raise ValueError(f"torques: expected 7 finite numbers, found {applied}")
        with self._lock:
            if self._push is not None:
                mujoco.mj_jacSite(self.model, self.data, self._jacobian[:3], self._jacobian[3:], self._pinch)
                self._push_torques = self._jacobian[:, _ARM].T @ self._push
                applied = applied + self._push_torques
            self.data.qfrc_applied[_ARM] = applied
            self._step()

    def set_impedance(self, stiffness: ArrayLike, damping: ArrayLike) -> None:
        """Give the arm's joints springs (7,) N m/rad and dampers (7,) N m s/rad, for ``step_towards``.

        They act within the integrator, implicitly: stable at steps at which torques from outside no longer are.
        """
        with self._lock:
            self.model.jnt_stiffness[_ARM], self.model.dof_damping[_ARM] = stiffness, damping

    def step_towards(self, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> None:
        """Advance by exactly one step, the arm pulled to set-points (7,) rad that move with (7,) rad/s.

        Raises:
            RuntimeError: the simulation diverged.
        """
        with self._lock:
            self.model.qpos_spring[_ARM] = positions
            self.data.qfrc_applied[_ARM] = self.model.dof_damping[_ARM] * velocities
            self._step()

    def _step(self) -> None:
        mujoco.mj_step(self.model, self.data)
        self._steps += 1
        if self._steps % self._task_steps == 0:
            if not np.isfinite(self.data.qacc.sum()):
                seconds = self._steps * self._step_ns * 1e-9
                raise RuntimeError(f"simulation diverged after {seconds:.3f} s in scene {self.scene.name}")
            self.scene.update(self)

    def external_torques(self) -> NDArray[np.float64]:
        """(7,) N m: what the surroundings exerted on the arm's joints in the last step (contacts, welds, a push)."""
        with self._lock:
            return self.data.qfrc_constraint[_ARM] + self._push_torques

    def apply_push(self, force: ArrayLike | None) -> None:
        """Push the end effector from now on with a force and a moment, (6,) N and N m in the base frame; None lets go.

        Raises:
            ValueError: not six finite numbers.
        """
        push = None if force is None else np.array(force, dtype=np.float64)
        if push is not None and (push.shape != (6,) or not np.isfinite(push).all()):
            raise ValueError(f"push: expected 6 finite numbers, found {push}")
        with self._lock:
            self._push = push
            self._push_torques = np.zeros(7)

    def flange_pose(self, q: ArrayLike) -> NDArray[np.float64]:
        """(4, 4): the flange in the base frame at ``q`` (7,) rad; the world's own state is untouched."""
        with self._lock:
            self._move_kinematics(q)
            return self._site_pose(self._kinematics, self._flange)

    def flange_jacobian(self, q: ArrayLike) -> NDArray[np.float64]:
        """(6, 7): linear (m/s) and angular (rad/s) velocity of the flange in the base frame per joint velocity."""
        with self._lock:
            self._move_kinematics(q)
            mujoco.mj_comPos(self.model, self._kinematics)
            mujoco.mj_jacSite(self.model, self._kinematics, self._jacobian[:3], self._jacobian[3:], self._flange)
            return self._jacobian[:, _ARM].copy()

    def end_effector_pose(self) -> NDArray[np.float64]:
        """(4, 4): the pinch frame of the hand in the base frame, now."""
        with self._lock:
            return self._site_pose(self.data, self._pinch)

    # The hand

    def set_hand_targets(self, targets: ArrayLike) -> None:
        """Command the motors: (6,) in register order, 0 closed - 1 open; out of range is clipped.

        Raises:
            ValueError: not six finite numbers.
        """
        wanted = np.asarray(targets, dtype=np.float64)
        if wanted.shape != (6,) or not np.isfinite(wanted).all():
            raise ValueError(f"hand targets: expected 6 finite numbers, found {wanted}")
        with self._lock:
            self.data.ctrl[self._motor_ctrl] = (1.0 - np.clip(wanted, 0.0, 1.0)) * MOTOR_RANGES

    def hand_positions(self) -> NDArray[np.float64]:
        """(6,): where the motors are, 0 closed - 1 open (a little beyond when pressed against a stop)."""
        with self._lock:
            return 1.0 - self.data.qpos[self._motor_qpos] / MOTOR_RANGES

    def hand_forces(self) -> NDArray[np.float64]:
        """(6,) N: what resists each motor, as a force across its finger's tip; positive against closing."""
        with self._lock:
            return self._tip_force @ self.data.qfrc_constraint[_HAND]

    # The scene

    def reset(self, seed: int, variant: str | None = None) -> None:
        """Draw a new episode. Arm and hand stay as they are, and the clock runs on.

        Raises:
            SimulationError: the scene has no such variant, or cannot be drawn where the robot stands; the episode
                before then goes on.
        """
        with self._lock:
            data = self.data
            before = mujoco.MjData(self.model)
            mujoco.mj_copyData(before, self.model, data)
            scene_before = dict(vars(self.scene))
            robot = data.qpos[_ROBOT].copy(), data.qvel[_ROBOT].copy(), data.ctrl.copy(), data.time
            mujoco.mj_resetData(self.model, data)
            data.qpos[_ROBOT], data.qvel[_ROBOT], data.ctrl[:], data.time = robot
            try:
                self.scene.reset(self, np.random.default_rng(seed), variant or self.scene.variants[0])
            except SimulationError:
                mujoco.mj_copyData(data, self.model, before)
                vars(self.scene).update(scene_before)
                raise
            mujoco.mj_forward(self.model, data)

    def restart(self, seed: int, variant: str | None = None) -> None:
        """Begin as a new world would: the clock at its start, the robot at home with its hand open, a new episode.

        Raises:
            SimulationError: as ``reset``.
        """
        with self._lock:
            mujoco.mj_resetData(self.model, self.data)
            self._push, self._push_torques = None, np.zeros(7)
            self._steps = 0
            self.data.qpos[_ARM] = HOME
            self.set_hand_targets(np.ones(6))
            self.data.qpos[_HAND] = self._settled_hand()
            self.reset(seed, variant)

    def geoms(self, *names: str) -> NDArray[np.bool_]:
        """(ngeom,): which geoms are those of the names.

        Raises:
            KeyError: no such geom.
        """
        chosen = np.zeros(self.model.ngeom, dtype=bool)
        chosen[[self.model.geom(name).id for name in names]] = True
        return chosen

    def touches(self, some: NDArray[np.bool_], others: NDArray[np.bool_]) -> bool:
        """Whether a geom of ``some`` is in contact with one of ``others``; both (ngeom,), as ``geoms`` gives them."""
        with self._lock:
            if self.data.ncon == 0:
                return False
            pairs = self.data.contact.geom
            first, second = pairs[:, 0], pairs[:, 1]
            met = (some[first] & others[second]) | (some[second] & others[first])
            return bool((met & (self.data.contact.dist <= 0)).any())

    def contact_force(self, some: NDArray[np.bool_], others: NDArray[np.bool_]) -> float:
        """N: how hard geoms of ``some`` and of ``others`` press on each other, all contacts together; (ngeom,) each."""
        with self._lock:
            pairs = self.data.contact.geom
            met = np.flatnonzero((some[pairs[:, 0]] & others[pairs[:, 1]]) | (some[pairs[:, 1]] & others[pairs[:, 0]]))
            force, total = np.zeros(6), 0.0
            for contact in met:
                mujoco.mj_contactForce(self.model, self.data, contact, force)
                total += float(force[0])
            return total

    def is_welded(self, name: str) -> bool:
        """Whether a weld of the scene holds."""
        with self._lock:
            return bool(self.data.eq_active[self.model.equality(name).id])

    def weld(self, name: str, active: bool) -> None:
        """Let a weld of the scene hold its two bodies as they are to each other now, or let go."""
        with self._lock:
            index = self.model.equality(name).id
            first, second = self.model.eq_obj1id[index], self.model.eq_obj2id[index]
            inverse, relation = np.zeros(4), self.model.eq_data[index]
            mujoco.mju_negQuat(inverse, self.data.xquat[first])
            relation[:3] = 0.0
            mujoco.mju_rotVecQuat(relation[3:6], self.data.xpos[second] - self.data.xpos[first], inverse)
            mujoco.mju_mulQuat(relation[6:10], inverse, self.data.xquat[second])
            self.data.eq_active[index] = active

    def body_pose(self, name: str) -> NDArray[np.float64]:
        """(4, 4): a body's frame in the base frame, now."""
        with self._lock:
            body = self.data.body(name)
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = body.xmat.reshape(3, 3), body.xpos
            return pose

    def place_mocap(self, name: str, position: ArrayLike, quaternion: ArrayLike = (1.0, 0.0, 0.0, 0.0)) -> None:
        """Put a standing body that was declared movable (mocap) somewhere: (3,) m and (4,) wxyz in the base frame."""
        with self._lock:
            index = self.model.body(name).mocapid[0]
            self.data.mocap_pos[index] = position
            self.data.mocap_quat[index] = quaternion

    def place_free(self, name: str, position: ArrayLike, quaternion: ArrayLike = (1.0, 0.0, 0.0, 0.0)) -> None:
        """Put a body with a free joint of the same name somewhere, at rest: (3,) m and (4,) wxyz in the base frame."""
        with self._lock:
            joint = self.data.joint(name)
            joint.qpos[:3], joint.qpos[3:] = position, quaternion
            joint.qvel[:] = 0.0

    def joint_position(self, name: str) -> float:
        """Where a hinge (rad) or a slide (m) is."""
        with self._lock:
            return float(self.data.joint(name).qpos[0])

    def body_speed(self, name: str) -> float:
        """m/s: how fast the origin of a body with a free joint of the same name moves."""
        with self._lock:
            return float(np.linalg.norm(self.data.joint(name).qvel[:3]))

    def refresh(self) -> None:
        """Recompute poses and contacts after a scene has placed its things."""
        with self._lock:
            mujoco.mj_forward(self.model, self.data)

    def texture(self, name: str) -> NDArray[np.uint8]:
        """(height, width, channels): a view of a texture to paint on; call ``texture_painted`` afterwards."""
        texture = self.model.texture(name)
        shape = (int(texture.height[0]), int(texture.width[0]), int(texture.nchannel[0]))
        start = int(texture.adr[0])
        return self.model.tex_data[start : start + int(np.prod(shape))].reshape(shape)

    def texture_painted(self, name: str) -> None:
        """Tell the renderers that a texture has changed."""
        with self._lock:
            index = self.model.texture(name).id
            self._texture_revisions[index] = self._texture_revisions.get(index, 0) + 1

    def snapshot(self) -> Snapshot:
        """A copy of all that a renderer needs."""
        with self._lock:
            model, data = self.model, self.data
            textures = {
                index: (revision, self.texture(model.texture(index).name).reshape(-1).copy())
                for index, revision in self._texture_revisions.items()
            }
            return Snapshot(
                time_ns=self.time_ns,
                qpos=data.qpos.copy(),
                mocap_pos=data.mocap_pos.copy(),
                mocap_quat=data.mocap_quat.copy(),
                geom_rgba=model.geom_rgba.copy(),
                geom_matid=model.geom_matid.copy(),
                mat_rgba=model.mat_rgba.copy(),
                textures=textures,
            )

    def state_hash(self) -> str:
        """A digest of the whole state except the clock's start: equal in two worlds that went the same way."""
        with self._lock:
            snapshot = self.snapshot()
            digest = hashlib.sha256(f"{self._steps} {self.scene.instruction} {self.scene.done}".encode())
            arrays = (snapshot.qpos, self.data.qvel, self.data.ctrl, snapshot.mocap_pos, snapshot.mocap_quat)
            looks = (snapshot.geom_rgba, snapshot.geom_matid, snapshot.mat_rgba)
            for array in (*arrays, *looks, *(pixels for _, pixels in snapshot.textures.values())):
                digest.update(array.tobytes())
            return digest.hexdigest()

    def _settled_hand(self) -> NDArray[np.float64]:
        """(12,) rad: the hand's joints where its linkages put them for the motors' targets."""
        joints = linkage_matrix().T @ self.data.ctrl[self._motor_ctrl]
        for equality in range(self.model.neq):
            if self.model.equality(equality).name.startswith(HAND_PREFIX):
                follower = self.model.eq_obj1id[equality]
                joints[self.model.jnt_qposadr[follower] - _HAND.start] += self.model.eq_data[equality, 0]
        return joints

    def _move_kinematics(self, q: ArrayLike) -> None:
        self._kinematics.qpos[_ARM] = q
        mujoco.mj_kinematics(self.model, self._kinematics)

    @staticmethod
    def _site_pose(data: Data, site: int) -> NDArray[np.float64]:
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = data.site_xmat[site].reshape(3, 3), data.site_xpos[site]
        return pose
