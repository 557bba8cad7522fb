"""Laboratory node: runs the simulated laboratory and publishes /clock."""

import signal
import sys

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from vipa.clock_page import ClockWriter
from vipa.errors import VipaError
from vipa.lab import load_lab
from vipa.nodes.messages import to_time
from vipa_sim.errors import SimulationError
from vipa_sim.laboratory import Laboratory, LaboratoryConfig

SWITCH_INTERVAL_S = 0.0005  # the arm's control loop must not wait for Python's usual 5 ms


def main() -> int:
    """Run until SIGINT or SIGTERM.

    Returns:
        0, or 1 where the laboratory could not start (an address is in use, an unknown task, a bad YAML file).
    """
    rclpy.init()
    node = rclpy.create_node("laboratory")
    default = LaboratoryConfig()
    lab_name = str(node.declare_parameter("lab", "simulated").value)
    config = LaboratoryConfig(
        task=str(node.declare_parameter("task", default.task).value),
        seed=int(node.declare_parameter("seed", default.seed).value or 0),
        variant=str(node.declare_parameter("variant", default.variant).value),
    )
    clock = node.create_publisher(Clock, "/clock", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    try:
        page = ClockWriter()
        laboratory = Laboratory(
            load_lab(lab_name), config, lambda now_ns: clock.publish(Clock(clock=to_time(now_ns))), page.write
        )
    except (SimulationError, VipaError, OSError) as error:
        print(f"laboratory: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: laboratory.stop())
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    node.get_logger().info(f"simulated laboratory {lab_name}: task {config.task}, seed {config.seed}")
    try:
        laboratory.run()
    except SimulationError as error:
        print(f"laboratory: {error}", file=sys.stderr)
        return 1
    finally:
        page.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
