"""Who drives the arm: the policy or the operator, never both."""

from vipa.control.gate import Change
from vipa_inference.policy import HOLD_INSTRUCTION

TELEOP = "teleop"
"""The name of the policy in the chunks of teleoperation."""
_RELEASED_NS = 300_000_000  # without a chunk of the operator, after which he has released the arm


class Arbiter:
    """The operator takes the arm with his first chunk; the policy gets it back by a new instruction after he let go."""

    def __init__(self) -> None:
        self.operator_drives = False  # or has driven, and the policy was not told to go on yet
        self._operator_ns = 0

    def refusal(self, policy: str, now_ns: int) -> Change | None:
        """Why a chunk of this policy must not be used; None where it may go to the gate."""
        if policy == TELEOP:
            self.operator_drives, self._operator_ns = True, now_ns
        elif self.operator_drives:
            return Change(
                TELEOP,
                "the operator drives, or was the last to drive; after the release a new instruction on "
                "/policy/instruction gives the arm to the policy",
            )
        return None

    def instructed(self, instruction: str, now_ns: int) -> None:
        """An instruction to the policy has arrived; one that arrives while the operator drives does not count."""
        released = abs(now_ns - self._operator_ns) > _RELEASED_NS
        if released and instruction != HOLD_INSTRUCTION:
            self.operator_drives = False
