"""Policy node: the newest pair of images and the robot's state in, action chunks out."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Mapping
from typing import Any

from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from vipa_msgs.msg import ActionChunk as ActionChunkMessage
from vipa_msgs.msg import ArmState, HandState, Heartbeat
from vipa_msgs.msg import CommittedPlan as CommittedPlanMessage

from vipa.errors import ConfigurationError, VipaError
from vipa.nodes.base import FRAMES, LATCHED, LATEST, RELIABLE, ManagedNode, run_node
from vipa.nodes.messages import from_image, from_plan_message, to_chunk_message, to_ns
from vipa.observing import Frame, make_observation
from vipa.patience import Patience
from vipa.policy_options import read_policy_options
from vipa.scheduling import CHAIN_PRIORITY, ordinary_scheduling
from vipa_inference.policy import HOLD_INSTRUCTION, ChunkSources, Observation, Policy, PolicyError, UnreachableError
from vipa_inference.real_time_chunking import PlanTracker
from vipa_inference.registry import make_policy

POLL_PERIOD_S = 0.01
WATCH_PERIOD_S = 0.002  # while the next frames are awaited
INSTRUCTION_PERIOD_S = 0.05
STATE_MATCH_NS = 50_000_000
PAIR_NS = 20_000_000  # two free-running cameras at 30 Hz are never further apart than half a period
SLACK_S = 0.02  # an exposure that comes so early counts as due


class PolicyNode(ManagedNode):
    """Infers a chunk whenever every camera has a new frame and the last inference is ``inference_period`` ago.

    Inference runs in the main thread, outside any callback; what arrives meanwhile is skipped but for the newest.
    """

    long_inference_s = 0.01  # from here on inference has no real-time priority

    def __init__(self) -> None:
        super().__init__("policy", POLL_PERIOD_S)
        self.declare_parameter("policy", "scripted")
        self.declare_parameter("policy_options", "")
        self.declare_parameter("instruction", "")
        self._policy: Policy | None = None
        self._inference_s = 0.0  # how long the last inference took
        self._instruction = ""
        self._tracker: PlanTracker | None = None
        self._chunk_id = 0
        self._since_reset = 0  # inferences
        self._last_inference_ns = 0
        self._waiting = False
        self._patience = Patience(self.lab.supervisor.policy_time_out)  # with a policy server
        self._images: dict[str, Any] = {}
        self._infos: dict[str, Any] = {}
        self._newest: dict[str, Any] = {}
        self._infos_seen: dict[str, Any] = {}
        self._received_ns: dict[str, int] = {}
        self._used: dict[str, int] = {}
        self._next_instruction = 0.0
        self._arm = self.polled(ArmState, "/fr3/state", FRAMES)
        self._hand = self.polled(HandState, "/hand/state", FRAMES)
        self._plans = self.polled(CommittedPlanMessage, "/controller/plan", RELIABLE)
        self._instructions = self.polled(String, "/policy/instruction", LATCHED)
        self._chunks = self.create_publisher(ActionChunkMessage, "/policy/action_chunk", RELIABLE)

    def make_policy(self, name: str, options: Mapping[str, Any]) -> Policy:
        """Build the policy.

        Raises:
            PolicyError: an unknown name or option, or an option out of range.
        """
        return make_policy(name, **options)

    def configure(self) -> None:
        """Load the policy and subscribe to the cameras of the laboratory."""
        options = read_policy_options(str(self.get_parameter("policy_options").value))
        try:
            with ordinary_scheduling():  # the threads of a model that computes on the CPU come after the drivers
                self._policy = self.make_policy(str(self.get_parameter("policy").value), options)
        except PolicyError as error:
            raise ConfigurationError(f"policy: {error}") from None
        self._tracker = PlanTracker(self.lab.control.schedule.lead_s)
        self._instruction = str(self.get_parameter("instruction").value)
        for name in self.lab.cameras:
            if name not in self._images:
                self._images[name] = self.polled(Image, f"/camera/{name}/color/image_raw", LATEST)
                self._infos[name] = self.polled(CameraInfo, f"/camera/{name}/color/camera_info", LATEST)

    def activate(self) -> None:
        """Begin a new episode."""
        self._reset()
        self._used.clear()

    def step(self) -> None:
        """Infer when it is time and every camera has a frame that came after that moment."""
        self._take_instruction()
        if not self.active or self._instruction == HOLD_INSTRUCTION or not self._due():
            return
        self._take_images()
        if not self._waiting:
            self._waiting = True  # what waited until now is of unknown age: wait for the next frames
            self.set_period(WATCH_PERIOD_S)
            self._newest.clear()
        if not self._all_new():
            return
        received_ns = max(self._received_ns.values())
        try:
            observed = self._observe()
            if observed is not None:
                self._infer(*observed, received_ns)
        except UnreachableError as error:
            self._last_inference_ns = self.clock.now_ns()
            is_lost = self._patience.failed(time.monotonic())  # a single missing answer costs a chunk and no more
            self.report(Heartbeat.ERROR if is_lost else Heartbeat.WARN, f"policy: {error}")
        except (VipaError, PolicyError) as error:
            self._last_inference_ns = self.clock.now_ns()
            self.report(Heartbeat.WARN, f"policy: {error}")

    def cleanup(self) -> None:
        """Let go of the policy."""
        close = getattr(self._policy, "close", None)
        if close is not None:
            close()
        self._policy = None

    def _take_instruction(self) -> None:
        if time.monotonic() < self._next_instruction:
            return
        self._next_instruction = time.monotonic() + INSTRUCTION_PERIOD_S
        instruction = self.take_latest(self._instructions)
        if instruction is not None and instruction.data != self._instruction:
            self._instruction = instruction.data
            self._reset()

    def _reset(self) -> None:
        self._since_reset = 0
        if self._patience.is_tried:  # whether the server answers shows with the next inference
            self._patience.renew()
            self.report(Heartbeat.OK, "")
        if self._policy is not None:
            self._policy.reset()

    def _take_images(self) -> None:
        for name, subscription in self._images.items():
            image = self.take_latest(subscription)
            if image is not None:
                self._newest[name] = image
                self._received_ns[name] = self.clock.now_ns()
            info = self.take_latest(self._infos[name])
            if info is not None:
                self._infos_seen[name] = info

    def _due(self) -> bool:
        """Whether it is time for the next inference; no image is copied before."""
        period = self.lab.control.inference_period
        return self.clock.now_ns() - self._last_inference_ns >= (period - SLACK_S) * 1e9

    def _all_new(self) -> bool:
        """Whether every camera has a frame that was not used yet, and these were exposed together."""
        if not all(name in self._newest and name in self._infos_seen for name in self._images):
            return False
        stamps = {name: to_ns(self._newest[name].header.stamp) for name in self._images}
        is_new = all(stamp > self._used.get(name, 0) for name, stamp in stamps.items())
        return is_new and max(stamps.values()) - min(stamps.values()) <= PAIR_NS

    def _observe(self) -> tuple[Observation, ChunkSources] | None:
        """The observation at the oldest exposure, and out of what; None while the robot's state then is not known."""
        stamps = {name: to_ns(self._newest[name].header.stamp) for name in self._images}
        moment = min(stamps.values())
        arm = _nearest(self.take_all(self._arm), moment)
        hand = _nearest([s for s in self.take_all(self._hand) if s.connected], moment)
        if arm is None or hand is None:
            return None
        frames = {
            name: Frame(from_image(self._newest[name]), stamps[name], self._infos_seen[name]) for name in self._images
        }
        self._used = stamps
        observation = make_observation(self.lab, frames, arm, hand, self._instruction)
        return observation, ChunkSources(to_ns(arm.header.stamp), to_ns(hand.header.stamp))

    def _infer(self, observation: Observation, sources: ChunkSources, received_ns: int) -> None:
        assert self._policy is not None
        assert self._tracker is not None
        self._take_plans(self._tracker)
        start_ns = self.clock.now_ns()
        committed = self._tracker.committed(observation.observation_ns, start_ns)
        observation = dataclasses.replace(observation, committed=committed)
        if committed is not None:
            until_ns = self._tracker.takes_effect_ns(start_ns)
            sources = dataclasses.replace(sources, plan_ns=self._tracker.plan_ns, committed_until_ns=until_ns)
        self._since_reset += 1
        self._last_inference_ns, self._waiting = start_ns, False
        self.set_period(POLL_PERIOD_S)
        began = time.monotonic()
        # Who computes for long would keep the drivers' other threads and the next frames waiting.
        with ordinary_scheduling() if self._inference_s > self.long_inference_s else contextlib.nullcontext():
            chunk = self._policy.infer(observation)
        self._inference_s = time.monotonic() - began
        end_ns = self.clock.now_ns()
        self._chunk_id += 1
        chunk = dataclasses.replace(
            chunk,
            chunk_id=self._chunk_id,
            exposures_ns={name: view.exposure_ns for name, view in observation.views.items()},
            received_ns=received_ns,
            inference_start_ns=start_ns,
            inference_end_ns=end_ns,
            instruction=observation.instruction,
            sources=dataclasses.replace(sources, since_reset=self._since_reset),
        )
        self._chunks.publish(to_chunk_message(chunk, self.clock.now_ns(), self.lab.base_frame))
        self._tracker.inferred(self._chunk_id, start_ns)
        self._patience.renew()
        self.report(Heartbeat.OK, "")

    def _take_plans(self, tracker: PlanTracker) -> None:
        """Hand on what the controller said of its plan since the last inference."""
        for message in self.take_all(self._plans):
            tracker.received(from_plan_message(message), int(message.chunk_id), to_ns(message.header.stamp))


def _nearest(states: list[Any], moment_ns: int) -> Any | None:
    """The state nearest to a moment, or None where none lies within ``STATE_MATCH_NS``."""
    if not states:
        return None
    nearest = min(states, key=lambda s: abs(to_ns(s.header.stamp) - moment_ns))
    return nearest if abs(to_ns(nearest.header.stamp) - moment_ns) <= STATE_MATCH_NS else None


def main() -> int:
    """Run the node."""
    return run_node(PolicyNode, CHAIN_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
