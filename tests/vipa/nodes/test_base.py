"""Every node's process ends, also where the middleware does not."""

import subprocess
import sys

import pytest

pytest.importorskip("vipa_msgs", reason="needs ROS 2 and the built vipa_msgs")
pytestmark = pytest.mark.ros

STUCK = """
import time
from vipa.nodes.base import end_within
end_within(0.2, 3)
time.sleep(50)
"""


def test_a_process_that_hangs_in_its_shutdown_ends_with_its_status_and_says_where_it_was() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 3
    assert "did not shut down within 0 s" in done.stderr
    assert 'File "<string>", line 5 in <module>' in done.stderr


INTERRUPTED = """
import signal, time
import rclpy
from vipa.nodes.base import ManagedNode
rclpy.init()
node = ManagedNode("interrupted", period_s=0.01)
signal.signal(signal.SIGALRM, lambda *_: time.sleep(0.002))
end, number = time.monotonic() + 4.0, 0
while time.monotonic() < end:
    signal.setitimer(signal.ITIMER_REAL, 0.0097 + number % 40 * 0.00001)
    node.pause_until_asked(0.01)
    number += 1
rclpy.shutdown()
print(number)
"""


def test_a_signal_as_a_pause_ends_does_not_make_it_endless() -> None:
    """Not even one whose handler takes the rest of the pause: SIGINT must end a supervisor at any moment."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
