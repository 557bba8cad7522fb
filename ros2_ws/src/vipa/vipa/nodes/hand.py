"""Hand node: the Inspire RH56 over Modbus; it keeps its grasp whenever it is in doubt."""

import sys
import time
from typing import Any

import numpy as np
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory
from vipa_msgs.msg import HandState, Heartbeat

from vipa.errors import HardwareError, VipaError
from vipa.hardware.inspire_hand import HandReading, InspireHand
from vipa.nodes.base import LATEST, RELIABLE, ManagedNode, run_node
from vipa.nodes.messages import from_joint_trajectory, to_time
from vipa.scheduling import CHAIN_PRIORITY

FINGER_NAMES = ["little", "ring", "middle", "index", "thumb_bend", "thumb_rotate"]
RECONNECT_PERIOD_S = 0.3
LOSS_PERIOD_S = 1.0
"""A second loss within this time counts at once; a lone one only if a new connection does not mend it."""


class HandNode(ManagedNode):
    """Publishes the hand's state at the poll rate; sends the newest target while motion is allowed."""

    def __init__(self) -> None:
        super().__init__("hand", period_s=0.02)
        self._hand: InspireHand | None = None
        self._connected = False
        self._next_reconnect = 0.0
        self._last_loss = -LOSS_PERIOD_S
        self._accepted_at = 0
        self._detail = ""
        self._holding = True
        self._trajectories = self.polled(JointTrajectory, "/hand/joint_trajectory", RELIABLE)
        self._states = self.create_publisher(HandState, "/hand/state", LATEST)
        self.create_service(Trigger, "/hand/clear_errors", self._on_clear_errors)

    def configure(self) -> None:
        """Connect to the hand; it does not move."""
        hand = InspireHand(self.lab.hand)
        hand.connect()
        self._hand, self._connected = hand, True

    def activate(self) -> None:
        """Targets sent before this moment are void."""
        self.take_all(self._trajectories)

    def step(self) -> None:
        """Read the state, send the newest target, reconnect after a loss."""
        if self._hand is None:
            return
        try:
            if not self._connected:
                self._reconnect()
            if self._connected:
                self._publish(self._exchange(self._hand))
        except HardwareError as error:
            self._lose(str(error))
            self._publish(None)

    def deactivate(self) -> None:
        """Keep the grasp."""
        if self._hand is not None and not self._holding:
            try:
                self._hold(self._hand)
            except HardwareError as error:
                self._lose(f"{error} (the hand keeps its last target by itself)")

    def cleanup(self) -> None:
        """Let go of the connection, not of what the hand holds."""
        if self._hand is not None:
            self._hand.close()
            self._hand = None

    def _exchange(self, hand: InspireHand) -> HandReading:
        """Command and read; a lone lost answer, as serial lines have them, costs a new connection and no fault."""
        try:
            self._command(hand)
            return hand.read()
        except HardwareError as error:
            now = time.monotonic()
            alone, self._last_loss = now - self._last_loss >= LOSS_PERIOD_S, now
            if hand.connected or not alone:
                raise
            self.get_logger().warning(f"{error} (connecting again)")
        hand.reconnect()
        return hand.read()

    def _command(self, hand: InspireHand) -> None:
        message = self.take_latest(self._trajectories)
        if not (self.active and self.motion_allowed()):
            if not self._holding:
                self._hold(hand)
            return
        if message is None:
            return
        try:
            _, _, positions, _ = from_joint_trajectory(message)
            hand.command(positions[-1])
        except (ValueError, IndexError, VipaError) as error:
            if isinstance(error, HardwareError):
                raise
            self._detail = f"hand: target refused: {error}"
            self.get_logger().warning(self._detail, throttle_duration_sec=1.0)
            return
        self._holding = False
        self._accepted_at = self.clock.now_ns()

    def _hold(self, hand: InspireHand) -> None:
        hand.hold()
        self._holding = True

    def _lose(self, reason: str) -> None:
        self._connected = False
        self.report(Heartbeat.ERROR, reason)

    def _reconnect(self) -> None:
        assert self._hand is not None
        if time.monotonic() < self._next_reconnect:
            return
        self._next_reconnect = time.monotonic() + RECONNECT_PERIOD_S
        self._hand.reconnect()
        self._connected = True
        self.report(Heartbeat.OK, "")

    def _publish(self, reading: HandReading | None) -> None:
        nothing: Any = np.full(6, np.nan)
        state = HandState(connected=reading is not None, detail=self._detail)
        state.header.stamp = to_time(self.clock.now_ns())
        state.positions = reading.positions if reading else nothing
        state.targets = reading.targets if reading else nothing
        state.forces = reading.forces if reading else nothing
        state.currents = reading.currents if reading else nothing
        state.temperatures = reading.temperatures if reading else nothing
        if reading:
            state.errors, state.status = reading.errors, reading.status
        state.accepted_at = to_time(self._accepted_at)
        self._states.publish(state)
        if reading is not None:
            self._watch(reading)

    def _watch(self, reading: HandReading) -> None:
        faulty = [f"{name} 0x{bits:02x}" for name, bits in zip(FINGER_NAMES, reading.errors, strict=True) if bits]
        if faulty:
            self.report(
                Heartbeat.WARN, f"hand: error bits: {', '.join(faulty)}. Free the fingers, then call /hand/clear_errors"
            )
        else:
            self.report(Heartbeat.OK, "")

    def _on_clear_errors(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def clear() -> VipaError | None:
            if self._hand is None:
                return VipaError("hand: not connected; configure it first")
            try:
                self._hand.clear_errors()
            except VipaError as error:
                return error
            return None

        error = self.in_main(clear)
        response.success, response.message = error is None, str(error or "errors cleared")
        return response


def main() -> int:
    """Run the node."""
    return run_node(HandNode, CHAIN_PRIORITY)


if __name__ == "__main__":
    sys.exit(main())
