"""What is recorded of a laboratory, under which quality of service."""

from dataclasses import dataclass

from vipa.lab import LabConfig
from vipa.recording.images import IMAGE_TYPE

EVENTS_TOPIC = "/recorder/events"
EVENT_TYPE = "vipa_msgs/msg/TrialEvent"
_ROBOT = (
    ("/joint_states", "sensor_msgs/msg/JointState"),
    ("/fr3/joint_trajectory", "trajectory_msgs/msg/JointTrajectory"),
    ("/hand/joint_trajectory", "trajectory_msgs/msg/JointTrajectory"),
    ("/policy/action_chunk", "vipa_msgs/msg/ActionChunk"),
    ("/controller/trace", "vipa_msgs/msg/ActionTrace"),
    ("/controller/gate", "vipa_msgs/msg/GateEvent"),
    ("/controller/plan", "vipa_msgs/msg/CommittedPlan"),
    ("/trial/events", "vipa_msgs/msg/TrialEvent"),
    ("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"),
)
_STATES = (
    ("/fr3/state", "vipa_msgs/msg/ArmState"),
    ("/hand/state", "vipa_msgs/msg/HandState"),
    ("/supervisor/state", "vipa_msgs/msg/SupervisorState"),
    ("/teleop/command", "vipa_msgs/msg/TeleopCommand"),
)


@dataclass(frozen=True)
class Topic:
    """One topic that is recorded.

    Attributes:
        name: with its namespace.
        type: of its messages, "sensor_msgs/msg/Image".
        reliable: its publisher sends anew what was lost.
        latched: its publisher keeps the newest message for those who come later, so an episode begins with it.
    """

    name: str
    type: str
    reliable: bool = False
    latched: bool = False

    @property
    def is_image(self) -> bool:
        """True for raw images."""
        return self.type == IMAGE_TYPE


EVENTS = Topic(EVENTS_TOPIC, EVENT_TYPE, reliable=True)


def recorded_topics(lab: LabConfig) -> tuple[Topic, ...]:
    """Colour and depth of every camera with their intrinsics, states, commands, chunks, traces, events."""
    cameras = [
        Topic(f"/camera/{name}/{stream}", f"sensor_msgs/msg/{kind}")
        for name in lab.cameras
        for stream, kind in (
            ("color/image_raw", "Image"),
            ("color/camera_info", "CameraInfo"),
            ("depth/image_rect_raw", "Image"),
            ("depth/camera_info", "CameraInfo"),
        )
    ]
    robot = [Topic(name, kind, reliable=True) for name, kind in _ROBOT]
    states = [Topic(name, kind) for name, kind in _STATES]
    instruction = Topic("/policy/instruction", "std_msgs/msg/String", reliable=True, latched=True)
    return (*cameras, *robot, *states, instruction)
