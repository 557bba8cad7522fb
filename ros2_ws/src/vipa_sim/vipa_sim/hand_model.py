"""A model of the Inspire RH56 right hand from boxes and capsules, for the flange of the arm.

Hand frame: origin on the flange, z out of the hand along the straight fingers, x out of the palm, y to the side of the
index finger. The hand is mounted with its x against the flange's x, so that with the fingers down and the flange's x
forward the palm looks back at the robot's base.

Twelve joints follow six motors, as in the real hand, through linkages: an equality constraint a linkage.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vipa_sim.engine import Body, Geom, Spec, mujoco
from vipa_sim.robot_model import ENVIRONMENT_BIT, THUMB_BIT

MOTORS = ("little", "ring", "middle", "index", "thumb_bend", "thumb_rotate")
"""The six motors in the order of the hand's registers."""

FINGER_RANGE = 1.47
THUMB_BEND_RANGE = 0.6
THUMB_ROTATE_RANGE = 1.308
MOTOR_RANGES: NDArray[np.float64] = np.array([FINGER_RANGE] * 4 + [THUMB_BEND_RANGE, THUMB_ROTATE_RANGE])
"""(6,) rad: the angle of each motor's joint when closed; 0 is open."""

FINGER_LINKAGE = (-0.04545, 1.06399)
"""Distal joint of a finger = offset + ratio x proximal joint (rad)."""
THUMB_LINKAGE = {"thumb_intermediate": (0.0, 1.334), "thumb_distal": (0.0, 0.667)}
"""Further joints of the thumb = offset + ratio x bend (rad)."""

COLOUR = (0.27, 0.28, 0.31, 1.0)
PAD_COLOUR = (0.42, 0.43, 0.46, 1.0)
FRICTION = (1.2, 0.05, 0.001)

WRIST_LENGTH = 0.045
PALM_SIZE = (0.030, 0.080, 0.090)
KNUCKLE_HEIGHT = WRIST_LENGTH + PALM_SIZE[2]
FINGER_RADII = (0.0090, 0.0078)
THUMB_BASE = (0.018, 0.036, 0.066)
THUMB_LENGTHS = (0.048, 0.034, 0.030)
THUMB_RADII = (0.0100, 0.0090, 0.0085)
THUMB_ELEVATION = np.deg2rad(25.0)
"""Angle of the straight thumb above the plane across the palm."""
THUMB_LATERAL = np.deg2rad(60.0)
"""Direction of the thumb in that plane at rotation 0, from the palm's normal (x) towards the side (y)."""


@dataclass(frozen=True)
class Finger:
    """One of the four fingers: where its knuckle is across the palm, and the lengths of its two links (m)."""

    name: str
    y: float
    proximal: float
    distal: float


FINGERS = (
    Finger("little", -0.0285, 0.032, 0.040),
    Finger("ring", -0.0095, 0.038, 0.046),
    Finger("middle", 0.0095, 0.040, 0.050),
    Finger("index", 0.0285, 0.038, 0.046),
)

HAND_IN_FLANGE: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0])
"""(4, 4) pose of the hand frame in the flange frame: half a turn about z."""

PINCH_IN_FLANGE: NDArray[np.float64] = np.array(
    [[1.0, 0.0, 0.0, -0.067], [0.0, 1.0, 0.0, -0.020], [0.0, 0.0, 1.0, 0.163], [0.0, 0.0, 0.0, 1.0]]
)
"""(4, 4) pose of the end-effector frame in the flange frame.

Its origin is the middle between the tips of the thumb and of index and middle finger when the hand is half closed; its
axes are the flange's: z out of the hand, x out of the back of the hand, -y to the side of the index finger.
"""

HAND_PREFIX = "hand_"
"""Every body, joint and geom of the hand is named with this prefix."""

MOTOR_JOINTS = (
    "hand_little_proximal",
    "hand_ring_proximal",
    "hand_middle_proximal",
    "hand_index_proximal",
    "hand_thumb_proximal",
    "hand_thumb_rotate",
)
"""The joint that each motor drives directly."""

MAX_TIP_FORCE = 10.0
"""The force (N) across the tip of a finger at which its motor gives way."""

_STIFFNESS = (5.0, 5.0, 5.0, 5.0, 12.0, 5.0)  # N m/rad at the motors' joints: about 300 N/m at the tips
_DAMPING = 0.12
_ARMATURE = 0.003
_LIMIT_SLACK = 0.03


def add_hand(spec: Spec, mount: str = "fr3_link7", flange: str = "flange") -> None:
    """Put the hand on the site ``flange`` of body ``mount``, with its motors and the site ``pinch``."""
    link = spec.body(mount)
    origin = np.array(spec.site(flange).pos)
    link.add_site(name="pinch", pos=origin + PINCH_IN_FLANGE[:3, 3])
    hand = _add_body(link, "palm", list(origin), mass=0.38)
    hand.quat = [0.0, 0.0, 0.0, 1.0]
    _add_geom(
        hand, "wrist", mujoco.mjtGeom.mjGEOM_CYLINDER, size=[0.032, WRIST_LENGTH / 2, 0], pos=[0, 0, WRIST_LENGTH / 2]
    )
    half = [s / 2 for s in PALM_SIZE]
    _add_geom(hand, "palm", mujoco.mjtGeom.mjGEOM_BOX, size=half, pos=[0, 0, WRIST_LENGTH + half[2]])
    for finger in FINGERS:
        _add_finger(spec, hand, finger)
    _add_thumb(spec, hand)
    motors = zip(MOTORS, MOTOR_JOINTS, MOTOR_RANGES, _STIFFNESS, MAX_TIP_FORCE * tip_levers(), strict=True)
    for motor, joint, closed, stiffness, torque in motors:
        actuator = spec.add_actuator(name=HAND_PREFIX + motor, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.set_to_position(kp=stiffness)
        actuator.ctrlrange = [0.0, closed]
        actuator.forcerange = [-torque, torque]


def linkage_matrix() -> NDArray[np.float64]:
    """(6, 12): how far each of the hand's joints (in the order of ``qpos``) moves with each motor's joint.

    The joints: proximal and distal of little, ring, middle and index; then rotate, proximal, intermediate and distal
    of the thumb.
    """
    matrix = np.zeros((6, 12))
    for motor in range(4):
        matrix[motor, 2 * motor : 2 * motor + 2] = 1.0, FINGER_LINKAGE[1]
    matrix[4, 9:12] = 1.0, THUMB_LINKAGE["thumb_intermediate"][1], THUMB_LINKAGE["thumb_distal"][1]
    matrix[5, 8] = 1.0
    return matrix


def tip_levers() -> NDArray[np.float64]:
    """(6,) m: travel of the tip per radian of the motor's joint, across the last link of the half-closed finger.

    A force across the finger tip times its lever is the torque that the motor has to bear.
    """
    levers = np.zeros(6)
    for motor, finger in enumerate(FINGERS):
        bend = FINGER_LINKAGE[0] + FINGER_LINKAGE[1] * FINGER_RANGE / 2
        levers[motor] = finger.distal * (1 + FINGER_LINKAGE[1]) + finger.proximal * np.cos(bend)
    ratios = np.array([1.0, *(ratio for _, ratio in THUMB_LINKAGE.values())])
    bends = ratios * THUMB_BEND_RANGE / 2
    first, second, third = THUMB_LENGTHS
    levers[4] = (
        third * ratios.sum() + second * (ratios[0] + ratios[1]) * np.cos(bends[2]) + first * np.cos(bends[1] + bends[2])
    )
    heights = THUMB_ELEVATION + np.cumsum(bends)
    levers[5] = float(np.dot(THUMB_LENGTHS, np.cos(heights)))
    return levers


def _add_finger(spec: Spec, hand: Body, finger: Finger) -> None:
    proximal = _add_body(hand, f"{finger.name}_proximal", [0.0, finger.y, KNUCKLE_HEIGHT], mass=0.014)
    _add_joint(proximal, f"{finger.name}_proximal", [0, 1, 0], FINGER_RANGE)
    _add_capsule(proximal, f"{finger.name}_proximal", finger.proximal, FINGER_RADII[0], ENVIRONMENT_BIT | THUMB_BIT)
    distal = _add_body(proximal, f"{finger.name}_distal", [0.0, 0.0, finger.proximal], mass=0.012)
    _add_joint(distal, f"{finger.name}_distal", [0, 1, 0])
    _add_capsule(distal, f"{finger.name}_distal", finger.distal, FINGER_RADII[1], ENVIRONMENT_BIT | THUMB_BIT, tip=True)
    _add_linkage(spec, f"{finger.name}_distal", f"{finger.name}_proximal", *FINGER_LINKAGE)


def _add_thumb(spec: Spec, hand: Body) -> None:
    turn = _add_body(hand, "thumb_rotate", list(THUMB_BASE), mass=0.012)
    turn.quat = [np.cos(THUMB_LATERAL / 2), 0, 0, np.sin(THUMB_LATERAL / 2)]
    _add_joint(turn, "thumb_rotate", [0, 0, -1], THUMB_ROTATE_RANGE)
    parent, offset = turn, 0.0
    for name, length, radius in zip(
        ("thumb_proximal", "thumb_intermediate", "thumb_distal"), THUMB_LENGTHS, THUMB_RADII, strict=True
    ):
        body = _add_body(parent, name, [0.0, 0.0, offset], mass=0.012)
        if parent is turn:  # lay z, which every link follows, along the straight thumb
            lean = np.pi / 2 - THUMB_ELEVATION
            body.quat = [np.cos(lean / 2), 0, np.sin(lean / 2), 0]
        _add_joint(body, name, [0, -1, 0], THUMB_BEND_RANGE if parent is turn else None)
        _add_capsule(body, name, length, radius, ENVIRONMENT_BIT, THUMB_BIT, tip=name == "thumb_distal")
        if name in THUMB_LINKAGE:
            _add_linkage(spec, name, "thumb_proximal", *THUMB_LINKAGE[name])
        parent, offset = body, length


def _add_body(parent: Body, name: str, pos: list[float], mass: float) -> Body:
    """A gravity-compensated body whose inertia is that of a small link of ``mass`` kg around its middle."""
    body = parent.add_body(name=HAND_PREFIX + name, pos=pos, gravcomp=1.0)
    body.explicitinertial = True
    body.mass = mass
    body.ipos = [0.0, 0.0, KNUCKLE_HEIGHT / 2 if name == "palm" else 0.02]
    radius = 0.045 if name == "palm" else 0.012
    body.inertia = [mass * radius**2] * 3
    return body


def _add_joint(body: Body, name: str, axis: list[float], closed: float | None = None) -> None:
    joint = body.add_joint(name=HAND_PREFIX + name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=axis)
    joint.damping[0] = _DAMPING
    joint.armature = _ARMATURE
    joint.frictionloss = 0.0
    if closed is not None:
        joint.range = [-_LIMIT_SLACK, closed + _LIMIT_SLACK]


def _add_geom(
    body: Body,
    name: str,
    kind: int,
    answers: int = ENVIRONMENT_BIT,
    offers: int = 0,
    **shape: object,
) -> Geom:
    return body.add_geom(
        name=HAND_PREFIX + name,
        type=kind,
        contype=offers,
        conaffinity=answers,
        condim=4,
        friction=FRICTION,
        solref=[0.01, 1.0],
        rgba=COLOUR,
        mass=0.0,
        **shape,
    )


def _add_capsule(
    body: Body, name: str, length: float, radius: float, answers: int, offers: int = 0, tip: bool = False
) -> None:
    """A capsule from the body's origin along z; at the tip it ends where the link ends, round end included."""
    end = length - radius if tip else length
    capsule = mujoco.mjtGeom.mjGEOM_CAPSULE
    geom = _add_geom(body, name, capsule, answers, offers, fromto=[0, 0, 0, 0, 0, end], size=[radius, 0, 0])
    if tip:
        geom.rgba = PAD_COLOUR


def _add_linkage(spec: Spec, follower: str, leader: str, offset: float, ratio: float) -> None:
    equality = spec.add_equality(name=HAND_PREFIX + follower, type=mujoco.mjtEq.mjEQ_JOINT)
    equality.objtype = mujoco.mjtObj.mjOBJ_JOINT
    equality.name1, equality.name2 = HAND_PREFIX + follower, HAND_PREFIX + leader
    equality.data[:5] = [offset, ratio, 0.0, 0.0, 0.0]
    equality.solref = [0.004, 1.0]
    equality.solimp = [0.97, 0.99, 0.001, 0.5, 2.0]
