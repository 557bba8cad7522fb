"""The request of a policy's client: an observation as a flat map, in the manner of openpi.

====================================  ====================================================================  ========
key                                   value                                                                 required
====================================  ====================================================================  ========
observation/images/<camera>           uint8 (height, width, 3), RGB                                         one of
observation/jpeg/<camera>             bytes: the same image as a JPEG file                                  the two
observation/exposure_ns/<camera>      whole number, ns: when the image was exposed                          all or none
observation/intrinsics/<camera>       (3, 3) px                                                             no
observation/camera_to_base/<camera>   (4, 4) pose of the optical frame in the base frame, m                 no
observation/end_effector_pose         (4, 4) in the base frame, m                                           yes
observation/joint_positions           (7,) rad                                                              yes
observation/hand_positions            (6,) 0 closed - 1 open                                                yes
prompt                                text: the instruction                                                 yes
committed/times_ns                    whole numbers (N,), ns, increasing                                    together
committed/poses                       (N, 4, 4) end-effector targets in the base frame, m                   together
committed/hand                        (N, 6) hand targets                                                   together
reset                                 true: an episode begins; alone, nothing is inferred                   no
====================================  ====================================================================  ========

Without exposures, the images count as exposed when the request arrived. Without intrinsics, a camera is a pinhole with
a horizontal field of view of 60 degrees. Without a pose, it stands in the base frame's origin, where no two views give
a position, so that a policy that locates things sees nothing rather than something wrong.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vipa_inference.policy import HAND_DIMENSION, Array, CameraView, CommittedPlan, Observation
from vipa_inference.serving.codec import MessageError
from vipa_inference.serving.fields import Fields
from vipa_inference.serving.pictures import decode_jpeg, encode_jpeg

IMAGES, JPEGS, EXPOSURES = "observation/images/", "observation/jpeg/", "observation/exposure_ns/"
INTRINSICS, CAMERA_POSES = "observation/intrinsics/", "observation/camera_to_base/"
END_EFFECTOR, JOINTS, HAND = (f"observation/{n}" for n in ("end_effector_pose", "joint_positions", "hand_positions"))
PROMPT, RESET = "prompt", "reset"
COMMITTED_TIMES, COMMITTED_POSES, COMMITTED_HAND = "committed/times_ns", "committed/poses", "committed/hand"
FIELD_OF_VIEW = math.radians(60.0)
"""Horizontal, of a camera without intrinsics."""


@dataclass(frozen=True)
class Request:
    """What a client asks for."""

    observation: Observation | None  # None: nothing is to be inferred
    reset: bool  # an episode begins


def make_request(observation: Observation, reset: bool = False, jpeg_quality: int = 0) -> dict[str, Any]:
    """The request for the chunk of an observation; its images as JPEG of that quality (1 to 100), or as they are (0).

    Raises:
        MessageError: an image that cannot become a JPEG.
    """
    message: dict[str, Any] = {
        END_EFFECTOR: observation.end_effector_pose,
        JOINTS: observation.joint_positions,
        HAND: observation.hand_positions,
        PROMPT: observation.instruction,
    }
    for name, view in observation.views.items():
        if jpeg_quality:
            message[JPEGS + name] = encode_jpeg(view.image, jpeg_quality)
        else:
            message[IMAGES + name] = view.image
        message[EXPOSURES + name] = view.exposure_ns
        message[INTRINSICS + name] = view.intrinsics
        message[CAMERA_POSES + name] = view.camera_to_base
    if observation.committed is not None:
        message[COMMITTED_TIMES] = observation.committed.times_ns
        message[COMMITTED_POSES] = observation.committed.poses
        message[COMMITTED_HAND] = observation.committed.hand
    return {**message, RESET: True} if reset else message


def read_request(message: Any, received_ns: int) -> Request:
    """Understand a request; its numbers are checked afterwards, by ``observation_checks``.

    Args:
        message: what was unpacked.
        received_ns: the exposure of images without one.

    Raises:
        MessageError: a key is missing or unknown, or a value has the wrong type or shape; the message names the key.
    """
    fields = Fields(message, "request")
    reset = fields.flag(RESET, False)
    if reset and not len(fields):
        return Request(None, reset=True)
    names = fields.names(IMAGES) + fields.names(JPEGS)
    if not names or len(set(names)) < len(names) or not all(name and name.isprintable() for name in names):
        raise MessageError(f"request: expected an image {IMAGES}<camera> of at least one camera, and one of each")
    has_exposures = bool(fields.names(EXPOSURES))
    views = {name: _view(fields, name, None if has_exposures else received_ns) for name in names}
    observation = Observation(
        views=views,
        end_effector_pose=fields.array(END_EFFECTOR, (4, 4), np.float64),
        joint_positions=fields.array(JOINTS, (7,), np.float64),
        hand_positions=fields.array(HAND, (HAND_DIMENSION,), np.float64),
        instruction=fields.text(PROMPT),
        committed=_committed(fields),
    )
    fields.finish()
    return Request(observation, reset)


def _view(fields: Fields, name: str, exposure_ns: int | None) -> CameraView:
    image = (
        decode_jpeg(fields.blob(JPEGS + name), JPEGS + name)
        if JPEGS + name in fields
        else fields.array(IMAGES + name, (None, None, 3), np.uint8)
    )
    pose = fields.array(CAMERA_POSES + name, (4, 4), np.float64) if CAMERA_POSES + name in fields else np.eye(4)
    return CameraView(
        image=image,
        exposure_ns=fields.integer(EXPOSURES + name) if exposure_ns is None else exposure_ns,
        intrinsics=fields.array(INTRINSICS + name, (3, 3), np.float64)
        if INTRINSICS + name in fields
        else _pinhole(*image.shape[:2]),
        camera_to_base=pose,
    )


def _pinhole(height: int, width: int) -> Array:
    focal = max(width, 1) / 2.0 / math.tan(FIELD_OF_VIEW / 2.0)
    return np.array([[focal, 0.0, (width - 1) / 2.0], [0.0, focal, (height - 1) / 2.0], [0.0, 0.0, 1.0]])


def _committed(fields: Fields) -> CommittedPlan | None:
    if not fields.names("committed/"):
        return None
    return CommittedPlan(
        times_ns=fields.array(COMMITTED_TIMES, (None,), np.int64),
        poses=fields.array(COMMITTED_POSES, (None, 4, 4), np.float64),
        hand=fields.array(COMMITTED_HAND, (None, HAND_DIMENSION), np.float64),
    )
