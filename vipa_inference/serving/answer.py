"""The answers of the policy server: first what it serves, then one chunk of actions for each request."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vipa_inference.description import ACTION_NAMES, DescribedPolicy, PolicyDescription
from vipa_inference.policy import ACTION_DIMENSION, ActionChunk, Observation, Policy
from vipa_inference.serving.codec import MessageError
from vipa_inference.serving.fields import Fields

PROTOCOL_VERSION = 1


def describe(policy: Policy) -> PolicyDescription | None:
    """What a policy says of itself, or None where it says nothing."""
    return policy.description if isinstance(policy, DescribedPolicy) else None


def make_metadata(policy: Policy) -> dict[str, Any]:
    """What a client is told as soon as it is connected; ``cameras`` and what follows only where the policy says it."""
    message: dict[str, Any] = {
        "protocol_version": PROTOCOL_VERSION,
        "policy": policy.name,
        "policy_hash": policy.policy_hash,
        "action_names": list(ACTION_NAMES),
        "jpeg": True,  # images may come as JPEG
    }
    description = describe(policy)
    if description is None:
        return message
    size = None if description.image_size is None else [description.image_size] * 2
    return {
        **message,
        "cameras": list(description.cameras),
        "image_sizes": dict.fromkeys(description.cameras, size),  # (height, width) px; None: any
        "horizon": description.horizon,
        "step_period": description.step_period,
    }


@dataclass(frozen=True)
class Served:
    """Which policy a server serves."""

    policy: str
    policy_hash: str
    takes_jpeg: bool


def read_metadata(message: Any) -> Served:
    """Understand what a server says first.

    Raises:
        MessageError: the server is none of this kind, or speaks another version of the protocol.
    """
    fields = Fields(message, "metadata")
    version = fields.integer("protocol_version")
    if version != PROTOCOL_VERSION:
        raise MessageError(f"metadata: protocol version {version}, expected {PROTOCOL_VERSION}. Update both sides")
    return Served(fields.text("policy"), fields.text("policy_hash"), fields.flag("jpeg", False))


def make_answer(chunk: ActionChunk, infer_ms: float) -> dict[str, Any]:
    """The answer to a request for a chunk; the time that the policy took travels along.

    Raises:
        MessageError: the policy gave actions of the wrong shape, or such that are not finite.
    """
    actions = np.asarray(chunk.actions, np.float32)
    if (
        actions.ndim != 2
        or actions.shape[1] != ACTION_DIMENSION
        or not actions.size
        or not np.all(np.isfinite(actions))
    ):
        raise MessageError(f"policy {chunk.policy}: its actions {actions.shape} are not finite, or not (H, 12)")
    return {
        "actions": actions,
        "step_period": chunk.step_period,
        "reference_pose": np.asarray(chunk.reference_pose, np.float64),
        "observation_ns": chunk.observation_ns,
        "policy": chunk.policy,
        "policy_hash": chunk.policy_hash,
        "server_timing": {"infer_ms": infer_ms},
    }


def read_answer(message: Any, observation: Observation) -> ActionChunk:
    """The chunk that a server answered to the request for ``observation``; keys that are not known are ignored.

    Raises:
        MessageError: it is no chunk, or one for another observation.
    """
    fields = Fields(message, "answer")
    actions = fields.array("actions", (None, ACTION_DIMENSION), np.float64)
    reference_pose = fields.array("reference_pose", (4, 4), np.float64)
    step_period = fields.number("step_period")
    observation_ns = fields.integer("observation_ns")
    if not len(actions) or not np.all(np.isfinite(actions)) or not np.all(np.isfinite(reference_pose)):
        raise MessageError("answer: the actions or their reference pose are not finite, or there are none")
    if step_period <= 0:
        raise MessageError(f"answer: step_period: {step_period} is not positive")
    if observation_ns != observation.observation_ns:
        raise MessageError(f"answer: belongs to the observation at {observation_ns} ns, not to that which was sent")
    return ActionChunk(
        actions=actions,
        step_period=step_period,
        reference_pose=reference_pose,
        observation_ns=observation_ns,
        policy=fields.text("policy"),
        policy_hash=fields.text("policy_hash"),
        exposures_ns={name: view.exposure_ns for name, view in observation.views.items()},
        instruction=observation.instruction,
    )
