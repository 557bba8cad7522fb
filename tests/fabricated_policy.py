"""A policy that remembers everything it sees, and recordings of a robot that it watched."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from fabricated_datasets import numbered_picture
from fabricated_robot import KINEMATICS, LAB, START_NS, Message, Robot

from vipa.observing import Frame, make_observation
from vipa.reading import from_plan_message
from vipa.recording.cdr import image_payload
from vipa.recording.messages import MessageWriter, action_chunk_payload, arm_state_payload, hand_state_payload
from vipa_inference.policy import ActionChunk, ChunkSources, Observation
from vipa_inference.real_time_chunking import committed_part
from vipa_inference.rotations import unit_quaternion

MS = 1_000_000
PERIOD_NS = 100 * MS  # of the chunks


class MemoryPolicy:
    """Its actions depend on every bit of every observation since its reset, on noise, and on ``gain``."""

    name = "memory"

    def __init__(self, gain: float = 1.0) -> None:
        self.policy_hash = f"memory {gain}"
        self._gain = gain
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._noise = np.random.default_rng(0)
        self._sum = 0.0

    def infer(self, observation: Observation) -> ActionChunk:
        """Numbers out of everything."""
        for view in observation.views.values():
            self._sum += float(view.image.astype(np.float64).mean()) * 1e-4 + view.intrinsics.sum() * 1e-6
            self._sum += view.camera_to_base.sum() * 1e-3
        self._sum += observation.joint_positions.sum() * 1e-3 + observation.hand_positions.sum() * 1e-3
        if observation.committed is not None:
            self._sum += observation.committed.poses.sum() * 1e-5 + len(observation.committed.times_ns) * 1e-3
        actions = 1e-3 * self._noise.standard_normal((16, 12)) + 1e-2 * self._sum * self._gain
        return ActionChunk(
            actions, 0.05, observation.end_effector_pose, observation.observation_ns, self.name, self.policy_hash
        )


@dataclass(frozen=True)
class WatchedRobot(Robot):
    """A robot that a policy watched; it took states that are not the nearest, now and then, as on a busy machine.

    Attributes:
        policy: that watched.
        resets: numbers of the chunks before which it was reset; the first chunk of the recording is the third since an
            earlier reset, unless it is among them.
    """

    policy: MemoryPolicy = field(default_factory=MemoryPolicy)
    resets: tuple[int, ...] = (0,)

    def messages(self) -> Iterator[Message]:
        """In order of time."""
        found = [*super().messages(), *(m for m in self._policy_messages() if self.keep(m[1], (m[0] - START_NS) / 1e9))]
        yield from sorted(found, key=lambda message: message[0])

    def _policy_messages(self) -> Iterator[Message]:
        for camera, rate in self.rates.items():
            for k in range(round(rate * self.seconds)):
                stamp = START_NS + round(k / rate * 1e9)
                yield stamp, f"/camera/{camera}/color/camera_info", camera_info_payload(stamp, _info(camera))
        since_reset, plan_ns = 2, 0
        for number in range(round((self.seconds - 0.3) * 1e9) // PERIOD_NS):
            frame = 3 * number
            exposure_ns = START_NS + round(frame / 30 * 1e9)
            if number in self.resets:
                self.policy.reset()
                since_reset = 0
            since_reset += 1
            state = 10 * number + number % 3  # up to 20 ms later than the exposure
            until_ns = exposure_ns + 170 * MS
            committed = None
            if plan_ns:
                committed = committed_part(from_plan_message(_plan(plan_ns)), exposure_ns, until_ns)
            frames = {name: Frame(self._picture(frame), exposure_ns, _info(name)) for name in self.rates}
            observation = make_observation(LAB, frames, self._arm_message(state), self._hand_message(state), "wipe")
            stamp = START_NS + state * 10 * MS
            sources = ChunkSources(stamp, stamp, plan_ns if committed else 0, until_ns if committed else 0, since_reset)
            found = self.policy.infer(dataclasses.replace(observation, committed=committed))
            chunk = dataclasses.replace(
                found,
                chunk_id=number + 1,
                exposures_ns=dict.fromkeys(self.rates, exposure_ns),
                instruction="wipe",
                sources=sources,
            )
            sent_ns = exposure_ns + 60 * MS
            yield sent_ns, "/policy/action_chunk", action_chunk_payload(chunk, sent_ns, "fr3_link0")
            if number % 2 == 0:
                plan_ns = exposure_ns + 70 * MS
                yield plan_ns, "/controller/plan", plan_payload(_plan(plan_ns))

    def _picture(self, number: int) -> np.ndarray:
        """With noise, of which JPEG does not keep every bit."""
        noise = np.random.default_rng(number).integers(0, 20, (*self.size, 3), dtype=np.uint8)
        return numbered_picture(number, self.size) + noise

    def _frames(self) -> Iterator[Message]:
        for camera, rate in self.rates.items():
            for k in range(round(rate * self.seconds)):
                stamp = START_NS + round(k / rate * 1e9)
                payload = image_payload(stamp, f"{camera}_frame", self.size, "rgb8", self._picture(k).data)
                yield stamp, f"/camera/{camera}/color/image_raw", payload

    def _arm_message(self, state: int) -> SimpleNamespace:
        joints = self.commanded(state / 100 - 0.04)
        return SimpleNamespace(joint_positions=joints, end_effector_pose=_pose_message(KINEMATICS.forward(joints)))

    def _hand_message(self, state: int) -> SimpleNamespace:
        return SimpleNamespace(positions=self.hand(state / 100))

    def _states(self) -> Iterator[Message]:
        for k in range(round(100 * self.seconds)):
            joints, stamp = self.commanded(k / 100 - 0.04), START_NS + k * 10 * MS
            pose = KINEMATICS.forward(joints)
            yield stamp, "/fr3/state", arm_state_payload(stamp, "fr3_link0", joints, np.zeros(7), pose)
            yield stamp, "/hand/state", hand_state_payload(stamp, self.hand(k / 100), self.hand(k / 100))
            if k % 7 == 0:  # ROS time was held, and another reading has the same stamp
                yield stamp, "/fr3/state", arm_state_payload(stamp, "fr3_link0", joints + 1e-6, np.zeros(7), pose)

    def hand(self, seconds):  # type: ignore[no-untyped-def]
        """Moves, so that each state is another."""
        return np.clip(super().hand(seconds) + 0.05 * np.asarray(seconds)[..., None], 0.0, 1.0)


def camera_info_payload(stamp_ns: int, info: SimpleNamespace) -> bytes:
    """A sensor_msgs/CameraInfo."""
    writer = MessageWriter()
    writer.header(stamp_ns, "camera").unsigned(480).unsigned(640).string("plumb_bob").doubles((0.0,) * 5)
    writer.fixed(info.k).fixed([0.0] * 9).fixed([0.0] * 12)
    for _ in range(6):
        writer.unsigned(0)
    return writer.byte(0).payload


def plan_payload(plan: SimpleNamespace) -> bytes:
    """A vipa_msgs/CommittedPlan."""
    writer = MessageWriter()
    writer.header(plan.stamp_ns, "fr3_link0")
    writer.long(plan.chunk_id).time(plan.stamp_ns).doubles(tuple(plan.offsets)).unsigned(len(plan.poses))
    for pose in plan.poses:
        p, q = pose.position, pose.orientation
        writer.fixed([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
    return writer.doubles(tuple(plan.hand)).payload


def _plan(stamp_ns: int) -> SimpleNamespace:
    """A plan of a second, other at each time."""
    poses = []
    for k in range(20):
        pose = np.eye(4)
        pose[:3, 3] = 0.4, 0.01 * k, 0.3 + (stamp_ns % 7_777_777) * 1e-9
        poses.append(_pose_message(pose))
    stamp = SimpleNamespace(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
    return SimpleNamespace(
        stamp_ns=stamp_ns, chunk_id=1, start=stamp, offsets=[0.05 * k for k in range(20)], poses=poses,
        hand=[0.5] * 120,
    )  # fmt: skip


def _pose_message(pose: np.ndarray) -> SimpleNamespace:
    x, y, z, w = unit_quaternion(pose[:3, :3])
    position = SimpleNamespace(x=float(pose[0, 3]), y=float(pose[1, 3]), z=float(pose[2, 3]))
    return SimpleNamespace(position=position, orientation=SimpleNamespace(x=x, y=y, z=z, w=w))


def _info(camera: str) -> SimpleNamespace:
    focal = 600.0 if camera == "front" else 605.0
    return SimpleNamespace(k=[focal, 0.0, 320.0, 0.0, focal, 240.0, 0.0, 0.0, 1.0])
