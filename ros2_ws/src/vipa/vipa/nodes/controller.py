"""Controller node: action chunks in, trajectories of arm and hand out, every step traced."""

import sys
import time
from collections import OrderedDict, deque
from typing import Any

import numpy as np
from std_msgs.msg import Float32MultiArray, String
from trajectory_msgs.msg import JointTrajectory
from vipa_msgs.msg import ActionChunk as ActionChunkMessage
from vipa_msgs.msg import ActionTrace, ArmState, GateEvent, HandState
from vipa_msgs.msg import CommittedPlan as CommittedPlanMessage

from vipa.control.arbitration import Arbiter
from vipa.control.controller import ArmSnapshot, Controller, TraceRecord
from vipa.control.gate import SafetyGate
from vipa.control.kinematics import Kinematics
from vipa.control.schedule import ChunkScheduler
from vipa.errors import VipaError
from vipa.hardware.fr3.robot import flange_pose
from vipa.nodes.arm import JOINT_NAMES
from vipa.nodes.base import LATCHED, LATEST, RELIABLE, RELIABLE_DEEP, ManagedNode, run_node
from vipa.nodes.hand import FINGER_NAMES
from vipa.nodes.messages import from_chunk_message, to_joint_trajectory, to_ns, to_plan_message, to_time
from vipa.scheduling import CONTROLLER_PRIORITY
from vipa_inference.policy import HAND_DIMENSION

PERIODS_PER_MESSAGE = 100
TRACE_PATIENCE_NS = 500_000_000
HISTORY = 200
CLOCK_SKEW_NS = 5_000_000  # between two nodes that read /clock


class ControllerNode(ManagedNode):
    """Runs ``vipa.control.Controller`` at the rate of the laboratory's YAML."""

    def __init__(self) -> None:
        super().__init__("controller", period_s=0.01)
        self._controller: Controller | None = None
        self._hand_ns: int | None = None  # of the newest reading of a connected hand
        self._waiting: deque[TraceRecord] = deque()
        self._starts: OrderedDict[int, int] = OrderedDict()  # of the windows sent, by the time of sending, ns
        self._acknowledgements: deque[tuple[int, int]] = deque(
            maxlen=HISTORY
        )  # start of a window, when the arm took it
        self._last_tick_ns = self._last_steady_ns = 0
        self._arbiter = Arbiter()
        self._accepted_id = 0  # of the newest chunk in the plan
        self._plan_is_new = False
        self._periods: list[float] = []
        self._ros_periods: list[float] = []
        self._chunk_messages = self.polled(ActionChunkMessage, "/policy/action_chunk", RELIABLE)
        self._instructions = self.polled(String, "/policy/instruction", LATCHED)
        self._arm = self.polled(ArmState, "/fr3/state", LATEST)
        self._hand = self.polled(HandState, "/hand/state", LATEST)
        self._arm_trajectories = self.create_publisher(JointTrajectory, "/fr3/joint_trajectory", RELIABLE)
        self._hand_trajectories = self.create_publisher(JointTrajectory, "/hand/joint_trajectory", RELIABLE)
        self._traces = self.create_publisher(ActionTrace, "/controller/trace", RELIABLE_DEEP)
        self._plans = self.create_publisher(CommittedPlanMessage, "/controller/plan", RELIABLE)
        self._gate_events = self.create_publisher(GateEvent, "/controller/gate", RELIABLE_DEEP)
        self._period_messages = self.create_publisher(Float32MultiArray, "/controller/periods", RELIABLE_DEEP)

    def configure(self) -> None:
        """Make the controller from the laboratory's limits."""
        control = self.lab.control
        tool = flange_pose(self.lab.arm.end_effector_translation, self.lab.arm.end_effector_rpy)
        kinematics = Kinematics(control.kinematics, tool)
        rest = np.array(control.kinematics.rest_posture)
        scheduler = ChunkScheduler(control.schedule, rest, np.ones(HAND_DIMENSION))
        self._controller = Controller(kinematics, SafetyGate(control.gate, kinematics), scheduler, control)
        self._hand_ns = None
        self.set_period(1.0 / self.lab.control.rate)

    def activate(self) -> None:
        """Chunks sent before this moment are void."""
        self.take_all(self._chunk_messages)

    def step(self) -> None:
        """One control cycle."""
        if self._controller is None:
            return
        now_ns = self.clock.now_ns()
        self._measure_period(now_ns)
        self._take_state()
        self._take_instruction(now_ns)
        for message in self.take_all(self._chunk_messages):
            if self.active:
                self._accept(message)
        self._tick(self.active and self.motion_allowed())
        self._publish_traces(now_ns)

    def deactivate(self) -> None:
        """Brake and forget the plan."""
        self._tick(motion_allowed=False)

    def cleanup(self) -> None:
        """Forget the controller."""
        self._controller = None

    def _measure_period(self, now_ns: int) -> None:
        """Publish, once a second, the periods (s) of this loop: first by the steady clock, then by ROS time."""
        steady_ns = time.monotonic_ns()
        if self._last_tick_ns:
            self._periods.append((steady_ns - self._last_steady_ns) * 1e-9)
            self._ros_periods.append((now_ns - self._last_tick_ns) * 1e-9)
        self._last_tick_ns, self._last_steady_ns = now_ns, steady_ns
        if len(self._periods) >= PERIODS_PER_MESSAGE:
            self._period_messages.publish(Float32MultiArray(data=self._periods + self._ros_periods))
            self._periods, self._ros_periods = [], []

    def _take_state(self) -> None:
        assert self._controller is not None
        arm, hand = self.take_latest(self._arm), self.take_latest(self._hand)
        if hand is not None and hand.connected:
            self._hand_ns = to_ns(hand.header.stamp)
        if arm is not None:
            taken = to_ns(arm.accepted_trajectory), to_ns(arm.accepted_at)
            if taken[1] and (not self._acknowledgements or taken != self._acknowledgements[-1]):
                self._acknowledgements.append(taken)
            snapshot = ArmSnapshot(
                np.array(arm.joint_positions), np.array(arm.joint_velocities), to_ns(arm.header.stamp)
            )
            positions = np.array(hand.positions) if hand is not None and hand.connected else None
            self._controller.update_state(snapshot, positions, self._hand_ns)

    def _take_instruction(self, now_ns: int) -> None:
        """Only after teleoperation does it matter here that the policy is told to go on."""
        if self._arbiter.operator_drives:
            for message in self.take_all(self._instructions):
                self._arbiter.instructed(str(message.data), now_ns)

    def _accept(self, message: Any) -> None:
        assert self._controller is not None
        now_ns = self.clock.now_ns()
        try:
            chunk = from_chunk_message(message)
        except VipaError as error:
            self._publish_event(GateEvent.REFUSED, int(message.chunk_id), "shape", str(error))
            return
        refusal = self._arbiter.refusal(chunk.policy, now_ns)
        if refusal is not None:
            self._publish_event(GateEvent.REFUSED, chunk.chunk_id, refusal.rule, refusal.detail)
            return
        events = self._controller.accept(chunk, now_ns)
        if all(event.accepted for event in events):
            self._accepted_id, self._plan_is_new = chunk.chunk_id, True
        for event in events:
            verdict = GateEvent.CHANGED if event.accepted else GateEvent.REFUSED
            self._publish_event(verdict, chunk.chunk_id, event.rule, event.detail)

    def _publish_event(self, verdict: int, chunk_id: int, rule: str, detail: str) -> None:
        event = GateEvent(verdict=verdict, chunk_id=chunk_id, rule=rule, detail=detail)
        event.header.stamp = to_time(self.clock.now_ns())
        self._gate_events.publish(event)

    def _tick(self, motion_allowed: bool) -> None:
        if self._controller is None:
            return
        now_ns = self.clock.now_ns()
        output = self._controller.tick(now_ns, motion_allowed)
        if output is None:
            return
        self._waiting.extend(output.trace)
        if output.reason:
            self.get_logger().info(f"controller: the arm is stopped: {output.reason}")
        window = output.window
        if window is not None:
            self._starts[now_ns] = window.start_ns
            while len(self._starts) > HISTORY:
                self._starts.popitem(last=False)
            self._arm_trajectories.publish(
                to_joint_trajectory(window.start_ns, JOINT_NAMES, window.times_s, window.positions, window.velocities)
            )
        if output.hand is not None and not output.stopping:
            self._hand_trajectories.publish(to_joint_trajectory(now_ns, FINGER_NAMES, np.zeros(1), output.hand[None]))
        if self._plan_is_new or (window is not None and output.stopping):
            self._plan_is_new = False
            plan = self._controller.committed(now_ns)
            self._plans.publish(to_plan_message(plan, self._accepted_id, now_ns, self.lab.base_frame))

    def _publish_traces(self, now_ns: int) -> None:
        """Publish what was executed, once the arm acknowledged the trajectory that held it, or after a while."""
        while self._waiting:
            record = self._waiting[0]
            acknowledged_ns = self._acknowledged_ns(record)
            if not acknowledged_ns and now_ns - record.scheduled_ns < TRACE_PATIENCE_NS:
                return
            self._waiting.popleft()
            self._traces.publish(self._trace(record, acknowledged_ns))

    def _acknowledged_ns(self, record: TraceRecord) -> int:
        """When the arm took the first window that held this row; 0: not yet."""
        start_ns = self._starts.get(record.sent_ns)
        if start_ns is None:
            return 0
        earliest = record.sent_ns - CLOCK_SKEW_NS
        return next((at for start, at in self._acknowledgements if start >= start_ns and at >= earliest), 0)

    def _trace(self, record: TraceRecord, acknowledged_ns: int) -> ActionTrace:
        chunk = record.chunk
        trace = ActionTrace(
            chunk_id=record.chunk_id,
            step=record.row,
            policy_hash=chunk.policy_hash,
            exposures=[to_time(t) for t in chunk.exposures_ns.values()],
            received=to_time(chunk.received_ns),
            inference_start=to_time(chunk.inference_start_ns),
            inference_end=to_time(chunk.inference_end_ns),
            gate=to_time(record.gate_ns),
            sent=to_time(record.sent_ns),
            acknowledged=to_time(acknowledged_ns),
            requested=[float(v) for v in record.requested],
            joint_positions=record.joint_positions,
            hand_positions=record.hand_positions,
            changes=[f"{c.rule}: {c.detail}" for c in record.changes],
        )
        trace.header.stamp = to_time(record.scheduled_ns)
        return trace


def main() -> int:
    """Run the node."""
    return run_node(ControllerNode, CONTROLLER_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
